"""Where shards lie: patterns of names, and the bytes behind one, on this disk or elsewhere."""

from __future__ import annotations

import contextlib
import glob
import itertools
import re
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from maibench.errors import MaibenchError
from maibench.files import disk_error
from maibench.remote import TRIES, asked, file_system, is_of_the_file, is_url, is_web, unreachable

MOST = 100_000
"""Shards of one pattern; a longer range is a slip of the finger."""
_BLOCK = 1 << 20
_BRACES = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True)
class Shard:
    """place: a path of this disk, or a URL. state: changes when the bytes do (size, time or tag); "" where the server
    does not say."""

    place: str
    state: str

    @property
    def is_local(self) -> bool:
        """Whether it is a file of this disk."""
        return not is_url(self.place)


def find_shards(pattern: str) -> list[Shard]:
    """The shards that a pattern names, in its order: paths and URLs with commas between them, `{000..012}` and `{a,b}`
    written out, `*` and `?` looked up (not over http, which cannot list), a folder's .tar files.

    Raises MaibenchError where nothing is there, or it cannot be reached.
    """
    places = [place for part in _split(pattern) for name in expand_braces(part) for place in _listed(name)]
    if not places:
        raise MaibenchError(f"wds:{pattern}: names no shards; give paths or URLs of .tar files")
    if len(set(places)) < len(places):
        twice = next(place for at, place in enumerate(places) if place in places[:at])
        raise MaibenchError(f"wds:{pattern}: names {twice} twice")
    with ThreadPoolExecutor(8) as threads:
        return list(threads.map(lambda place: Shard(place, _state(place)), places))


def expand_braces(text: str) -> list[str]:
    """`a{00..02}b` -> a00b, a01b, a02b; `{x,y}` -> x, y. Leading zeros stay. Raises MaibenchError for a range that
    goes down or is longer than `MOST`."""
    found = _BRACES.search(text)
    if found is None:
        return [text]
    numbers = re.fullmatch(r"(\d+)\.\.(\d+)", found[1])
    if numbers:
        first, last = int(numbers[1]), int(numbers[2])
        if not 0 <= last - first < MOST:
            raise MaibenchError(f"{text}: the range {{{found[1]}}} names {max(0, last - first + 1):,} shards")
        options = [f"{number:0{len(numbers[1])}d}" for number in range(first, last + 1)]
    else:
        options = found[1].split(",")
    heads = [text[: found.start()] + option for option in options]
    tails = expand_braces(text[found.end() :])
    if len(heads) * len(tails) > MOST:
        raise MaibenchError(f"{text}: names more than {MOST:,} shards")
    return [head + tail for head, tail in itertools.product(heads, tails)]


def fetch(place: str, stream: IO[bytes]) -> None:
    """Copy a shard that lies elsewhere into `stream`; up to `TRIES` times where the connection breaks.

    Raises MaibenchError where it cannot be had whole, DiskError where the disk is full.
    """
    for left in reversed(range(TRIES)):
        stream.seek(0)
        stream.truncate()
        try:
            for block in _blocks(place):
                try:
                    stream.write(block)
                except OSError as error:
                    raise disk_error(Path(tempfile.gettempdir()), error) from error
            stream.seek(0)
            return
        except MaibenchError:
            raise
        except Exception as error:  # as in _reaching
            if not left or is_of_the_file(error):
                raise unreachable(place, error) from error


def _split(pattern: str) -> list[str]:
    """At the commas that lie outside of braces."""
    return [part.strip() for part in re.split(r",(?![^{}]*\})", pattern) if part.strip()]


def _listed(name: str) -> list[str]:
    """The places that one name without braces stands for."""
    kind, _, rest = name.partition("://")
    if kind == "pipe" or name.startswith("pipe:"):
        raise MaibenchError(f"wds:{name}: commands are not run; give the place of the shard itself")
    if kind in ("http", "https"):
        if glob.has_magic(rest.partition("?")[0]):
            raise MaibenchError(f"wds:{name}: a web server cannot list its files; give a range such as {{000..012}}")
        return [name]
    if rest and kind != "file":
        if not glob.has_magic(name):
            return [name]
        system = file_system(name)[0]
        with _reaching(name):
            found = sorted(str(system.unstrip_protocol(path)) for path in system.glob(name))
    else:
        path = Path(rest or name).expanduser()
        is_name = path.is_file()  # also one with brackets in it
        found = [str(path)] if is_name else sorted(glob.glob(str(path / "*.tar") if path.is_dir() else str(path)))
    if not found:
        raise MaibenchError(f"wds:{name}: there is no such shard; give .tar files, such as 'wds:data/train-*.tar'")
    return found


def _state(place: str) -> str:
    """What tells one version of a shard from another."""
    with _reaching(place):
        if not is_url(place):
            stat = Path(place).stat()
            return f"{stat.st_size} {stat.st_mtime_ns}"
        if is_web(place):
            return _state_on_the_web(place)
        return str(file_system(place)[0].ukey(place))


def _state_on_the_web(url: str) -> str:
    try:
        with asked(urllib.request.Request(url, method="HEAD")) as answer:
            told = [answer.headers.get(name) for name in ("ETag", "Last-Modified")]
            return f"{answer.headers.get('Content-Length')} {told}" if any(told) else ""
    except urllib.error.HTTPError as error:
        if error.code in (403, 405, 501):  # servers that give files and refuse to tell about them
            return ""
        raise


def _blocks(place: str) -> Iterator[bytes]:
    """The bytes of a shard that lies elsewhere. Raises OSError where they end too early."""
    if not is_web(place):
        with file_system(place)[0].open(place, "rb") as stream:
            while block := stream.read(_BLOCK):
                yield block
        return
    # urllib, as fsspec's own reader of http needs aiohttp, which nothing else here does
    with asked(place) as answer:
        length, got = answer.headers.get("Content-Length"), 0
        while block := answer.read(_BLOCK):
            got += len(block)
            yield block
        if length is not None and got < int(length):
            raise ConnectionError(f"the connection ended after {got:,} of {int(length):,} bytes")


@contextlib.contextmanager
def _reaching(place: str) -> Iterator[None]:
    try:
        yield
    except MaibenchError:
        raise
    except Exception as error:  # file systems have errors of their own (httpx's, botocore's), which are no OSError
        raise unreachable(place, error) from error
