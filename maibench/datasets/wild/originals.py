"""Files of public git repositories by commit and path: what a place that has them offers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from maibench.errors import ImageError

OTHER_FILE = "the file there is another one (its sha256 differs from the listed one)"


@dataclass(frozen=True)
class Original:
    """repository: OWNER/NAME. commit, path: where the file lies in it. sha256: of its bytes, hexadecimal."""

    repository: str
    commit: str
    path: str
    sha256: str

    @property
    def names(self) -> Iterator[tuple[str, str]]:
        """(revision, path) of where the file may lie: the listed commit, else the newest one, as it may be the same."""
        yield self.commit, self.path
        yield "HEAD", self.path


Read = Callable[[Original], bytes]
"""The verified bytes of an original, from any thread. Raises ImageError, with the reason in words."""


class Place(Protocol):
    """Where originals come from."""

    def open(self, repository: str, originals: Sequence[Original]) -> AbstractContextManager[Read]:
        """A reader of one repository's `originals`. Raises ImageError where that repository is not to be had."""
        ...


def verified(original: Original, find: Callable[[str, str], bytes | None], absent: str) -> bytes:
    """The first file that `find(revision, path)` has with the listed sha256; others are never taken.

    Raises ImageError: `absent` where there is none at all, OTHER_FILE where there are only others.
    """
    why = absent
    for revision, path in original.names:
        data = find(revision, path)
        if data is None:
            continue
        if hashlib.sha256(data).hexdigest() == original.sha256:
            return data
        why = OTHER_FILE
    raise ImageError(why)
