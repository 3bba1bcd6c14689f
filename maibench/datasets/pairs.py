"""Pairs of a real crop and its reconstruction: the same content, stored alike, so that only the traces differ."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from maibench.datasets.autoencoders import load_autoencoder
from maibench.datasets.receipts import COLUMN
from maibench.datasets.storage import UNCOMPRESSED, Storage
from maibench.files import make_folder, write_whole

CROP = 256 * 256
"""Pixels of the crops that a batch is counted in."""


@dataclass(frozen=True)
class Crop:
    """A real crop: `name` is unique and becomes the file's name; `pixels` uint8 height x width x 3, sides divisible by
    its autoencoders' factors; `source`, `split` and `licence` as in a manifest (None: no such column);
    `autoencoders`: by which ones it is to be reconstructed; `photograph`, `image_id`: the path of what it was cut from,
    and its sha256."""

    name: str
    pixels: NDArray[np.uint8]
    source: str
    split: str
    autoencoders: tuple[str, ...]
    licence: str | None = None
    photograph: str = ""
    image_id: str | None = None


Receipt = Callable[[Crop, str, str], str]
"""(crop, "real" or an autoencoder's name, sha256 of the file) -> the receipt of that file."""


def grid(length: int, size: int) -> list[int]:
    """Start positions of crops of `size` along a side of `length`: evenly spread, overlapping by half at most.

    Empty when not even one crop fits.
    """
    room = length - size
    if room < 0:
        return []
    steps = room // ((size + 1) // 2)
    # half-way positions go up, each of them: with round()'s "to even" two neighbours could come too close
    return [(2 * room * step + steps) // (2 * steps) for step in range(steps + 1)] if steps else [0]


def write_pairs(
    crops: Iterable[Crop],
    folder: Path,
    batch: int = 8,
    models: Mapping[str, Any] | None = None,
    storage: Storage = UNCOMPRESSED,
    device: str = "cpu",
    receipt: Receipt | None = None,
) -> pd.DataFrame:
    """Write every crop and its reconstructions to `folder`/images, and return the rows of a manifest.

    All crops are held in memory: hand over a long list in windows. They are reconstructed in batches of one size, in
    the order given. batch: crops of 256 x 256 pixels at once; of larger ones as many as have no more pixels, at least
    one. models: the autoencoders, on `device`; by default the nano ones of these names. receipt: what the column
    `receipt` says of a file; None: no such column. A file that
    is there already is left as it is, and a batch whose files are all there is not computed: the same crops in the same
    batches make the same bytes. Raises ValueError for sides that an autoencoder would change, DiskError for what cannot
    be written.
    """
    from maibench.datasets.roundtrip import factor_of, reconstruct

    crops = list(crops)
    names = {name for crop in crops for name in crop.autoencoders}
    models = models or {name: load_autoencoder(name) for name in sorted(names)}
    groups: dict[tuple[str, tuple[int, ...]], list[Crop]] = defaultdict(list)
    for crop in crops:
        for name in crop.autoencoders:
            factor = factor_of(models[name])
            if any(side % factor for side in crop.pixels.shape[:2]):
                raise ValueError(f"{crop.name}: the sides of {crop.pixels.shape} are not divisible by {factor}")
            groups[name, crop.pixels.shape].append(crop)
    make_folder(folder / "images")
    for crop in crops:
        _store(folder / _path(crop, "real", storage), crop.pixels, storage)
    rows = [_row(folder, crop, "real", storage, receipt) for crop in crops]
    for (name, shape), members in groups.items():
        step = max(1, min(batch, batch * CROP // (shape[0] * shape[1])))
        for start in range(0, len(members), step):
            chunk = members[start : start + step]
            if not all((folder / _path(crop, name, storage)).is_file() for crop in chunk):
                made = reconstruct(models[name], [crop.pixels for crop in chunk], device)
                for crop, pixels in zip(chunk, made, strict=True):
                    _store(folder / _path(crop, name, storage), pixels, storage)
            rows += [_row(folder, crop, name, storage, receipt) for crop in chunk]
    return pd.DataFrame(rows)


def _path(crop: Crop, generator: str, storage: Storage) -> str:
    return f"images/{crop.name}{'' if generator == 'real' else f'.{generator}'}{storage.suffix}"


def _store(file: Path, pixels: NDArray[np.uint8], storage: Storage) -> None:
    if not file.is_file():
        write_whole(file, lambda part: part.write_bytes(storage.encode(pixels)))


def _row(folder: Path, crop: Crop, generator: str, storage: Storage, receipt: Receipt | None) -> dict[str, object]:
    path = _path(crop, generator, storage)
    data = (folder / path).read_bytes()
    height, width = crop.pixels.shape[:2]
    row: dict[str, object] = {
        "image_id": sha256(data).hexdigest(),
        "path": path,
        "label": int(generator != "real"),
        "generator": generator,
        "source": crop.source,
        "pair": crop.name,
        "split": crop.split,
        "width": width,
        "height": height,
        "format": storage.format,
        "n_bytes": len(data),
    }
    if crop.licence is not None:
        row["licence"] = crop.licence
    if receipt is not None:
        row[COLUMN] = receipt(crop, generator, str(row["image_id"]))
    return row
