"""Reading forward only: each byte once a pass, no more kept than is expected, whoever asks in whatever order."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from maibench.datasets.hub.forward import Chunk, ForwardImages
from maibench.errors import ImageError

COUNT = 60


class Data:
    """Images 0 to 59, `size` a chunk; counts what was opened and what passed by."""

    def __init__(self, size=COUNT, broken=None, ends=COUNT):
        self.opened, self.passed, self.broken, self.ends = [], 0, broken, ends
        chunks = [
            Chunk(first, min(size, COUNT - first), lambda first=first: self.open(first, size))
            for first in range(0, COUNT, size)
        ]
        self.images = ForwardImages([f"i{number}" for number in range(COUNT)], chunks)

    def open(self, first, size):
        self.opened.append(first)
        for number in range(first, min(first + size, self.ends)):
            if number == self.broken:
                self.broken = None
                raise OSError("the line\nwent dead")
            self.passed += 1
            yield None if number == 50 else str(number).encode()


@pytest.mark.parametrize("size", [COUNT, 10])
def test_a_sparse_draw_by_many_threads_is_one_pass(size):
    data = Data(size)
    drawn = sorted(np.random.default_rng(0).choice(49, 20, replace=False).tolist())
    batches = [drawn[start : start + 5] for start in range(0, 20, 5)]
    most = 0
    with ThreadPoolExecutor(4) as pool:
        for batch in batches:
            data.images.expect([f"i{number}" for number in batch])
            for number, read in zip(
                batch[::-1], pool.map(data.images.read, [f"i{n}" for n in batch[::-1]]), strict=True
            ):
                assert read == str(number).encode()
            most = max(most, len(data.images._kept))
    assert data.opened == ([0] if size == COUNT else sorted({number // 10 * 10 for number in drawn}))
    assert data.passed <= drawn[-1] + 1
    assert most == len(data.images._kept) == len(data.images._wanted) == 0  # all was read, nothing stays


def test_only_what_is_expected_is_kept():
    data = Data()
    data.images.expect(["i3", "i7", "i40"])
    assert data.images.read("i40") == b"40"
    assert sorted(data.images._kept) == [3, 7]
    assert [data.images.read(path) for path in ("i7", "i3")] == [b"7", b"3"]
    assert (data.opened, data.passed) == ([0], 41)


def test_what_lies_behind_costs_another_pass_or_its_chunk():
    whole, parts = Data(), Data(10)
    for data in (whole, parts):
        assert [data.images.read(path) for path in ("i30", "i12", "i33")] == [b"30", b"12", b"33"]
    assert whole.opened == [0, 0]
    assert parts.opened == [30, 10, 30]


def test_an_image_expected_twice_is_kept_for_both():
    data = Data()
    data.images.expect(["i1", "i1", "i2"])
    assert [data.images.read(path) for path in ("i1", "i2", "i1")] == [b"1", b"2", b"1"]
    assert data.opened == [0]


def test_failures_are_told_and_the_rest_goes_on():
    data = Data(10, broken=5, ends=58)
    with pytest.raises(ImageError, match="cannot be read: the line went dead"):
        data.images.read("i6")
    assert data.images.read("i6") == b"6"
    with pytest.raises(ImageError, match="no bytes"):
        data.images.read("i50")
    with pytest.raises(ImageError, match="no such image"):
        data.images.read("other")
    with pytest.raises(ImageError, match="ends after 58 images"):
        data.images.read("i59")
    assert data.images.read("i51") == b"51"
