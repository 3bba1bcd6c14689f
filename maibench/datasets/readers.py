"""Open a SOURCE: `demo`, `wild`, a folder, a CSV or Parquet manifest, Parquet with images, `hf:...`, `wds:...`."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pyarrow as pa

from maibench.datasets.image import EXTENSIONS
from maibench.datasets.manifest import SPLITS, Manifest, check_inside
from maibench.datasets.packing.folder import packed_shards
from maibench.errors import MaibenchError

REAL_FOLDERS = frozenset({"real", "0_real", "nature", "reals", "0"})
SYNTHETIC_FOLDERS = frozenset({"1_fake", "ai", "fake", "synthetic", "1"})
"""Folder names that say the class and no generator: the generator is then the folder above, if that has a name."""
UNFINISHED = (".shards", ".windows", ".work")
"""Folders in which commands that make a data set keep their work until it is whole."""
_IMAGE_COLUMNS = frozenset({"image", "img", "picture", "image_bytes", "bytes", "jpg", "jpeg", "png", "webp"})


def open_data(source: str, columns: str = "") -> Manifest:
    """Return the manifest of a SOURCE.

    columns: which of its columns mean what, where they have other names (`parse_columns`). Raises MaibenchError when
    there is nothing of that name, when it holds no images, or when a row is wrong.
    """
    kind, colon, rest = source.partition(":")
    if colon and kind == "hf":
        from maibench.datasets.hub.data import open_hub

        return open_hub(rest, columns)
    if colon and kind == "wds":
        from maibench.datasets.shards.tars import open_shards

        return open_shards(rest, columns)
    path = Path(source).expanduser()
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
        "images in them, hf:OWNER/NAME, or wds:PATTERN"
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


def _open_tables(files: list[Path], source: Path, columns: str) -> Manifest:
    if files[0].suffix == ".parquet":
        import pyarrow.parquet as pq

        try:
            schema = pq.read_schema(files[0])
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

            check_whole(source)
            return open_embedded(files, _name(source), columns)
    return read_manifest(files[0], columns)


def _holds_images(field: pa.Field) -> bool:
    if pa.types.is_struct(field.type):
        return field.type.get_field_index("bytes") >= 0
    is_binary = pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type)
    return is_binary and field.name.lower() in _IMAGE_COLUMNS


def read_manifest(file: Path, columns: str = "") -> Manifest:
    """Read a CSV or Parquet manifest; its paths are relative to the folder that it lies in."""
    try:
        if file.suffix == ".parquet":
            rows = pd.read_parquet(file)
        elif file.suffix == ".csv":
            rows = _read_csv(file)
        else:
            shards = f"; WebDataset shards are opened by wds:{file}" if file.suffix == ".tar" else ""
            raise MaibenchError(f"{file}: a manifest is a .csv or a .parquet file{shards}")
    except (OSError, ValueError) as error:
        raise MaibenchError(f"{file}: cannot be read as a manifest: {error}") from error
    if columns:
        from maibench.datasets.columns import parse_columns

        rows = parse_columns(columns).rows(rows, str(file))
    return Manifest.from_frame(rows, file.parent, _name(file), where=str(file))


def _read_csv(file: Path) -> pd.DataFrame:
    """pyarrow's reader, which takes a tenth of the time of pandas'; names stay as they are written ("007", "NA")."""
    from pyarrow import csv

    names = ("path", "generator", "source", "split", "image_id", "released", "licence", "pair")
    return csv.read_csv(
        file,
        parse_options=csv.ParseOptions(newlines_in_values=True),
        convert_options=csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), null_values=[""], strings_can_be_null=True
        ),
    ).to_pandas()


def _name(path: Path) -> str:
    """What a data set is called: after its file, or its folder where the file is called manifest."""
    if path.is_dir() or path.stem == "manifest":
        path = Path(os.path.abspath(path if path.is_dir() else path.parent))
        return path.name
    return path.stem


def read_folder(folder: Path) -> Manifest:
    """List a folder of images: `real/` beside a folder a generator, `0_real` / `1_fake`, or GenImage's `nature` / `ai`.

    The first level may be train, validation (or val) and test. Folders named like a class may lie deeper
    (`stable_diffusion_v_1_4/train/ai`): the generator is then the nearest folder above that is neither class nor split.
    There is no `source` column: a folder does not say which images belong together.
    Raises MaibenchError when it holds no images, or a folder in it cannot be listed, leaves it or leads in circles.
    """
    files = sorted(list_images(folder))
    if not files:
        raise MaibenchError(
            f"{folder}: no images found; expected real/ and a folder for each generator, or a manifest"
            + _other_data(folder)
        )
    rows = pd.DataFrame([_describe(folder, file) for file, _ in files])
    rows["n_bytes"] = [size for _, size in files]
    return Manifest.from_frame(rows, folder, folder.resolve().name, where=str(folder))


def _other_data(folder: Path) -> str:
    """What opens the data that a folder without images does hold."""
    if any(folder.glob("*.tar")):
        return f"; its WebDataset shards are opened by wds:{folder}"
    return f"; its Parquet files are opened by hf:{folder}" if any(folder.glob("*/*.parquet")) else ""


def list_images(folder: Path) -> list[tuple[str, int]]:
    """(path relative to `folder`, bytes) of every file with an image's extension; hidden ones are passed over."""
    found = []
    for where, folders, names in os.walk(folder, followlinks=True, onerror=_cannot_list):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        links = [os.path.join(where, name) for name in folders if os.path.islink(os.path.join(where, name))]
        check_inside(folder, [os.path.relpath(link, folder) for link in links], str(folder))
        if os.path.realpath(where) in {os.path.realpath(p) for p in Path(where).parents if p.is_relative_to(folder)}:
            raise MaibenchError(f"{where}: a symbolic link that leads back to a folder above itself")
        for name in names:
            full = os.path.join(where, name)
            if os.path.splitext(name)[1].lower() in EXTENSIONS and not name.startswith("."):
                if not _is_text(full):
                    raise MaibenchError(f"{folder}: the name of {os.fsencode(full)!r} is not UTF-8; rename it")
                size = os.stat(full).st_size if os.path.exists(full) else -1
                found.append((os.path.relpath(full, folder), size))
    return found


def _cannot_list(error: OSError) -> None:
    raise MaibenchError(f"{error.filename}: cannot be listed: {error.strerror or error}") from error


def _is_text(path: str) -> bool:
    """Whether a file's name can be written to a manifest: one that is not UTF-8 cannot."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _describe(folder: Path, file: str) -> dict[str, object]:
    parts = Path(file).parts[:-1]
    lowered = [part.lower() for part in parts]
    split = next((_split(part) for part in lowered if _split(part)), "test")
    named = [(part, low) for part, low in zip(parts, lowered, strict=True) if not _split(low)]
    if not named:
        raise MaibenchError(
            f"{folder}: '{file}' lies in no class folder; expected real/ and a folder for each generator "
            "(or 0_real/1_fake, or nature/ai)"
        )
    if any(low in REAL_FOLDERS for _, low in named):
        label, generator = 0, "real"
    else:
        label = 1
        own = [part for part, low in named if low not in SYNTHETIC_FOLDERS]
        generator = own[-1] if own else "synthetic"
    return {"path": Path(file).as_posix(), "label": label, "generator": generator, "split": split}


def _split(name: str) -> str:
    name = {"val": "validation", "valid": "validation"}.get(name, name)
    return name if name in SPLITS else ""
