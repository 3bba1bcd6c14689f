"""The list of `wild`: where every original lies, how its crop was made, and what the crop has to look like.

The list is shipped, the images are not. `python -m maibench.datasets.wild.listed MANIFEST.csv [FILE.parquet]` makes it
again from a folder that holds the crops.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from maibench.datasets.image import decode
from maibench.datasets.wild.crops import block_means, pixel_hash
from maibench.errors import ImageError, MaibenchError
from maibench.files import write_whole

LIST = Path(__file__).with_name("wild.parquet")
MANIFEST_COLUMNS = (
    "image_id", "path", "label", "generator", "source", "split", "width", "height", "format", "n_bytes",
    "generator_detail", "origin", "origin_commit", "origin_path", "origin_sha256", "crop_left", "crop_top",
    "jpeg_quality", "jpeg_subsampling", "licence",
)  # fmt: skip
CHECKS = ("pixel_hash", "block_means")
"""Columns of bytes that the list has beyond the manifest's: `crops` says what they are."""

_TEXTS = ("generator", "source", "split", "format", "generator_detail", "origin", "origin_commit", "licence")
_HASHES = ("image_id", "origin_sha256")


def read_list(file: Path = LIST) -> pd.DataFrame:
    """The listed images in the order of their paths: MANIFEST_COLUMNS and CHECKS, hashes as hexadecimal text."""
    rows = pq.read_table(file).to_pandas()
    for column in _HASHES:
        rows[column] = rows[column].map(bytes.hex)
    for column in _TEXTS:
        rows[column] = rows[column].astype(str)
    rows["path"] = [_path(image_id) for image_id in rows["image_id"]]
    numbers = rows.columns[[pd.api.types.is_integer_dtype(kind) for kind in rows.dtypes]]
    rows = rows.astype(dict.fromkeys(numbers, "int64"))
    return rows[[*MANIFEST_COLUMNS, *CHECKS]].sort_values("path", ignore_index=True)


def count_listed() -> int:
    """How many images the shipped list names."""
    return int(pq.read_metadata(LIST).num_rows)


def write_list(manifest: Path, file: Path = LIST) -> int:
    """Write the list of the crops that a CSV manifest describes and that lie beside it; how many there are.

    Raises MaibenchError where a column is missing, a crop cannot be read, or it is not the one that is listed.
    """
    rows = pd.read_csv(manifest, keep_default_na=False)
    if missing := [column for column in MANIFEST_COLUMNS if column not in rows]:
        raise MaibenchError(f"{manifest}: the column {', '.join(missing)} is missing")
    checks = [_checks(manifest, path, image_id) for path, image_id in zip(rows["path"], rows["image_id"], strict=True)]
    rows[list(CHECKS)] = pd.DataFrame(checks, columns=list(CHECKS), index=rows.index)
    # neighbours that are alike are what compresses
    rows = rows.sort_values(["origin", "origin_path"], ignore_index=True)
    columns = {name: _column(rows[name], name) for name in (*MANIFEST_COLUMNS, *CHECKS) if name != "path"}
    write_whole(file, lambda part: _write(pa.table(columns), part))
    return len(rows)


def _path(image_id: str) -> str:
    return f"images/{image_id[:16]}.jpg"


def _checks(manifest: Path, path: str, image_id: str) -> tuple[bytes, bytes]:
    try:
        data = (manifest.parent / path).read_bytes()
        if path != _path(image_id) or hashlib.sha256(data).hexdigest() != image_id:
            raise MaibenchError(f"{manifest}: '{path}' does not have the name or the bytes that its image_id says")
        pixels = decode(data)
    except (OSError, ImageError) as error:
        raise MaibenchError(f"{manifest}: '{path}' cannot be read: {error}") from error
    return pixel_hash(pixels), block_means(pixels).round().astype("uint8").tobytes()


def _column(values: pd.Series, name: str) -> pa.Array:
    if name in _HASHES:
        return pa.array([bytes.fromhex(value) for value in values], pa.binary(32))
    if name in CHECKS:
        return pa.array(values, pa.binary(len(values.iloc[0])))
    if name in _TEXTS:
        return pa.array(values.astype(object), pa.string()).dictionary_encode()
    return pa.array(values.astype(object), pa.string() if name == "origin_path" else pa.int32())


def _write(table: pa.Table, part: Path) -> None:
    pq.write_table(
        table, part, compression="zstd", compression_level=19, write_statistics=False, store_schema=False,
        use_dictionary=[name for name in table.column_names if name not in (*_HASHES, *CHECKS, "origin_path")],
        column_encoding={"origin_path": "DELTA_BYTE_ARRAY", "block_means": "BYTE_STREAM_SPLIT"},
    )  # fmt: skip


if __name__ == "__main__":
    print(f"{write_list(*map(Path, sys.argv[1:]))} images listed")
