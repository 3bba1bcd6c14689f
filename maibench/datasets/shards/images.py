"""Where the images of shards lie, and how they are read: on this disk, by ranges from elsewhere, or of shards that
are fetched whole."""

from __future__ import annotations

import collections
import contextlib
import tempfile
import threading
from collections.abc import Sequence
from functools import cached_property
from typing import IO, Any

import numpy as np
import pandas as pd

from maibench.datasets.ahead import ReadAhead
from maibench.datasets.elsewhere import image_part
from maibench.datasets.shards.names import fetch
from maibench.errors import ImageError

HELD = 2
"""Shards that are fetched whole and kept at a time."""


class Places:
    """Where each image lies: arrays of the shard's number, the first byte, and how many; `shards`: the shards."""

    def __init__(
        self, paths: pd.Series, number: np.ndarray, offset: np.ndarray, size: np.ndarray, shards: Sequence[str]
    ) -> None:
        self.shards = list(shards)
        self._paths, self._number, self._offset, self._size = paths, number, offset, size

    def __reduce__(self) -> tuple[Any, ...]:
        return Places, (self._paths, self._number, self._offset, self._size, self.shards)

    def of(self, path: str) -> tuple[int, int, int]:
        """(shard, offset, bytes). Raises ImageError for a sample without an image."""
        at = self._rows[path]
        if not self._size[at] and not self._offset[at]:
            raise ImageError("the sample holds no image")
        return int(self._number[at]), int(self._offset[at]), int(self._size[at])

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {path: at for at, path in enumerate(self._paths)}


class LocalShards:
    """Images of shards on this disk, in any order."""

    in_order = False

    def __init__(self, places: Places) -> None:
        self._places = places

    def read(self, path: str) -> bytes:
        """The image's bytes. Raises ImageError where they cannot be read."""
        shard, offset, size = self._places.of(path)
        try:
            with open(self._places.shards[shard], "rb") as stream:
                return _part(stream, offset, size)
        except OSError as error:
            raise ImageError(f"its shard cannot be read: {error.strerror or error}") from error

    def expect(self, paths: Sequence[str]) -> None:
        """They can be read in any order."""


class RemoteShards:
    """Images of shards elsewhere, in any order: of a shard no more than its images is read, and those that are
    expected are read ahead."""

    in_order = False

    def __init__(self, places: Places) -> None:
        self._places = places
        self._ahead = ReadAhead(self._fetch)

    def __reduce__(self) -> tuple[Any, ...]:
        return RemoteShards, (self._places,)

    def read(self, path: str) -> bytes:
        """The image's bytes. Raises ImageError where its shard is gone or cut, MaibenchError where the connection is
        lost."""
        return self._ahead.read(path)

    def expect(self, paths: Sequence[str]) -> None:
        """Fetch them ahead."""
        self._ahead.expect(paths)

    def _fetch(self, path: str) -> bytes:
        shard, offset, size = self._places.of(path)
        return _whole(image_part(self._places.shards[shard], offset, offset + size), size)


class FetchedShards:
    """Images of shards on a web server that sends whole files alone. A shard is fetched when its first image is asked
    for; `HELD` of them are kept, in files without a name, which go when the process does. One that was let go is
    fetched again."""

    in_order = True

    def __init__(self, places: Places) -> None:
        self._places = places
        self._held: collections.OrderedDict[int, IO[bytes]] = collections.OrderedDict()
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return FetchedShards, (self._places,)

    def read(self, path: str) -> bytes:
        """The image's bytes. Raises MaibenchError where its shard cannot be fetched: a lost connection is no reason to
        count its images as unreadable."""
        shard, offset, size = self._places.of(path)
        with self._lock:
            return _part(self._fetched(shard), offset, size)

    def expect(self, paths: Sequence[str]) -> None:
        """The order is the shards' own."""

    def _fetched(self, shard: int) -> IO[bytes]:
        if shard not in self._held:
            while len(self._held) >= HELD:
                self._held.popitem(last=False)[1].close()
            self._held[shard] = fetched(self._places.shards[shard])
        self._held.move_to_end(shard)
        return self._held[shard]


def fetched(place: str) -> IO[bytes]:
    """A shard from elsewhere, in a file without a name. Raises as `fetch` does."""
    with contextlib.ExitStack() as opened:
        stream = opened.enter_context(tempfile.TemporaryFile())
        fetch(place, stream)
        opened.pop_all()  # whole: it stays open
    return stream


def _part(stream: IO[bytes], offset: int, size: int) -> bytes:
    stream.seek(offset)
    return _whole(stream.read(size), size)


def _whole(data: bytes, size: int) -> bytes:
    if len(data) < size:
        raise ImageError("its shard is shorter than it was when it was opened")
    return data
