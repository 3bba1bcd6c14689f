"""List a folder that holds a data set in its own layout: a manifest beside the images, which stay as they are."""

from __future__ import annotations

import io
import posixpath
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from maibench.datasets.cards.card import DatasetCard
from maibench.datasets.cards.layout import Layout, Said, nearest_layouts
from maibench.datasets.folders import list_images
from maibench.datasets.generators import release_date
from maibench.datasets.manifest import Manifest
from maibench.datasets.packing.pack import Request
from maibench.errors import MaibenchError
from maibench.files import make_folder, write_whole

SAMPLE = 2_000
"""So many paths decide where in the layout a folder stands, and which layouts are near: the rest is alike."""
SHOWN = 3
LEAST = 0.005
"""The least share of the images that makes a layout a near one."""


@dataclass(frozen=True)
class Imported:
    """What was listed. file: the manifest."""

    manifest: Manifest
    file: Path

    @property
    def counts(self) -> pd.DataFrame:
        """Images by generator ("real" first) and split."""
        rows = self.manifest.rows
        table = pd.crosstab(rows["generator"], rows["split"])
        order = sorted(table.index, key=lambda name: (name != "real", name))
        return table.loc[order, [split for split in ("train", "validation", "test") if split in table]]


def check_request(card: DatasetCard, folder: Path | None, collects: bool) -> None:
    """See whether the flags fit a data set. folder: that of --from. collects: whether --copies or --fetch was given.
    Raises MaibenchError where they belong to another one."""
    if is_collected(card) and folder is not None:
        raise MaibenchError(f"wild is collected from repositories, not listed from a folder: {card.access}")
    if collects and not is_collected(card):
        raise MaibenchError("--copies and --fetch collect the data set 'wild' alone; give --from FOLDER")


def is_collected(card: DatasetCard) -> bool:
    """Whether it is the data set whose images maibench collects itself."""
    return card.name == "wild" and not card.layout and not card.hub


def hub_request(card: DatasetCard, out: Path | None) -> Request:
    """What packs a data set of the Hub into the folder `out`, where no folder of it lies here.

    Raises MaibenchError, with the commands that read it, where `out` is None, the card names no repository or several.
    """
    if card.layout and (out is None or not card.hub):
        raise MaibenchError(
            f"{card.name}: give the folder that it was unpacked in: maibench data import {card.name} --from FOLDER; "
            f"it is to be had at {card.homepage}{f' ({card.access})' if card.access else ''}"
        )
    if not card.hub:
        raise MaibenchError(f"{card.name}: {card.access}")
    first, *others = card.hub
    if out is None or others:
        more = f" ({len(others)} more: maibench data show {card.name})" if others else ""
        raise MaibenchError(
            f"{card.name}: needs no import, it is read from the Hub: --data {first.source}{more}; to keep a copy: "
            f"maibench data pack {first.source} --out FOLDER"
        )
    return Request(first.source, out, columns=first.columns, licence=card.licence)


def import_folder(
    card: DatasetCard, folder: Path, out: Path | None = None, limit: int | None = None, fresh: bool = False
) -> Imported:
    """List `folder` by a card into `out` (by default FOLDER/manifest.parquet; a .csv or .parquet file in the folder or
    above it). limit: at most so many images of a generator in a split, evenly spread over its files. fresh: replace a
    manifest that is there and says otherwise.

    Raises MaibenchError where an image fits none of the card's places: it says what was expected, what is there, and
    which layouts are nearest.
    """
    if not folder.is_dir():
        raise MaibenchError(f"{folder}: no such folder; give the one that holds {card.title} with --from")
    if not card.layout:
        raise MaibenchError(f"{card.name}: its card has no folders; 'maibench data show' says how to read it")
    file = _manifest_file(folder, out)
    files = sorted(list_images(folder))
    if not files:
        raise MaibenchError(f"{folder}: no images found; unpack {card.title} there first, or give another --from")
    paths = [Path(path).as_posix() for path, _ in files]
    rows = _rows(card, folder, paths)
    rows["n_bytes"] = [size for _, size in files]
    if limit is not None:
        groups = rows.groupby(["label", "generator", "split"], sort=False).indices.values()
        keep = np.concatenate([np.asarray(group)[_spread(len(group), limit)] for group in groups])
        rows = rows.iloc[np.sort(keep)]
    above = folder.resolve().relative_to(file.parent.resolve()).as_posix()
    if above != ".":
        rows["path"] = f"{above}/" + rows["path"]
    manifest = Manifest.from_frame(rows, file.parent, card.name, where=str(folder))
    _write(manifest.rows, file, fresh)
    return Imported(manifest, file)


def _rows(card: DatasetCard, folder: Path, paths: list[str]) -> pd.DataFrame:
    layout = Layout(card)
    sample = [paths[index] for index in _spread(len(paths), SAMPLE)]
    stands = _where_it_stands(layout, folder, sample)
    said = [layout.describe(stands + path) for path in paths]
    if None in said:
        raise MaibenchError(_does_not_fit(layout, folder, paths, said, [stands + path for path in sample]))
    known: list[Said] = [item for item in said if item is not None]
    rows = pd.DataFrame({"path": paths, "label": [item.label for item in known]})
    rows["generator"] = [item.generator for item in known]
    if any(item.source for item in known):
        rows["source"] = [item.source or path for item, path in zip(known, paths, strict=True)]
    rows["split"] = [item.split for item in known]
    dates = {name: card.released.get(name) or release_date(name) for name in rows["generator"].unique()}
    if any(dates.values()):
        rows["released"] = rows["generator"].map(dates).astype("string")
    rows["licence"] = card.licence
    return rows


def _where_it_stands(layout: Layout, folder: Path, sample: list[str]) -> str:
    """What to put before the paths: nothing, or the names of the folder and the one above, where somebody gave a part
    of the data set (GenImage/Midjourney) and the layout needs to know which."""
    parts = folder.resolve().parts[1:]
    for depth in range(min(len(parts), 2) + 1):
        before = "".join(f"{part}/" for part in parts[len(parts) - depth :])
        if all(layout.describe(before + path) for path in sample):
            return before
    return ""


def _does_not_fit(layout: Layout, folder: Path, paths: list[str], said: list[Said | None], sample: list[str]) -> str:
    strangers = [path for path, item in zip(paths, said, strict=True) if item is None]
    shown = ", ".join(f"'{strangers[index]}'" for index in _spread(len(strangers), SHOWN))
    fits = [fit for fit in nearest_layouts(sample, at_most=None) if fit.card.name != layout.card.name]
    near = ", ".join(f"{fit.card.name} ({fit.share:.0%} of the images)" for fit in fits[:SHOWN] if fit.share >= LEAST)
    nearest = f"Nearest layouts: {near}" if near else "No other layout that is known here fits any of them"
    first = ""
    if len(strangers) <= len(paths) // 2:
        place = posixpath.dirname(strangers[0])
        first = f" The first folder that does not fit: {place or folder}."
    folders = [folder for called in layout.generators.values() for folder in called]
    expected = "; or ".join(layout.expected) + (f" ({{generator}} is one of {', '.join(folders)})" if folders else "")
    return (
        f"{folder}: {len(strangers):,} of {len(paths):,} images do not lie as the card '{layout.card.name}' says. "
        f"Expected: {expected}. There is: {shown}.{first} {nearest}. Give the folder that holds the data set as it "
        "was unpacked, or the right NAME, or a card of your own with --card FILE.yaml"
    )


def _manifest_file(folder: Path, out: Path | None) -> Path:
    file = folder / "manifest.parquet" if out is None else out
    if file.suffix not in (".parquet", ".csv"):
        raise MaibenchError(f"--out {file}: a manifest is a .csv or a .parquet file")
    if not folder.resolve().is_relative_to(file.parent.resolve()):
        raise MaibenchError(
            f"--out {file}: a manifest lies in the folder of its images or in one above it; choose a file in {folder}"
        )
    make_folder(file.parent)
    return file


def _write(rows: pd.DataFrame, file: Path, fresh: bool) -> None:
    made = io.BytesIO()
    if file.suffix == ".csv":
        rows.to_csv(made, index=False)
    else:
        rows.to_parquet(made, index=False)
    if file.exists() and not fresh:
        if file.read_bytes() == made.getvalue():
            return
        raise MaibenchError(
            f"{file}: there already, and it lists something else; replace it with --fresh, or choose another --out"
        )
    write_whole(file, lambda part: part.write_bytes(made.getvalue()))


def _spread(count: int, at_most: int) -> list[int]:
    """So many indices below `count`, evenly spread."""
    return np.linspace(0, count - 1, min(count, at_most)).round().astype(int).tolist() if count else []
