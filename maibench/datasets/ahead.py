"""Images elsewhere, fetched before they are asked for: each takes a trip, and many can be under way."""

from __future__ import annotations

import collections
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

AT_ONCE = 16
"""Images that are fetched at a time."""
TOLD, HELD = 1024, 256 << 20
"""Images, and bytes of them, that wait to be asked for at most."""


class ReadAhead:
    """Fetches what it is told of in threads of its own. Any thread may read; each process makes its own.

    fetch: the bytes of an image by its path. What it raises is raised by `read`.
    """

    _waiting: collections.OrderedDict[str, Future[bytes | None]]
    _threads: ThreadPoolExecutor | None

    def __init__(self, fetch: Callable[[str], bytes]) -> None:
        self._fetch = fetch
        self._begin()

    def expect(self, paths: Sequence[str]) -> None:
        """Be told which images will be read next."""
        self._notice_fork()
        with self._lock:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="fetch")
            for path in paths:
                if path not in self._waiting:
                    self._waiting[path] = self._threads.submit(self._ahead, path)
            forgotten = [self._waiting.popitem(last=False)[1] for _ in range(len(self._waiting) - TOLD)]
        for future in forgotten:
            if not future.cancel():
                future.add_done_callback(self._let_go)

    def read(self, path: str) -> bytes:
        """The image's bytes, as it was fetched ahead or now."""
        self._notice_fork()
        with self._lock:
            future = self._waiting.pop(path, None)
        if future is None or future.cancel():
            return self._fetch(path)
        try:
            data = future.result()
        finally:
            self._let_go(future)
        return self._fetch(path) if data is None else data

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._waiting = collections.OrderedDict()
        self._held, self._process = 0, os.getpid()
        self._threads = None

    def _notice_fork(self) -> None:
        """Begin anew in a fork: it has no threads, and the lock may have been held when it was made."""
        if self._process != os.getpid():
            self._begin()

    def _ahead(self, path: str) -> bytes | None:
        if self._held > HELD:  # whoever reads it fetches it
            return None
        data = self._fetch(path)
        with self._lock:
            self._held += len(data)
        return data

    def _let_go(self, future: Future[bytes | None]) -> None:
        if future.exception() is None and (data := future.result()) is not None:
            with self._lock:
                self._held -= len(data)
