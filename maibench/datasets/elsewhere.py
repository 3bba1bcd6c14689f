"""Data sets behind a URL that fsspec opens (s3://, gs://, ...) or a web server: read where they are, nothing copied."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from maibench.datasets.ahead import AT_ONCE, ReadAhead
from maibench.datasets.manifest import Manifest
from maibench.errors import ImageError, MaibenchError
from maibench.places import RemotePlace
from maibench.remote import Url, is_of_the_file, is_web, read, size


class RemoteImages:
    """Files below a folder elsewhere; equal where the folder is the same. Those that are expected are fetched ahead."""

    in_order = False

    def __init__(self, root: Url) -> None:
        self.root = root
        self._ahead = ReadAhead(self._fetch)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemoteImages) and other.root == self.root

    def __hash__(self) -> int:
        return hash(self.root)

    def __reduce__(self) -> tuple[Any, ...]:
        return RemoteImages, (self.root,)

    def read(self, path: str) -> bytes:
        """The file's bytes. Raises ImageError where it is not there or refused, MaibenchError where the connection
        is lost: that is no reason to count images as unreadable, as the same command goes on from there."""
        return self._ahead.read(path)

    def expect(self, paths: Sequence[str]) -> None:
        """Fetch them ahead."""
        self._ahead.expect(paths)

    def any_there(self, paths: Sequence[str]) -> bool:
        """Whether at least one of these files is there."""
        with ThreadPoolExecutor(AT_ONCE) as threads:
            return any(threads.map(self._is_there, paths))

    def _fetch(self, path: str) -> bytes:
        return image_part(str(self.root / path))

    def _is_there(self, path: str) -> bool:
        try:
            size(str(self.root / path))
        except MaibenchError as error:
            if is_of_the_file(error.__cause__):
                return False
            raise
        return True


def image_part(url: str, start: int | None = None, end: int | None = None) -> bytes:
    """The bytes of an image elsewhere, or of that part of a file. Raises as `RemoteImages.read` does."""
    with for_one_image():
        return read(url, start, end)


@contextlib.contextmanager
def for_one_image() -> Iterator[None]:
    """Raise ImageError where an answer came that a file cannot be had; a lost connection stays a MaibenchError."""
    try:
        yield
    except MaibenchError as error:
        if is_of_the_file(error.__cause__):
            raise ImageError(str(error).partition("; check the name")[0]) from error
        raise


def tables_at(url: Url) -> list[Url]:
    """The manifest, or the Parquet files that images lie in, at a URL: itself, or what is in its folder. Raises
    MaibenchError where there is nothing such, or it cannot be reached."""
    if url.suffix in (".csv", ".parquet"):
        return [url]
    if is_web(url.text):
        raise MaibenchError(f"{url}: a web server cannot list its files; give its manifest: a .csv or a .parquet file")
    folder = RemotePlace(url.text)
    there = list(folder.files())
    for name in ("manifest.parquet", "manifest.csv"):
        if name in there:
            return [url / name]
    below = [f"data/{name}" for name in folder.below("data").files()]
    found = [url / name for name in [*there, *below] if name.endswith(".parquet")]
    if not found:
        raise MaibenchError(
            f"{url}: no manifest.parquet, manifest.csv or Parquet files with images there; WebDataset shards are "
            f"opened by wds:{url}/NAME.tar"
        )
    return found


def listed_below(rows: pd.DataFrame, root: Path | Url, name: str, where: str) -> Manifest:
    """The manifest of files below a folder, here or elsewhere. Raises MaibenchError where a row is wrong, or a path
    leaves the folder."""
    if isinstance(root, Path):
        return Manifest.from_frame(rows, root, name, where=where)
    manifest = Manifest.from_frame(rows, Path(), name, where=where, images=RemoteImages(root))
    _check_below(root, manifest.rows["path"], where)
    return manifest


def _check_below(root: Url, paths: pd.Series, where: str) -> None:
    """Raise MaibenchError when a listed path leaves `root`: absolute, by "..", or to another URL."""
    given = pa.array(paths.astype(str), pa.large_string())
    wrong = given.filter(pc.match_substring_regex(given, r"^/|(^|/)\.{1,2}(/|$)|(^|/)$|^[A-Za-z0-9+]+://|\x00"))
    if len(wrong):
        raise MaibenchError(
            f"{where}: the path {wrong[0].as_py()!r} leaves the data set's folder {root}; list files below it, or move "
            "the manifest to a folder above them"
        )
