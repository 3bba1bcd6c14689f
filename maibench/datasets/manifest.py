"""The manifest: the list of images that everything else works from."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from maibench.datasets import column_hints
from maibench.datasets.image import MAX_PIXELS, ImageFile, parse_file
from maibench.datasets.images import FolderImages, Images
from maibench.errors import MaibenchError

REQUIRED = ("path", "label", "generator")
SPLITS = ("train", "validation", "test")
AGGREGATES = ("all", "seen", "unseen")
"""What a report calls several generators together: no generator can be called so."""
LOOKED_AT = 32
HASHED = 100_000
"""Rows that are hashed at a time."""
_LISTED = ("path", "label", "generator", "source", "split", "image_id", "n_bytes")


@dataclass(frozen=True, eq=False)
class Manifest:
    """A list of images.

    rows: a frame with the columns of DESIGN.md section 7, checked, in its original order. root: the folder that the
    data lies in. name: a short name for folders and titles. images: where the bytes are; by default files whose `path`
    is relative to `root`. state: tells one version of the images from another, where the rows do not (by `image_id`).
    walked: whether the list is what was found in the folder `root`, so that what is put there is on the next one.
    """

    rows: pd.DataFrame
    root: Path
    name: str
    images: Images = None  # type: ignore[assignment]  # filled in below
    state: str = ""
    walked: bool = False

    def __post_init__(self) -> None:
        if self.images is None:
            object.__setattr__(self, "images", FolderImages(self.root))

    @classmethod
    def from_frame(
        cls,
        rows: pd.DataFrame,
        root: Path,
        name: str,
        where: str = "the manifest",
        images: Images | None = None,
        state: str = "",
    ) -> Manifest:
        """Check `rows` and fill in what may be absent (`split`: all "test").

        images: where they do not lie in files of their own; `path` is then a name and nothing more. state: theirs.
        Raises MaibenchError for a missing column, a label outside {0, 1}, an unknown split, a path that is listed twice
        or leaves `root` (also through a symbolic link), one image with two labels, or an empty list.
        """
        missing = [column for column in REQUIRED if column not in rows.columns]
        if missing:
            raise MaibenchError(
                f"{where}: the column {_quoted(missing)} is missing; a manifest needs {', '.join(REQUIRED)}; "
                + column_hints.missing(rows, missing)
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
        _check_one_label(rows, where)
        if "source" in rows:
            rows["source"] = rows["source"].astype("string").fillna("").astype(str)
        root = root.resolve()
        if images is None:
            images = FolderImages(root)
            check_inside(root, rows["path"], where)
        return cls(rows, root, name, images, state)

    @property
    def where(self) -> str:
        """The folder that the data lies in, on this machine or elsewhere."""
        return str(getattr(self.images, "root", self.root))

    @cached_property
    def fingerprint(self) -> str:
        """A hash of what is listed (not of where it lies, nor of the order of columns): 16 hexadecimal digits."""
        digest = hashlib.sha256()
        for column in _LISTED:
            if column in self.rows:
                digest.update(column.encode() + b"\0")
                for start in range(0, len(self.rows), HASHED):  # as Python's own strings they take much memory
                    values = self.rows[column].iloc[start : start + HASHED].astype(str).to_numpy(dtype=object)
                    digest.update(pd.util.hash_array(values).tobytes())
        digest.update(self.state.encode())
        return digest.hexdigest()[:16]

    @property
    def has_sources(self) -> bool:
        """Whether the list says which images come from one photo, prompt or collection."""
        return "source" in self.rows and bool((self.rows["source"] != "").all())

    def read(self, path: str, max_pixels: int = MAX_PIXELS) -> ImageFile:
        """One listed image's bytes and header; any thread may ask.

        Raises ImageError, with the reason in words, when it is missing, empty, not an image, or larger than
        `max_pixels`.
        """
        return parse_file(path, self.images.read(path), max_pixels)

    def check_outside(self, out: Path) -> None:
        """Raise MaibenchError where results would be written among the images, and be listed with them next time."""
        if self.walked and out.resolve().is_relative_to(self.root):
            raise MaibenchError(
                f"{out}: lies in the folder of the images, {self.root}, and would be read with them the next time; "
                "choose a folder outside with --out"
            )

    def check_there(self, rows: pd.DataFrame) -> None:
        """Raise MaibenchError where of some rows of the list not one of the first `LOOKED_AT` files is there: one that
        is missing is a failed row, all of them are a wrong folder."""
        paths = rows["path"].head(LOOKED_AT).tolist()
        any_there = getattr(self.images, "any_there", None)  # only where each image is a file of its own
        if paths and any_there and not any_there(paths):
            raise MaibenchError(
                f"{self.name}: none of the first {len(paths)} listed images is there ({paths[0]}, ...): is "
                f"{self.where} the right folder? Paths are relative to the folder that the manifest lies in"
            )

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


def check_inside(root: Path, paths: Sequence[str] | pd.Series, where: str) -> None:
    """Raise MaibenchError when a path leaves `root`: absolute, by "..", or through a symbolic link."""
    given = pa.array(paths, pa.large_string())
    if not len(given):
        return
    for wrong, why in (
        (pc.match_substring(given, "\0"), "holds a null byte; no file can have that name"),
        (pc.match_substring_regex(given, r"^/|(^|/)\.{0,2}$"), ""),
    ):
        if pc.any(wrong).as_py():
            raise _outside(root, given.filter(wrong)[0].as_py(), where, why)
    real_root = os.path.realpath(root)
    above = pc.replace_substring_regex(given, r"[^/]*$", "")
    for folder in pc.unique(above).to_pylist():
        place = os.path.join(real_root, folder)
        leads_out = {""} if not _lies_inside(place, real_root) else _links_out_of(place, real_root)
        if leads_out:
            listed = given.filter(pc.equal(above, folder)).to_pylist()
            named = listed if "" in leads_out else [path for path in listed if path[len(folder) :] in leads_out]
            if named:
                raise _outside(root, named[0], where)


def _links_out_of(folder: str, real_root: str) -> set[str]:
    """The names of the symbolic links in a folder that lead out of the data set's."""
    try:
        with os.scandir(folder) as entries:  # one call a folder: a million files are not looked at one by one
            links = [entry.name for entry in entries if entry.is_symlink()]
    except OSError:  # not there, or not ours to list: nothing can be read from it either
        return set()
    return {name for name in links if not _lies_inside(os.path.join(folder, name), real_root)}


def _outside(root: Path, path: str, where: str, why: str = "") -> MaibenchError:
    if why:
        return MaibenchError(f"{where}: the path {path!r} {why}")
    return MaibenchError(
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
        given = labels.dropna().unique()[: column_hints.SHOWN + 1]
        is_word = not pd.isna(labels.iloc[row]) and pd.isna(numbers.iloc[row])
        hint = f'; say what the words mean: --columns "{column_hints.words(given)}"' if is_word else ""
        raise MaibenchError(f"{where}: row {row + 1} has {found}; a label is 0 (real) or 1 (synthetic){hint}")
    return numbers.astype(np.int64)


def _check_real(rows: pd.DataFrame, where: str) -> None:
    wrong = (rows["generator"] == "real") != (rows["label"] == 0)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise MaibenchError(
            f"{where}: row {row + 1} has label {rows['label'].iloc[row]} and generator "
            f"'{rows['generator'].iloc[row]}'; label 0 goes with the generator 'real', and only it"
        )


def _check_one_label(rows: pd.DataFrame, where: str) -> None:
    """Raise MaibenchError where the same bytes are called real in one row and synthetic in another."""
    if "image_id" not in rows:
        return
    known = rows.loc[rows["image_id"].notna() & (rows["image_id"] != ""), ["image_id", "label"]].drop_duplicates()
    twice = known["image_id"][known["image_id"].duplicated()]
    if len(twice):
        first, second = rows["path"][rows["image_id"] == twice.iloc[0]].iloc[[0, -1]]
        raise MaibenchError(
            f"{where}: '{first}' and '{second}' are one image (image_id {str(twice.iloc[0])[:16]}) with two labels; "
            "take the wrong one out"
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
