"""Detectors that are fitted rather than trained: once, on the split that they ask for, kept under the run's folder."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from maibench.datasets.manifest import Manifest
from maibench.datasets.perturb import Perturbation
from maibench.errors import MaibenchError
from maibench.evaluation.pipeline import Failure, Job, Prepared, Row, Workers, stream
from maibench.evaluation.scorer import PIECE, runs_on_workers
from maibench.files import make_folder, write_whole
from maibench.models.base import Detector
from maibench.models.device import to_device
from maibench.models.weights import differences, read_tensors, shapes, write_tensors

_BATCH = 64
SPLIT_NAMES = {"train": "training", "validation": "validation"}


def fit_detector(
    label: str,
    detector: Detector,
    code: str,
    manifest: Manifest,
    run: Path,
    workers: int,
    max_pixels: int,
    evaluated: str = "",
) -> None:
    """Fit `detector`, and what is fitted within it first, to its `fit_split` of `manifest`, or load what an earlier
    call fitted to the same rows.

    code: the fingerprint of the unfitted detector. evaluated: the split that is scored, which nothing is fitted on.
    Images that cannot be read, or of which a feature is not a number, are left out. Raises MaibenchError when there is
    no such split or it is the evaluated one, when nothing in it can be read, or when `fit` refuses it.
    """
    for place, part in _in_order(label, detector):
        file = _file(place, part, code, manifest, run)
        if file.is_file():
            _load(part, file)
            continue
        named = f"{place.removeprefix(label).lstrip('/')}: " if part is not detector else ""
        if part.fit_split == evaluated:
            raise MaibenchError(f"{named}is fitted on the {SPLIT_NAMES[evaluated]} split, which is what is scored here")
        try:
            _fit(place, part, manifest, workers, max_pixels)
        except MaibenchError as error:
            raise MaibenchError(f"{named}{error}") from error
        except Exception as error:  # a plug-in's own fit
            raise MaibenchError(f"{named}fitting failed: {type(error).__name__}: {error}") from error
        make_folder(file.parent)
        write_whole(file, partial(write_tensors, _learnt(part)))


def load_fitted(label: str, detector: Detector, code: str, manifest: Manifest, run: Path) -> bool:
    """Load what an earlier call of `fit_detector` fitted to the same rows; False where that is not all there.

    Raises MaibenchError for a file that is damaged.
    """
    files = [(part, _file(place, part, code, manifest, run)) for place, part in _in_order(label, detector)]
    if not all(file.is_file() for _, file in files):
        return False
    for part, file in files:
        _load(part, file)
    return True


def _in_order(place: str, detector: Detector) -> Iterator[tuple[str, Detector]]:
    """What has something to learn, and where it stands: parts before the whole."""
    for name, part in detector.fitted_parts().items():
        yield from _in_order(f"{place}/{name}", part)
    if type(detector).fit is not Detector.fit:
        yield place, detector


def _file(place: str, detector: Detector, code: str, manifest: Manifest, run: Path) -> Path:
    key = hashlib.sha256(f"{code}:{manifest.fingerprint}:{detector.fit_split}".encode()).hexdigest()[:16]
    return run / "fitted" / f"{quote(place, safe=' ')}-{key}.safetensors"


def _fit(place: str, detector: Detector, manifest: Manifest, workers: int, max_pixels: int) -> None:
    split = SPLIT_NAMES[detector.fit_split]
    rows = manifest.split(detector.fit_split)
    if rows.empty:
        raise MaibenchError(f"needs a {split} split to be fitted on, and this data has none")
    pieces = list(_features(place, detector, rows.to_dict("records"), manifest, workers, max_pixels))
    if not pieces:
        raise MaibenchError(f"no image of the {split} split could be read")
    features, labels = (np.concatenate(arrays) for arrays in zip(*pieces, strict=True))
    is_number = ~np.isnan(features.reshape(len(features), -1)).any(axis=1)
    if not is_number.any():
        raise MaibenchError(f"of no image of the {split} split are all features numbers")
    detector.fit(features[is_number], labels[is_number])


def _features(
    label: str, detector: Detector, records: Sequence[Row], manifest: Manifest, workers: int, max_pixels: int
) -> Iterator[tuple[NDArray[Any], NDArray[np.int64]]]:
    """(n, d) features and (n,) labels, of a few images at a time; computed as `Scorer` computes logits."""
    none = Perturbation("none", ())
    jobs = (Job(start, records[start : start + _BATCH], [none], [label]) for start in range(0, len(records), _BATCH))
    shared = runs_on_workers(detector)

    def of(images: Sequence[Future[Prepared]], rows: Sequence[Row]) -> tuple[NDArray[Any], NDArray[np.int64]] | None:
        found = [(image.result().items.get((label, "none")), row) for image, row in zip(images, rows, strict=True)]
        usable = [(item, row["label"]) for item, row in found if item is not None and not isinstance(item, Failure)]
        if not usable:
            return None
        with torch.inference_mode():
            batch = to_device(detector.collate([item for item, _ in usable]), detector.device)
            features = detector.fit_features(batch).cpu()
        if features.dtype in (torch.bfloat16, torch.float16):
            features = features.float()  # numpy knows no bfloat16
        return features.numpy(), np.array([label for _, label in usable], dtype=np.int64)

    with Workers(workers) as pool:

        def ask(job: Job, images: list[Future[Prepared]]) -> list[Future[Any]]:
            starts = range(0, len(images), PIECE) if shared else ()
            return [pool.submit(of, images[at : at + PIECE], job.rows[at : at + PIECE]) for at in starts]

        for job, images, asked in stream(manifest.images, jobs, {label: detector}, pool, max_pixels, ask):
            answers = [future.result() for future in asked] if shared else [of(images, job.rows)]
            yield from (answer for answer in answers if answer is not None)


def _learnt(detector: Detector) -> dict[str, Tensor]:
    """The tensors that `fit` sets: neither those that are frozen nor those of detectors within this one."""
    frozen = {name for name, parameter in detector.named_parameters() if not parameter.requires_grad}
    within = tuple(f"{name}." for name, module in detector.named_modules() if name and isinstance(module, Detector))
    tensors = detector.state_dict()
    return {name: value for name, value in tensors.items() if name not in frozen and not name.startswith(within)}


def _load(detector: Detector, file: Path) -> None:
    """Fill in what `fit` sets; a tensor that has no rows yet takes as many as there are."""
    tensors, own = read_tensors(file), _learnt(detector)
    grown = {name for name, value in own.items() if name in tensors and _grows(value, tensors[name])}
    expected = shapes(own) | {name: list(tensors[name].shape) for name in grown}
    if problems := differences(shapes(tensors), expected):
        raise MaibenchError(f"{file}: not what {type(detector).__name__} learns: {problems}; remove it")
    with torch.no_grad():
        for name, value in tensors.items():
            if name in grown:
                owner, _, attribute = name.rpartition(".")
                setattr(detector.get_submodule(owner), attribute, value.to(detector.device))
            else:
                own[name].copy_(value)


def _grows(own: Tensor, found: Tensor) -> bool:
    return own.dim() > 0 and len(own) == 0 and own.shape[1:] == found.shape[1:]
