"""One shard of a packed data set while it is written: Parquet with the images in it, or a WebDataset tar."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from maibench.datasets.image import ImageFile
from maibench.errors import MaibenchError

GROUP_ROWS, GROUP_BYTES = 100, 32 << 20
"""A row group ends at either: what has to be read for one image, and what is held while writing."""
MEASURED = pa.schema(
    [("image_id", pa.string()), ("width", pa.int64()), ("height", pa.int64()), ("format", pa.string()),
     ("n_bytes", pa.int64())]
)  # fmt: skip
"""Columns that are read off the files, whatever the manifest says."""
_STORED = ("shard", "offset")
_SUFFIXES = {"JPEG": "jpg", "MPO": "jpg", "TIFF": "tif"}
_DTYPES = {"double": "float64", "float": "float32", "halffloat": "float16"}
"""Arrow's names of types where Hugging Face datasets has others."""


class ShardWriter(Protocol):
    """Writes images to one file. suffix: of its name. digits: of its number."""

    suffix: str
    digits: int

    def __init__(self, file: Path, listed: pa.Table) -> None:
        """listed: of all rows, as `listed_columns` makes it."""
        ...

    def add(self, row: int, image: ImageFile) -> int:
        """Write the image of a row; where its bytes begin, -1 where that cannot be said."""
        ...

    def close(self) -> None:
        """Write what is left; the file is whole then."""
        ...


class ParquetShard:
    """Images as Hugging Face's {bytes, path}, which its data sets and the Hub's viewer show as images."""

    suffix, digits = ".parquet", 5

    def __init__(self, file: Path, listed: pa.Table) -> None:
        self._listed = listed
        schema = _parquet_schema(listed.schema)
        others = [name for name in schema.names if name != "image"]
        # bytes of images do not get smaller, and have no minimum that anybody would look up
        compression = {**dict.fromkeys(others, "zstd"), "image.bytes": "none", "image.path": "zstd"}
        self._writer = pq.ParquetWriter(
            file, schema, compression=compression, use_dictionary=others, write_statistics=others, write_page_index=True
        )
        self._waiting: list[tuple[int, ImageFile]] = []

    def add(self, row: int, image: ImageFile) -> int:
        """Keep the image until its row group is full."""
        self._waiting.append((row, image))
        if len(self._waiting) == GROUP_ROWS or sum(len(file.data) for _, file in self._waiting) >= GROUP_BYTES:
            self._flush()
        return -1

    def close(self) -> None:
        """Write what is left."""
        try:
            if self._waiting:
                self._flush()
        finally:
            self._writer.close()

    def _flush(self) -> None:
        files = [file for _, file in self._waiting]
        table = with_measured(self._listed, [row for row, _ in self._waiting], [measured(file) for file in files])
        data = pa.array([file.data for file in files], pa.binary())
        image = pa.StructArray.from_arrays([data, table["path"].combine_chunks()], names=["bytes", "path"])
        table = table.add_column(0, "image", image).cast(self._writer.schema)
        self._writer.write_table(table, row_group_size=len(files))
        self._waiting = []


class TarShard:
    """NUMBER.jpg (or its format's ending) beside NUMBER.json, which holds the row."""

    suffix, digits = ".tar", 6

    def __init__(self, file: Path, listed: pa.Table) -> None:
        self._listed = listed
        self._block, self._rows = -1, list[dict[str, Any]]()
        self._tar = tarfile.TarFile(file, "w", format=tarfile.USTAR_FORMAT)

    def add(self, row: int, image: ImageFile) -> int:
        """Write the image and its row; where the image's bytes begin."""
        suffix = _SUFFIXES.get(image.format, image.format.lower())
        offset = self._write(f"{row:09d}.{suffix}", image.data)
        values = self._values(row) | dict(zip(MEASURED.names, measured(image), strict=True))
        self._write(f"{row:09d}.json", json.dumps(values, ensure_ascii=False).encode())
        return offset

    def close(self) -> None:
        """Write the end of the archive."""
        self._tar.close()

    def _values(self, row: int) -> dict[str, Any]:
        block = row // GROUP_ROWS
        if block != self._block:  # one row at a time would take longer than its image
            self._rows = self._listed.slice(block * GROUP_ROWS, GROUP_ROWS).to_pylist()
            self._block = block
        return self._rows[row % GROUP_ROWS]

    def _write(self, name: str, data: bytes) -> int:
        member = tarfile.TarInfo(name)  # its time is 1970, its owner nobody: the same data makes the same bytes
        member.size, offset = len(data), self._tar.offset + tarfile.BLOCKSIZE
        self._tar.addfile(member, io.BytesIO(data))
        return offset


WRITERS: dict[str, type[ShardWriter]] = {"parquet": ParquetShard, "wds": TarShard}


def measured(file: ImageFile) -> list[Any]:
    """The values of `MEASURED`, in its order."""
    return [file.image_id, file.width, file.height, file.format, len(file.data)]


def with_measured(listed: pa.Table, rows: Sequence[int], values: Sequence[Sequence[Any]]) -> pa.Table:
    """Some rows of a list, with what was read off their files."""
    table = listed.take(pa.array(rows, pa.int64()))
    for field, column in zip(MEASURED, zip(*values, strict=True), strict=True):
        table = table.append_column(field, pa.array(column, field.type))
    return table


def listed_columns(rows: pd.DataFrame, where: str) -> pa.Table:
    """What is packed of a manifest's rows, as whole numbers, numbers, booleans and texts; `MEASURED` follows later.

    Raises MaibenchError where a column has the name of the images'.
    """
    if "image" in rows:
        raise MaibenchError(f"{where}: has a column 'image', which is where the images go; give it another name")
    names = [str(name) for name in rows.columns if name not in (*MEASURED.names, *_STORED)]
    return pa.table({name: _plain(rows[name]) for name in names})


def _plain(values: pd.Series) -> pa.Array:
    try:
        array = pa.array(values, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        array = pa.array(values.astype("string"), from_pandas=True)
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    kind = array.type
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_floating(kind):
        return array
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return pa.array([None if value is None else value.hex() for value in array.to_pylist()], pa.string())
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind):
        return pc.cast(array, pa.string())
    return pa.array([None if value is None else _as_text(value) for value in array.to_pylist()], pa.string())


def _as_text(value: Any) -> str:
    return json.dumps(value, default=str) if isinstance(value, (list, dict)) else str(value)


def _parquet_schema(listed: pa.Schema) -> pa.Schema:
    """With the metadata by which Hugging Face datasets knows the images and the label's names."""
    fields = [*listed, *MEASURED]
    features: dict[str, Any] = {"image": {"_type": "Image"}}
    for field in fields:
        kind = str(field.type)
        features[field.name] = {"dtype": _DTYPES.get(kind, kind), "_type": "Value"}
    features["label"] = {"names": ["real", "synthetic"], "_type": "ClassLabel"}
    image = pa.field("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    return pa.schema([image, *fields], metadata=metadata)
