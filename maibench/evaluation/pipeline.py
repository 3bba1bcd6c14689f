"""From a row of the manifest to what each detector's batch is made of: read, decode, disturb, preprocess; each image
once, in worker threads, while the main thread runs the networks."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Hashable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maibench.datasets.image import decode, read_file
from maibench.datasets.perturb import Perturbation
from maibench.errors import ImageError
from maibench.evaluation.attacks import Attack
from maibench.models.base import Detector

Row = Mapping[Hashable, Any]
"""One row of a manifest: {column: value}."""

Disturbance = Perturbation | Attack
"""What is done to the pixels before a detector sees them."""

AHEAD = 2
"""Batches that are prepared while one is scored; bounds the memory."""


@dataclass(frozen=True)
class Job:
    """One batch: rows at fixed places of the plan, and the detectors (by label) that have not scored it yet."""

    index: int
    rows: Sequence[Row]
    perturbations: Sequence[Disturbance]
    detectors: dict[str, Detector]


@dataclass
class Prepared:
    """One image, ready for every detector. error: why it could not be read at all. items: by (label, perturbation's
    name), a preprocess result, or the reason in words why there is none. seconds: spent in each detector's
    preprocess."""

    image_id: str
    error: str = ""
    items: dict[tuple[str, str], Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


class Failure(str):
    """The reason why a detector has no input for an image."""


def applies(detector: Detector, perturbation: Disturbance) -> bool:
    """A detector that reads the file does not see what is done to the pixels."""
    return detector.reads == "pixels" or perturbation.name == "none"


def prepare(root: Path, row: Row, job: Job, max_pixels: int) -> Prepared:
    """Read, decode and preprocess one image for every detector of the job; what fails is told, never raised."""
    try:
        file = read_file(root, row["path"], max_pixels)
        pixels = decode(file.data)
    except ImageError as error:
        listed = row.get("image_id")  # NaN where the list leaves it empty
        return Prepared(listed if isinstance(listed, str) else "", error=str(error))
    prepared = Prepared(file.image_id)
    for perturbation in job.perturbations:
        readers = {label: detector for label, detector in job.detectors.items() if applies(detector, perturbation)}
        if not readers:  # an attack may take longer than all the rest
            continue
        disturbed = _disturb(perturbation, pixels, file.image_id, row)
        for label, detector in readers.items():
            started = time.perf_counter()
            image = disturbed if detector.reads == "pixels" else file
            prepared.items[label, perturbation.name] = _preprocess(detector, image)
            prepared.seconds[label] = prepared.seconds.get(label, 0.0) + time.perf_counter() - started
    return prepared


def _disturb(
    perturbation: Disturbance, pixels: NDArray[np.uint8], image_id: str, row: Row
) -> NDArray[np.uint8] | Failure:
    if isinstance(perturbation, Perturbation):
        try:
            return perturbation(pixels, image_id)
        except (ImageError, MemoryError) as error:
            return Failure(f"{perturbation.name}: {error}")
    try:
        return perturbation(pixels, image_id, int(row["label"]))
    except ImageError as error:
        return Failure(f"{perturbation.name}: {error}")
    except Exception as error:  # the attacked detector's code, a plug-in's perhaps
        return Failure(f"{perturbation.name} raised {type(error).__name__}: {error}".splitlines()[0])


def _preprocess(detector: Detector, image: Any) -> Any:
    if isinstance(image, Failure):
        return image
    try:
        return detector.preprocess(image)
    except ImageError as error:
        return Failure(error)
    except Exception as error:  # a plug-in's code: its fault becomes a failed row, the others go on
        return Failure(f"preprocess raised {type(error).__name__}: {error}")


def stream(root: Path, jobs: Iterator[Job], workers: int, max_pixels: int) -> Iterator[tuple[Job, list[Prepared]]]:
    """Yield each job with its prepared images, in order, while the next ones are being prepared."""
    waiting: deque[tuple[Job, list[Future[Prepared]]]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="prepare") as pool:
        try:
            for job in jobs:
                waiting.append((job, [pool.submit(prepare, root, row, job, max_pixels) for row in job.rows]))
                if len(waiting) > AHEAD:
                    ready, futures = waiting.popleft()
                    yield ready, [future.result() for future in futures]
            while waiting:
                ready, futures = waiting.popleft()
                yield ready, [future.result() for future in futures]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
