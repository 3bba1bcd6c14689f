"""Open a SOURCE: `demo`, `wild`, a folder, a CSV or Parquet manifest, Parquet with images, the URL of one of these
last three, `hf:...`, `wds:...`."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import pandas as pd
import pyarrow as pa

from maibench.datasets.elsewhere import listed_below, tables_at
from maibench.datasets.folders import read_folder
from maibench.datasets.manifest import Manifest
from maibench.datasets.packing.folder import packed_shards
from maibench.errors import MaibenchError
from maibench.files import write_text
from maibench.remote import Url, file_system, is_of_the_file, is_url, opened, read

UNFINISHED = (".shards", ".windows", ".work")
"""Folders in which commands that make a data set keep their work until it is whole."""
NAMED = "maibench.json"
"""Beside a manifest: what the data set is called, and how many images it has when it is complete."""
_IMAGE_COLUMNS = frozenset({"image", "img", "picture", "image_bytes", "bytes", "jpg", "jpeg", "png", "webp"})


def open_data(source: str, columns: str = "") -> Manifest:
    """Return the manifest of a SOURCE.

    columns: which of its columns mean what, where they have other names (`parse_columns`). Raises MaibenchError when
    there is nothing of that name, when it holds no images, or when a row is wrong.
    """
    kind, colon, rest = source.partition(":")
    if colon and kind == "hf" and not is_url(source):
        from maibench.datasets.hub.data import open_hub

        return open_hub(rest, columns)
    if colon and kind == "wds":
        from maibench.datasets.shards.tars import open_shards

        return open_shards(rest, columns)
    if is_url(source) and not source.startswith("file://"):
        url = Url(source)
        return _open_tables(tables_at(url), url, columns)
    path = Path(file_system(source)[1] if is_url(source) else source).expanduser()
    if columns and (source in ("demo", "wild") or (path.is_dir() and not _tables(path))):
        raise MaibenchError(f"--columns {columns}: '{source}' has no columns to be named; leave it out")
    if source == "demo":
        from maibench.datasets.demo import demo_manifest

        return demo_manifest()
    if source == "wild":
        from maibench.datasets.wild.collect import open_wild

        return open_wild()
    if path.is_dir():
        check_finished(path)
        tables = _tables(path)
        return _open_tables(tables, path, columns) if tables else read_folder(path)
    if path.is_file():
        return _open_tables([path], path, columns)
    raise MaibenchError(
        f"no data at '{source}': give 'demo', a folder of images, a .csv or .parquet manifest, Parquet files with "
        "images in them, the URL of such a file or folder, hf:OWNER/NAME, or wds:PATTERN"
    )


def check_finished(folder: Path) -> None:
    """Raise MaibenchError where a command that makes a data set was stopped: what lies in the folder is a part."""
    if any((folder / name).is_dir() for name in UNFINISHED):
        raise MaibenchError(f"{folder}: is not finished; run the command that makes it again, it goes on there")


def check_whole(folder: Path) -> None:
    """Raise MaibenchError where a shard that 'maibench data pack' wrote is gone or cut."""
    for shard, size in packed_shards(folder).items():
        if not shard.is_file() or shard.stat().st_size != size:
            what = "is not as it was packed" if shard.is_file() else "is gone"
            raise MaibenchError(f"{shard}: {what} ({size:,} bytes); copy it again, or run the command that packed it")


def _tables(folder: Path) -> list[Path]:
    """What a folder is listed in: its manifest, else the Parquet files that its images lie in."""
    for name in ("manifest.parquet", "manifest.csv"):
        if (folder / name).is_file():
            return [folder / name]
    files = [*sorted(folder.glob("*.parquet")), *sorted(folder.glob("data/*.parquet"))]
    return [file for file in files if not file.name.startswith(".")]


def _open_tables(files: Sequence[Path | Url], source: Path | Url, columns: str) -> Manifest:
    if files[0].suffix == ".parquet":
        import pyarrow.parquet as pq

        try:
            with opened(files[0]) as stream:
                schema = pq.read_schema(stream)
        except (OSError, ValueError) as error:
            raise MaibenchError(
                f"{files[0]}: cannot be read as a manifest: it is cut or no Parquet file; copy it again ({error})"
            ) from error
        if {"shard", "offset"} <= set(schema.names):
            from maibench.datasets.shards.tars import open_packed

            return open_packed(files[0])
        is_list = "path" in schema.names or "path=" in columns
        if len(files) > 1 or "image=" in columns or not is_list or any(map(_holds_images, schema)):
            from maibench.datasets.shards.embedded import open_embedded

            if isinstance(source, Path):
                check_whole(source)
            return open_embedded(files, _name(source), columns)
    return read_manifest(files[0], columns)


def _holds_images(field: pa.Field) -> bool:
    if pa.types.is_struct(field.type):
        return field.type.get_field_index("bytes") >= 0
    is_binary = pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type)
    return is_binary and field.name.lower() in _IMAGE_COLUMNS


def read_manifest(file: Path | Url, columns: str = "") -> Manifest:
    """Read a CSV or Parquet manifest; its paths are relative to the folder that it lies in."""
    try:
        if file.suffix == ".parquet":
            rows = pd.read_parquet(file if isinstance(file, Path) else io.BytesIO(read(file.text)))
        elif file.suffix == ".csv":
            with open(file, "rb") if isinstance(file, Path) else io.BytesIO(read(file.text)) as stream:
                _check_commas(stream, file)
                rows = _read_csv(stream)
        else:
            shards = f"; WebDataset shards are opened by wds:{file}" if file.suffix == ".tar" else ""
            raise MaibenchError(f"{file}: a manifest is a .csv or a .parquet file{shards}")
    except (OSError, ValueError) as error:
        raise MaibenchError(f"{file}: cannot be read as a manifest: {error}") from error
    if columns:
        from maibench.datasets.columns import parse_columns

        asked = parse_columns(columns)
        rows = asked.rows(asked.spelled_out(rows), str(file))
    name = _name(file) if file.stem != "manifest" else _given_name(file.parent, len(rows)) or _name(file)
    return listed_below(rows, file.parent, name, str(file))


def _check_commas(stream: IO[bytes], file: Path | Url) -> None:
    """Raise MaibenchError where a file's first line has other separators than commas."""
    line = stream.readline(1 << 16)
    stream.seek(0)
    for separator, called in ((b";", "';'"), (b"\t", "tabs"), (b"|", "'|'")):
        if separator in line and b"," not in line and b"\0" not in line:
            raise MaibenchError(
                f"{file}: is it separated by {called}? A manifest is separated by commas; save it so, or as .parquet"
            )


def _read_csv(stream: IO[bytes]) -> pd.DataFrame:
    """pyarrow's reader, which takes a tenth of the time of pandas'; names stay as they are written ("007", "NA")."""
    from pyarrow import csv

    names = ("path", "generator", "source", "split", "image_id", "released", "licence", "pair")
    return csv.read_csv(
        stream,
        parse_options=csv.ParseOptions(newlines_in_values=True),
        convert_options=csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), null_values=[""], strings_can_be_null=True
        ),
    ).to_pandas()


def write_name(folder: Path, name: str, images: int) -> None:
    """Let the manifest of a folder be called `name` wherever it lies, and NAME-3-of-5 where it lists 3 of 5 `images`.
    Raises DiskError."""
    write_text(folder / NAMED, json.dumps({"name": name, "images": images}) + "\n")


def _given_name(folder: Path | Url, there: int) -> str:
    """What `write_name` says; empty where there is no such file."""
    file = folder / NAMED
    try:
        text = file.read_bytes() if isinstance(file, Path) else read(file.text)
    except (FileNotFoundError, IsADirectoryError):
        return ""
    except MaibenchError as error:
        if is_of_the_file(error.__cause__):
            return ""
        raise
    try:
        given = json.loads(text)
        name, images = str(given["name"]), int(given["images"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MaibenchError(f"{file}: not what maibench writes ({error!r}); delete it") from error
    return name if there == images else f"{name}-{there}-of-{images}"


def _name(path: Path | Url) -> str:
    """What a data set is called: after its file, or its folder where the file is called manifest."""
    if isinstance(path, Url):
        return path.parent.name if path.stem == "manifest" else path.stem
    if path.is_dir() or path.stem == "manifest":
        path = Path(os.path.abspath(path if path.is_dir() else path.parent))
        return path.name
    return path.stem
