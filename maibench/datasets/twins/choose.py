"""Which photographs get twins: by licence, size, blankness and likeness to those chosen before; and their splits."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from maibench.datasets.data_card import hub_licence
from maibench.datasets.image import decode
from maibench.datasets.manifest import SPLITS, Manifest
from maibench.datasets.near import DISTANCE, DISTANCE_DOWN, likeness
from maibench.datasets.split import DEFAULT, parse_shares
from maibench.datasets.storage import Storage
from maibench.datasets.twins.folder import TwinsFolder
from maibench.datasets.twins.gates import blankness
from maibench.errors import ImageError, MaibenchError
from maibench.progress import Progress

STAGE = "photographs"
WINDOW = 32
"""Photographs that are looked at between two notes."""


@dataclass(frozen=True)
class Photo:
    """A chosen photograph. name: of its files. path: in the source. image_id: sha256 of the original. source, split,
    licence: as they will be listed. original: what it was, for its receipt."""

    name: str
    path: str
    image_id: str
    source: str
    split: str
    licence: str
    original: dict[str, Any]


@dataclass(frozen=True)
class Gate:
    """most: photographs at most. size: pixels a side that are stored. smallest: of the shorter side of the original.
    licences: those that are taken; empty: any. shares: of train, validation and test; None: the source's own splits.
    seed: of the order and of the splits."""

    most: int
    size: int
    smallest: int
    licences: tuple[str, ...]
    shares: tuple[float, ...] | None
    seed: int


class _Seen:
    """The photographs that were chosen before; room for `most`. splits: of their sources."""

    def __init__(self, most: int) -> None:
        self.ids: set[str] = set()
        self.splits: dict[str, str] = {}
        self._paths: list[str] = []
        self._hashes = np.zeros((2, most), dtype=np.uint64)

    def add(self, facts: dict[str, Any]) -> None:
        """Remember what `_photo` found."""
        self.ids.add(facts["photo"]["image_id"])
        self.splits[facts["photo"]["source"]] = facts["photo"]["split"]
        if not facts["flat"]:
            self._hashes[:, len(self._paths)] = int(facts["dhash"], 16), int(facts["down"], 16)
            self._paths.append(facts["photo"]["path"])

    def near(self, across: int, down: int) -> str:
        """The path of one that looks the same; empty where none does."""
        hashes = self._hashes[:, : len(self._paths)]
        bits = np.bitwise_count(hashes ^ np.array([[across], [down]], dtype=np.uint64))
        found = np.flatnonzero((bits[0] <= DISTANCE) & (bits[1] <= DISTANCE_DOWN))
        return self._paths[int(found[0])] if len(found) else ""


def choose_photos(
    manifest: Manifest, gate: Gate, folder: TwinsFolder, storage: Storage, progress: Progress
) -> tuple[list[Photo], dict[str, str]]:
    """The photographs, in order, and {path: why} of those that were looked at and refused.

    They are taken in an order of their own that the seed draws (a source that can only be read forward: in its order).
    Each is stored in the folder as both sides of a pair will be. Raises MaibenchError where none passes.
    """
    rows = candidates(manifest, gate)
    photos: list[Photo] = []
    refused: dict[str, str] = {}
    seen = _Seen(min(gate.most, len(rows)))
    windows = range((len(rows) + WINDOW - 1) // WINDOW)
    noted = list(itertools.takewhile(bool, (folder.note(STAGE, f"{window:06d}") for window in windows)))
    for note in filter(None, noted):
        for facts in note["photos"]:
            seen.add(facts)
            photos.append(Photo(**facts["photo"]))
        refused |= note["refused"]
    with progress.running(min(gate.most, len(rows)), len(photos)):
        for window in windows[len(noted) :]:
            if len(photos) >= gate.most:
                break
            members = rows[window * WINDOW : (window + 1) * WINDOW]
            found, images, reasons = _look(manifest, members, gate, len(photos), seen, storage)
            folder.write_note(STAGE, f"{window:06d}", {"photos": found, "refused": reasons}, images)
            photos += [Photo(**facts["photo"]) for facts in found]
            refused |= reasons
            progress.advance(len(found))
    if not photos:
        path, why = next(iter(refused.items()))
        raise MaibenchError(f"none of the {len(refused)} photographs can be used; the first is {path}: {why}")
    return photos, refused


def check_photographs(manifest: Manifest, licences: Sequence[str]) -> None:
    """Raise MaibenchError where there are no photographs, or licences are asked for that nothing is known of."""
    if not (manifest.rows["label"] == 0).any():
        raise MaibenchError(f"the data '{manifest.name}' has no real photographs")
    if licences and "licence" not in manifest.rows:
        raise MaibenchError(
            f"the data '{manifest.name}' has no column licence, so that no photograph could pass --licences; name the "
            "column with --columns licence=COLUMN"
        )


def candidates(manifest: Manifest, gate: Gate) -> list[dict[str, Any]]:
    """The rows of the photographs in the order in which they are looked at."""
    real = manifest.rows[manifest.rows["label"] == 0]
    rows = [{str(key): value for key, value in row.items()} for row in real.to_dict("records")]
    if not manifest.images.in_order:
        rows.sort(key=lambda row: hashlib.sha256(f"{gate.seed} {row['path']}".encode()).digest())
    return rows


def licence_of(row: dict[str, Any]) -> str:
    """What a row says of its licence; empty where it says nothing."""
    given = row.get("licence")
    return "" if pd.isna(given) else str(given).strip()


def shares_of(manifest: Manifest, text: str) -> tuple[float, ...] | None:
    """`own` (None: the source's splits), `auto` (its own, where it has more than one), or shares as `parse_shares`
    reads them. Raises MaibenchError for anything else."""
    if text == "own" or (text == "auto" and manifest.rows["split"].nunique() > 1):
        return None
    return DEFAULT if text == "auto" else parse_shares(text)


def split_of(source: str, shares: Sequence[float], seed: int) -> str:
    """The split of a source by a seeded hash: the same whatever else is in the data."""
    drawn = int.from_bytes(hashlib.sha256(f"split {seed} {source}".encode()).digest()[:7], "big") / 2**56
    return SPLITS[int(np.searchsorted(np.cumsum(shares)[:2], drawn, side="right"))]


def fitted(pixels: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """The middle of an image, size x size: its shorter side is reduced to `size`, what is left over is cut off.

    The same for photographs and their twins. Raises ImageError for a shorter side of less; nothing is enlarged.
    """
    height, width = pixels.shape[:2]
    if min(height, width) < size:
        raise ImageError(f"{width} x {height} pixels: smaller than the {size} a side that are stored")
    scale = size / min(height, width)
    if scale < 1:
        sides = max(size, round(width * scale)), max(size, round(height * scale))
        pixels = np.asarray(Image.fromarray(pixels).resize(sides, Image.Resampling.LANCZOS))
    top, left = (pixels.shape[0] - size) // 2, (pixels.shape[1] - size) // 2
    return np.ascontiguousarray(pixels[top : top + size, left : left + size])


def _look(
    manifest: Manifest, rows: list[dict[str, Any]], gate: Gate, first: int, seen: _Seen, storage: Storage
) -> tuple[list[dict[str, Any]], dict[str, bytes], dict[str, str]]:
    """The photographs of a window that pass (as they are noted), their files, and why the others do not."""
    found: list[dict[str, Any]] = []
    images: dict[str, bytes] = {}
    refused: dict[str, str] = {}
    licensed = list(_licensed(rows, gate.licences, refused))
    manifest.images.expect([row["path"] for row in licensed])
    for row in licensed:
        if first + len(found) >= gate.most:
            break
        try:
            facts, data = _photo(manifest, row, gate, f"{first + len(found):06d}", seen, storage)
        except ImageError as error:
            refused[row["path"]] = str(error)
            continue
        found.append(facts)
        images[f"{facts['photo']['name']}{storage.suffix}"] = data
        seen.add(facts)
    return found, images, refused


def _photo(
    manifest: Manifest, row: dict[str, Any], gate: Gate, name: str, seen: _Seen, storage: Storage
) -> tuple[dict[str, Any], bytes]:
    file = manifest.read(row["path"])
    pixels = decode(file.data)
    height, width = pixels.shape[:2]
    if min(height, width) < max(gate.smallest, gate.size):
        raise ImageError(f"{width} x {height} pixels: smaller than {max(gate.smallest, gate.size)} a side")
    stored = fitted(pixels, gate.size)
    if why := blankness(stored):
        raise ImageError(why)
    like = likeness(pixels)
    across, down = int(like["dhash"]), int(like["dhash_down"])
    flat = bool(like["flat"])
    if file.image_id in seen.ids:
        raise ImageError("the same file as one that was chosen before")
    if not flat and (twin := seen.near(across, down)):
        raise ImageError(f"nearly the same as {twin}, which was chosen before")
    source = str(row.get("source") or row["path"])
    split = row["split"] if gate.shares is None else split_of(source, gate.shares, gate.seed)
    if seen.splits.get(source, split) != split:
        raise ImageError(f"its source '{source}' lies in two splits: {seen.splits[source]} was chosen before")
    photo = Photo(
        name, row["path"], file.image_id, source, split,
        licence_of(row),
        {"format": file.format, "width": width, "height": height, "n_bytes": len(file.data)},
    )  # fmt: skip
    facts = {"photo": asdict(photo), "dhash": f"{across:016x}", "down": f"{down:016x}", "flat": flat}
    return facts, storage.encode(stored)


def _licensed(rows: list[dict[str, Any]], licences: Sequence[str], refused: dict[str, str]) -> Iterator[dict[str, Any]]:
    allowed = {_plain(licence) for licence in licences}
    for row in rows:
        given = licence_of(row)
        if allowed and _plain(given) not in allowed:
            refused[row["path"]] = f"the licence {given!r} is not one that is taken" if given else "no licence"
        else:
            yield row


def _plain(licence: str) -> str:
    """A licence as it is compared: without regard to how it is written."""
    text = licence.strip().casefold()
    return "cc0-1.0" if "publicdomain/zero" in text else hub_licence(text) or text
