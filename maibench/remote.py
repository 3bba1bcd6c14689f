"""Files that lie elsewhere, by their URL: http and https with Python's own client, all else that fsspec opens."""

from __future__ import annotations

import http.client
import io
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, TypeVar

from maibench.errors import MaibenchError

TRIES, SECONDS = 3, 60
PAUSE = 0.5
"""Seconds before the second try; twice as long before each further one."""
WHOLE = 256 << 20
"""Bytes of a file that is fetched whole, where parts of it cannot be had."""
_STATES = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "last_modified", "updated", "modified", "created")
"""What file systems call that which changes when a file is written again."""
_PASSING = (408, 425, 429)
"""Answers of the 400s with which a web server asks to be asked again."""

_T = TypeVar("_T")


def is_url(place: str) -> bool:
    """Whether a place is a URL rather than a path of this machine."""
    return "://" in place


def file_system(url: str) -> tuple[Any, str]:
    """The fsspec file system of a URL, and the path on it; this process's own, whichever process asks.

    Raises MaibenchError, naming the package to install, where there is none for the protocol.
    """
    from fsspec.core import url_to_fs

    try:
        system, path = url_to_fs(url)
    except ImportError as error:
        raise MaibenchError(f"{url}: {error} (with pip install)") from error
    except ValueError as error:
        raise MaibenchError(f"{url}: no way to reach it is known here: {error}") from error
    return system, str(path)


def read(url: str, start: int | None = None, end: int | None = None) -> bytes:
    """The bytes of a file from `start` up to, not including, `end`; by default all. Shorter where the file is.

    Raises MaibenchError where it cannot be reached, after `TRIES` tries where another may help.
    """
    return attempt(url, lambda: _read(url, start, end))


def size(url: str) -> int:
    """How many bytes a file has. Raises MaibenchError where it cannot be reached."""
    return attempt(url, lambda: _size(url))


def state_of(info: dict[str, Any]) -> str:
    """What tells one version of a file from another, of what fsspec says of it; "" where it says nothing such."""
    told = [str(info[name]) for name in _STATES if info.get(name) is not None]
    return " ".join([str(info.get("size")), *told]) if told else ""


def attempt(url: str, do: Callable[[], _T], what: str = "read") -> _T:
    """What `do` returns; up to `TRIES` times where it fails for a reason that may pass. what: is done to the file, for
    the message. Raises MaibenchError, caused by what was raised last."""
    for number in range(1, TRIES + 1):
        try:
            return do()
        except MaibenchError:
            raise
        except Exception as error:  # file systems have errors of their own (httpx's, botocore's), which are no OSError
            if _is_final(error):
                raise unreachable(url, error, what) from error
            if number == TRIES:
                raise unreachable(url, error, what, f" after {TRIES} tries") from error
            time.sleep(PAUSE * 2 ** (number - 1))
    raise AssertionError("not reached")


@contextmanager
def asked(request: str | urllib.request.Request, seconds: float = SECONDS) -> Iterator[http.client.HTTPResponse]:
    """The answer of a web server, closed afterwards, also one that is an error. Raises OSError, of which
    urllib.error.HTTPError is one."""
    try:
        with urllib.request.urlopen(request, timeout=seconds) as answer:
            yield answer
    except urllib.error.HTTPError as error:
        error.close()  # it holds the connection
        raise


def unreachable(url: str, error: Exception, what: str = "read", how: str = "") -> MaibenchError:
    """The user's words for a file elsewhere that cannot be had."""
    reason = " ".join(str(error).split()) or type(error).__name__
    return MaibenchError(
        f"{url}: cannot be {what}{how} ({reason}); check the name and the connection, and run it again"
    )


def is_of_the_file(error: BaseException | None) -> bool:
    """Whether an answer came, that this one file cannot be had; else it is the connection that fails."""
    return isinstance(error, (urllib.error.HTTPError, FileNotFoundError, PermissionError, IsADirectoryError))


def takes_ranges(url: str) -> bool:
    """Whether parts of a file can be asked for; some web servers send whole files alone. Raises MaibenchError."""
    if not is_web(url):
        return True
    request = urllib.request.Request(url, headers={"Range": "bytes=0-0"})

    def do() -> bool:
        with asked(request) as answer:  # closed unread where it is the whole file
            return bool(answer.status == 206)

    try:
        return attempt(url, do)
    except MaibenchError as error:
        if isinstance(error.__cause__, urllib.error.HTTPError) and error.__cause__.code == 416:
            return True  # an empty file has no first byte
        raise


@dataclass(frozen=True)
class Url:
    """The place of a file or folder elsewhere, with what of a Path is asked of it."""

    text: str

    def __str__(self) -> str:
        return self.text

    def __truediv__(self, path: str) -> Url:
        """A file below it, by its own name: what has a meaning in a web address is written so that it has none."""
        return Url(f"{self._base}/{urllib.parse.quote(path) if is_web(self.text) else path}")

    @property
    def name(self) -> str:
        return self._base.rpartition("/")[2]

    @property
    def stem(self) -> str:
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.name).suffix

    @property
    def parent(self) -> Url:
        return Url(self._base.rpartition("/")[0])

    @property
    def _base(self) -> str:
        """Without what a web address asks of its server."""
        return (self.text.partition("?")[0] if is_web(self.text) else self.text).rstrip("/")


def opened(file: Path | Url) -> IO[bytes]:
    """A file of this machine or elsewhere, to be sought in. No more of it is fetched than is read, but for one of a web
    server that sends whole files alone, and that is no larger than `WHOLE`. Raises OSError, and MaibenchError for what
    is elsewhere."""
    if isinstance(file, Path):
        return open(file, "rb")
    if not takes_ranges(file.text) and size(file.text) <= WHOLE:
        return io.BytesIO(read(file.text))
    return RangeFile(file.text)  # type: ignore[return-value]


class RangeFile(io.RawIOBase):
    """A file elsewhere that is read where it is, by ranges; it can be sought. Raises MaibenchError, and
    FileNotFoundError where it is not there."""

    def __init__(self, url: str) -> None:
        self._url, self._at = url, 0
        try:
            self._size = size(url)
        except MaibenchError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                raise error.__cause__ from error
            raise

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def readall(self) -> bytes:
        data = read(self._url, self._at, self._size) if self._at < self._size else b""
        self._at += len(data)
        return data

    def readinto(self, buffer: Any) -> int:
        end = min(self._at + len(buffer), self._size)
        if end <= self._at:
            return 0
        data = read(self._url, self._at, end)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def is_web(url: str) -> bool:
    """Whether fsspec is not asked: its reader of http needs aiohttp, which nothing else here does."""
    return url.startswith(("http://", "https://"))


def _read(url: str, start: int | None, end: int | None) -> bytes:
    if end is not None and end <= (start or 0):
        return b""
    if not is_web(url):
        system, path = file_system(url)
        data: bytes = system.cat_file(path, start=start, end=end)
        return data
    if start is None and end is None:
        return _answer(url, {})
    start = start or 0
    headers = {"Range": f"bytes={start}-{'' if end is None else end - 1}"}
    return _answer(url, headers)


def _answer(url: str, headers: dict[str, str]) -> bytes:
    with asked(urllib.request.Request(url, headers=headers)) as answer:
        if headers and answer.status != 206:
            raise MaibenchError(f"{url}: its server sends whole files alone; copy the file here and open the copy")
        data: bytes = answer.read()
    return data


def _size(url: str) -> int:
    if not is_web(url):
        system, path = file_system(url)
        return int(system.size(path))
    with asked(urllib.request.Request(url, method="HEAD")) as answer:
        length = answer.headers.get("Content-Length")
    if length is None:
        raise MaibenchError(f"{url}: its server does not say how large it is; copy the file here and open the copy")
    return int(length)


def _is_final(error: Exception) -> bool:
    """Whether trying again cannot help."""
    if isinstance(error, urllib.error.HTTPError):
        return 400 <= error.code < 500 and error.code not in _PASSING
    return isinstance(error, (FileNotFoundError, PermissionError, IsADirectoryError, NotImplementedError))
