"""The folder of a data set of pairs while it is made: what was asked for, what is done, what is missing."""

from __future__ import annotations

import collections
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from maibench.datasets.data_card import FILE as CARD
from maibench.datasets.data_card import DataCard, write_data_card
from maibench.errors import MaibenchError
from maibench.files import PART, disk_error, make_folder, remove_parts, write_text, write_whole

FACTS, MANIFEST, NOTES, IMAGES = "reconstruct.json", "manifest.csv", ".windows", "images"


@dataclass(frozen=True)
class Summary:
    """What was made. photographs, pairs: how many. left_out: {path: why} of the photographs that could not be used.
    computed: the windows that were not there yet."""

    photographs: int
    pairs: int
    left_out: dict[str, str]
    computed: int

    def described(self) -> str:
        """In one line."""
        reasons = collections.Counter(re.split(r"[:(]", reason)[0].strip() for reason in self.left_out.values())
        why = "; ".join(f"{count} {reason}" for reason, count in reasons.most_common())
        left = f"{len(self.left_out)} photographs left out ({why})" if self.left_out else "no photograph left out"
        return f"{self.pairs} pairs of {self.photographs} photographs; {left}"


class PairsFolder:
    """reconstruct.json, images/, a note for each window of photographs that is done, and at the end README.md and
    manifest.csv in the place of the notes.

    Raises MaibenchError where `path` cannot be written or holds something that was not made here, which is never
    touched.
    """

    def __init__(self, path: Path) -> None:
        make_folder(path)
        self.path = path
        self.facts = self._read()
        if not self.facts and any(not found.name.startswith(PART) for found in path.iterdir()):
            raise MaibenchError(f"{path}: holds files that were not made by this command; choose another --out")

    def refuse_another(self, asked: dict[str, Any]) -> None:
        """Raise MaibenchError where the folder holds what another command asked for."""
        before = self.facts["asked"] if self.facts else asked
        for key in asked:
            if before.get(key) != asked[key]:
                raise MaibenchError(
                    f"{self.path}: holds the pairs of another command ({key} was {before.get(key)!r}, now "
                    f"{asked[key]!r}); choose another folder with --out, or replace it with --fresh"
                )

    def clear(self) -> None:
        """Remove what was made."""
        try:
            (self.path / MANIFEST).unlink(missing_ok=True)
            for name in (NOTES, IMAGES):
                if (self.path / name).is_dir():
                    shutil.rmtree(self.path / name)
            for name in (CARD, FACTS):
                (self.path / name).unlink(missing_ok=True)
        except OSError as error:
            raise disk_error(self.path, error) from error
        self.facts = {}

    def begin(self, asked: dict[str, Any], autoencoders: dict[str, dict[str, str]]) -> None:
        """Write down what is asked for, unless it is gone on with. autoencoders: facts that only explain."""
        remove_parts(self.path)
        if not self.facts:
            self.facts = {"asked": asked, "autoencoders": autoencoders}
            self._write()
        make_folder(self.path / NOTES)

    def finished(self) -> Summary | None:
        """What was made, where it is all there."""
        file = self.path / MANIFEST
        if "made" not in self.facts or not file.is_file():
            return None
        if not self._are_there(pd.read_csv(file, usecols=["path", "n_bytes"]).to_dict("records")):
            return None
        shutil.rmtree(self.path / NOTES, ignore_errors=True)
        return Summary(**self.facts["made"], computed=0)

    def has(self, window: int) -> bool:
        """Whether a window is done, and all that it wrote is there."""
        file = self._note(window)
        return file.is_file() and self._are_there(json.loads(file.read_text(encoding="utf-8"))["rows"])

    def note(self, window: int, rows: list[dict[Any, Any]], left_out: dict[str, str]) -> None:
        """Write down that a window is done: the rows that it wrote, and {path: why} of the photographs left out."""
        write_text(self._note(window), json.dumps({"rows": rows, "left_out": left_out}))

    def finish(self, windows: int, computed: int, card: DataCard) -> Summary:
        """Make the data card, then the manifest, of the notes on so many windows. Raises MaibenchError where none of
        them wrote anything."""
        notes = [json.loads(self._note(window).read_text(encoding="utf-8")) for window in range(windows)]
        rows = pd.DataFrame([row for note in notes for row in note["rows"]])
        left_out = {path: reason for note in notes for path, reason in note["left_out"].items()}
        if rows.empty:
            path, reason = next(iter(left_out.items()))
            raise MaibenchError(f"none of the {len(left_out)} photographs can be used; the first is {path}: {reason}")
        pairs = int(rows["label"].sum())
        self.facts["made"] = {"photographs": len(rows) - pairs, "pairs": pairs, "left_out": left_out}
        self._write()
        write_data_card(self.path, card, rows)
        write_whole(self.path / MANIFEST, lambda part: rows.to_csv(part, index=False))
        shutil.rmtree(self.path / NOTES, ignore_errors=True)
        return Summary(**self.facts["made"], computed=computed)

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

    def _read(self) -> dict[str, Any]:
        file = self.path / FACTS
        if not file.is_file():
            return {}
        try:
            facts = json.loads(file.read_text(encoding="utf-8"))
            facts["asked"].items()
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise MaibenchError(f"{file}: is not what this command writes; choose another --out") from error
        return facts

    def _write(self) -> None:
        write_text(self.path / FACTS, json.dumps(self.facts, indent=2) + "\n")
