"""A derived data set in which a file's format, size and compression cannot tell its label.

Every image is cut and stored anew in one way: the same crop size on the same grid of 8 x 8 blocks, one distribution of
JPEG quality and chroma subsampling (after Grommelt et al. 2024, arXiv 2403.17608). What a file's size still tells then
is content: a smoother image makes a smaller file. `store="png"` (uncompressed) takes that away too.
"""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from maibench.datasets.data_card import DataCard
from maibench.datasets.image import MAX_PIXELS, Pixels, decode, orientation
from maibench.datasets.images import FolderImages
from maibench.datasets.made_folder import IMAGES, MadeFolder
from maibench.datasets.manifest import Manifest
from maibench.datasets.storage import UNCOMPRESSED, Storage
from maibench.errors import ImageError, MaibenchError
from maibench.files import write_whole
from maibench.progress import Progress

RECIPE = 1
"""Raise it when the same request makes other bytes, so that old folders are not gone on with."""
BLOCK = 8
"""Pixels a side of JPEG's blocks."""
WINDOW = 64
SMALLEST = 64
SUBSAMPLINGS = {"4:4:4": 0, "4:2:2": 1, "4:2:0": 2}
"""Name -> Pillow's number."""
TOO_SMALL = "smaller than --size"
_FLIPPED = ({3, 4, 7, 8}, {2, 3, 6, 7})
"""EXIF orientations after which rows, and columns, are counted from the other end."""
_KEPT = ("source", "released", "licence", "pair")


@dataclass(frozen=True)
class Recipe:
    """How every image is cut and stored. size: pixels a side. store: "jpeg" or "png" (uncompressed). quality: the
    lowest and highest JPEG quality, all in between alike. subsampling: names of SUBSAMPLINGS, all alike. balance: as
    many real as synthetic images in every split. seed: of all draws."""

    size: int = 256
    store: str = "jpeg"
    quality: tuple[int, int] = (75, 95)
    subsampling: tuple[str, ...] = ("4:2:0", "4:4:4")
    balance: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        low, high = self.quality
        wrong = [name for name in self.subsampling if name not in SUBSAMPLINGS]
        if self.size < SMALLEST or self.size % BLOCK:
            raise MaibenchError(f"--size {self.size}: give pixels a side, a multiple of {BLOCK}, at least {SMALLEST}")
        if self.store not in ("jpeg", "png"):
            raise MaibenchError(f"--store {self.store}: give jpeg or png")
        if not 1 <= low <= high <= 100:
            raise MaibenchError(f"--quality {low}-{high}: give the lowest and the highest, from 1 to 100: 75-95")
        if wrong or not self.subsampling:
            raise MaibenchError(f"--subsampling {','.join(self.subsampling)}: give some of {', '.join(SUBSAMPLINGS)}")

    def cut(self, pixels: Pixels, turned: int = 1) -> Pixels:
        """The middle of an image, from the edge of one of its file's blocks of BLOCK pixels.

        turned: the EXIF orientation that was undone; the blocks begin at an edge that may be the right or the lower one
        now. Raises ImageError where the image is too small.
        """
        height, width = pixels.shape[:2]
        room = [height - self.size, width - self.size]
        if min(room) < 0:
            raise ImageError(f"{width} x {height} pixels: {TOO_SMALL} {self.size}")
        begins = [more // 2 // BLOCK * BLOCK for more in room]
        top, left = (
            more - begin if turned in flipped else begin
            for more, begin, flipped in zip(room, begins, _FLIPPED, strict=True)
        )
        return np.ascontiguousarray(pixels[top : top + self.size, left : left + self.size])

    def storage(self, image_id: str) -> Storage:
        """How an image is stored: drawn by its bytes and the seed, not by its label."""
        if self.store == "png":
            return UNCOMPRESSED
        rng = np.random.default_rng(list(hashlib.sha256(f"{self.seed}:{image_id}".encode()).digest()))
        quality = int(rng.integers(self.quality[0], self.quality[1] + 1))
        subsampling = self.subsampling[rng.integers(len(self.subsampling))]
        options = {"quality": quality, "subsampling": SUBSAMPLINGS[subsampling]}
        return Storage(f"jpeg:{quality}", "JPEG", ".jpg", 65500, options)


@dataclass(frozen=True)
class Matched:
    """What was made. images: how many; left_out: {path: why}; by_generator: left out, a generator; surplus: dropped
    to balance the classes; computed: whether anything was missing."""

    images: int
    left_out: dict[str, str]
    by_generator: dict[str, int]
    surplus: int
    computed: bool

    def described(self) -> str:
        """In one line."""
        lost = ", ".join(f"{count} of {name}" for name, count in sorted(self.by_generator.items()))
        left = f"{len(self.left_out)} left out, too small or unreadable ({lost})" if lost else "none left out"
        if sum(TOO_SMALL in why for why in self.left_out.values()) >= self.images:
            left += ": a smaller --size keeps more"
        return f"{self.images} images; {left}" + (f"; {self.surplus} dropped to balance" if self.surplus else "")


def parse_quality(text: str) -> tuple[int, int]:
    """ "75-95" or "90". Raises MaibenchError for what is neither."""
    found = re.fullmatch(r"(\d{1,3})(?:-(\d{1,3}))?", text.strip())
    if not found:
        raise MaibenchError(f"--quality {text}: give the lowest and the highest, from 1 to 100: 75-95")
    return int(found[1]), int(found[2] or found[1])


def match(
    manifest: Manifest,
    out: Path,
    recipe: Recipe,
    workers: int = 1,
    fresh: bool = False,
    progress: Progress | None = None,
) -> Matched:
    """Write the derived data set to `out`, or what of it is missing there; splits and sources stay.

    Raises MaibenchError where `out` holds something else or lies in the data's own folder, and where no image can be
    used, or none of a class.
    """
    progress = progress or Progress()
    if isinstance(manifest.images, FolderImages) and out.resolve().is_relative_to(manifest.root):
        raise MaibenchError(f"{out}: lies in the folder of the data and would be listed with it; choose another --out")
    asked = {"recipe": RECIPE, "data": f"{manifest.name} {manifest.fingerprint}", **_as_json(recipe)}
    folder = MadeFolder(out, "match.json")
    if fresh:
        folder.clear()
    folder.refuse_another(asked)
    folder.begin(asked)
    if (made := folder.finished()) is not None:
        return Matched(**made, computed=False)
    rows: list[dict[str, Any]] = manifest.rows.to_dict("records")  # type: ignore[assignment]
    starts = range(0, len(rows), WINDOW)
    with progress.running(len(rows)), ThreadPoolExecutor(workers) as pool:
        for window, start in enumerate(starts):
            members = rows[start : start + WINDOW]
            if not folder.has(window):
                manifest.images.expect([row["path"] for row in members])
                jobs = [(manifest, row, number, out, recipe) for number, row in enumerate(members, start)]
                results = list(pool.map(_store, *zip(*jobs, strict=True)))
                made_rows = [result for result in results if isinstance(result, dict)]
                pairs = zip(members, results, strict=True)
                folder.note(window, made_rows, {row["path"]: why for row, why in pairs if isinstance(why, str)})
            progress.advance(len(members))
    table, left_out = folder.noted(len(starts))
    _check_classes(manifest, table, recipe, left_out)
    kept = _balanced(table, recipe.seed) if recipe.balance else table
    for path in set(table["path"]) - set(kept["path"]):
        (out / path).unlink(missing_ok=True)
    lost = manifest.rows.loc[manifest.rows["path"].isin(left_out), "generator"].value_counts()
    by_generator = {str(name): int(count) for name, count in lost.items()}
    result = Matched(len(kept), left_out, by_generator, len(table) - len(kept), computed=True)
    facts = {key: value for key, value in vars(result).items() if key != "computed"}
    folder.finish(kept, facts, _card(manifest, recipe))
    return result


def _store(manifest: Manifest, row: dict[str, Any], number: int, out: Path, recipe: Recipe) -> dict[str, Any] | str:
    """The new row of one image, whose file is written; or why there is none."""
    try:
        file = manifest.read(row["path"], MAX_PIXELS)
        pixels = recipe.cut(decode(file.data), orientation(file.data))
    except ImageError as error:
        return str(error)
    storage = recipe.storage(file.image_id)
    data = storage.encode(pixels)
    path = f"{IMAGES}/{number:07d}{storage.suffix}"
    target = out / path
    if not target.is_file() or target.stat().st_size != len(data):
        write_whole(target, lambda part: part.write_bytes(data))
    new: dict[str, Any] = {
        "image_id": hashlib.sha256(data).hexdigest(),
        "path": path,
        "label": int(row["label"]),
        "generator": row["generator"],
        "split": row["split"],
        **{key: "" if pd.isna(row[key]) else str(row[key]) for key in _KEPT if key in row},
        "width": recipe.size,
        "height": recipe.size,
        "format": storage.format,
        "n_bytes": len(data),
        "original": row["path"],
        "original_id": file.image_id,
    }
    if storage.format == "JPEG":
        names = {number: name for name, number in SUBSAMPLINGS.items()}
        new |= {"quality": storage.options["quality"], "subsampling": names[storage.options["subsampling"]]}
    return new


def _check_classes(manifest: Manifest, table: pd.DataFrame, recipe: Recipe, left_out: dict[str, str]) -> None:
    """Raise MaibenchError where a class is gone, or where classes that are to be balanced share no split."""
    for label, name in enumerate(("real", "synthetic")):
        if (manifest.rows["label"] == label).any() and not (table["label"] == label).any():
            paths = manifest.rows.loc[manifest.rows["label"] == label, "path"]
            raise MaibenchError(
                f"no {name} image is left of {len(paths)}; the first is {paths.iloc[0]}: {left_out[paths.iloc[0]]}; "
                f"give a smaller --size than {recipe.size}, with --fresh"
            )
    if recipe.balance and (table.groupby("split")["label"].nunique() < 2).all():
        raise MaibenchError("--balance: no split has both real and synthetic images; leave it out, with --fresh")


def _balanced(rows: pd.DataFrame, seed: int) -> pd.DataFrame:
    """As many real as synthetic rows in every split; a generator keeps its share."""
    keys = [hashlib.sha256(f"{seed}:{path}".encode()).hexdigest() for path in rows["original_id"] + rows["path"]]
    shuffled = rows.assign(_key=keys).sort_values("_key", kind="stable")
    members = shuffled.groupby(["split", "label", "generator"])
    place = ((members.cumcount() + 0.5) / members["label"].transform("size")).rename("_place")
    ordered = shuffled.assign(_place=place).sort_values(["_place", "_key"], kind="stable")
    rank = ordered.groupby(["split", "label"]).cumcount()
    sizes = rows.groupby(["split", "label"]).size().unstack(fill_value=0)
    most = sizes.reindex(columns=[0, 1], fill_value=0).min(axis=1)
    kept = ordered.index[rank < ordered["split"].map(most)]
    return rows.loc[np.sort(kept)]


def _as_json(recipe: Recipe) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in vars(recipe).items()}


def _card(manifest: Manifest, recipe: Recipe) -> DataCard:
    low, high = recipe.quality
    command = f"maibench data match {shlex.quote(manifest.name)} --size {recipe.size} --store {recipe.store}"
    if recipe.store == "jpeg":
        command += f" --quality {low}-{high} --subsampling {','.join(recipe.subsampling)}"
    command += f"{' --balance' if recipe.balance else ''} --seed {recipe.seed}"
    stored = (
        f"stored as JPEG of quality {low} to {high}, {' or '.join(recipe.subsampling)}, drawn alike for both classes"
        if recipe.store == "jpeg"
        else "stored as PNG without compression"
    )
    made: Sequence[str] = (
        f"Every image of '{manifest.name}' (fingerprint {manifest.fingerprint}): the middle {recipe.size} x "
        f"{recipe.size} pixels from a multiple of {BLOCK}, {stored}.",
    )
    limits = [
        "What happened to the images before stays in their pixels: an earlier JPEG compression of one class alone, a "
        "resize, an upscaling. 'maibench data audit' measures it."
    ]
    if recipe.store == "jpeg":
        limits.append("A smoother image still makes a smaller file: that is content, not format.")
    summary = f"'{manifest.name}', cut and stored so that format, size and compression cannot tell the label"
    return DataCard(
        title=f"{manifest.name}, matched", summary=summary, made=made, command=command, limits=limits, tags=["matched"]
    )
