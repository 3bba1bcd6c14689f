"""The folder of a data set of twins while it is made: what was asked for, and a note of each thing that is done."""

from __future__ import annotations

import functools
import json
import shutil
from hashlib import sha256
from pathlib import Path
from typing import Any

from maibench.datasets.facts_file import FactsFile
from maibench.files import disk_error, make_folder, remove_parts, write_text, write_whole

FACTS, QUARANTINE, CARD, DATA, WORK = "pairs.json", "quarantine.json", "README.md", "data", ".work"


class TwinsFolder:
    """pairs.json (the request and the weights); while the work goes on .work/STAGE/NAME.json and the images beside
    them; at the end data/*.parquet, quarantine.json and README.md in their place.

    Raises MaibenchError where `path` holds something that was not made here, which is never touched. Nothing is
    written before `begin`.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.work = path, path / WORK
        self._facts = FactsFile(path / FACTS, "the pairs of another command")

    def refuse_another(self, asked: dict[str, Any]) -> None:
        """Raise MaibenchError where the folder holds what another command asked for."""
        self._facts.refuse_another(asked)

    def clear(self) -> None:
        """Remove what was made."""
        try:
            for name in (DATA, WORK):
                if (self.path / name).is_dir():
                    shutil.rmtree(self.path / name)
            for name in (QUARANTINE, CARD):
                (self.path / name).unlink(missing_ok=True)
            self._facts.remove()
        except OSError as error:
            raise disk_error(self.path, error) from error

    def begin(self, asked: dict[str, Any]) -> None:
        """Write down what is asked for, unless it is gone on with."""
        make_folder(self.path)
        remove_parts(self.path)
        self._facts.begin(asked)

    def finished(self) -> dict[str, Any] | None:
        """What was made, where it is all there."""
        made = self._facts.made
        if made is None or not (self.path / CARD).is_file() or not (self.path / QUARANTINE).is_file():
            return None
        sizes = {name: (self.path / name).stat().st_size for name in made["files"] if (self.path / name).is_file()}
        if sizes != made["files"]:
            return None
        self._remove_work()
        return made

    def finish(self, made: dict[str, Any]) -> None:
        """Write down what was made; the notes are no longer needed."""
        self._facts.finish(made)
        self._remove_work()

    def note(self, stage: str, name: str) -> dict[str, Any] | None:
        """What was noted of a thing at a stage, where the image that belongs to it is there and whole."""
        file = self.work / stage / f"{name}.json"
        if not file.is_file():
            return None
        found = json.loads(file.read_text(encoding="utf-8"))
        return found if all(self._is_whole(image) for image in found.get("images", ())) else None

    def write_note(self, stage: str, name: str, facts: dict[str, Any], images: dict[str, bytes] | None = None) -> None:
        """Note that a thing is done; its images, {name of the file: bytes}, are written first."""
        make_folder(self.work / stage)
        described = []
        for file, data in (images or {}).items():
            write_whole(self.work / stage / file, functools.partial(_fill, data))
            described.append({"path": f"{stage}/{file}", "n_bytes": len(data), "image_id": sha256(data).hexdigest()})
        write_text(self.work / stage / f"{name}.json", json.dumps({**facts, "images": described}, sort_keys=True))

    def write_quarantine(self, facts: dict[str, Any]) -> None:
        """The groups that are left out, and why."""
        write_text(self.path / QUARANTINE, json.dumps(facts, indent=1, sort_keys=True, ensure_ascii=False) + "\n")

    def _is_whole(self, image: dict[str, Any]) -> bool:
        file = self.work / image["path"]
        return file.is_file() and file.stat().st_size == image["n_bytes"]

    def _remove_work(self) -> None:
        shutil.rmtree(self.work, ignore_errors=True)


def _fill(data: bytes, part: Path) -> None:
    part.write_bytes(data)
