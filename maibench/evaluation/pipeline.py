"""From a row of the manifest to what each detector's batch is made of: read, decode, disturb, preprocess; each image
once, by worker threads that are one core each."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from maibench.cores import stay_on_one_core
from maibench.datasets.image import ImageFile, decode_file, parse_file
from maibench.datasets.images import Images
from maibench.datasets.perturb import Perturbation
from maibench.errors import ImageError
from maibench.evaluation.attacks import Attack
from maibench.models.base import Detector

Row = Mapping[Hashable, Any]
"""One row of a manifest: {column: value}."""

Disturbance = Perturbation | Attack
"""What is done to the pixels before a detector sees them."""

AHEAD = 2
"""Pieces of batches that are under way behind the one that is waited for, at least; more where there are many workers
for small batches."""
INPUTS = 8
"""Inputs of an image that a piece holds at most, over perturbations and detectors; with AHEAD it bounds the memory."""

T = TypeVar("T")


@dataclass(frozen=True)
class Job:
    """One batch, or a piece of it: rows at fixed places of the plan, what is done to them, and the labels of the
    detectors that have not scored it yet. is_last: whether it is the batch's last piece."""

    index: int
    rows: Sequence[Row]
    perturbations: Sequence[Disturbance]
    labels: Sequence[str]
    is_last: bool = True


@dataclass(frozen=True)
class Loaded:
    """One image as it was read: its file and pixels, or the reason why it could not be."""

    image_id: str
    file: ImageFile | None = None
    pixels: NDArray[np.uint8] | None = None
    error: str = ""


@dataclass
class Prepared:
    """One image, ready for every detector of a piece of a batch. error: why it could not be read at all. items: by
    (label, perturbation's name), a preprocess result, or the reason in words why there is none. seconds: that a core
    spent in each detector's preprocess."""

    image_id: str
    error: str = ""
    items: dict[tuple[str, str], Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


class Failure(str):
    """The reason why a detector has no input for an image."""


def applies(detector: Detector, perturbation: Disturbance) -> bool:
    """A detector that reads the file does not see what is done to the pixels."""
    return detector.reads == "pixels" or perturbation.name == "none"


def load(images: Images, row: Row, max_pixels: int) -> Loaded:
    """Read and decode one image; what fails is told, never raised."""
    try:
        file = parse_file(row["path"], images.read(row["path"]), max_pixels)
        return Loaded(file.image_id, file, decode_file(file))
    except ImageError as error:
        listed = row.get("image_id")  # NaN where the list leaves it empty
        return Loaded(listed if isinstance(listed, str) else "", error=str(error))


def prepare(image: Loaded, row: Row, job: Job, detectors: Mapping[str, Detector]) -> Prepared:
    """Disturb and preprocess one image for every detector (by label) of the job; what fails is told, never raised."""
    prepared = Prepared(image.image_id, image.error)
    if image.file is None or image.pixels is None:
        return prepared
    for perturbation in job.perturbations:
        readers = {label: detectors[label] for label in job.labels if applies(detectors[label], perturbation)}
        if not readers:  # an attack may take longer than all the rest
            continue
        disturbed = _disturb(perturbation, image.pixels, image.image_id, row)
        for label, detector in readers.items():
            started = time.thread_time()
            given = disturbed if detector.reads == "pixels" else image.file
            prepared.items[label, perturbation.name] = _preprocess(detector, given)
            prepared.seconds[label] = prepared.seconds.get(label, 0.0) + time.thread_time() - started
    return prepared


def _disturb(
    perturbation: Disturbance, pixels: NDArray[np.uint8], image_id: str, row: Row
) -> NDArray[np.uint8] | Failure:
    try:
        if isinstance(perturbation, Perturbation):
            return perturbation(pixels, image_id)
        return perturbation(pixels, image_id, int(row["label"]))
    except ImageError as error:
        return Failure(f"{perturbation.name}: {error}")
    except Exception as error:  # a codec's, or the attacked detector's code, a plug-in's perhaps
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


class Workers(ThreadPoolExecutor):
    """Threads that are one core each: what they compute in torch runs on that core alone, so that results do not depend
    on how many there are. Leaving the `with` takes back what none of them has begun, and does not wait."""

    def __init__(self, count: int) -> None:
        super().__init__(count, thread_name_prefix="worker", initializer=stay_on_one_core)
        self.count = count

    def __exit__(self, *_: object) -> None:
        self.shutdown(wait=False, cancel_futures=True)


def stream(
    images: Images,
    jobs: Iterable[Job],
    detectors: Mapping[str, Detector],
    pool: Workers,
    max_pixels: int,
    follow: Callable[[Job, list[Future[Prepared]]], T],
) -> Iterator[tuple[Job, list[Future[Prepared]], T]]:
    """Yield each job with its images, in order, while the next ones are being prepared. A job of many perturbations
    comes in pieces, one after the other, each a job of some of them; its images are decoded once.

    follow: told of a piece as soon as its images are under way, so that it can put more work behind them in the pool;
    what it returns comes with the piece.
    """
    waiting: deque[tuple[Job, list[Future[Prepared]], T]] = deque()
    for job in jobs:
        # what waits for an image in the pool stands behind it in the queue, so that it never waits in vain
        images.expect([row["path"] for row in job.rows])
        pieces = _pieces(job)
        loaded = [pool.submit(load, images, row, max_pixels) for row in job.rows] if len(pieces) > 1 else []
        ahead = max(AHEAD, -(-4 * pool.count // max(1, len(job.rows))))
        for piece in pieces:
            if loaded:
                rows = zip(loaded, job.rows, strict=True)
                prepared = [pool.submit(_prepare, image, row, piece, detectors) for image, row in rows]
            else:
                prepared = [
                    pool.submit(_load_and_prepare, images, row, piece, detectors, max_pixels) for row in job.rows
                ]
            waiting.append((piece, prepared, follow(piece, prepared)))
            while len(waiting) > ahead:
                yield waiting.popleft()
        del loaded
    while waiting:
        yield waiting.popleft()


def _pieces(job: Job) -> list[Job]:
    step, total = max(1, INPUTS // len(job.labels)), len(job.perturbations)
    return [
        replace(job, perturbations=job.perturbations[start : start + step], is_last=start + step >= total)
        for start in range(0, total, step)
    ]


def _prepare(image: Future[Loaded], row: Row, job: Job, detectors: Mapping[str, Detector]) -> Prepared:
    return prepare(image.result(), row, job, detectors)


def _load_and_prepare(
    images: Images, row: Row, job: Job, detectors: Mapping[str, Detector], max_pixels: int
) -> Prepared:
    return prepare(load(images, row, max_pixels), row, job, detectors)
