"""The images of a data set in the order of packing, read ahead."""

from __future__ import annotations

import collections
import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from maibench.datasets.image import ImageFile
from maibench.datasets.manifest import Manifest
from maibench.errors import ImageError
from maibench.files import disk_error

THREADS, AHEAD, TOLD = 4, 16, 256
"""Images that are read at a time, that wait at most, and that `Images.expect` is told of at a time."""


def read_ahead(manifest: Manifest, paths: Sequence[str]) -> Iterator[ImageFile | ImageError]:
    """Each listed image in turn, or why it cannot be read; a few are held at a time."""

    def read(path: str) -> ImageFile | ImageError:
        try:
            return manifest.read(path)
        except ImageError as error:
            return error

    threads = ThreadPoolExecutor(THREADS)
    waiting: collections.deque[Future[ImageFile | ImageError]] = collections.deque()
    try:
        for at, path in enumerate(paths):
            if at % TOLD == 0:
                manifest.images.expect(paths[at : at + TOLD])
            waiting.append(threads.submit(read, path))
            if len(waiting) == AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        threads.shutdown(cancel_futures=True)


def spooled(manifest: Manifest, paths: Sequence[str], folder: Path) -> Manifest:
    """The manifest with images that can be read in any order: `paths`, which are in the data's own order, are read
    once and kept in a file without a name below `folder`, which goes when the process does."""
    return replace(manifest, images=_Spool(manifest, paths, folder))


class _Spool:
    """The bytes of images, one after the other in a file; any thread may read."""

    in_order = False

    def __init__(self, manifest: Manifest, paths: Sequence[str], folder: Path) -> None:
        self._places: dict[str, tuple[int, int] | ImageError] = {}
        with contextlib.ExitStack() as opened:
            try:
                self._stream = opened.enter_context(tempfile.TemporaryFile(dir=folder))
                end = 0
                for path, found in zip(paths, read_ahead(manifest, paths), strict=True):
                    if isinstance(found, ImageError):
                        self._places[path] = found
                        continue
                    self._places[path] = (end, len(found.data))
                    end += self._stream.write(found.data)
                self._stream.flush()
            except OSError as error:
                raise disk_error(folder, error) from error
            opened.pop_all()

    def read(self, path: str) -> bytes:
        """The image's bytes. Raises ImageError where it could not be read."""
        place = self._places[path]
        if isinstance(place, ImageError):
            raise place
        offset, size = place
        return os.pread(self._stream.fileno(), size, offset)

    def expect(self, paths: Sequence[str]) -> None:
        """They can be read in any order."""
