"""A derived data set in which a file's format, size and compression cannot tell its label.

Every image is cut and stored anew in one way: the same crop size on the same grid of 8 x 8 blocks, one distribution of
JPEG quality and chroma subsampling (after Grommelt et al. 2024, arXiv 2403.17608). What a file's size still tells then
is content: a smoother image makes a smaller file. `store="png"` (uncompressed) takes that away too.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from maibench.datasets.data_card import DataCard
from maibench.datasets.image import MAX_PIXELS, Pixels, decode
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

    def cut(self, pixels: Pixels) -> Pixels:
        """The middle of an image, from a multiple of BLOCK pixels. Raises ImageError where it is too small."""
        room = [side - self.size for side in pixels.shape[:2]]
        if min(room) < 0:
            raise ImageError(f"smaller than {self.size} pixels a side")
        top, left = (more // 2 // BLOCK * BLOCK for more in room)
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
    command: str = "",
    progress: Progress | None = None,
) -> Matched:
    """Write the derived data set to `out`, or what of it is missing there; splits and sources stay.

    command: that is named in the data card. Raises MaibenchError where `out` holds something else or lies in the
    data's own folder, and where no image can be used.
    """
    progress = progress or Progress()
    if out.resolve().is_relative_to(manifest.root):
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
    kept = _balanced(table, recipe.seed) if recipe.balance else table
    for path in set(table["path"]) - set(kept["path"]):
        (out / path).unlink(missing_ok=True)
    lost = manifest.rows.loc[manifest.rows["path"].isin(left_out), "generator"].value_counts()
    by_generator = {str(name): int(count) for name, count in lost.items()}
    result = Matched(len(kept), left_out, by_generator, len(table) - len(kept), computed=True)
    facts = {key: value for key, value in vars(result).items() if key != "computed"}
    folder.finish(kept, facts, _card(manifest, recipe, command))
    return result


def _store(manifest: Manifest, row: dict[str, Any], number: int, out: Path, recipe: Recipe) -> dict[str, Any] | str:
    """The new row of one image, whose file is written; or why there is none."""
    try:
        file = manifest.read(row["path"], MAX_PIXELS)
        pixels = recipe.cut(decode(file.data))
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


def _card(manifest: Manifest, recipe: Recipe, command: str) -> DataCard:
    low, high = recipe.quality
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
