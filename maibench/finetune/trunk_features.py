"""What a frozen trunk makes of the training images' augmented crops and of the validation images: computed once, kept
in parts, so that a training that was stopped goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from maibench.datasets.image import decode
from maibench.datasets.manifest import Manifest
from maibench.errors import ImageError, MaibenchError
from maibench.evaluation.pipeline import Workers
from maibench.files import make_folder, write_text, write_whole
from maibench.finetune.augment import augment
from maibench.finetune.recipe import Augmentation, Recipe
from maibench.finetune.samples import Sample, middle, sources_of_other_splits
from maibench.finetune.validation import rows_without
from maibench.models.attribution import Attribution
from maibench.models.device import to_device
from maibench.models.weights import read_tensors, write_tensors
from maibench.progress import Progress

PART = 128
"""Images whose features are kept in one file."""
AS_IT_IS = Augmentation(jpeg=0, pair_jpeg=0, resize=0, flip=False)
"""A random crop and nothing else."""


@dataclass(frozen=True)
class TrunkFeatures:
    """One split's images that could be read. rows: a frame with `generator`, `source` and `data`, the name of the data
    set. values: (images, views, d): of a training image crops, the first as it is, the others augmented; of a
    validation image the one view that is scored."""

    rows: pd.DataFrame
    values: Tensor

    def of(self, keep: pd.Series) -> TrunkFeatures:
        """Those of the rows where `keep` is true."""
        chosen = np.array(keep, dtype=bool)  # a copy: what pandas hands out cannot be written
        return TrunkFeatures(self.rows[chosen].reset_index(drop=True), self.values[torch.from_numpy(chosen)])


def read_features(
    network: Attribution, recipe: Recipe, views: int, manifests: list[Manifest], folder: Path, workers: int,
    progress: Progress,
) -> tuple[TrunkFeatures, TrunkFeatures]:  # fmt: skip
    """Of the training images, `views` crops each, and of the validation images.

    network: whose trunk it is. Both sides of a pair are augmented alike. Images of the training split whose sources lie
    in another split, those of excluded generators and collections, those that cannot be read or are too small are left
    out. folder: where the parts are kept; raises MaibenchError for one that holds those of another recipe or data.
    """
    train, validation = _training_rows(manifests, recipe), _validation_rows(manifests, recipe)
    made_from = recipe.model_dump(mode="json", include={"crop", "pad", "augmentation", "exclude", "seed", "start"})
    of = {"recipe": made_from, "views": views, "data": [manifest.fingerprint for manifest in manifests]}
    _check_folder(folder, of, recipe.validation_images)
    crops = [recipe.draw_crop(np.random.default_rng([recipe.seed, view])) for view in range(views)]

    def augmented(place: int, row: dict[str, Any]) -> Tensor | None:
        pixels = _read(manifests[row["number"]], row["path"], recipe.smallest_image)
        if pixels is None:
            return None
        sample = Sample(middle(pixels), int(row["label"]), int(row["pair_number"]))
        settings = [AS_IT_IS, *[recipe.augmentation] * (views - 1)]
        drawn = [
            augment([sample], crop, how, (recipe.seed, view), [place])[0]
            for view, (crop, how) in enumerate(zip(crops, settings, strict=True))
        ]
        return _features(network, drawn)

    def as_scored(place: int, row: dict[str, Any]) -> Tensor | None:
        pixels = _read(manifests[row["number"]], row["path"], 1)
        return None if pixels is None else _features(network, [pixels])

    width = network.mean.numel()
    splits = []
    with progress.running(len(train) + len(validation)), Workers(workers) as pool:
        for name, rows, function, count in (
            ("train", train, augmented, views),
            ("validation", validation, as_scored, 1),
        ):
            parts = _parts(pool, folder, name, rows, function, manifests, (count, width), progress)
            values = torch.cat([*parts, torch.empty(0, count, width, dtype=torch.float16)]).float()
            there = pd.Series((~values.isnan().any(dim=2).any(dim=1)).numpy(), index=rows.index)
            splits.append(TrunkFeatures(rows, values).of(there))
            if missing := int((~there).sum()):
                progress.say(f"{missing} {name} images left out, unreadable or too small")
    return splits[0], splits[1]


def _parts(
    pool: Workers,
    folder: Path,
    name: str,
    rows: pd.DataFrame,
    function: Callable[[int, dict[str, Any]], Tensor | None],
    manifests: list[Manifest],
    shape: tuple[int, int],
    progress: Progress,
) -> Iterator[Tensor]:
    """(images, views, d) of PART rows after the other, NaN where there is none: read where they are kept, else
    computed and kept. shape: (views, d)."""
    for start in range(0, len(rows), PART):
        part, file = rows.iloc[start : start + PART], folder / f"{name}-{start:06d}.safetensors"
        if not file.is_file():
            for number, group in part.groupby("number"):
                manifests[cast(int, number)].images.expect(group["path"].tolist())
            records = cast(list[dict[str, Any]], part.to_dict("records"))
            waiting: list[Future[Tensor | None]] = [
                pool.submit(function, start + at, row) for at, row in enumerate(records)
            ]
            found = [future.result() for future in waiting]
            none = torch.full(shape, torch.nan)
            whole = torch.stack([none if tensor is None else tensor for tensor in found]).half()
            write_whole(file, lambda path, whole=whole: write_tensors({"features": whole}, path))  # type: ignore[misc]
        progress.advance(len(part))
        yield read_tensors(file)["features"]


def _training_rows(manifests: list[Manifest], recipe: Recipe) -> pd.DataFrame:
    elsewhere = sources_of_other_splits(manifests)
    frames, pairs = [], dict[tuple[int, str], int]()
    for number, manifest in enumerate(manifests):
        rows = _described(rows_without(manifest, "train", recipe.exclude), number, manifest)
        rows = rows[~rows["source"].isin(elsewhere)]
        named = rows["pair"].fillna("").astype(str) if "pair" in rows else pd.Series("", index=rows.index)
        rows["pair_number"] = [pairs.setdefault((number, pair), len(pairs)) if pair else -1 for pair in named]
        frames.append(rows)
    return pd.concat(frames, ignore_index=True)


def _validation_rows(manifests: list[Manifest], recipe: Recipe) -> pd.DataFrame:
    frames = []
    for number, manifest in enumerate(manifests):
        rows = _described(rows_without(manifest, "validation", recipe.exclude), number, manifest)
        if len(rows) > recipe.validation_images:
            chosen = np.random.default_rng(0).permutation(len(rows))[: recipe.validation_images]
            rows = rows.iloc[np.sort(chosen)]
        frames.append(rows)
    return pd.concat(frames, ignore_index=True)


def _described(rows: pd.DataFrame, number: int, manifest: Manifest) -> pd.DataFrame:
    """Rows with the data set's place and name; an image without a source is its own."""
    if "source" not in rows:
        rows = rows.assign(source="")
    source = rows["source"].where(rows["source"] != "", f"{manifest.name}:" + rows["path"])
    return rows.assign(number=number, data=manifest.name, source=source)


def _read(manifest: Manifest, path: str, smallest: int) -> Any:
    """An image's pixels; None where it cannot be read or is too small."""
    try:
        pixels = decode(manifest.read(path).data)
    except ImageError:
        return None
    return pixels if min(pixels.shape[:2]) >= smallest else None


def _features(network: Attribution, images: list[Any]) -> Tensor | None:
    """(images, d); None where the trunk refuses one."""
    try:
        items = [network.preprocess(image) for image in images]
    except ImageError:
        return None
    with torch.inference_mode():
        return network.trunk_features(to_device(network.collate(items), network.device)).float().cpu()


def _check_folder(folder: Path, of: dict[str, Any], validation_images: int) -> None:
    of = {**of, "validation_images": validation_images}
    make_folder(folder)
    file = folder / "of.json"
    if file.is_file():
        if json.loads(file.read_text(encoding="utf-8")) != json.loads(json.dumps(of)):
            raise MaibenchError(
                f"{folder}: features of another recipe or other data; choose another --out, or remove it"
            )
        return
    write_text(file, json.dumps(of) + "\n")
