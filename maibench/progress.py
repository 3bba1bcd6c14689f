"""What long work tells while it runs: the command line shows it, a script need not listen."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


class Progress:
    """Hears nothing; override what is to be shown."""

    def say(self, text: str) -> None:
        """One line for the user."""

    def start(self, total: int, done: int = 0) -> None:
        """Work on `total` things begins; so many were done before."""

    def advance(self, count: int, note: str = "") -> None:
        """So many more are done; note: how it goes."""

    def stop(self) -> None:
        """The work is over, or was stopped."""

    @contextlib.contextmanager
    def running(self, total: int, done: int = 0) -> Iterator[None]:
        """`start` before, `stop` after, whatever happens between."""
        self.start(total, done)
        try:
            yield
        finally:
            self.stop()
