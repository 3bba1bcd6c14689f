"""Files elsewhere: by ranges, with another try where that may help, over http and fsspec."""

import io
import tarfile
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from maibench import remote
from maibench.errors import MaibenchError
from maibench.remote import RangeFile, Url, opened, read, size, takes_ranges

DATA = bytes(range(256)) * 40


class _Server(BaseHTTPRequestHandler):
    """Gives /file; /flaky fails as often as `failures` says first; /whole knows no ranges; /gone is 404."""

    failures: ClassVar[list[int]] = []
    asked: ClassVar[list[str]] = []

    def do_HEAD(self):
        self._give(with_body=False)

    def do_GET(self):
        self._give(with_body=True)

    def _give(self, with_body):
        type(self).asked.append(self.headers.get("Range", ""))
        if self.path == "/flaky" and self.failures:
            return self.send_error(self.failures.pop())
        if self.path == "/gone":
            return self.send_error(404)
        data, code = DATA, 200
        if (wanted := self.headers.get("Range")) and self.path != "/whole":
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            data, code = DATA[int(first) : int(last) + 1 if last else None], 206
        self.send_response(code)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if with_body:
            self.wfile.write(data)

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), _Server) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{listening.server_address[1]}"
        listening.shutdown()


@pytest.fixture(params=["http", "memory", "file"])
def url(request, server, tmp_path):
    if request.param == "http":
        return f"{server}/file"
    url = f"memory://{uuid.uuid4().hex}/file" if request.param == "memory" else f"file://{tmp_path}/file"
    with fsspec.open(url, "wb") as stream:
        stream.write(DATA)
    return url


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr(remote, "PAUSE", 0)
    _Server.failures, _Server.asked = [], []


def test_a_range(url):
    assert size(url) == len(DATA)
    assert read(url) == DATA
    assert read(url, 3, 7) == DATA[3:7]
    assert read(url, 10_000) == DATA[10_000:]
    assert read(url, len(DATA) - 2, len(DATA) + 5) == DATA[-2:]


def test_a_file_that_is_sought_in(url):
    stream = RangeFile(url)
    assert stream.seek(-3, io.SEEK_END) == len(DATA) - 3
    assert stream.read(10) == DATA[-3:]
    assert stream.read(10) == b""
    stream.seek(5)
    stream.seek(5, io.SEEK_CUR)
    assert stream.tell() == 10
    assert stream.read(4) == DATA[10:14]
    assert stream.read() == DATA[14:]
    stream.seek(len(DATA) + 10)
    assert stream.read() == b""


def test_the_whole_of_a_file_is_one_trip(server):
    RangeFile(f"{server}/file").read()
    assert _Server.asked == ["", f"bytes=0-{len(DATA) - 1}"]


def test_parquet_is_read_by_ranges():
    url = f"memory://{uuid.uuid4().hex}/a.parquet"
    with fsspec.open(url, "wb") as stream:
        pq.write_table(pa.table({"a": [1, 2], "b": ["x", "y"]}), stream)
    assert pq.read_table(RangeFile(url), columns=["b"]).to_pydict() == {"b": ["x", "y"]}


def test_what_may_pass_is_tried_again(server):
    _Server.failures = [503, 429]
    assert read(f"{server}/flaky", 0, 4) == DATA[:4]
    _Server.failures = [500] * 9
    with pytest.raises(MaibenchError, match=r"/flaky: cannot be read after 3 tries \(HTTP Error 500"):
        read(f"{server}/flaky")
    assert len(_Server.failures) == 6


def test_what_is_gone_is_not(server, tmp_path):
    for url in (f"{server}/gone", f"file://{tmp_path}/gone", "memory://gone"):
        _Server.asked = []
        with pytest.raises(MaibenchError, match=r"gone: cannot be read \(.*\); check the name") as raised:
            read(url)
        assert len(_Server.asked) == url.startswith("http")
        if url.startswith("http"):
            assert raised.value.__cause__.closed  # and with it the connection
    with pytest.raises(FileNotFoundError):
        RangeFile("memory://gone")


def test_a_connection_that_breaks_passes_through_parsers(server, monkeypatch):
    for parse in (pq.read_schema, lambda stream: tarfile.open(fileobj=stream).close()):
        stream = RangeFile(f"{server}/flaky")
        _Server.failures = [500] * 9
        with pytest.raises(MaibenchError, match=r"cannot be read after 3 tries"):
            parse(stream)
        _Server.failures = []


def test_a_server_without_ranges(server):
    assert read(f"{server}/whole") == DATA
    assert not takes_ranges(f"{server}/whole")
    assert takes_ranges(f"{server}/file")
    stream = opened(Url(f"{server}/whole"))
    stream.seek(5)
    assert stream.read(3) == DATA[5:8]
    with pytest.raises(MaibenchError, match=r"/whole: its server sends whole files alone; copy the file here"):
        read(f"{server}/whole", 0, 5)


@pytest.mark.parametrize(
    ("url", "folder", "name", "below"),
    [
        ("http://h/a/b.csv?token=1/2", "http://h/a", "b.csv", "http://h/a/c%20d%25.jpg"),
        ("s3://bucket/b.csv", "s3://bucket", "b.csv", "s3://bucket/c d%.jpg"),
        ("memory://a/b/", "memory://a", "b", "memory://a/c d%.jpg"),
    ],
)
def test_what_is_asked_of_a_url(url, folder, name, below):
    assert str(Url(url)) == url
    assert Url(url).parent == Url(folder)
    assert Url(url).name == name
    assert (Url(url).stem, Url(url).suffix) == ("b", ".csv" if "." in name else "")
    assert Url(url).parent / "c d%.jpg" == Url(below)


@pytest.mark.parametrize(
    ("url", "message"),
    [("s3://b/a", r"Install s3fs to access S3"), ("sftp://h/a", "paramiko"), ("foo://a", r"Protocol not known: foo")],
)
def test_protocols_that_are_not_known_here(url, message):
    with pytest.raises(MaibenchError, match=rf"{url}: .*{message}"):
        read(url)
