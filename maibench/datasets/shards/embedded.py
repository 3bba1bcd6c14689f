"""Parquet files with the images in them: exports of the Hub, and what `maibench data pack` writes.

The other columns are read at once, the images a row group at a time, so that memory does not grow with their number.
"""

from __future__ import annotations

import collections
import hashlib
import os
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from maibench.datasets.columns import IMAGES, parse_columns
from maibench.datasets.elsewhere import RemoteImages, for_one_image, listed_below
from maibench.datasets.manifest import Manifest
from maibench.datasets.meanings import class_names, split_meant
from maibench.errors import ImageError, MaibenchError
from maibench.remote import RangeFile, Url

HELD = 256 << 20
"""Bytes of row groups that are kept; one is, however large."""
AT_ONCE = 8
"""Files that are opened at a time: elsewhere each takes a few trips."""
_OWN_PATH = "__image_path__"


def open_embedded(files: Sequence[Path | Url], name: str, columns: str = "") -> Manifest:
    """The images of Parquet files, one below the other, here or elsewhere.

    The image column holds bytes, or Hugging Face's {bytes, path}; where it holds paths only, they are those of files
    beside the first Parquet file. `columns`: as `parse_columns` reads it. A row's path is the column `path`, else that
    of its image, else its file's name and its number in it. Without a column `split`, the file's name says it. Raises
    MaibenchError where a file is damaged, the files differ, or none of their columns holds images.
    """
    asked, root = parse_columns(columns), _folder(files[0])
    where = str(files[0]) if len(files) == 1 else str(root)
    schema = _schema(files[0])
    can_hold = [field.name for field in schema if _holds_bytes(field.type)]
    can_hold = can_hold or [field.name for field in schema if _is_text(field.type) and field.name.lower() in IMAGES]
    image = asked.image(can_hold, schema.names, where)
    with ThreadPoolExecutor(AT_ONCE) as threads:
        parts = list(threads.map(lambda file: _read(file, image, schema.field(image).type, files[0].name), files))
    frame = pd.concat([part.frame for part in parts], ignore_index=True)
    counts = [len(part.frame) for part in parts]
    if asked.column("split", [str(column) for column in frame.columns]) is None and "split" not in asked.constants:
        frame["split"] = np.repeat(np.array([split_meant(file.stem) for file in files], dtype=object), counts)
    own = frame.pop(_OWN_PATH) if _OWN_PATH in frame else None
    if _is_text(schema.field(image).type):
        own = frame[image]
    if _is_text(schema.field(image).type) or _has_paths_only(files[0], image):
        _check_beside(root, own, image, where)
        frame["path"] = own
        rows = asked.rows(frame, where, class_names(schema.metadata))
        return listed_below(rows, root, name, where)
    if not _are_keys(frame.get("path")):
        numbers = [f"{file.stem}/{row:06d}" for file, count in zip(files, counts, strict=True) for row in range(count)]
        frame["path"] = own if _are_keys(own) else numbers
    rows = asked.rows(frame, where, class_names(schema.metadata))
    images = EmbeddedImages(files, image, [part.groups for part in parts], rows["path"])
    state = "" if "image_id" in rows else sizes_of(part.sizes for part in parts)
    here = root if isinstance(root, Path) else Path()
    return Manifest.from_frame(rows, here, name, where=where, images=images, state=state)


def image_sizes(metadata: pq.FileMetaData, image: str) -> list[int]:
    """The bytes of a column's images in each row group: other images make other ones."""
    leaves = {image, f"{image}.bytes"}
    groups = map(metadata.row_group, range(metadata.num_row_groups))
    columns = [[group.column(at) for at in range(group.num_columns)] for group in groups]
    return [sum(c.total_compressed_size for c in group if c.path_in_schema in leaves) for group in columns]


def sizes_of(files: Iterable[list[int]]) -> str:
    """The `state` of images in Parquet files of such `image_sizes`."""
    return hashlib.sha256(repr([*files]).encode()).hexdigest()


class EmbeddedImages:
    """The images of Parquet files, in any order; those of a row group are read together."""

    in_order = False

    def __init__(self, files: Sequence[Path | Url], column: str, groups: Sequence[list[int]], paths: pd.Series) -> None:
        """groups: how many rows each row group of each file has. paths: of all rows, in the files' order."""
        self._files, self._column, self._sizes, self._paths = list(files), column, groups, paths
        self._groups = [(file, group) for file, sizes in enumerate(groups) for group in range(len(sizes))]
        self._starts = np.cumsum([0, *(size for sizes in groups for size in sizes)])
        self._held: collections.OrderedDict[int, pa.ChunkedArray] = collections.OrderedDict()
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return EmbeddedImages, (self._files, self._column, self._sizes, self._paths)

    def read(self, path: str) -> bytes:
        """The image's bytes. Raises ImageError where the row has none, or its file cannot be read."""
        row = self._rows[path]
        group = int(np.searchsorted(self._starts, row, side="right")) - 1
        with self._lock:
            images = self._group(group)
        data: bytes | None = images[int(row - self._starts[group])].as_py()
        if data is None:
            raise ImageError(f"the row has no image (its column '{self._column}' is empty)")
        return data

    def expect(self, paths: Sequence[str]) -> None:
        """They can be read in any order."""

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {path: at for at, path in enumerate(self._paths)}

    def _group(self, number: int) -> pa.ChunkedArray:
        if number not in self._held:
            file, group = self._groups[number]
            try:
                with for_one_image():
                    self._held[number] = _images(self._files[file], group, self._column)
            except (OSError, ValueError) as error:
                raise ImageError(f"row group {group} of {self._files[file].name} cannot be read: {error}") from error
            while len(self._held) > 1 and sum(held.nbytes for held in self._held.values()) > HELD:
                self._held.popitem(last=False)
        self._held.move_to_end(number)
        return self._held[number]


@dataclass(frozen=True)
class _Part:
    """A file. frame: a row an image, without the images. groups: the rows of its row groups; sizes: `image_sizes`."""

    frame: pd.DataFrame
    groups: list[int]
    sizes: list[int]


def _source(file: Path | Url) -> Path | RangeFile:
    """What Arrow reads: a file of this machine by itself."""
    return file if isinstance(file, Path) else RangeFile(file.text)


def _folder(file: Path | Url) -> Path | Url:
    return Path(os.path.abspath(file.parent)) if isinstance(file, Path) else file.parent


def _schema(file: Path | Url) -> pa.Schema:
    with _opened(file) as parquet:
        return parquet.schema_arrow


def _opened(file: Path | Url) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(_source(file), pre_buffer=True)  # columns that lie side by side are one trip
    except (OSError, ValueError) as error:
        raise MaibenchError(f"{file}: is cut or no Parquet file; copy it again ({error})") from error


def _read(file: Path | Url, image: str, expected: pa.DataType, first: str) -> _Part:
    """A file whose images are of the type that they have in the `first` one."""
    has_path = pa.types.is_struct(expected) and expected.get_field_index("path") >= 0
    try:
        with _opened(file) as parquet:
            schema = parquet.schema_arrow
            if image not in schema.names or schema.field(image).type != expected:
                there = f"of another kind than {expected}" if image in schema.names else "absent"
                raise MaibenchError(f"{file}: the column '{image}' is {there}, unlike in {first}; open the files apart")
            wanted = [field.name for field in schema if not _holds_bytes(field.type)]
            groups = [parquet.metadata.row_group(at).num_rows for at in range(parquet.num_row_groups)]
            sizes = image_sizes(parquet.metadata, image)
            table = parquet.read([*wanted, *([f"{image}.path"] if has_path else [])])
    except (OSError, ValueError) as error:
        raise MaibenchError(f"{file}: is damaged; copy it again ({error})") from error
    frame = table.select([column for column in wanted if column in table.column_names]).to_pandas()
    if has_path:
        frame[_OWN_PATH] = pc.struct_field(table[image], "path").to_pandas()
    return _Part(frame, groups, sizes)


def _images(file: Path | Url, group: int, column: str) -> pa.ChunkedArray:
    """The images of a row group."""
    with pq.ParquetFile(_source(file)) as parquet:
        is_struct = pa.types.is_struct(parquet.schema_arrow.field(column).type)
        # on this thread alone: the others decode images meanwhile
        table = parquet.read_row_group(group, [f"{column}.bytes" if is_struct else column], use_threads=False)
    return pc.struct_field(table[column], "bytes") if is_struct else table[column]


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _are_keys(paths: pd.Series | None) -> bool:
    return paths is not None and bool(paths.notna().all() and (paths != "").all() and not paths.duplicated().any())


def _has_paths_only(file: Path | Url, image: str) -> bool:
    """Whether {bytes, path} holds no bytes, which is how images are listed that were not put into the file."""
    try:
        # buffered, as else a whole row group's images would be held
        with pq.ParquetFile(_source(file), buffer_size=1 << 20) as parquet:
            if not parquet.num_row_groups or not pa.types.is_struct(parquet.schema_arrow.field(image).type):
                return False
            batches = parquet.iter_batches(16, row_groups=[0], columns=[f"{image}.bytes"], use_threads=False)
            there = (batch.num_rows > pc.struct_field(batch[image], "bytes").null_count for batch in batches)
            return parquet.metadata.row_group(0).num_rows > 0 and not any(there)
    except (OSError, ValueError):  # damaged: its images say so, each for itself
        return False


def _check_beside(root: Path | Url, paths: pd.Series | None, image: str, where: str) -> None:
    named = pd.Series(dtype=str) if paths is None else paths[paths.notna() & (paths != "")]
    if named.empty:
        raise MaibenchError(f"{where}: the column '{image}' is empty; export the data with its images")
    first = str(named.iloc[0])
    is_there = (root / first).is_file() if isinstance(root, Path) else RemoteImages(root).any_there([first])
    if not is_there:
        raise MaibenchError(
            f"{where}: the column '{image}' holds paths ('{first}') instead of images, and there is no such file in "
            f"{root}; put the files there, or export the data with its images in it (in Hugging Face datasets: "
            "push_to_hub, or to_parquet after embed_table_storage)"
        )
