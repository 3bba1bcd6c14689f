"""A data set of pairs: real photographs beside their reconstructions through autoencoders.

Splits and sources stay those of the photographs; the test split is never read. The photographs are taken in windows
that are cut from the list at fixed places, so that memory does not grow with the list, and a command that was killed
goes on where it stopped and ends in the same bytes.
"""

from __future__ import annotations

import collections
import functools
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from maibench.datasets.made_folder import MadeFolder
from maibench.datasets.manifest import Manifest
from maibench.datasets.pairs import Crop, write_pairs
from maibench.datasets.photographs import SMALLEST, Cut, open_photographs, photographs
from maibench.datasets.reconstruct_origin import card_of, receipts_of
from maibench.datasets.storage import parse_storage
from maibench.datasets.vaes import Choice, choose, fingerprint
from maibench.errors import ImageError, MaibenchError
from maibench.models.device import choose_device
from maibench.progress import Progress

RECIPE = 1
"""Raise it when the same request makes other pixels, so that old folders are not gone on with."""
BATCHES = 8
"""In a window of crops; one in a window of larger images."""
SMALL = 512
"""Pixels a side of what still counts as a crop."""


@dataclass(frozen=True)
class Request:
    """What is asked for.

    vae: as `choose` reads it. data: a SOURCE. each: reconstructions of a photograph, the autoencoders taking turns.
    most: photographs, evenly spread over the list. shrink: photographs are halved first. size: pixels a side at most,
    from the middle; "full" or "0" for whole photographs. splits: train, validation, or both with a comma. batch: crops
    of 256 x 256 at once. device: auto, cpu or cuda. store: as `parse_storage` reads it. columns:
    which of the data's columns mean what.
    """

    vae: str
    data: str
    out: Path
    each: int = 1
    most: int | None = None
    shrink: bool = False
    size: str = "256"
    splits: str = "train,validation"
    batch: int = 8
    device: str = "auto"
    store: str = "png"
    columns: str = ""


@dataclass(frozen=True)
class Summary:
    """What was made. photographs, pairs: how many. left_out: {path: why} of the photographs that could not be used.
    computed: the windows that were not there yet."""

    photographs: int
    pairs: int
    left_out: dict[str, str]
    computed: int

    def described(self) -> str:
        """In one line."""
        reasons = collections.Counter(re.split(r"[:(]", reason)[0].strip() for reason in self.left_out.values())
        why = "; ".join(f"{count} {reason}" for reason, count in reasons.most_common())
        left = f"{len(self.left_out)} photographs left out ({why})" if self.left_out else "no photograph left out"
        return f"{self.pairs} pairs of {self.photographs} photographs; {left}"


def make_pairs(request: Request, fresh: bool = False, progress: Progress | None = None) -> Summary:
    """Write the data set that is asked for to its folder, or what of it is missing there.

    fresh: all afresh, also in place of what another command made. Raises MaibenchError for a wrong request, for a
    folder that holds something else, and for data of which no photograph can be used.
    """
    from maibench.datasets.roundtrip import factor_of

    progress = progress or Progress()
    splits, size, storage = _splits(request.splits), _size(request.size), parse_storage(request.store)
    choices = choose(request.vae)
    names = [choice.name for choice in choices]
    if not 1 <= request.each <= len(names):
        raise MaibenchError(f"--each {request.each}: a photograph can have 1 to {len(names)} reconstructions here")
    manifest = open_photographs(request.data, request.out, request.columns)
    rows = photographs(manifest, splits, request.most)
    device = choose_device(request.device)
    asked: dict[str, Any] = {
        "recipe": RECIPE, "data": f"{manifest.name} {manifest.fingerprint}", "vae": names, "each": request.each,
        "most": request.most, "shrink": request.shrink, "size": size, "split": splits, "store": storage.name,
        "batch_size": request.batch, "device": device,
    }  # fmt: skip
    folder = MadeFolder(request.out, "reconstruct.json")
    if not fresh:
        folder.refuse_another(asked)
    models = {choice.name: _load(choice, progress) for choice in choices}
    asked["weights"] = {name: fingerprint(model) for name, model in models.items()}
    if fresh:
        folder.clear()
    folder.refuse_another(asked)
    origins = {choice.name: {"origin": choice.origin, "licence": choice.licence} for choice in choices}
    folder.begin(asked, autoencoders=origins)
    if (made := folder.finished()) is not None:
        return Summary(**made, computed=0)

    models = {name: model.to(device) for name, model in models.items()}
    cut = Cut(size, math.lcm(*map(factor_of, models.values())), request.shrink, storage.longest)
    write = functools.partial(
        write_pairs, folder=request.out, batch=request.batch, models=models, storage=storage, device=device,
        receipt=receipts_of(asked, choices, cut),
    )  # fmt: skip
    step = request.batch * BATCHES if size is not None and size <= SMALL else request.batch
    starts = range(0, len(rows), step)
    computed = 0
    with progress.running(len(rows)):
        for window, start in enumerate(starts):
            members = rows[start : start + step]
            if not folder.has(window):
                crops, left_out = _crops(manifest, members, start, cut, names, request.each)
                folder.note(window, write(crops).to_dict("records"), left_out)
                computed += 1
            progress.advance(len(members))
    table, left_out = folder.noted(len(starts))
    pairs = int(table["label"].sum())
    made = {"photographs": len(table) - pairs, "pairs": pairs, "left_out": left_out}
    folder.finish(table, made, card_of(manifest.name, asked, choices))
    return Summary(**made, computed=computed)


def _crops(
    manifest: Manifest, rows: list[dict[str, Any]], first: int, cut: Cut, names: list[str], each: int
) -> tuple[list[Crop], dict[str, str]]:
    """The crops of a window of photographs, the first of which stands at `first` in the list; {path: why} of those
    that have none."""
    crops, left_out = [], {}
    manifest.images.expect([row["path"] for row in rows])
    for number, row in enumerate(rows, first):
        try:
            file = manifest.read(row["path"])
            pixels = cut(file)
        except ImageError as error:
            left_out[row["path"]] = str(error)
            continue
        crops.append(
            Crop(
                name=f"{manifest.name}-{number:06d}",
                pixels=pixels,
                source=row.get("source") or row["path"],
                split=row["split"],
                autoencoders=tuple(names[(number + k) % len(names)] for k in range(each)),
                licence=("" if pd.isna(row["licence"]) else str(row["licence"])) if "licence" in row else None,
                photograph=row["path"],
                image_id=file.image_id,
            )
        )
    return crops, left_out


def _load(choice: Choice, progress: Progress) -> Any:
    licence = f" ({choice.licence})" if choice.licence else ""
    progress.say(f"{choice.name}: {choice.origin}{licence}")
    return choice.load()


def _splits(text: str) -> list[str]:
    splits = sorted({{"val": "validation"}.get(name.strip(), name.strip()) for name in text.split(",")})
    wrong = [split for split in splits if split not in ("train", "validation")]
    if wrong:
        why = "the test split is never read" if wrong[0] == "test" else f"there is no split '{wrong[0]}'"
        raise MaibenchError(f"--split {text}: {why}; give train, validation or both with a comma")
    return splits


def _size(text: str) -> int | None:
    if text in ("full", "0"):
        return None
    if not text.isdecimal() or int(text) < SMALLEST:
        raise MaibenchError(f"--size {text}: give pixels a side, at least {SMALLEST}, or full for whole photographs")
    return int(text)
