"""Reading ahead: every image once, in any order, by many at a time, in bounded memory."""

import multiprocessing
import threading
import time

import pytest

from maibench.datasets import ahead as module
from maibench.datasets.ahead import ReadAhead
from maibench.errors import ImageError


class Fetch:
    def __init__(self, seconds=0.0):
        self.got, self.seconds, self.at_once, self._now = [], seconds, 0, 0
        self._lock = threading.Lock()

    def __call__(self, path):
        with self._lock:
            self.got.append(path)
            self._now += 1
            self.at_once = max(self.at_once, self._now)
        time.sleep(self.seconds)
        with self._lock:
            self._now -= 1
        if path.startswith("bad"):
            raise ImageError(f"{path} is gone")
        return path.encode()


def test_what_is_expected_is_fetched_at_once():
    fetch = Fetch(0.05)
    ahead = ReadAhead(fetch)
    paths = [str(number) for number in range(32)]
    ahead.expect(paths)
    ahead.expect(paths[:4])
    assert [ahead.read(path) for path in reversed(paths)] == [path.encode() for path in reversed(paths)]
    assert sorted(fetch.got) == sorted(paths)
    assert 4 < fetch.at_once <= module.AT_ONCE + 1
    assert ahead._held == 0


def test_what_is_not_expected_is_fetched_when_it_is_read():
    fetch = Fetch()
    ahead = ReadAhead(fetch)
    assert ahead.read("1") == b"1"
    assert ahead._threads is None


def test_an_image_that_cannot_be_had():
    ahead = ReadAhead(Fetch())
    ahead.expect(["bad", "1"])
    with pytest.raises(ImageError, match="bad is gone"):
        ahead.read("bad")
    assert ahead.read("1") == b"1"


def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(module, "HELD", 100)
    monkeypatch.setattr(module, "AT_ONCE", 1)
    fetch = Fetch()
    ahead = ReadAhead(lambda path: fetch(path) * 10)
    paths = [f"{number:04d}" for number in range(50)]
    ahead.expect(paths)
    while len([future for future in ahead._waiting.values() if future.done()]) < 50:
        time.sleep(0.01)
    assert len(fetch.got) == 3  # 40 bytes each
    assert [ahead.read(path) for path in paths] == [path.encode() * 10 for path in paths]
    assert ahead._held == 0


def test_what_is_never_read_is_let_go(monkeypatch):
    monkeypatch.setattr(module, "TOLD", 4)
    ahead = ReadAhead(Fetch())
    for number in range(20):
        ahead.expect([str(number)])
    for path in list(ahead._waiting):
        ahead.read(path)
    ahead._threads.shutdown()
    assert ahead._held == 0


def _read_in_a_fork(ahead, paths):
    ahead.expect(paths)
    assert [ahead.read(path) for path in paths] == [path.encode() for path in paths]


def test_a_fork_fetches_for_itself():
    ahead = ReadAhead(str.encode)
    paths = [str(number) for number in range(40)]
    ahead.expect(paths)
    ahead._lock.acquire()  # as a thread may hold it at that moment
    fork = multiprocessing.get_context("fork").Process(target=_read_in_a_fork, args=(ahead, paths))
    fork.start()
    ahead._lock.release()
    fork.join(20)
    assert fork.exitcode == 0
    assert [ahead.read(path) for path in paths] == [path.encode() for path in paths]
