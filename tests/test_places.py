"""Folders for results: files are whole or absent, here and behind URLs."""

import pickle
import uuid

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from maibench import remote
from maibench.errors import DiskError, MaibenchError
from maibench.places import LocalPlace, RemotePlace, open_place


@pytest.fixture(params=["path", "object store", "moved into place"])
def place(request, tmp_path):
    """Moved into place: as on sftp or HDFS, where a file that is being written can be seen."""
    return {
        "path": lambda: LocalPlace(tmp_path / "a" / "b"),
        "object store": lambda: RemotePlace(f"memory://{uuid.uuid4().hex}/b"),
        "moved into place": lambda: RemotePlace(f"file://{tmp_path}/a/b"),
    }[request.param]()


def test_a_place(place):
    assert place.files() == {}
    assert place.folders() == []
    place.remove("1")
    place.tidy()
    place.remove_if_empty()
    place.write("2", b"two")
    place.write("1", b"one")
    place.write(".hidden", b"")
    place.below("c d").write("3", b"three")
    assert list(place.files()) == ["1", "2"]
    assert place.folders() == ["c d"]
    assert place.read("2") == b"two"
    with place.open("2") as stream:
        stream.seek(1)
        assert stream.read(1) == b"w"
        assert stream.read() == b"o"
    with pytest.raises(FileNotFoundError):
        place.open("4")
    place.remove("2")
    again = pickle.loads(pickle.dumps(place))
    assert list(again.files()) == ["1"]
    place.below("c d").remove("3")
    place.below("c d").remove_if_empty()
    assert place.folders() == []
    place.remove_if_empty()
    assert list(place.files()) == ["1"]


def test_a_file_that_changes_is_told_apart(place):
    place.write("1", b"one")
    before = place.files()["1"]
    assert place.files()["1"] == before
    place.write("1", b"two")
    assert place.files()["1"] != before


def test_what_a_killed_process_left_is_removed(place):
    place.write("1", b"one")
    place.write(".part-0a-2", b"ha")
    place.tidy()
    place.remove("1")
    place.remove_if_empty()
    where = str(place).partition("://")[2] or str(place)
    assert not fsspec.filesystem("memory").exists(where) and not LocalFileSystem().exists(where)


@pytest.mark.parametrize("url", ["file:///x/y", "local:///x/y", "/x/y"])
def test_a_path_may_be_a_url(url):
    assert str(open_place(url)) == "/x/y"
    assert isinstance(open_place(url), LocalPlace)


def test_a_place_that_refuses(tmp_path, monkeypatch):
    monkeypatch.setattr(remote, "PAUSE", 0)
    place = RemotePlace(f"file://{tmp_path}/a")
    place.write("1", b"before")

    def fail(self, path, value, **kwargs):
        LocalFileSystem().pipe_file(path, b"ha")
        raise OSError(28, "No space left on device")

    class Full(LocalFileSystem):
        pipe_file = fail

    monkeypatch.setattr("maibench.places.file_system", lambda url: (Full(), str(tmp_path / "a")))
    with pytest.raises(DiskError, match=r"/a/1: cannot be written after 3 tries \(.*No space left on device\)"):
        place.write("1", b"half")
    assert [(path.name, path.read_bytes()) for path in (tmp_path / "a").iterdir()] == [("1", b"before")]


def test_a_place_that_cannot_be_listed(monkeypatch):
    def refuse(self, path, **kwargs):
        raise PermissionError(13, "Forbidden")

    place = RemotePlace("memory://x")
    monkeypatch.setattr(MemoryFileSystem, "ls", refuse)
    with pytest.raises(MaibenchError, match=r"memory://x: cannot be listed \(.*Forbidden\); check the name"):
        place.files()
