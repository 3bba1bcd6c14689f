"""Data sets behind URLs: memory://, file:// and a web server that sends ranges."""

import pickle
import subprocess
import sys
import uuid

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from maibench import remote
from maibench.datasets.ahead import AT_ONCE
from maibench.datasets.elsewhere import RemoteImages
from maibench.datasets.packing.pack import Request, pack
from maibench.datasets.readers import open_data
from maibench.errors import ImageError, MaibenchError
from maibench.remote import Url
from tests.web_server import serving

NAMES = ["real/a.jpg", "sdxl/b c.jpg", "sdxl/100%25?x#y.jpg"]


@pytest.fixture(scope="module")
def data(tmp_path_factory, write_image):
    """A folder with a manifest.csv, other.parquet and images with odd names, all different."""
    folder = tmp_path_factory.mktemp("data") / "my data"
    for number, name in enumerate(NAMES):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_image(folder / "x.jpg", (32, 24))
        (folder / "x.jpg").rename(folder / name)
        with open(folder / name, "ab") as stream:
            stream.write(bytes(number))
    rows = pd.DataFrame({"path": NAMES, "label": [0, 1, 1], "generator": ["real", "sdxl", "sdxl"]})
    rows.to_csv(folder / "manifest.csv", index=False)
    rows.to_parquet(folder / "other.parquet")
    return folder


def in_memory(folder):
    """The URL of a copy."""
    url = f"memory://{uuid.uuid4().hex}/my data"
    for file in folder.rglob("*"):
        if file.is_file():
            with fsspec.open(f"{url}/{file.relative_to(folder)}", "wb") as stream:
                stream.write(file.read_bytes())
    return url


@pytest.fixture(params=["memory", "file", "http"])
def place(request, data):
    """The URL of that folder."""
    if request.param == "file":
        yield f"file://{data}"
    elif request.param == "http":
        with serving(data.parent) as web:
            yield f"{web.url}/my%20data"
    else:
        yield in_memory(data)


@pytest.mark.parametrize("file", ["manifest.csv", "other.parquet"])
def test_a_manifest(place, data, file):
    manifest = open_data(f"{place}/{file}")
    local = open_data(str(data / file))
    assert manifest.fingerprint == local.fingerprint
    pd.testing.assert_frame_equal(manifest.rows, local.rows)
    images = pickle.loads(pickle.dumps(manifest.images))
    assert images == manifest.images
    images.expect(NAMES)
    assert [images.read(name) for name in NAMES] == [(data / name).read_bytes() for name in NAMES]
    assert manifest.read(NAMES[1]).data == (data / NAMES[1]).read_bytes()
    manifest.check_there(manifest.rows)
    if file == "other.parquet":
        assert manifest.name == local.name == "other"


def test_a_folder(place):
    if place.startswith("http"):
        with pytest.raises(MaibenchError, match="a web server cannot list its files; give its manifest"):
            open_data(place)
    else:
        assert len(open_data(place).rows) == 3


def test_an_image_that_is_gone(place, data):
    images = RemoteImages(Url(place))
    with pytest.raises(ImageError, match=r"none\.jpg: cannot be read"):
        images.read("none.jpg")
    images.expect(["none.jpg"])
    with pytest.raises(ImageError, match=r"none\.jpg: cannot be read"):
        images.read("none.jpg")
    assert images.any_there(["none.jpg", NAMES[2]])
    assert not images.any_there(["none.jpg"])


def test_a_connection_that_is_lost(data, monkeypatch):
    monkeypatch.setattr(remote, "PAUSE", 0)
    with serving(data) as web:
        manifest = open_data(f"{web.url}/manifest.csv")
    with pytest.raises(MaibenchError, match=r"a\.jpg: cannot be read after 3 tries .*run it again") as caught:
        manifest.read("real/a.jpg")
    assert not isinstance(caught.value, ImageError)  # it stops the run: no image is at fault


def test_a_wrong_folder(data):
    root = f"memory://{uuid.uuid4().hex}"
    with fsspec.open(f"{root}/manifest.csv", "wb") as stream:
        stream.write((data / "manifest.csv").read_bytes())
    manifest = open_data(f"{root}/manifest.csv")
    with pytest.raises(MaibenchError, match=rf"none of the first 3 listed images is there .*: is {root} the right"):
        manifest.check_there(manifest.rows)


@pytest.mark.parametrize("path", ["../x.jpg", "a/../../x.jpg", "a/..", "/etc/x.jpg", "s3://other/x.jpg", "a/", "a\0b"])
def test_paths_that_leave_the_folder(path):
    url = f"memory://{uuid.uuid4().hex}/list.parquet"
    with fsspec.open(url, "wb") as stream:
        pd.DataFrame({"path": ["ok.jpg", path], "label": 0, "generator": "real"}).to_parquet(stream)
    with pytest.raises(MaibenchError, match=r"leaves the data set's folder memory://"):
        open_data(url)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("s3://bucket/manifest.csv", "Install s3fs to access S3"),
        ("s3://bucket/folder", "Install s3fs to access S3"),
        ("wds:s3://bucket/a.tar", "Install s3fs to access S3"),
        ("foo://bucket/manifest.csv", "no way to reach it is known here"),
        ("memory://none/manifest.csv", r"memory://none/manifest\.csv: cannot be read"),
        ("memory://none/list.parquet", r"memory://none/list\.parquet: cannot be read"),
        ("memory://none", r"no manifest\.parquet, manifest\.csv or Parquet files with images there"),
        ("file:///none/manifest.csv", "no data at"),
    ],
)
def test_what_cannot_be_opened(source, message):
    with pytest.raises(MaibenchError, match=message):
        open_data(source)


@pytest.mark.parametrize("kind", ["parquet", "wds"])
@pytest.mark.parametrize("web", [False, True])
def test_packed_data(tmp_path, data, kind, web):
    out = tmp_path / "packed"
    pack(Request(str(data / "other.parquet"), out, format=kind))
    local = open_data(str(out))
    with serving(out) as server:
        if web:
            (name,) = [path.name for path in out.iterdir() if path.suffix == ".parquet"]
            source = f"{server.url}/{name}"
        else:
            source = in_memory(out)
        manifest = open_data(source)
        assert manifest.fingerprint == local.fingerprint
        images = pickle.loads(pickle.dumps(manifest.images))
        for path in NAMES:
            assert images.read(path) == (data / path).read_bytes()


def test_of_large_files_no_more_than_is_asked_is_read(tmp_path):
    images = [np.random.default_rng(number).bytes(100_000) for number in range(20)]
    table = pa.table({"image": images, "label": [0] * 20, "generator": ["real"] * 20})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=2, compression="none")
    with serving(tmp_path) as web:
        manifest = open_data(f"{web.url}/a.parquet")
        opening = sum(sent for _, sent in web.sent)
        assert opening < 400_000
        assert manifest.images.read(manifest.rows["path"][7]) == images[7]
        assert sum(sent for _, sent in web.sent) < opening + 300_000  # its row group, and the file's footer


def test_images_that_are_expected_are_fetched_at_once(data):
    with serving(data, seconds=0.05) as web:
        images = RemoteImages(Url(web.url))
        paths = [f"{number}.jpg" for number in range(32)]
        for path in paths:
            (data / path).write_bytes(path.encode())
        images.expect(paths)
        assert [images.read(path) for path in paths] == [path.encode() for path in paths]
        assert 4 < web.at_once <= AT_ONCE
        assert len(web.sent) == 32


_OPEN = """
import re, sys
from pathlib import Path
from maibench.datasets.readers import open_data
manifest = open_data(sys.argv[1])
assert len(manifest.rows) == 1_000_000
# not ru_maxrss, which begins with the peak of whoever started the process
print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""


def test_a_million_rows_stay_below_a_gigabyte(tmp_path):
    numbers = pa.array(np.arange(1_000_000))
    label = pc.bit_wise_and(numbers, 1)
    texts = numbers.cast(pa.string())
    rows = pa.table(
        {
            "path": pc.binary_join_element_wise("images/", texts, ".jpg", ""), "label": label,
            "generator": pc.if_else(pc.equal(label, 1), "sdxl", "real"),
            "source": pc.binary_join_element_wise("coco:", pc.divide(numbers, 2).cast(pa.string()), ""),
        }
    )  # fmt: skip
    pq.write_table(rows, tmp_path / "list.parquet")
    with serving(tmp_path) as web:
        command = [sys.executable, "-c", _OPEN, f"{web.url}/list.parquet"]
        kilobytes = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert kilobytes < 1_000_000
