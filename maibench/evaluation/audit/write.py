"""audit.json with its pictures, and audit.md: written whole, and read again for a report."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from maibench.errors import MaibenchError
from maibench.evaluation.audit.audit import Audit
from maibench.evaluation.audit.parts import Finding, Grid, Part, Shot
from maibench.evaluation.audit.shown import markdown
from maibench.evaluation.audit.verdict import Verdict
from maibench.files import make_folder, write_text, write_whole

FILE = "audit.json"
PICTURES = "audit"
"""The folder beside audit.json that holds its pictures."""
_PICTURE = re.compile(rf"{PICTURES}/[\w-]+\.png")


def write_audit(audit: Audit, folder: Path) -> None:
    """Write audit.json, audit.md and the pictures into `folder`. Raises DiskError."""
    write_findings(audit, folder)
    names = {shot.title: name for _, shot, name in _shots(audit)}
    write_text(folder / "audit.md", _utf8(markdown(audit, names)))


def write_findings(audit: Audit, folder: Path) -> None:
    """Write audit.json and the pictures alone. Raises DiskError."""
    make_folder(folder)
    for _, shot, name in _shots(audit):
        make_folder((folder / name).parent)
        write_whole(folder / name, lambda part, png=shot.png: part.write_bytes(png))  # type: ignore[misc]
    written = _plain(asdict(audit))
    for part, shown in zip(written["parts"], audit.parts, strict=True):
        part["shots"] = [
            {"title": shot.title, "file": name, "caption": shot.caption}
            for owner, shot, name in _shots(audit)
            if owner is shown
        ]
    write_text(folder / FILE, _utf8(json.dumps(written, indent=1, ensure_ascii=False) + "\n"))
    kept = {name for _, _, name in _shots(audit)}
    for old in (folder / PICTURES).glob("*.png"):
        if f"{PICTURES}/{old.name}" not in kept:
            old.unlink()


def read_audit(folder: Path) -> Audit | None:
    """The audit that lies in a folder, None where there is none. Raises MaibenchError where it cannot be read."""
    file = folder / FILE
    if not file.is_file():
        return None
    try:
        read = json.loads(file.read_text(encoding="utf-8"))
        return Audit(
            data=dict(read["data"]),
            parts=[_part(part, folder) for part in read["parts"]],
            strict=Verdict(**read["strict"]),
            failures=[dict(failure) for failure in read["failures"]],
            notes=[str(note) for note in read["notes"]],
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise MaibenchError(f"{file}: not an audit that maibench wrote ({error!r}); delete it") from error


def _part(read: dict[str, Any], folder: Path) -> Part:
    return Part(
        read["name"],
        read["title"],
        [Finding(**finding) for finding in read["findings"]],
        [Grid(**grid) for grid in read["grids"]],
        [Shot(shot["title"], _png(folder, shot["file"]), shot["caption"]) for shot in read["shots"]],
    )


def _png(folder: Path, name: str) -> bytes:
    if not _PICTURE.fullmatch(name):
        raise ValueError(f"a picture at {name}")
    return (folder / name).read_bytes()


def _shots(audit: Audit) -> Iterator[tuple[Part, Shot, str]]:
    """Every picture with its part and its file."""
    for part in audit.parts:
        for number, shot in enumerate(part.shots, start=1):
            yield part, shot, f"{PICTURES}/{part.name}-{number}.png"


def _plain(value: Any) -> Any:
    """What JSON can hold: NumPy's numbers as Python's, what is no number as null; pictures are files."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, bytes):
        return None
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _utf8(text: str) -> str:
    """A path of the data may hold what UTF-8 has not."""
    return text.encode("utf-8", "replace").decode("utf-8")
