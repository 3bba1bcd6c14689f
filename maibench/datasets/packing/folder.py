"""The folder of a packed data set while it is made: what was asked for, the shards that are done, what they hold."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from maibench.datasets.data_card import FILE
from maibench.datasets.facts_file import FactsFile
from maibench.datasets.manifest import SPLITS
from maibench.files import disk_error, make_folder, remove_parts, write_text

FACTS, WORK = "pack.json", ".shards"


@dataclass(frozen=True)
class Note:
    """A shard that is done.

    split, start, stop: the rows that it was made of, [start, stop) of the data in the order of packing. members: of
    each image in it the row, the values of `MEASURED`, and where its bytes begin. left_out: {path: why}. size: of the
    file; 0 where no image could be read and there is none.
    """

    split: str
    start: int
    stop: int
    members: list[list[Any]] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    size: int = 0


class PackFolder:
    """pack.json, and below .shards/ the shards that are done, with a note each, until all of them are.

    Raises MaibenchError where `path` cannot be written, or holds something that was not made here or that another
    command asked for, which is never touched.
    """

    def __init__(self, path: Path, suffix: str, asked: dict[str, Any], fresh: bool = False) -> None:
        make_folder(path)
        self.path, self._suffix, self._asked = path, suffix, asked
        self._facts = FactsFile(path / FACTS, "what another command packed")
        if fresh:
            self._clear()
        self._facts.refuse_another(asked)
        remove_parts(path)

    def made(self) -> dict[str, Any] | None:
        """What `finish` was told, where all of it is still there."""
        made = self._facts.made
        if made is None or not (self.path / FILE).is_file():
            return None
        if any(_size(self.path / name) != size for name, size in made["shards"].items()):
            return None
        self._remove_work()
        return made

    def begin(self) -> None:
        """Write down what is asked for."""
        self._facts.begin(self._asked)
        make_folder(self.path / WORK)

    def shard(self, name: str) -> Path:
        """Where a shard lies until all are done."""
        return self.path / WORK / f"{name}{self._suffix}"

    def note(self, name: str) -> Note | None:
        """The note of a shard, where it is done and still whole."""
        file = self.path / WORK / f"{name}.json"
        if not file.is_file():
            return None
        note = Note(**json.loads(file.read_text(encoding="utf-8")))
        moved = [self.path / f"{name}{self._suffix}", *self.path.glob(f"{name}-of-*{self._suffix}")]
        is_there = not note.size or any(_size(place) == note.size for place in (self.shard(name), *moved))
        return note if is_there else None

    def done(self, name: str, note: Note) -> None:
        """Write down that a shard is done."""
        write_text(self.path / WORK / f"{name}.json", json.dumps(vars(note)))

    def place(self, names: Mapping[str, str]) -> None:
        """Give all shards their places: {name: name of the file}."""
        try:
            for name, final in names.items():
                if self.shard(name).is_file():
                    os.replace(self.shard(name), self.path / final)
        except OSError as error:
            raise disk_error(self.path, error) from error

    def finish(self, made: dict[str, Any]) -> None:
        """Write down that all is done. made: {"shards": {file: bytes}, ...}."""
        self._facts.finish(made)
        self._remove_work()

    def _remove_work(self) -> None:
        shutil.rmtree(self.path / WORK, ignore_errors=True)

    def _clear(self) -> None:
        try:
            if (self.path / WORK).is_dir():
                shutil.rmtree(self.path / WORK)
            shards = (file for split in SPLITS for file in self.path.glob(f"{split}-[0-9]*"))  # finished or not
            for file in (*shards, self.path / "manifest.parquet", self.path / FILE):
                file.unlink(missing_ok=True)
            self._facts.remove()
        except OSError as error:
            raise disk_error(self.path, error) from error


def packed_shards(folder: Path) -> dict[Path, int]:
    """The shards of a folder that 'maibench data pack' finished, and their bytes; none where it did not."""
    try:
        shards = json.loads((folder / FACTS).read_text(encoding="utf-8"))["made"]["shards"]
        return {folder / name: int(size) for name, size in shards.items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):  # none, not finished, or somebody else's file
        return {}


def _size(file: Path) -> int:
    return file.stat().st_size if file.is_file() else -1
