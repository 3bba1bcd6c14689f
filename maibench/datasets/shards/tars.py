"""WebDataset shards: `wds:PATTERN`, and what `maibench data pack --format wds` writes.

A pass over a shard's headers says where its images lie. It is kept, so that the next opening reads no shard. Shards of
this disk and elsewhere are then read at any place; those on web servers that send whole files alone one after the
other.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import IO

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from maibench.datasets.columns import parse_columns
from maibench.datasets.demo import cache_folder
from maibench.datasets.manifest import Manifest
from maibench.datasets.meanings import split_meant
from maibench.datasets.shards.images import FetchedShards, LocalShards, Places, RemoteShards, fetched
from maibench.datasets.shards.names import Shard, find_shards
from maibench.datasets.shards.tar_index import KEY, MEMBER, OFFSET, SIZE, index_shard
from maibench.errors import DiskError, MaibenchError
from maibench.files import make_folder, write_whole
from maibench.remote import RangeFile, Url, is_of_the_file, read, size, takes_ranges

INDEX = 1
"""Raise it when an index is made in another way."""
AT_ONCE = 8
"""Shards elsewhere that are looked into at a time."""
BLOCK = 4 << 20
"""Bytes that are asked for at a time while a shard elsewhere is gone through: small images are read over, as a trip
takes longer than they do, and larger ones are left out."""


def open_shards(pattern: str, columns: str = "") -> Manifest:
    """The samples of the shards that `pattern` names (`find_shards`), in their order.

    Columns are the samples' .json, .cls and .txt; `columns` says what they mean (`parse_columns`; image=jpg: the
    extension, where a sample holds several images). A sample's key is its `path` in the .json, else the name of its
    image. A shard whose name says train or validation is so. Raises MaibenchError, naming the shard, where one is cut,
    cannot be read or holds something else.
    """
    asked = parse_columns(columns)
    shards = find_shards(pattern)
    is_local = all(shard.is_local for shard in shards)
    by_ranges = is_local or _take_ranges(shards)
    with ThreadPoolExecutor(1 if is_local or not by_ranges else AT_ONCE) as threads:
        image = asked.named.get("image", "")
        tables = list(threads.map(lambda shard: shard_index(shard, image, by_ranges), shards))
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
    root = Path(os.path.commonpath([Path(s.place).resolve().parent for s in shards])) if is_local else Path.cwd()
    images = LocalShards(places) if is_local else RemoteShards(places) if by_ranges else FetchedShards(places)
    return Manifest.from_frame(rows, root, _name(shards), where=f"wds:{pattern}", images=images)


def open_packed(file: Path | Url) -> Manifest:
    """What `maibench data pack --format wds` wrote, by its manifest.parquet, which lies beside the shards. Raises
    MaibenchError where a shard is gone or cut."""
    try:
        rows = pd.read_parquet(file if isinstance(file, Path) else io.BytesIO(read(file.text)))
    except (OSError, ValueError) as error:
        raise MaibenchError(f"{file}: cannot be read as a manifest: {error}") from error
    if missing := {"path", "shard", "offset", "n_bytes"} - set(rows.columns):
        raise MaibenchError(f"{file}: the column '{min(missing)}' is missing; pack the data again")
    shards = [str(name) for name in rows["shard"].unique()]
    if leads_out := [name for name in shards if PurePosixPath(name).name != name or name == ".."]:
        raise MaibenchError(f"{file}: the shard '{leads_out[0]}' does not lie beside its manifest")
    places = [file.parent / name for name in shards]
    with ThreadPoolExecutor(AT_ONCE) as threads:
        sizes = list(threads.map(_size, places))
    end = rows["offset"] + rows["n_bytes"]
    ends = end.groupby(rows["shard"].astype(str)).max()
    for name, place, there in zip(shards, places, sizes, strict=True):
        if there is None or there < ends[name]:
            lost = int(((end > (there or 0)) & (rows["shard"] == name)).sum())
            what = "is gone" if there is None else f"is cut in the middle, after {there:,} bytes"
            raise MaibenchError(f"{place}: {what}: {lost:,} images are missing; copy it again, or pack the data again")
    number = pd.Categorical(rows["shard"].astype(str), categories=shards).codes.astype(np.int64)
    where = Places(
        rows["path"].astype(str), number, rows["offset"].to_numpy(), rows["n_bytes"].to_numpy(), list(map(str, places))
    )
    folder = Path(os.path.abspath(file.parent)) if isinstance(file, Path) else file.parent
    name = folder.name if file.stem == "manifest" else file.stem
    root = folder if isinstance(folder, Path) else Path.cwd()
    images = LocalShards(where) if isinstance(file, Path) else _remote_shards(where)
    return Manifest.from_frame(rows, root, name, where=str(file), images=images)


def shard_index(shard: Shard, image: str = "", by_ranges: bool = True) -> pa.Table:
    """`index_shard` of a shard anywhere; kept, and read again while the shard stays as it is. by_ranges: whether its
    server sends parts of it."""
    place = os.path.abspath(shard.place) if shard.is_local else shard.place
    key = hashlib.sha256(repr((INDEX, place, shard.state, image)).encode()).hexdigest()[:24]
    file = cache_folder() / "shards" / f"{key}.parquet"
    if shard.state and file.is_file():
        try:
            return pq.read_table(file)
        except (OSError, ValueError):
            file.unlink(missing_ok=True)  # damaged: it is made again
    try:
        with _stream(shard, by_ranges) as stream:
            table = index_shard(stream, shard.place, image)
    except OSError as error:
        raise MaibenchError(f"{shard.place}: cannot be read: {error.strerror or error}") from error
    if shard.state:
        with contextlib.suppress(DiskError):  # what can be made again need not be kept
            make_folder(file.parent)
            write_whole(file, lambda part: pq.write_table(table, part))
    return table


def _stream(shard: Shard, by_ranges: bool) -> IO[bytes]:
    if shard.is_local:
        return open(shard.place, "rb")
    return io.BufferedReader(RangeFile(shard.place), BLOCK) if by_ranges else fetched(shard.place)


def _take_ranges(shards: Sequence[Shard]) -> bool:
    """Whether every server sends parts of its files; one file of each is asked."""
    servers = {shard.place.split("/")[2]: shard.place for shard in reversed(shards) if not shard.is_local}
    return all(map(takes_ranges, servers.values()))


def _remote_shards(places: Places) -> RemoteShards | FetchedShards:
    return RemoteShards(places) if takes_ranges(places.shards[0]) else FetchedShards(places)


def _size(place: Path | Url) -> int | None:
    """The bytes of a shard, None where it is gone."""
    if isinstance(place, Path):
        return place.stat().st_size if place.is_file() else None
    try:
        return size(place.text)
    except MaibenchError as error:
        if is_of_the_file(error.__cause__):
            return None
        raise


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
