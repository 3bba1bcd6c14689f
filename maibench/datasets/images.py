"""Where the bytes of listed images lie."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from maibench.errors import ImageError


class Images(Protocol):
    """The bytes of a data set's images, by their paths in its manifest. It can be pickled: another process then reads
    for itself.

    in_order: True where it can only go forward; reading back costs another pass over the data.
    """

    in_order: bool

    def read(self, path: str) -> bytes:
        """The bytes of one image; any thread may ask. Raises ImageError, with the reason in words."""
        ...

    def expect(self, paths: Sequence[str]) -> None:
        """Be told which images will be read next, in this order; one thread tells, before any of them is read."""
        ...


class FolderImages:
    """Files below a folder; equal where the folder is the same."""

    in_order = False

    def __init__(self, root: Path) -> None:
        self._root = root

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FolderImages) and other._root == self._root

    def __hash__(self) -> int:
        return hash(self._root)

    def read(self, path: str) -> bytes:
        """The file's bytes. Raises ImageError where it cannot be read."""
        try:
            return (self._root / path).read_bytes()
        except OSError as error:
            raise ImageError(f"cannot be read: {error.strerror or error}") from error

    def expect(self, paths: Sequence[str]) -> None:
        """Files can be read in any order."""

    def any_there(self, paths: Sequence[str]) -> bool:
        """Whether at least one of these files is there."""
        return any(os.path.lexists(self._root / path) for path in paths)

    def stamps(self, paths: Sequence[str]) -> Iterator[tuple[int, int]]:
        """Size and time of change (ns) of each file; zeros for one that is not there."""
        for path in paths:
            try:
                stat = os.stat(self._root / path)
            except OSError:
                yield 0, 0
            else:
                yield stat.st_size, stat.st_mtime_ns
