"""The manifest: the list of images that everything else works from."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from maibench.errors import MaibenchError

REQUIRED = ("path", "label", "generator")
OPTIONAL = ("image_id", "source", "split", "released", "licence", "width", "height", "format", "n_bytes")
SPLITS = ("train", "validation", "test")
AGGREGATES = ("all", "seen", "unseen")
"""What a report calls several generators together: no generator can be called so."""
_LISTED = ("path", "label", "generator", "source", "split", "image_id", "n_bytes")


@dataclass(frozen=True, eq=False)
class Manifest:
    """A list of images.

    rows: a frame with the columns of DESIGN.md section 7, checked, in its original order. root: the folder that `path`
    is relative to. name: a short name for folders and titles.
    """

    rows: pd.DataFrame
    root: Path
    name: str

    @classmethod
    def from_frame(cls, rows: pd.DataFrame, root: Path, name: str, where: str = "the manifest") -> Manifest:
        """Check `rows` and fill in what may be absent (`split`: all "test").

        Raises MaibenchError for a missing column, a label outside {0, 1}, an unknown split, a path that is listed
        twice or leaves `root` (also through a symbolic link), or an empty list.
        """
        missing = [column for column in REQUIRED if column not in rows.columns]
        if missing:
            raise MaibenchError(
                f"{where}: the column {_quoted(missing)} is missing; a manifest needs {', '.join(REQUIRED)}"
            )
        if rows.empty:
            raise MaibenchError(f"{where}: lists no images")
        rows = rows.reset_index(drop=True).copy()
        rows["path"] = _texts(rows, "path", where)
        rows["generator"] = _texts(rows, "generator", where)
        rows["label"] = _labels(rows["label"], where)
        _check_real(rows, where)
        check_generators(rows["generator"].unique(), where)
        rows["split"] = _splits(rows, where)
        repeated = rows["path"][rows["path"].duplicated()]
        if len(repeated):
            raise MaibenchError(f"{where}: the path '{repeated.iloc[0]}' is listed twice; a path is a row's key")
        if "source" in rows:
            rows["source"] = rows["source"].astype("string").fillna("").astype(str)
        root = root.resolve()
        check_inside(root, rows["path"].tolist(), where)
        return cls(rows, root, name)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of what is listed (not of where it lies, nor of the order of columns): 16 hexadecimal digits."""
        digest = hashlib.sha256()
        for column in _LISTED:
            if column in self.rows:
                hashes = pd.util.hash_array(self.rows[column].astype(str).to_numpy(dtype=object))
                digest.update(column.encode() + b"\0" + hashes.tobytes())
        return digest.hexdigest()[:16]

    @property
    def has_sources(self) -> bool:
        """Whether the list says which images come from one photo, prompt or collection."""
        return "source" in self.rows and bool((self.rows["source"] != "").all())

    def split(self, name: str) -> pd.DataFrame:
        """The rows of one split, in order; the frame's index is their position in the list."""
        return self.rows[self.rows["split"] == name]


def collections_of(rows: pd.DataFrame, data: str) -> pd.Series:
    """Where each image was collected: what stands before the colon in its `source` ("BIDS/BSDS500:12003"), else the
    data set's name."""
    if "source" not in rows:
        return pd.Series(data, index=rows.index)
    sources = rows["source"].astype(str)
    before = sources.str.split(":", n=1).str[0]
    return before.where(sources.str.contains(":", regex=False) & (before != ""), data)


def check_generators(names: Iterable[str], where: str) -> None:
    """Raise MaibenchError where a generator is called what a report calls several of them (`AGGREGATES`)."""
    if taken := sorted(set(names) & set(AGGREGATES)):
        raise MaibenchError(
            f"{where}: the generator '{taken[0]}' has the name that reports use for several of them together; rename it"
        )


def check_inside(root: Path, paths: list[str], where: str) -> None:
    """Raise MaibenchError when a path leaves `root`: absolute, by "..", or through a symbolic link."""
    real_root = os.path.realpath(root)
    inside: dict[str, bool] = {}
    for path in paths:
        if "\0" in path:
            raise MaibenchError(f"{where}: the path {path!r} holds a null byte; no file can have that name")
        folder, name = os.path.split(path)
        if folder not in inside:
            inside[folder] = _lies_inside(os.path.join(real_root, folder), real_root)
        full = os.path.join(real_root, path)
        leaves = os.path.isabs(path) or not inside[folder] or name in ("", ".", "..")
        if not leaves and os.path.islink(full):
            leaves = not _lies_inside(full, real_root)
        if leaves:
            raise MaibenchError(
                f"{where}: the path '{path}' leaves the data set's folder {root}; list images inside it, "
                "or move the manifest to a folder above them"
            )


def _lies_inside(path: str, real_root: str) -> bool:
    real = os.path.realpath(path)
    return real == real_root or real.startswith(real_root.rstrip(os.sep) + os.sep)


def _quoted(names: list[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def _texts(rows: pd.DataFrame, column: str, where: str) -> pd.Series:
    empty = rows[column].isna() | (rows[column].astype(str).str.strip() == "")
    if empty.any():
        raise MaibenchError(f"{where}: row {int(np.argmax(empty)) + 1} has no {column}")
    return rows[column].astype(str)


def _labels(labels: pd.Series, where: str) -> pd.Series:
    numbers = pd.to_numeric(labels, errors="coerce")
    wrong = ~numbers.isin([0, 1])
    if wrong.any():
        row = int(np.argmax(wrong))
        found = "no label" if pd.isna(labels.iloc[row]) else f"the label '{labels.iloc[row]}'"
        raise MaibenchError(f"{where}: row {row + 1} has {found}; a label is 0 (real) or 1 (synthetic)")
    return numbers.astype(np.int64)


def _check_real(rows: pd.DataFrame, where: str) -> None:
    wrong = (rows["generator"] == "real") != (rows["label"] == 0)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise MaibenchError(
            f"{where}: row {row + 1} has label {rows['label'].iloc[row]} and generator "
            f"'{rows['generator'].iloc[row]}'; label 0 goes with the generator 'real', and only it"
        )


def _splits(rows: pd.DataFrame, where: str) -> pd.Series:
    if "split" not in rows:
        return pd.Series("test", index=rows.index)
    splits = rows["split"].astype("string").str.strip().fillna("").replace({"": "test", "val": "validation"})
    wrong = ~splits.isin(SPLITS)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise MaibenchError(f"{where}: row {row + 1} has the split '{splits.iloc[row]}'; use {', '.join(SPLITS)}")
    return splits.astype(str)
