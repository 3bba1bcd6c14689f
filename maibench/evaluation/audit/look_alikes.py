"""Pictures of images that look alike, side by side: which pairs are shown, and the sheet that shows them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont, ImageOps

from maibench.datasets.image import decode
from maibench.datasets.manifest import Manifest
from maibench.errors import ImageError
from maibench.evaluation.audit.parts import Shot
from maibench.evaluation.audit.sharing import Alike
from maibench.evaluation.tables.formats import one_line

MOST = 12
"""Pairs on a sheet."""
SIDE, GAP, LINE, ACROSS = 136, 6, 14, 3
_GREY, _INK = (228, 228, 228), (30, 30, 30)


@dataclass(frozen=True)
class Pairs:
    """Pairs to look at: positions in the facts, and what is said of each; at most MOST. found: how many there are to
    choose from, of which these are the nearest."""

    title: str
    ends: list[tuple[int, int]]
    says: list[str]
    found: int


def exact_copies(facts: pd.DataFrame) -> Pairs:
    """Of images that lie in two splits byte for byte, one in each."""
    firsts = facts.assign(at=np.arange(len(facts))).drop_duplicates(["image_id", "split"])
    twice = firsts[firsts.duplicated("image_id", keep=False)].groupby("image_id", sort=False)["at"]
    ends = list(zip(twice.nth(0), twice.nth(1), strict=True))
    return Pairs("Exact copies in two splits", ends[:MOST], ["the same bytes"] * min(MOST, len(ends)), len(ends))


def across_splits(facts: pd.DataFrame, alike: Alike) -> Pairs:
    """Near-duplicates in two splits, the nearest first, each image once."""
    met = _met(facts, alike, "split")
    return _nearest("Near-duplicates in two splits", facts, met[met["split_x"] != met["split_y"]])


def within_a_split(facts: pd.DataFrame, alike: Alike) -> Pairs:
    """Near-duplicates of two sources in one split."""
    met = _met(facts, alike, "source")
    met = met[(met["source_x"] != met["source_y"]) & (met["split_x"] == met["split_y"])]
    return _nearest("Near-duplicates of two sources in one split", facts, met)


def shots(facts: pd.DataFrame, manifest: Manifest, chosen: Sequence[Pairs]) -> list[Shot]:
    """A sheet for each of the pairs that has any; none where images can only be read forward."""
    if manifest.images.in_order:
        return []
    return [Shot(pairs.title, sheet(facts, manifest, pairs), _caption(pairs)) for pairs in chosen if pairs.ends]


def sheet(facts: pd.DataFrame, manifest: Manifest, pairs: Pairs) -> bytes:
    """A PNG of the pairs; under each image its split, generator and path."""
    width, height = 2 * SIDE + 3 * GAP, SIDE + 4 * LINE + 2 * GAP
    across = min(ACROSS, len(pairs.ends))
    down = -(-len(pairs.ends) // across)
    canvas = Image.new("RGB", (across * width, down * height), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(11)
    for number, (ends, says) in enumerate(zip(pairs.ends, pairs.says, strict=True)):
        left, top = number % across * width, number // across * height
        draw.text((left + GAP, top + GAP), says, _INK, font)
        for end in (0, 1):
            row, x, y = facts.iloc[ends[end]], left + GAP + end * (SIDE + GAP), top + GAP + LINE
            _place(canvas, draw, font, manifest, str(row["path"]), x, y)
            for line, text in enumerate((row["split"], row["generator"], PurePosixPath(str(row["path"])).name)):
                draw.text((x, y + SIDE + line * LINE), _fitting(one_line(text), font), _INK, font)
    stream = io.BytesIO()
    canvas.save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _met(facts: pd.DataFrame, alike: Alike, kind: str) -> pd.DataFrame:
    """Pairs of images whose pictures are the same or near: of each picture, split and `kind`, the first image."""
    columns = ["image_id", "split", "source"]
    cells = facts[columns].assign(at=np.arange(len(facts)), shown=alike.shown)
    cells = cells.drop_duplicates(list(dict.fromkeys(["shown", "split", kind])))
    cells = cells[cells.groupby(["shown", "split"]).cumcount() < 2]  # two sources are enough to show
    own = np.unique(alike.shown)
    links = pd.DataFrame({"shown": np.r_[own, alike.pairs[:, 0]], "other": np.r_[own, alike.pairs[:, 1]]})
    links["distance"] = np.r_[np.zeros(len(own), dtype=np.uint8), alike.distances]
    met = cells.merge(links, on="shown").merge(cells, left_on="other", right_on="shown", suffixes=("_x", "_y"))
    return met[
        (met["image_id_x"] != met["image_id_y"]) & ((met["shown_x"] != met["shown_y"]) | (met["at_x"] < met["at_y"]))
    ]


def _nearest(title: str, facts: pd.DataFrame, met: pd.DataFrame) -> Pairs:
    met = met.sort_values(["distance", "at_x", "at_y"], kind="stable")
    shown: list[tuple[int, int]] = []
    says, used = [], set[int]()
    for x, y, distance in zip(met["at_x"], met["at_y"], met["distance"], strict=True):
        if len(shown) == MOST:
            break
        if x not in used and y not in used:
            shown.append((x, y))
            says.append(f"{distance} of 64 bits differ")
            used |= {x, y}
    return Pairs(title, shown, says, len(met))


def _caption(pairs: Pairs) -> str:
    if len(pairs.ends) < pairs.found:
        return f"{len(pairs.ends)} of {pairs.found:,} pairs, the nearest, each image once"
    return f"{pairs.found:,} pair{'s' if pairs.found > 1 else ''}"


def _place(
    canvas: Image.Image, draw: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    manifest: Manifest, path: str, x: int, y: int,
) -> None:  # fmt: skip
    """Draw an image into its square, or say that it cannot be read any more."""
    draw.rectangle((x, y, x + SIDE - 1, y + SIDE - 1), _GREY)
    try:
        image = Image.fromarray(decode(manifest.read(path).data))
    except ImageError:
        draw.text((x + GAP, y + SIDE // 2), "cannot be read", _INK, font)
        return
    image = ImageOps.contain(image, (SIDE, SIDE), Image.Resampling.LANCZOS)  # a small copy is shown as large
    canvas.paste(image, (x + (SIDE - image.width) // 2, y + (SIDE - image.height) // 2))


def _fitting(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """As much of a text as fits under an image: its beginning and its end."""
    if font.getlength(text) <= SIDE:
        return text
    kept = len(text)
    while kept > 2 and font.getlength(f"{text[: kept // 2]}..{text[-(kept - kept // 2) :]}") > SIDE:
        kept -= 1
    return f"{text[: kept // 2]}..{text[-(kept - kept // 2) :]}"
