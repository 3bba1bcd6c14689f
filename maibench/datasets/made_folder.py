"""The folder of a data set while it is made: what was asked for, what is done, what is missing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd

from maibench.datasets.data_card import FILE as CARD
from maibench.datasets.data_card import DataCard, write_data_card
from maibench.datasets.facts_file import FactsFile
from maibench.errors import MaibenchError
from maibench.files import disk_error, make_folder, remove_parts, write_text, write_whole

MANIFEST, NOTES, IMAGES = "manifest.csv", ".windows", "images"


class MadeFolder:
    """A file of facts, images/, a note for each window of images that is done, and at the end README.md, and
    manifest.csv in the place of the notes.

    facts: the file's name, another for each command. Raises MaibenchError where `path` cannot be written or holds
    something that this command did not make, which is never touched.
    """

    def __init__(self, path: Path, facts: str) -> None:
        make_folder(path)
        self.path, self._facts = path, FactsFile(path / facts, "the images of another command")

    def refuse_another(self, asked: dict[str, Any]) -> None:
        """Raise MaibenchError where the folder holds what another command asked for."""
        self._facts.refuse_another(asked)

    def clear(self) -> None:
        """Remove what was made."""
        try:
            (self.path / MANIFEST).unlink(missing_ok=True)
            for name in (NOTES, IMAGES):
                if (self.path / name).is_dir():
                    shutil.rmtree(self.path / name)
            (self.path / CARD).unlink(missing_ok=True)
            self._facts.remove()
        except OSError as error:
            raise disk_error(self.path, error) from error

    def begin(self, asked: dict[str, Any], **explained: Any) -> None:
        """Write down what is asked for, unless it is gone on with. explained: facts that change nothing."""
        remove_parts(self.path)
        self._facts.begin(asked, **explained)
        make_folder(self.path / NOTES)
        make_folder(self.path / IMAGES)

    def finished(self) -> dict[str, Any] | None:
        """The facts that `finish` was given, where all is there."""
        file = self.path / MANIFEST
        made = self._facts.made
        if made is None or not file.is_file():
            return None
        if not self._are_there(pd.read_csv(file, usecols=["path", "n_bytes"]).to_dict("records")):
            return None
        shutil.rmtree(self.path / NOTES, ignore_errors=True)
        return made

    def has(self, window: int) -> bool:
        """Whether a window is done, and all that it wrote is there."""
        file = self._note(window)
        return file.is_file() and self._are_there(json.loads(file.read_text(encoding="utf-8"))["rows"])

    def note(self, window: int, rows: list[dict[Any, Any]], left_out: dict[str, str]) -> None:
        """Write down that a window is done: the rows that it wrote, and {path: why} of the images left out."""
        write_text(self._note(window), json.dumps({"rows": rows, "left_out": left_out}))

    def noted(self, windows: int) -> tuple[pd.DataFrame, dict[str, str]]:
        """The rows of so many windows, and {path: why} of what was left out.

        Raises MaibenchError where none of them wrote anything.
        """
        notes = [json.loads(self._note(window).read_text(encoding="utf-8")) for window in range(windows)]
        rows = pd.DataFrame([row for note in notes for row in note["rows"]])
        left_out = {path: reason for note in notes for path, reason in note["left_out"].items()}
        if rows.empty:
            path, reason = next(iter(left_out.items()))
            raise MaibenchError(f"none of the {len(left_out)} images can be used; the first is {path}: {reason}")
        return rows, left_out

    def finish(self, rows: pd.DataFrame, made: dict[str, Any], card: DataCard) -> None:
        """Write the facts of what was made, the data card and, last, the manifest in the place of the notes."""
        self._facts.finish(made)
        write_data_card(self.path, card, rows)
        write_whole(self.path / MANIFEST, lambda part: rows.to_csv(part, index=False))
        shutil.rmtree(self.path / NOTES, ignore_errors=True)

    def _note(self, window: int) -> Path:
        return self.path / NOTES / f"{window:06d}.json"

    def _are_there(self, rows: list[dict[Any, Any]]) -> bool:
        """Whether every file is there and whole; one of another size is removed, so that it is made again."""
        whole = True
        for row in rows:
            file = self.path / row["path"]
            if not file.is_file():
                whole = False
            elif file.stat().st_size != row["n_bytes"]:
                file.unlink()
                whole = False
        return whole
