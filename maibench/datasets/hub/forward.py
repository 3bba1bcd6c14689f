"""Images of data that can only be read forward: kept from when they pass until they are asked for, and no others."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from maibench.errors import ImageError, MaibenchError


@dataclass(frozen=True)
class Chunk:
    """A stretch of the data that can be opened by itself: images `first` to `first + count` of the list, one after the
    other (their bytes; None where the data has none)."""

    first: int
    count: int
    open: Callable[[], Iterator[bytes | None]]


class ForwardImages:
    """Images that lie one after the other in chunks.

    One cursor goes forward, whichever thread moves it; what it passes is kept if it was expected and not yet read, so
    that memory holds no more than what is expected. A chunk in which nothing is expected is passed over unopened.
    Reading what lies behind the cursor starts the pass again.

    paths: the images' names, in the order of the chunks. is_local: whether the data lies on this machine, so that
    another pass costs no transfer.
    """

    in_order = True

    def __init__(self, paths: Sequence[str], chunks: Sequence[Chunk], is_local: bool = False) -> None:
        self.is_local = is_local
        self._positions = pd.Index(paths)
        self._chunks = list(chunks)
        self._firsts = [chunk.first for chunk in chunks]
        self._lock = threading.Lock()
        self._told: deque[str] = deque()
        self._wanted: Counter[int] = Counter()
        self._kept: dict[int, bytes | None] = {}
        self._at = self._end = 0
        self._rest: Iterator[bytes | None] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return ForwardImages, (self._positions, self._chunks, self.is_local)

    def expect(self, paths: Sequence[str]) -> None:
        """Be told which images will be read next, each as often as it is named."""
        self._told.extend(paths)

    def read(self, path: str) -> bytes:
        """The bytes of one image. Raises ImageError where there are none or the data cannot be read, and what
        MaibenchError a chunk raises."""
        with self._lock:
            position = self._position(path)
            self._listen()
            self._wanted[position] = max(1, self._wanted[position])
            try:
                self._fetch(position)
            except Exception as error:  # whatever a file system or a decoder raises
                self._rest = None
                self._read_once(position)
                if isinstance(error, MaibenchError):
                    raise
                raise ImageError(f"cannot be read: {' '.join(str(error).split()) or type(error).__name__}") from error
            data = self._kept[position]
            self._read_once(position)
        if data is None:
            raise ImageError("the data holds no bytes of it")
        return data

    def _position(self, path: str) -> int:
        try:
            return int(self._positions.get_loc(path))  # type: ignore[arg-type]  # the names are unique
        except KeyError:
            raise ImageError("there is no such image in the data") from None

    def _listen(self) -> None:
        while self._told:
            self._wanted[self._position(self._told.popleft())] += 1

    def _read_once(self, position: int) -> None:
        self._wanted[position] -= 1
        if self._wanted[position] <= 0:
            del self._wanted[position]
            self._kept.pop(position, None)

    def _fetch(self, position: int) -> None:
        """Go forward until `position` was passed."""
        if position in self._kept:
            return
        if position < self._at:
            self._at, self._rest = 0, None
        while position not in self._kept:
            self._listen()
            self._keep(min(wanted for wanted in self._wanted if wanted >= self._at))

    def _keep(self, position: int) -> None:
        """Go forward to `position`, with nothing wanted on the way, and keep it."""
        if self._rest is None or position >= self._end:
            chunk = self._chunks[bisect_right(self._firsts, position) - 1]
            self._at, self._end, self._rest = chunk.first, chunk.first + chunk.count, chunk.open()
        for data in self._rest:
            self._at += 1
            if self._at > position:
                self._kept[position] = data
                return
        raise ImageError(f"the data ends after {self._at} images, it had more when it was listed")
