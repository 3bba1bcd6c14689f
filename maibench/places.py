"""Folders that results are kept in: of this machine, or behind any URL that fsspec can write to."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Protocol

from maibench.errors import DiskError, MaibenchError
from maibench.files import PART, make_folder, remove_parts, write_whole
from maibench.remote import RangeFile, attempt, file_system, is_url, is_web, read, state_of

OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oss", "oci", "hf", "memory"})
"""Protocols that show a file once it is whole and need no folders; elsewhere it is written beside, then moved."""


class Place(Protocol):
    """A folder whose files are whole or absent. It may not be there yet: it is then empty. It can be pickled, and is
    the same place in another process. Methods raise MaibenchError where it cannot be reached."""

    def files(self) -> dict[str, str]:
        """{name: what changes when the file is written again, "" where that is not known}, by name; hidden ones are
        left out."""
        ...

    def folders(self) -> list[str]:
        """The names of the folders in it."""
        ...

    def below(self, name: str) -> Place:
        """A folder in it."""
        ...

    def open(self, name: str) -> IO[bytes]:
        """A file, to be sought in: no more of it is fetched than is read. Raises FileNotFoundError."""
        ...

    def read(self, name: str) -> bytes:
        """All of a file."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Write a file in one step. Raises DiskError where that is refused; what stood there before stays."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        ...

    def tidy(self) -> None:
        """Remove what killed processes left half written."""
        ...

    def remove_if_empty(self) -> None:
        """Remove the folder itself where it holds nothing."""
        ...


def open_place(where: str | Path) -> Place:
    """The folder at a path or URL (`file://` is a path). Raises MaibenchError where nothing can reach the URL."""
    if isinstance(where, Path) or not is_url(where):
        return LocalPlace(Path(where))
    if where.startswith(("file://", "local://")):
        return LocalPlace(Path(file_system(where)[1]))
    return RemotePlace(where)


class LocalPlace:
    """A folder of this machine's file system, which other machines may share."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __str__(self) -> str:
        return str(self.root)

    def __reduce__(self) -> tuple[Any, ...]:
        return LocalPlace, (Path(os.path.abspath(self.root)),)  # another process may stand in another folder

    def files(self) -> dict[str, str]:
        found = {}
        for path in self._list():
            with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                if not path.name.startswith(".") and path.is_file():
                    stat = path.stat()
                    found[path.name] = f"{stat.st_size} {stat.st_mtime_ns} {stat.st_ino}"
        return found

    def folders(self) -> list[str]:
        return [path.name for path in self._list() if path.is_dir()]

    def below(self, name: str) -> LocalPlace:
        return LocalPlace(self.root / name)

    def open(self, name: str) -> IO[bytes]:
        return open(self.root / name, "rb")

    def read(self, name: str) -> bytes:
        return (self.root / name).read_bytes()

    def write(self, name: str, data: bytes) -> None:
        make_folder(self.root)
        write_whole(self.root / name, lambda part: part.write_bytes(data))

    def remove(self, name: str) -> None:
        (self.root / name).unlink(missing_ok=True)

    def tidy(self) -> None:
        remove_parts(self.root, below=False)

    def remove_if_empty(self) -> None:
        if self.root.is_dir() and not any(self.root.iterdir()):
            self.root.rmdir()

    def _list(self) -> list[Path]:
        try:
            return sorted(self.root.iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise MaibenchError(f"{self.root}: cannot be listed: {error.strerror or error}") from error


class RemotePlace:
    """A folder behind a URL."""

    def __init__(self, url: str) -> None:
        if is_web(url):
            raise MaibenchError(
                f"{url}: nothing can be written to a web server; give a folder, s3://, gs:// or the like"
            )
        file_system(url)  # what cannot be reached is told at once
        self.root = url.rstrip("/")

    def __str__(self) -> str:
        return self.root

    def __reduce__(self) -> tuple[Any, ...]:
        return RemotePlace, (self.root,)

    def files(self) -> dict[str, str]:
        listed = {name: state_of(info) for name, info in self._list() if info["type"] != "directory"}
        return dict(sorted((name, state) for name, state in listed.items() if not name.startswith(".")))

    def folders(self) -> list[str]:
        return sorted(name for name, info in self._list() if info["type"] == "directory")

    def below(self, name: str) -> RemotePlace:
        return RemotePlace(f"{self.root}/{name}")

    def open(self, name: str) -> IO[bytes]:
        return RangeFile(f"{self.root}/{name}")  # type: ignore[return-value]

    def read(self, name: str) -> bytes:
        return read(f"{self.root}/{name}")

    def write(self, name: str, data: bytes) -> None:
        system, folder = file_system(self.root)
        try:
            attempt(f"{self.root}/{name}", lambda: self._put(system, folder, name, data), "written")
        except MaibenchError as error:
            raise DiskError(f"{error}; what was written before is kept") from error

    def remove(self, name: str) -> None:
        system, folder = file_system(self.root)

        def do() -> None:
            with contextlib.suppress(FileNotFoundError):
                system.rm_file(f"{folder}/{name}")

        attempt(f"{self.root}/{name}", do, "removed")

    def tidy(self) -> None:
        for name, _ in self._list():
            if name.startswith(PART):
                self.remove(name)

    def remove_if_empty(self) -> None:
        system, folder = file_system(self.root)
        if not _is_object_store(system) and not list(self._list()) and system.isdir(folder):
            attempt(self.root, lambda: system.rmdir(folder), "removed")

    def _list(self) -> Iterator[tuple[str, dict[str, Any]]]:
        system, folder = file_system(self.root)

        def do() -> list[dict[str, Any]]:
            system.invalidate_cache()  # others write there too
            try:
                found: list[dict[str, Any]] = system.ls(folder, detail=True)
            except (FileNotFoundError, NotADirectoryError):
                return []
            return found

        for info in attempt(self.root, do, "listed"):
            name = str(info["name"]).rstrip("/")
            if name != folder.rstrip("/"):  # some list the folder itself
                yield name.rpartition("/")[2], info

    def _put(self, system: Any, folder: str, name: str, data: bytes) -> None:
        if _is_object_store(system):
            system.pipe_file(f"{folder}/{name}", data)
            return
        system.makedirs(folder, exist_ok=True)
        part = f"{folder}/{PART}{secrets.token_hex(4)}-{name}"
        try:
            system.pipe_file(part, data)
            system.mv(part, f"{folder}/{name}")
        except BaseException:
            with contextlib.suppress(Exception):  # the first error is the one to tell; `tidy` removes what is left
                system.rm_file(part)
            raise


def _is_object_store(system: Any) -> bool:
    protocols = {system.protocol} if isinstance(system.protocol, str) else set(system.protocol)
    return bool(protocols & OBJECT_STORES)
