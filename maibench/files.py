"""Files that are whole or absent."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from maibench.errors import DiskError

PART = ".part-"
"""How the name of a file that is not whole yet begins."""


def write_whole(file: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a file beside `file`, then put it in `file`'s place in one step.

    Raises DiskError, saying what to do, when the disk is full or the folder cannot be written; what stood there
    before stays.
    """
    # the ending stays last: writers of pictures and tables go by it; drawn, as processes of two machines may share a
    # folder, and their numbers be the same
    part = file.with_name(f"{PART}{secrets.token_hex(4)}-{file.name}")
    try:
        write(part)
        with open(part, "rb") as stream:
            os.fsync(stream.fileno())
        os.replace(part, file)
    except OSError as error:
        raise disk_error(file, error) from error
    finally:
        part.unlink(missing_ok=True)


def write_text(file: Path, text: str) -> None:
    """`write_whole` for text."""
    write_whole(file, lambda part: part.write_text(text, encoding="utf-8"))


def remove_parts(folder: Path, below: bool = True) -> None:
    """Remove what a killed process left half written, in `folder` and, where asked, below."""
    for part in (folder.rglob if below else folder.glob)(f"{PART}*"):
        part.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Create a folder and those above it; raises DiskError when that is not possible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error(folder, error) from error
    if not os.access(folder, os.W_OK):
        raise DiskError(f"{folder}: cannot be written (no permission); choose another folder with --out")


def disk_error(path: Path, error: OSError) -> DiskError:
    """The user's words for what the operating system refused."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskError(f"{path}: the disk is full; what was written is kept. Free some space and run it again")
    return DiskError(f"{path}: cannot be written ({error.strerror or error}); choose another folder with --out")
