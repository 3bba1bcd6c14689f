"""The file in a folder that a command fills: what was asked for and, at the end, what was made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from maibench.errors import MaibenchError
from maibench.files import PART, write_text


class FactsFile:
    """{"asked": ..., "made": ...} in JSON; each command has a file of its own name, and knows its folders by it.

    holds: what another command left in the folder, for messages ("the images of another command"). Raises MaibenchError
    where the folder is a file, or holds something that the command did not make. Nothing is written before `begin`.
    """

    def __init__(self, file: Path, holds: str) -> None:
        self._file, self._holds = file, holds
        folder = file.parent
        if not folder.is_dir() and folder.exists():
            raise MaibenchError(f"{folder}: cannot be written (it is a file); choose another folder with --out")
        self._facts = self._read()
        if not self._facts and folder.is_dir() and any(not found.name.startswith(PART) for found in folder.iterdir()):
            raise MaibenchError(f"{folder}: holds files that were not made by this command; choose another --out")

    @property
    def made(self) -> dict[str, Any] | None:
        """What `finish` was told."""
        return self._facts.get("made")

    def refuse_another(self, asked: dict[str, Any]) -> None:
        """Raise MaibenchError where the folder holds what another command asked for."""
        before = self._facts.get("asked", asked)
        for key in asked:
            if before.get(key) != asked[key]:
                raise MaibenchError(
                    f"{self._file.parent}: holds {self._holds} ({key} was {before.get(key)!r}, now {asked[key]!r}); "
                    "choose another folder with --out, or replace it with --fresh"
                )

    def begin(self, asked: dict[str, Any], **explained: Any) -> None:
        """Write down what is asked for, unless it is gone on with. explained: facts that change nothing."""
        if not self._facts:
            self._facts = {"asked": asked, **explained}
            self._write()

    def finish(self, made: dict[str, Any]) -> None:
        """Write down what was made."""
        self._facts["made"] = made
        self._write()

    def remove(self) -> None:
        """Forget all. Raises OSError where the file cannot be removed."""
        self._file.unlink(missing_ok=True)
        self._facts = {}

    def _read(self) -> dict[str, Any]:
        if not self._file.is_file():
            return {}
        try:
            facts: dict[str, Any] = json.loads(self._file.read_text(encoding="utf-8"))
            facts["asked"].items()
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise MaibenchError(f"{self._file}: is not what this command writes; choose another --out") from error
        return facts

    def _write(self) -> None:
        write_text(self._file, json.dumps(self._facts, indent=2) + "\n")
