"""The gallery of a page: the pictures of gallery/gallery.json, by the reason why each was chosen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from maibench.errors import MaibenchError
from maibench.evaluation.page.pictures import data_uri
from maibench.evaluation.tables.shown import is_empty, rate

_DISAGREEMENT = "Largest disagreements"


def gallery(folder: Path, names: list[str]) -> dict[str, Any]:
    """The gallery of a run's folder for the template, `{}` where there is none; `names`: detectors as in the table.

    groups: [(title, shots)], each detector's mistakes, then what they disagree on. A shot that stands in two groups
    carries its pictures in the first, and `same` in the second. notes: what evidence is. Raises MaibenchError
    when gallery.json cannot be read, or names a file outside the gallery.
    """
    file = folder / "gallery" / "gallery.json"
    if not file.is_file():
        return {}
    try:
        listed = json.loads(file.read_text(encoding="utf-8"))
        shots = [_shot(folder, place, item, names) for place, item in enumerate(listed["items"])]
        notes = [str(listed[name]) for name in ("method", "caution") if listed.get(name)]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MaibenchError(f"{file}: not a gallery that maibench wrote ({error!r}); delete {file.parent}") from error
    wanted = [(f"Most confident mistakes of {name}", "mistake", name) for name in names]
    groups, placed = [], set()
    for title, kind, name in [*wanted, (_DISAGREEMENT, "disagreement", None)]:
        members = []
        for shot in shots:
            reasons = [text for k, detector, text in shot["why"] if k == kind and (name is None or detector == name)]
            if reasons:
                members.append({**shot, "text": "; ".join(filter(None, reasons)), "same": shot["id"] in placed})
                placed.add(shot["id"])
        if members:
            groups.append((title, members))
    return {"groups": groups, "notes": notes} if groups else {}


def _shot(folder: Path, place: int, item: dict[str, Any], names: list[str]) -> dict[str, Any]:
    label, names = int(item["label"]), [*names, *(name for name in item["scores"] if name not in names)]
    evidence = {name: _picture(folder, file) for name, file in (item.get("evidence") or {}).items()}
    moved, absent = item.get("strongest") or {}, item.get("no_evidence") or {}
    scores = [
        {
            "name": name,
            **_score(item["scores"][name], label),
            "evidence": evidence.get(name),
            "moved": f"logit ± {moved[name]:.2g}" if name in moved else "",
            "absent": str(absent.get(name) or ""),
        }
        for name in names
        if name in item["scores"]
    ]
    return {
        "id": f"shot-{place}",
        "path": str(item["path"]),
        "label": "synthetic" if label else "real",
        "generator": str(item.get("generator") or "") if label else "",
        "thumbnail": _picture(folder, item.get("thumbnail")),
        "error": str(item.get("error") or "picture missing"),
        "scores": scores,
        "why": [(why["kind"], why.get("detector"), str(why.get("text") or "")) for why in item["why"]],
    }


def _score(value: Any, label: int) -> dict[str, Any]:
    if is_empty(value):
        return {"text": "not scored", "percent": None, "wrong": False}
    return {"text": rate(value), "percent": min(100.0, max(0.0, 100.0 * value)), "wrong": (value > 0.5) != (label == 1)}


def _picture(folder: Path, name: str | None) -> str | None:
    """A picture of the gallery as a data URI; None where it is missing."""
    if not name:
        return None
    file, home = (folder / name).resolve(), (folder / "gallery").resolve()
    if not file.is_relative_to(home):
        raise ValueError(f"{name} lies outside the gallery")
    if not file.is_file():
        return None
    return data_uri(file)
