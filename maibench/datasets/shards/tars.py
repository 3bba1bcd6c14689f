"""WebDataset shards: `wds:PATTERN`, and what `maibench data pack --format wds` writes.

A pass over a shard's headers says where its images lie. It is kept, so that the next opening reads no shard. Shards of
this disk are then read at any place; those elsewhere one after the other, each fetched whole.
"""

from __future__ import annotations

import collections
import contextlib
import hashlib
import itertools
import os
import tempfile
import threading
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from maibench.datasets.columns import parse_columns
from maibench.datasets.demo import cache_folder
from maibench.datasets.manifest import Manifest
from maibench.datasets.meanings import split_meant
from maibench.datasets.shards.names import Shard, fetch, find_shards
from maibench.datasets.shards.tar_index import KEY, MEMBER, OFFSET, SIZE, index_shard
from maibench.errors import DiskError, ImageError, MaibenchError
from maibench.files import make_folder, write_whole

INDEX = 1
"""Raise it when an index is made in another way."""
HELD = 2
"""Shards from elsewhere that are on this disk at a time."""


def open_shards(pattern: str, columns: str = "") -> Manifest:
    """The samples of the shards that `pattern` names (`find_shards`), in their order.

    Columns are the samples' .json, .cls and .txt; `columns` says what they mean (`parse_columns`; image=jpg: the
    extension, where a sample holds several images). A sample's key is its `path` in the .json, else the name of its
    image. A shard whose name says train or validation is so. Raises MaibenchError, naming the shard, where one is cut,
    cannot be read or holds something else.
    """
    asked = parse_columns(columns)
    shards = find_shards(pattern)
    tables = [shard_index(shard, asked.named.get("image", "")) for shard in shards]
    number = np.repeat(np.arange(len(shards)), [len(table) for table in tables])
    frame = _joined(tables).to_pandas()
    members = frame[MEMBER].mask(frame[MEMBER] == "", frame[KEY])
    names = _short_names(shards)
    if "path" not in frame or frame["path"].isna().any() or frame["path"].duplicated().any():
        frame["path"] = members
        if members.duplicated().any():
            frame["path"] = pd.Series(np.array(names, dtype=object)[number]) + "/" + members
    if asked.column("split", [str(column) for column in frame.columns]) is None and "split" not in asked.constants:
        frame["split"] = np.array([split_meant(PurePosixPath(name).name) for name in names], dtype=object)[number]
    rows = asked.rows(frame.drop(columns=[KEY, MEMBER, OFFSET, SIZE]), f"wds:{pattern}")
    rows["n_bytes"] = frame[SIZE].to_numpy()
    places = Places(rows["path"], number, frame[OFFSET].to_numpy(), frame[SIZE].to_numpy(), [s.place for s in shards])
    local = all(shard.is_local for shard in shards)
    root = Path(os.path.commonpath([Path(shard.place).resolve().parent for shard in shards])) if local else Path.cwd()
    images = LocalShards(places) if local else RemoteShards(places)
    return Manifest.from_frame(rows, root, _name(shards), where=f"wds:{pattern}", images=images)


def open_packed(file: Path) -> Manifest:
    """What `maibench data pack --format wds` wrote, by its manifest.parquet, which lies beside the shards. Raises
    MaibenchError where a shard is gone or cut."""
    try:
        rows = pd.read_parquet(file)
    except (OSError, ValueError) as error:
        raise MaibenchError(f"{file}: cannot be read as a manifest: {error}") from error
    if missing := {"path", "shard", "offset", "n_bytes"} - set(rows.columns):
        raise MaibenchError(f"{file}: the column '{min(missing)}' is missing; pack the data again")
    shards = [str(name) for name in rows["shard"].unique()]
    ends = (rows["offset"] + rows["n_bytes"]).groupby(rows["shard"].astype(str)).max()
    for name in shards:
        shard = file.parent / name
        if Path(name).name != name:
            raise MaibenchError(f"{file}: the shard '{name}' does not lie beside its manifest")
        size = shard.stat().st_size if shard.is_file() else None
        if size is None or size < ends[name]:
            lost = int(((rows["offset"] + rows["n_bytes"] > (size or 0)) & (rows["shard"] == name)).sum())
            what = "is gone" if size is None else f"is cut in the middle, after {size:,} bytes"
            raise MaibenchError(f"{shard}: {what}: {lost:,} images are missing; copy it again, or pack the data again")
    number = pd.Categorical(rows["shard"].astype(str), categories=shards).codes.astype(np.int64)
    places = Places(
        rows["path"].astype(str), number, rows["offset"].to_numpy(), rows["n_bytes"].to_numpy(),
        [str(file.parent / name) for name in shards],
    )  # fmt: skip
    name = Path(os.path.abspath(file.parent)).name if file.stem == "manifest" else file.stem
    return Manifest.from_frame(rows, file.parent, name, where=str(file), images=LocalShards(places))


class Places:
    """Where each image lies: arrays of the shard's number, the first byte, and how many; `shards`: the shards."""

    def __init__(
        self, paths: pd.Series, number: np.ndarray, offset: np.ndarray, size: np.ndarray, shards: Sequence[str]
    ) -> None:
        self.shards = list(shards)
        self._paths, self._number, self._offset, self._size = paths, number, offset, size

    def __reduce__(self) -> tuple[Any, ...]:
        return Places, (self._paths, self._number, self._offset, self._size, self.shards)

    def of(self, path: str) -> tuple[int, int, int]:
        """(shard, offset, bytes). Raises ImageError for a sample without an image."""
        at = self._rows[path]
        if not self._size[at] and not self._offset[at]:
            raise ImageError("the sample holds no image")
        return int(self._number[at]), int(self._offset[at]), int(self._size[at])

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {path: at for at, path in enumerate(self._paths)}


class LocalShards:
    """Images of shards on this disk, in any order."""

    in_order = False

    def __init__(self, places: Places) -> None:
        self._places = places

    def read(self, path: str) -> bytes:
        """The image's bytes. Raises ImageError where they cannot be read."""
        shard, offset, size = self._places.of(path)
        try:
            with open(self._places.shards[shard], "rb") as stream:
                return _part(stream, offset, size)
        except OSError as error:
            raise ImageError(f"its shard cannot be read: {error.strerror or error}") from error

    def expect(self, paths: Sequence[str]) -> None:
        """They can be read in any order."""


class RemoteShards:
    """Images of shards elsewhere. A shard is fetched whole when its first image is asked for; `HELD` of them are kept,
    in files without a name, which go when the process does. One that was let go is fetched again."""

    in_order = True

    def __init__(self, places: Places) -> None:
        self._places = places
        self._held: collections.OrderedDict[int, IO[bytes]] = collections.OrderedDict()
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return RemoteShards, (self._places,)

    def read(self, path: str) -> bytes:
        """The image's bytes. Raises MaibenchError where its shard cannot be fetched: a lost connection is no reason to
        count its images as unreadable."""
        shard, offset, size = self._places.of(path)
        with self._lock:
            return _part(self._fetched(shard), offset, size)

    def expect(self, paths: Sequence[str]) -> None:
        """The order is the shards' own."""

    def _fetched(self, shard: int) -> IO[bytes]:
        if shard not in self._held:
            while len(self._held) >= HELD:
                self._held.popitem(last=False)[1].close()
            self._held[shard] = _fetched(self._places.shards[shard])
        self._held.move_to_end(shard)
        return self._held[shard]


def shard_index(shard: Shard, image: str = "") -> pa.Table:
    """`index_shard` of a shard anywhere; kept, and read again while the shard stays as it is."""
    place = os.path.abspath(shard.place) if shard.is_local else shard.place
    key = hashlib.sha256(repr((INDEX, place, shard.state, image)).encode()).hexdigest()[:24]
    file = cache_folder() / "shards" / f"{key}.parquet"
    if shard.state and file.is_file():
        try:
            return pq.read_table(file)
        except (OSError, ValueError):
            file.unlink(missing_ok=True)  # damaged: it is made again
    try:
        with open(shard.place, "rb") if shard.is_local else _fetched(shard.place) as stream:
            table = index_shard(stream, shard.place, image)
    except OSError as error:
        raise MaibenchError(f"{shard.place}: cannot be read: {error.strerror or error}") from error
    if shard.state:
        with contextlib.suppress(DiskError):  # what can be made again need not be kept
            make_folder(file.parent)
            write_whole(file, lambda part: pq.write_table(table, part))
    return table


def _fetched(place: str) -> IO[bytes]:
    with contextlib.ExitStack() as opened:
        stream = opened.enter_context(tempfile.TemporaryFile())
        fetch(place, stream)
        opened.pop_all()  # whole: it stays open
    return stream


def _part(stream: IO[bytes], offset: int, size: int) -> bytes:
    stream.seek(offset)
    data = stream.read(size)
    if len(data) < size:
        raise ImageError("its shard is shorter than it was when it was opened")
    return data


def _joined(tables: list[pa.Table]) -> pa.Table:
    """One below the other; a column that is a number in one and a word in another becomes text."""
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        own = (KEY, MEMBER, OFFSET, SIZE)
        texts = [{name: t[name] if name in own else _text(t[name]) for name in t.column_names} for t in tables]
        return pa.concat_tables([pa.table(columns) for columns in texts], promote_options="permissive")


def _text(column: pa.ChunkedArray) -> pa.Array:
    return pa.array([value if value is None else str(value) for value in column.to_pylist()], pa.string())


def _short_names(shards: list[Shard]) -> list[str]:
    """The shards' places without what all of them begin with, and without the ending."""
    parts = [PurePosixPath(shard.place.partition("?")[0]).with_suffix("").parts for shard in shards]
    levels = zip(*(part[:-1] for part in parts), strict=False)
    same = sum(1 for _ in itertools.takewhile(lambda names: len(set(names)) == 1, levels))
    return ["/".join(part[same:]) for part in parts]


def _name(shards: list[Shard]) -> str:
    place = PurePosixPath(shards[0].place.partition("?")[0])
    return place.stem if len(shards) == 1 else place.parent.name or place.stem
