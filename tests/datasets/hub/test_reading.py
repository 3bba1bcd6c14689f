"""Data elsewhere: what is downloaded, and what a lost connection means."""

import os
import random

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.spec import AbstractBufferedFile, AbstractFileSystem

from maibench.datasets.columns import parse_columns
from maibench.datasets.hub.listing import list_parquet
from maibench.datasets.hub.reading import LinkedImages
from maibench.errors import ImageError, MaibenchError

datasets = pytest.importorskip("datasets")
COUNT, BYTES = 600, 40_000


class Far(AbstractFileSystem):
    """Files of this disk by far:///PATH, fetched in ranges as from the Hub; counts their bytes, and can be cut off."""

    protocol = "far"
    fetched, is_down = 0, False

    def info(self, path, **_):
        return {"name": path, "size": os.path.getsize(path), "type": "file"}

    def _open(self, path, mode="rb", block_size=None, **given):
        return FarFile(self, path, mode, block_size=block_size or "default", **given)


class FarFile(AbstractBufferedFile):
    def _fetch_range(self, start, end):
        if Far.is_down:
            raise TimeoutError("no answer")
        Far.fetched += end - start
        with open(self.path, "rb") as file:
            file.seek(start)
            return file.read(end - start)


@pytest.fixture(scope="module")
def listed(tmp_path_factory):
    """A Parquet file of 24 MB, a hundred images a row group with texts beside them; listed, and what that took."""
    fsspec.register_implementation("far", Far, clobber=True)
    file = tmp_path_factory.mktemp("far") / "train.parquet"
    image = [{"bytes": random.Random(number).randbytes(BYTES), "path": f"{number}.jpg"} for number in range(COUNT)]
    columns = {"image": image, "label": ["real"] * COUNT, "prompt": [f"the prompt {number}" for number in range(COUNT)]}
    pq.write_table(pa.table(columns), file, row_group_size=100, compression="none")
    text = datasets.Value("string")
    features = datasets.Features({"image": datasets.Image(), "label": text, "prompt": text})
    Far.fetched = 0
    found = list_parquet({"train": [f"far://{file}"]}, features, parse_columns(""), None, "hf:o/n")
    return file, found, Far.fetched


def test_listing_downloads_no_images_and_reading_each_about_once(listed):
    file, found, fetched = listed
    assert found.frame["prompt"].tolist()[::599] == ["the prompt 0", "the prompt 599"]
    assert fetched < 0.02 * file.stat().st_size
    paths = found.frame["path"].tolist()
    images = found.images(paths)
    Far.fetched = 0
    for start in range(0, COUNT, 50):
        images.expect(paths[start : start + 50])
        assert [len(images.read(path)) for path in paths[start : start + 50]] == [BYTES] * 50
    assert Far.fetched < 1.5 * file.stat().st_size


def test_a_lost_connection_makes_no_image_unreadable(listed, monkeypatch):
    file, found, _ = listed
    paths = found.frame["path"].tolist()
    images, linked = found.images(paths), LinkedImages({"a": f"far://{file}", "b": f"far://{file}.none"})
    with pytest.raises(ImageError, match="cannot be read"):  # that one is not there
        linked.read("b")
    monkeypatch.setattr(Far, "is_down", True)
    for read, path in ((images.read, paths[3]), (linked.read, "a")):
        with pytest.raises(MaibenchError, match=r"cannot be read any more \(no answer\); check the connection") as told:
            read(path)
        assert not isinstance(told.value, ImageError)
    monkeypatch.setattr(Far, "is_down", False)
    assert images.read(paths[3]) == random.Random(3).randbytes(BYTES)
    assert len(linked.read("a")) == file.stat().st_size


def test_other_images_in_the_same_rows_are_other_data(tmp_path):
    from maibench.datasets.readers import open_data

    file, prints = tmp_path / "a.parquet", []
    for size in (100, 100, 101):
        image = [np.random.default_rng(number).bytes(size) for number in range(4)]
        pq.write_table(pa.table({"image": image, "label": ["real", "ai"] * 2}), file)
        prints.append([open_data(f"{kind}{file}").fingerprint for kind in ("", "hf:")])
    assert prints[0] == prints[1]
    assert prints[0][0] == prints[0][1]
    assert prints[0][0] != prints[2][0]
