"""The validation split: what weights are chosen by, and where P = 0.5 and thresholds are fitted."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from maibench.datasets.image import decode
from maibench.datasets.manifest import Manifest, collections_of
from maibench.errors import ImageError, MaibenchError
from maibench.evaluation.statistics.metrics import accuracy, auc
from maibench.evaluation.statistics.thresholds import fit_threshold
from maibench.models.base import Detector
from maibench.models.device import to_device

BATCH = 16
HELD_OUT = "held_out"


@dataclass(frozen=True)
class ValidationSplit:
    """name: of the data. items: preprocessed images. labels: (n,) 0 real, 1 synthetic."""

    name: str
    items: list[Any]
    labels: NDArray[np.int64]

    @property
    def has_both_classes(self) -> bool:
        return len(np.unique(self.labels)) == 2

    @torch.inference_mode()
    def logits(self, detector: Detector) -> NDArray[np.float64]:
        """(n,) logits of a detector in evaluation mode."""
        detector.eval()
        batches = [detector.collate(self.items[start : start + BATCH]) for start in range(0, len(self.items), BATCH)]
        return (
            torch.cat([detector(to_device(batch, detector.device)).float().cpu() for batch in batches]).double().numpy()
        )


class Validation:
    """The validation splits of several manifests, those with both classes, and what is held out of the training split.

    Raises MaibenchError when there is none (the best weights need one), when two data sets have one name, and when
    nothing of the training split answers to a name in `hold_out`.
    """

    def __init__(
        self,
        manifests: Sequence[Manifest],
        detector: Detector,
        exclude: Sequence[str] = (),
        hold_out: Sequence[str] = (),
        most: int = 1000,
        workers: int = 1,
    ) -> None:
        names = [*(manifest.name for manifest in manifests), *([HELD_OUT] if hold_out else [])]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise MaibenchError(
                f"two sets of validation images would be called '{twice[0]}'; rename the folder or the manifest of one"
            )
        splits = [read_validation(manifest, detector, exclude, most, workers) for manifest in manifests]
        if hold_out:
            splits.append(_read_held_out(manifests, detector, exclude, hold_out, most, workers))
        self.splits = [split for split in splits if split.has_both_classes]
        if not self.splits:
            raise MaibenchError("none of the data has a validation split with both classes; the best weights need one")

    def scores(self, detector: Detector) -> dict[str, float]:
        """{"auc": the mean over the splits, NAME_auc, NAME_accuracy, "threshold": fitted on all of them}."""
        logits = [split.logits(detector) for split in self.splits]
        each: dict[str, float] = {}
        for split, values in zip(self.splits, logits, strict=True):
            each[f"{split.name}_auc"] = auc(split.labels, values)
            each[f"{split.name}_accuracy"] = accuracy(split.labels, values)
        mean = float(np.mean([value for name, value in each.items() if name.endswith("_auc")]))
        labels = np.concatenate([split.labels for split in self.splits])
        return {"auc": mean, **each, "threshold": fit_threshold(labels, np.concatenate(logits))}


def read_validation(
    manifest: Manifest, detector: Detector, exclude: Sequence[str] = (), most: int | None = None, workers: int = 1
) -> ValidationSplit:
    """Preprocess a manifest's validation images once, at most so many; `exclude`d generators and collections are left
    out, and what cannot be read (every comparison names such images; here they only cannot be validated on)."""
    rows = rows_without(manifest, "validation", exclude)
    return _read(manifest.name, [(manifest, rows)], detector, most, workers)


def _read_held_out(
    manifests: Sequence[Manifest],
    detector: Detector,
    exclude: Sequence[str],
    hold_out: Sequence[str],
    most: int,
    workers: int,
) -> ValidationSplit:
    """The training images of held-out generators and collections; where they are of one class, against the other
    class of the validation splits."""
    groups: list[tuple[Manifest, pd.DataFrame]] = []
    found: set[str] = set()
    for manifest in manifests:
        rows = rows_without(manifest, "train", exclude)
        rows = rows[rows["generator"].isin(list(hold_out)) | rows["collection"].isin(list(hold_out))]
        found |= {*rows["generator"], *rows["collection"]}
        groups.append((manifest, rows))
    if missing := [name for name in hold_out if name not in found]:
        raise MaibenchError(f"hold_out: no training image is of a generator or a collection called '{missing[0]}'")
    labels = {label for _, rows in groups for label in rows["label"]}
    if len(labels) == 1:
        for manifest in manifests:
            rows = rows_without(manifest, "validation", exclude)
            groups.append((manifest, rows[~rows["label"].isin(labels)]))
    return _read(HELD_OUT, groups, detector, most, workers)


def rows_without(manifest: Manifest, split: str, exclude: Sequence[str]) -> pd.DataFrame:
    """A split's rows with their `collection`, without excluded generators and collections."""
    rows = manifest.split(split)
    rows = rows.assign(collection=collections_of(rows, manifest.name))
    return rows[~rows["generator"].isin(list(exclude)) & ~rows["collection"].isin(list(exclude))]


def _read(
    name: str, groups: list[tuple[Manifest, pd.DataFrame]], detector: Detector, most: int | None, workers: int
) -> ValidationSplit:
    listed = [
        (manifest, path, label)
        for manifest, rows in groups
        for path, label in zip(rows["path"], rows["label"], strict=True)
    ]
    if most is not None and len(listed) > most:
        chosen = np.sort(np.random.default_rng(0).permutation(len(listed))[:most])
        listed = [listed[index] for index in chosen]

    def read(listed: tuple[Manifest, str, int]) -> Any:
        manifest, path, _ = listed
        try:
            return detector.preprocess(decode(manifest.read(path).data))
        except ImageError:
            return None

    # a manifest may stand in two groups: what it is told twice, it would keep for a second reading
    for images in {manifest.images for manifest, _ in groups}:
        images.expect([path for manifest, path, _ in listed if manifest.images is images])
    with ThreadPoolExecutor(workers) as pool:
        items = list(pool.map(read, listed))
    usable = [index for index, item in enumerate(items) if item is not None]
    labels = np.array([listed[index][2] for index in usable], dtype=np.int64)
    return ValidationSplit(name, [items[index] for index in usable], labels)
