"""Detectors that are fitted rather than trained: once, on the training split, kept under the run's folder."""

from __future__ import annotations

import hashlib
from pathlib import Path
from urllib.parse import quote

import numpy as np

from maibench.datasets.manifest import Manifest
from maibench.datasets.perturb import Perturbation
from maibench.errors import MaibenchError
from maibench.evaluation.pipeline import Failure, Job, Workers, stream
from maibench.files import make_folder, write_whole
from maibench.models.base import Detector
from maibench.models.weights import load_weights, save_weights

_BATCH = 64


def fit_detector(
    label: str, detector: Detector, code: str, manifest: Manifest, run: Path, workers: int, max_pixels: int
) -> None:
    """Fit `detector` to the training split of `manifest`, or load what an earlier call fitted to the same rows.

    code: the fingerprint of the unfitted detector. Training images that cannot be read are left out. Raises
    MaibenchError when there is no training split, when nothing in it can be read, or when `fit` refuses it.
    """
    rows = manifest.split("train")
    if rows.empty:
        raise MaibenchError("needs a training split to be fitted on, and this data has none")
    key = hashlib.sha256(f"{code}:{manifest.fingerprint}".encode()).hexdigest()[:16]
    file = run / "fitted" / f"{quote(label, safe=' ')}-{key}.safetensors"
    if file.is_file():
        load_weights(detector, file)
        return
    features, labels = [], []
    none = Perturbation("none", ())
    records = rows.to_dict("records")
    jobs = (Job(start, records[start : start + _BATCH], [none], [label]) for start in range(0, len(records), _BATCH))
    with Workers(workers) as pool:
        for job, images, _ in stream(manifest.images, jobs, {label: detector}, pool, max_pixels, lambda *_: None):
            for row, image in zip(job.rows, images, strict=True):
                item = image.result().items.get((label, "none"))
                if item is not None and not isinstance(item, Failure):
                    features.append(np.asarray(item))
                    labels.append(row["label"])
    if not features:
        raise MaibenchError("no image of the training split could be read")
    try:
        detector.fit(np.stack(features), np.asarray(labels))
    except MaibenchError:
        raise
    except Exception as error:  # a plug-in's own fit
        raise MaibenchError(f"fitting failed: {type(error).__name__}: {error}") from error
    make_folder(file.parent)
    write_whole(file, lambda part: save_weights(detector, part))
