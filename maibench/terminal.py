"""Progress in a terminal: a bar on stderr, and lines above it."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from maibench.progress import Progress


class TerminalProgress(Progress):
    """what: is done ("scoring"). unit: of what is counted ("images")."""

    def __init__(self, what: str, unit: str) -> None:
        self._bar = Bar(
            TextColumn(what), BarColumn(), MofNCompleteColumn(), TextColumn(unit), TextColumn("{task.description}"),
            TimeRemainingColumn(), console=Console(stderr=True), transient=True,
        )  # fmt: skip

    def say(self, text: str) -> None:
        self._bar.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def start(self, total: int, done: int = 0) -> None:
        self._task = self._bar.add_task("", total=total, completed=done)
        self._bar.start()

    def advance(self, count: int, note: str = "") -> None:
        self._bar.update(self._task, advance=count, description=note)

    def stop(self) -> None:
        self._bar.stop()
