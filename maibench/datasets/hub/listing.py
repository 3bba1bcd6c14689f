"""The first pass over a data set of Hugging Face: all but the images, and where each of those is to be found."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.core import url_to_fs

from maibench.datasets.column_hints import PATHS
from maibench.datasets.columns import IMAGES, Columns
from maibench.datasets.hub.forward import Chunk, ForwardImages
from maibench.datasets.hub.reading import LinkedImages, one_by_one, row_group
from maibench.datasets.images import Images
from maibench.datasets.manifest import check_inside
from maibench.datasets.shards.embedded import image_sizes, sizes_of
from maibench.errors import MaibenchError

ROWS = 1000
"""Rows that are turned into a frame at once."""
FILES = 8
"""Files that are listed at a time."""
_REMOTE = "hf://datasets/[^/]+/[^/]+/"


@dataclass(frozen=True)
class Listing:
    """frame: a row an image, with its `path` and `split`. features: Hugging Face's, by column. images: makes the
    reader, once it is settled what each image is called. state: as of `Manifest`."""

    frame: pd.DataFrame
    features: Mapping[str, Any]
    images: Callable[[Sequence[str]], Images]
    state: str = ""


def list_parquet(
    files: Mapping[str, Sequence[str]], features: Any, columns: Columns, root: Path | None, where: str
) -> Listing:
    """Parquet: of the images only their own paths are read; later, row group by row group.

    files: {split: paths or URLs}. Hugging Face's own projection takes whole columns, so that an image's path would
    bring its bytes along; pyarrow takes the path alone.
    """
    image = _image(features, columns, where)
    is_text = _is_text(features[image])
    passed, sizes = _Passed(), list[list[int]]()
    listed = [(split, url) for split, urls in files.items() for url in urls]
    with ThreadPoolExecutor(FILES) as threads:
        tables = threads.map(lambda file: _table(file[1], "" if is_text else image), listed)
        for (split, url), (table, metadata) in zip(listed, tables, strict=True):
            frame = table.to_pandas() if table.num_columns else pd.DataFrame(index=range(metadata.num_rows))
            passed.add(split, frame.rename(columns={image if is_text else f"{image}.path": _OWN}))
            sizes.append(image_sizes(metadata, image))
            for group in range(metadata.num_row_groups):
                count = metadata.row_group(group).num_rows
                passed.chunk(count, functools.partial(row_group, url, metadata, group, image))
    if is_text:
        return passed.linked_by(image, features, root, where)
    return replace(passed.listing(features, root), state=sizes_of(sizes))


def list_streams(streams: Mapping[str, Any], columns: Columns, root: Path | None, where: str) -> Listing:
    """Any other format: all of it passes by once, or for images that are files of their own, the names of the files.

    streams: {split: Hugging Face's IterableDataset}.
    """
    passed, features, image = _Passed(), {}, ""
    is_linked = True
    for split, stream in streams.items():
        features = _features(stream)
        image = _image(features, columns, where)
        undecoded = stream.decode(False) if stream.features is not None else stream
        count, examples = 0, iter(undecoded)
        while batch := list(islice(examples, ROWS)):
            values = [example.pop(image) for example in batch]
            own = [value.get("path") if isinstance(value, dict) else value for value in values]
            is_linked &= all(isinstance(value, dict) and value.get("bytes") is None for value in values) and all(own)
            rows = [
                {**_scalars(example), _OWN: path if isinstance(path, str) else None}
                for example, path in zip(batch, own, strict=True)
            ]
            passed.add(split, pd.DataFrame(rows))
            count += len(batch)
        place = "" if root else where
        passed.chunk(count, functools.partial(one_by_one, undecoded.select_columns([image]), image, place))
    if image and _is_text(features[image]):
        return passed.linked_by(image, features, root, where)
    listing = passed.listing(features, root)
    if not is_linked or not passed.frames:
        return listing
    links = [path for frame in passed.frames for path in frame[_OWN]]
    return Listing(listing.frame, features, lambda paths: LinkedImages(dict(zip(paths, links, strict=True))))


@dataclass
class _Passed:
    """What the first pass has seen so far. frames: with the columns `_OWN`, what the data calls an image (empty where
    it does not say), and `_READ_FROM`, the split."""

    frames: list[pd.DataFrame] = field(default_factory=list)
    chunks: list[Chunk] = field(default_factory=list)

    def add(self, split: str, frame: pd.DataFrame) -> None:
        own = frame[_OWN].astype("string").fillna("") if _OWN in frame else ""
        self.frames.append(frame.assign(**{_OWN: own, _READ_FROM: str(split)}))

    def chunk(self, count: int, opening: Callable[[], Iterator[bytes | None]]) -> None:
        if count:
            first = self.chunks[-1].first + self.chunks[-1].count if self.chunks else 0
            self.chunks.append(Chunk(first, count, opening))

    def listing(self, features: Any, root: Path | None) -> Listing:
        """The images' own paths are their names where all have one and no two the same, else SPLIT/NUMBER."""
        frame = self._frame()
        names = _short(frame.pop(_OWN), root)
        if (names == "").any() or names.duplicated().any():
            numbers = frame.groupby(_READ_FROM, sort=False).cumcount().astype(str).str.zfill(6)
            names = frame[_READ_FROM].astype(str) + "/" + numbers
        is_local = root is not None
        return Listing(
            _with_split(frame).assign(path=names), features, lambda paths: ForwardImages(paths, self.chunks, is_local)
        )

    def linked_by(self, column: str, features: Any, root: Path | None, where: str) -> Listing:
        """For a column that holds paths: those of files that lie here with the data."""
        frame = _with_split(self._frame())
        given = frame.pop(_OWN)
        if root is None or not any((root / path).is_file() for path in given.head(ROWS)):
            here = f"there is no such file in {root}" if root else "the images themselves are not in the data"
            raise MaibenchError(
                f"{where}: the column '{column}' holds paths such as '{given.iloc[0]}' in place of images, and {here}; "
                "name the column that holds images (--columns image=COLUMN), or list the files in a manifest"
            )
        check_inside(root, given, where)
        links = [str(root / path) for path in given]
        return Listing(
            frame.assign(path=given), features, lambda paths: LinkedImages(dict(zip(paths, links, strict=True)))
        )

    def _frame(self) -> pd.DataFrame:
        frame = pd.concat(self.frames, ignore_index=True) if self.frames else pd.DataFrame({_OWN: [], _READ_FROM: []})
        return frame.rename(columns=_short_names([str(column) for column in frame.columns]))


_OWN = "\0own"
_READ_FROM = "\0split"


def _short_names(columns: Sequence[str]) -> dict[str, str]:
    """{COLUMN.NAME of what lies one level below a column: NAME}, where nothing else is called so."""
    short = {column: column.split(".", 1)[1] for column in columns if "." in column}
    taken = [*short.values(), *columns]
    return {column: name for column, name in short.items() if taken.count(name) == 1}


def _with_split(frame: pd.DataFrame) -> pd.DataFrame:
    """The split that a row was read from, unless the data has a column that says it."""
    if "split" in frame:
        return frame.drop(columns=_READ_FROM)
    return frame.rename(columns={_READ_FROM: "split"})


def _short(paths: pd.Series, root: Path | None) -> pd.Series:
    """Images' own paths, below the data set's folder; of those in an archive, in the archive."""
    below = re.escape(f"{root}{os.sep}") if root else _REMOTE
    return paths.str.replace(r"^\w+://(.*?)::.*", r"\1", regex=True).str.replace(f"^{below}", "", regex=True)


def _features(stream: Any) -> Any:
    from datasets import Features

    if stream.features is not None:
        return stream.features
    first = next(iter(stream.with_format("arrow").iter(1)), None)
    return Features() if first is None else Features.from_arrow_schema(first.schema)


def _image(features: Any, columns: Columns, where: str) -> str:
    """The column of the images; where none can hold any, one of text with a name that says so."""
    holding = [name for name, feature in features.items() if _holds_images(feature)]
    texts = [name for name, feature in features.items() if _is_text(feature)]
    named = [name for name in texts if name.lower() in (*IMAGES, *PATHS)]
    image = columns.image(holding or named[:1], list(features), where)
    if image not in (*holding, *texts):
        those = ", ".join(holding) or "none"
        raise MaibenchError(f"{where}: the column '{image}' holds no images; those that may: {those}")
    return image


def _holds_images(feature: Any) -> bool:
    if isinstance(feature, dict):
        return "bytes" in feature
    return type(feature).__name__ == "Image" or getattr(feature, "dtype", "") in ("binary", "large_binary")


def _is_text(feature: Any) -> bool:
    return getattr(feature, "dtype", "") in ("string", "large_string")


def _leaves(schema: pa.Schema, image: str) -> list[str]:
    """What is read in the first pass: plain columns, those one level below a column, and the images' own paths."""
    leaves = []
    for top in schema:
        inner = list(top.type) if pa.types.is_struct(top.type) else []
        if top.name == image:
            leaves += [f"{image}.path" for below in inner if below.name == "path"]
        elif inner:
            leaves += [f"{top.name}.{below.name}" for below in inner if _is_plain(below.type)]
        elif _is_plain(top.type):
            leaves.append(top.name)
    return leaves


def _is_plain(kind: pa.DataType) -> bool:
    return not (pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _scalars(example: Mapping[str, Any]) -> dict[str, Any]:
    """A row's numbers and texts; what lies one level below a column is called COLUMN.NAME."""
    flat: dict[str, Any] = {}
    for name, value in example.items():
        flat.update(
            {f"{name}.{key}": below for key, below in value.items()} if isinstance(value, dict) else {name: value}
        )
    return {
        name: value
        for name, value in flat.items()
        if not isinstance(value, (dict, list, bytes)) and name not in ("__key__", "__url__")  # of WebDataset
    }


def _table(url: str, image: str) -> tuple[pa.Table, pq.FileMetaData]:
    """The plain columns of a file, flat, and what it says of itself."""
    system, path = url_to_fs(url)
    # what a stream would read ahead, or pyarrow between two columns, is images; so each range is asked for by itself
    with system.open(path, "rb", cache_type="none") as stream:
        file = pq.ParquetFile(stream, pre_buffer=True)
        return file.read(columns=_leaves(file.schema_arrow, image)).flatten(), file.metadata
