"""What a command ends with."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

import typer

DONE, NOT_CLEAN, WRONG_REQUEST, INTERRUPTED = 0, 1, 2, 130
KEPT = "interrupted; what was scored is kept, the same command goes on from there"


@contextlib.contextmanager
def exit_codes(interrupted: str = KEPT) -> Iterator[None]:
    """Turn the project's exceptions into one line on stderr and an exit code."""
    from maibench.errors import MaibenchError

    try:
        yield
    except MaibenchError as error:
        print(f"maibench: {' '.join(str(error).split())}", file=sys.stderr)
        raise typer.Exit(WRONG_REQUEST) from None
    except KeyboardInterrupt:
        print(f"maibench: {interrupted}", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
