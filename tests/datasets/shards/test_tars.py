"""WebDataset shards as others write them: on this disk, on a web server, cut and odd."""

import contextlib
import functools
import http.server
import io
import json
import pickle
import tarfile
import threading
from pathlib import Path

import fsspec
import pytest

from maibench.datasets.readers import open_data
from maibench.datasets.shards import tars as module
from maibench.datasets.shards.images import HELD
from maibench.datasets.shards.names import expand_braces, find_shards
from maibench.datasets.shards.tars import open_shards
from maibench.errors import ImageError, MaibenchError
from tests.web_server import serving


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("MAIBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "shards"


@pytest.fixture(scope="module")
def jpeg(tmp_path_factory, write_image):
    return write_image(tmp_path_factory.mktemp("image") / "a.jpg", (64, 48)).read_bytes()


def write_tar(file, members):
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, "w") as tar:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return file


@pytest.fixture
def tars(tmp_path, jpeg):
    """train-000.tar, train-001.tar, test-000.tar of three samples each, with the same names in each of them; the bytes
    of every image differ."""
    for number, name in enumerate(("train-000", "train-001", "test-000")):
        members = []
        for at in range(3):
            row = {"label": ["real", "ai"][at % 2], "generator": ["", "sdxl"][at % 2], "source": f"{number}-{at}"}
            members += [(f"{at:03d}.jpg", image_bytes(jpeg, 3 * number + at)), (f"{at:03d}.txt", b"a caption")]
            members += [(f"{at:03d}.json", json.dumps({**row, "size": [64, 48]}).encode())]
        write_tar(tmp_path / "wds" / f"{name}.tar", members)
    return tmp_path / "wds"


def image_bytes(jpeg, number):
    return jpeg + bytes(number)  # what follows a JPEG's end is no part of the picture


def check(manifest, jpeg):
    assert manifest.rows["split"].tolist() == ["train"] * 6 + ["test"] * 3
    assert manifest.rows["label"].tolist() == [0, 1, 0] * 3
    assert manifest.rows["generator"].tolist() == ["real", "sdxl", "real"] * 3
    assert manifest.rows["path"].tolist()[2:4] == ["train-000/002.jpg", "train-001/000.jpg"]
    assert manifest.rows["source"].tolist()[:2] == ["0-0", "0-1"]
    assert manifest.rows["txt"].unique().tolist() == ["a caption"]
    for number, path in enumerate(manifest.rows["path"]):
        assert manifest.read(path).data == image_bytes(jpeg, number)


def test_local_shards(tars, jpeg, cache, monkeypatch):
    manifest = open_data(f"wds:{tars}/train-{{000..001}}.tar,{tars}/test-*.tar")
    assert not manifest.images.in_order
    check(manifest, jpeg)
    assert manifest.read("train-000/000.jpg").data == image_bytes(jpeg, 0)  # backwards
    assert len(list(cache.iterdir())) == 3

    def refuse(*arguments):
        raise AssertionError("the shard was read again")

    with monkeypatch.context() as patched:
        patched.setattr(module, "index_shard", refuse)
        check(open_data(f"wds:{tars}/train-*.tar, {tars}/test-000.tar"), jpeg)
    write_tar(tars / "test-000.tar", [("x.jpg", jpeg), ("x.cls", b"1")])
    with pytest.raises(MaibenchError, match="the column 'label' is empty"):
        open_data(f"wds:{tars}/train-*.tar,{tars}/test-000.tar")
    next(cache.iterdir()).write_bytes(b"damaged")
    assert len(open_data(f"wds:{tars}/train-*.tar").rows) == 6


class _Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        self.server.got.append(self.path)
        if self.server.break_after is None:
            return super().do_GET()
        data = Path(self.translate_path(self.path)).read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: self.server.break_after])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def web(tars):
    """A web server of the shards; got: what was asked of it; break_after: bytes after which it hangs up."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Handler, directory=str(tars)))
    server.got, server.break_after = [], None
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_shards_on_a_web_server(web, jpeg):
    pattern = f"wds:{web.url}/train-{{000..001}}.tar,{web.url}/test-000.tar"
    manifest = open_data(pattern)
    assert manifest.images.in_order
    check(manifest, jpeg)
    assert len(web.got) == 7  # whether it sends ranges, once for the index, once for the images
    assert len(manifest.images._held) == HELD
    web.got.clear()
    check(open_data(pattern), jpeg)
    assert web.got == ["/train-000.tar", "/train-000.tar", "/train-001.tar", "/test-000.tar"]
    with pytest.raises(MaibenchError, match="a web server cannot list its files"):
        open_data(f"wds:{web.url}/*.tar")
    with pytest.raises(MaibenchError, match=r"none\.tar: cannot be read \(HTTP Error 404"):
        open_data(f"wds:{web.url}/none.tar")


def test_shards_where_they_are(tars, jpeg):
    """A web server that sends ranges: nothing is copied, and the index is read as the shards are."""
    with serving(tars) as web:
        pattern = f"wds:{web.url}/train-{{000..001}}.tar,{web.url}/test-000.tar"
        manifest = open_data(pattern)
        assert not manifest.images.in_order
        check(manifest, jpeg)
        web.sent.clear()
        again = pickle.loads(pickle.dumps(open_data(pattern).images))  # the index is kept
        paths = manifest.rows["path"].tolist()
        again.expect(paths[:4])
        assert again.read(paths[8]) == image_bytes(jpeg, 8)
        assert [again.read(path) for path in paths[:4]] == [image_bytes(jpeg, number) for number in range(4)]
        sizes = [1, *(len(image_bytes(jpeg, number)) for number in (0, 1, 2, 3, 8))]
        assert sorted(sent for _, sent in web.sent) == sizes  # the first asks whether it sends ranges
        (tars / "train-000.tar").unlink()
        with pytest.raises(ImageError, match=r"train-000\.tar: cannot be read \(HTTP Error 404"):
            again.read(paths[1])
    with pytest.raises(MaibenchError, match="cannot be read after 3 tries") as caught:
        again.read(paths[8])
    assert not isinstance(caught.value, ImageError)  # it stops the run: no image is at fault


def test_large_images_are_not_read_for_the_index(tmp_path, jpeg, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 1 << 12)
    members = [(f"{at}.{kind}", data) for at in range(8) for kind, data in (("jpg", bytes(1 << 16)), ("cls", b"1"))]
    shard = write_tar(tmp_path / "a.tar", members)
    with serving(tmp_path) as web:
        assert len(open_data(f"wds:{web.url}/a.tar", "label=cls,generator='g'").rows) == 8
        assert sum(sent for _, sent in web.sent) < shard.stat().st_size / 4


def test_a_connection_that_breaks(web):
    manifest = open_data(f"wds:{web.url}/test-000.tar")
    web.break_after, before = 1000, len(web.got)
    with pytest.raises(MaibenchError, match=r"the connection ended after 1,000 of 20,480 bytes") as caught:
        manifest.read("000.jpg")
    assert not isinstance(caught.value, ImageError)  # it stops the run: no image is at fault
    assert len(web.got) == before + 3
    web.break_after = None
    assert manifest.read("000.jpg").format == "JPEG"


def test_shards_of_any_file_system(tars, jpeg):
    memory = fsspec.filesystem("memory")
    memory.put(str(tars), "/wds", recursive=True)
    try:
        assert not open_data("wds:memory://wds/*.tar").images.in_order
        check(open_data("wds:memory://wds/train-*.tar,memory://wds/test-000.tar"), jpeg)
        with pytest.raises(MaibenchError, match=r"memory://wds/none-000\.tar: cannot be read"):
            open_data("wds:memory://wds/none-000.tar")
    finally:
        memory.rm("/wds", recursive=True)
    with pytest.raises(MaibenchError, match="no way to reach it is known here"):
        open_data("wds:gopher://wds/a.tar")
    with pytest.raises(MaibenchError, match="commands are not run"):
        open_data("wds:pipe:touch hacked")


def test_a_shard_cut_anywhere(tars, jpeg, tmp_path):
    """Never fewer images in silence: an error that names the shard and its last whole sample."""
    whole = (tars / "train-000.tar").read_bytes()
    end = len(whole.rstrip(b"\0")) // 512 * 512 + 512
    for cut in {*range(512, end + 1, 512), 700, 5000, end - 1}:
        (tmp_path / "cut.tar").write_bytes(whole[:cut])
        with pytest.raises(MaibenchError, match=r"cut\.tar: is (cut|no tar)") as caught:
            open_shards(str(tmp_path / "cut.tar"))
    assert "'001' is the last of 2 whole samples; copy it again" in str(caught.value)
    (tmp_path / "cut.tar").write_bytes(whole[:2000] + bytes(600).replace(b"\0", b"x") + whole[2600:])
    with contextlib.suppress(MaibenchError):  # damaged inside an image: only the image can tell
        open_shards(str(tmp_path / "cut.tar"))
    (tmp_path / "cut.tar").write_bytes(whole[: end + 512])
    assert len(open_shards(str(tmp_path / "cut.tar")).rows) == 3


def test_a_shard_that_is_cut_later(tars):
    manifest = open_data(f"wds:{tars}/train-000.tar")
    file = tars / "train-000.tar"
    file.write_bytes(file.read_bytes()[:600])
    with pytest.raises(ImageError, match="its shard is shorter than it was"):
        manifest.read("000.jpg")
    file.unlink()
    with pytest.raises(ImageError, match="its shard cannot be read: No such file"):
        manifest.read("000.jpg")


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("a.jpg", b"1"), ("a.mask.png", b"2"), ("a.cls", b"0")], "holds several images .jpg, mask.png.; say which"),
        ([("a.jpg", b"1"), ("a.json", b"{")], r"'a\.json' cannot be read"),
        ([("a.jpg", b"1"), ("b.jpg", b"1"), ("a.cls", b"1")], "the sample 'a' lies at two places"),
        ([("a.jpg", b"1"), ("a.jpg", b"1")], "has two members .jpg"),
        ([("README", b"1")], "holds no samples"),
        ([("a.jpg", b"1"), ("a.cls", b"7")], "does not say what is real and what is synthetic"),
    ],
)
def test_samples_that_are_not_clear(tmp_path, members, message):
    with pytest.raises(MaibenchError, match=message):
        open_shards(str(write_tar(tmp_path / "a.tar", members)))


def test_one_of_several_images(tmp_path, jpeg):
    members = [("a.jpg", jpeg), ("a.mask.png", b"2"), ("b.mask.png", b"3"), ("._a.jpg", b"mac")]
    manifest = open_shards(str(write_tar(tmp_path / "a.tar", members)), "image=jpg,label='synthetic'")
    assert manifest.rows["path"].tolist() == ["a.jpg", "b"]
    assert manifest.read("a.jpg").data == jpeg
    with pytest.raises(ImageError, match="the sample holds no image"):
        manifest.read("b")


def test_what_is_no_shard(tmp_path):
    for name, data, message in (
        ("a.tar", b"", "empty"), ("b.tar", b"x" * 2000, "no tar"), ("c.tar", b"\x1f\x8b" + bytes(600), "compressed")
    ):  # fmt: skip
        (tmp_path / name).write_bytes(data)
        with pytest.raises(MaibenchError, match=rf"{name}: is {message}"):
            open_shards(str(tmp_path / name))
    with pytest.raises(MaibenchError, match="there is no such shard"):
        open_shards(f"{tmp_path}/x-{{0..3}}.tar")


def test_braces():
    assert expand_braces("a-{008..011}.tar") == ["a-008.tar", "a-009.tar", "a-010.tar", "a-011.tar"]
    assert expand_braces("{x,y}{0..1}") == ["x0", "x1", "y0", "y1"]
    for wrong in ("{5..1}", "{0..9999999999}", "{0..999}{0..999}"):
        with pytest.raises(MaibenchError, match="names"):
            expand_braces(wrong)


def test_names(tars):
    assert len(find_shards(f"{tars}/{{train-000,test-000}}.tar")) == 2
    assert len(find_shards(str(tars))) == 3
    with pytest.raises(MaibenchError, match="twice"):
        find_shards(f"{tars}/train-*.tar,{tars}/train-000.tar")
    with pytest.raises(MaibenchError, match="names no shards"):
        find_shards(" , ")
