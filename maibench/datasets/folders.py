"""A folder of images without a manifest: every image below it, and what the folders' names say of them."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pandas as pd

from maibench.datasets.folder_classes import Folder, generator_of, labels_of
from maibench.datasets.image import EXTENSIONS
from maibench.datasets.manifest import SPLITS, Manifest, check_inside
from maibench.errors import MaibenchError

RESULTS = {"run.json": {"config", "detectors", "data"}, "audit.json": {"data", "parts", "strict"}}
"""Files that a comparison and an audit write, and some of what they hold: pictures beside them are no data."""
_AUDIT = {"audit", "facts"}
"""Folders that an audit makes."""


def read_folder(folder: Path) -> Manifest:
    """List a folder of images: `real/` beside a folder a generator, `0_real` / `1_fake`, or GenImage's `nature` / `ai`.

    The first level may be train, validation (or val) and test. Folders named like a class may lie deeper
    (`stable_diffusion_v_1_4/train/ai`): the generator is then the nearest folder above that is neither class nor split.
    There is no `source` column: a folder does not say which images belong together.
    Raises MaibenchError when it holds no images, when no folder's name means real (`labels_of`), or a folder in it
    cannot be listed, leaves it or leads in circles.
    """
    files = sorted(list_images(folder))
    if not files:
        raise MaibenchError(
            f"{folder}: no images found; expected real/ and a folder for each generator, or a manifest"
            + _other_data(folder)
        )
    paths = [path for path, _ in files]
    above = {path: os.path.dirname(path) for path in paths}
    said = {name: _without_split(name) for name in dict.fromkeys(above.values())}
    if bare := next((path for path in paths if not said[above[path]][0]), None):
        raise MaibenchError(
            f"{folder}: '{bare}' lies in no class folder; expected real/ and a folder for each generator "
            "(or 0_real/1_fake, or nature/ai)"
        )
    labels = labels_of([names for names, _ in said.values()], str(folder))
    facts = {
        name: (labels[names], generator_of(names) if labels[names] else "real", split)
        for name, (names, split) in said.items()
    }
    rows = pd.DataFrame([facts[above[path]] for path in paths], columns=["label", "generator", "split"])
    rows.insert(0, "path", [Path(path).as_posix() for path in paths])
    rows["n_bytes"] = [size for _, size in files]
    return replace(Manifest.from_frame(rows, folder, folder.resolve().name, where=str(folder)), walked=True)


def _without_split(folder: str) -> tuple[Folder, str]:
    """The names of a folder and those above it that say no split, and the split."""
    names = Path(folder).parts
    splits = [_split(name.lower()) for name in names]
    rest = tuple(name for name, split in zip(names, splits, strict=True) if not split)
    return rest, next(filter(None, splits), "test")


def _split(name: str) -> str:
    name = {"val": "validation", "valid": "validation"}.get(name, name)
    return name if name in SPLITS else ""


def _other_data(folder: Path) -> str:
    """What opens the data that a folder without images does hold."""
    if any(folder.glob("*.tar")):
        return f"; its WebDataset shards are opened by wds:{folder}"
    return f"; its Parquet files are opened by hf:{folder}" if any(folder.glob("*/*.parquet")) else ""


def list_images(folder: Path) -> list[tuple[str, int]]:
    """(path relative to `folder`, bytes) of every file with an image's extension; hidden ones and folders of results
    are passed over."""
    found = []
    for where, folders, names in os.walk(folder, followlinks=True, onerror=_cannot_list):
        if _holds_results(Path(where), {*folders, *names}):
            if where != str(folder):
                folders.clear()
                continue
            folders[:] = set(folders) - _AUDIT
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


def _holds_results(folder: Path, names: set[str]) -> bool:
    """Whether a comparison or an audit was written there, or begun; names: all that the folder holds."""
    if "facts" in names and (folder / "facts" / "part-0000000.parquet").is_file():
        return True
    return any(_is_result(folder / name, keys) for name, keys in RESULTS.items() if name in names)


def _is_result(file: Path, keys: set[str]) -> bool:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # somebody else's
        return False
    return isinstance(found, dict) and keys <= set(found)


def _cannot_list(error: OSError) -> None:
    raise MaibenchError(f"{error.filename}: cannot be listed: {error.strerror or error}") from error


def _is_text(path: str) -> bool:
    """Whether a file's name can be written to a manifest: one that is not UTF-8 cannot."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True
