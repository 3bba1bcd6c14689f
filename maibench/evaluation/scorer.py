"""Batches in, predictions out: what every engine does with a batch, on one machine or on many.

Each image is decoded once for all detectors. On a CPU every worker thread is one core, which reads, decodes,
preprocesses and runs networks; so no core waits for another, and no result depends on how many there are.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from scipy.special import expit

from maibench.datasets.attack_names import is_attack
from maibench.datasets.images import Images
from maibench.evaluation.pipeline import Failure, Job, Prepared, Workers, applies, stream
from maibench.evaluation.store import SCHEMA
from maibench.models.base import Detector
from maibench.models.device import to_device

PIECE = 8
"""Images that a core computes at a time: their activations stay near its cache."""
LARGE = 100_000_000
"""Parameters from which on a network is computed by all cores together: its activations on each would fill a memory."""


@dataclass(frozen=True)
class Scored:
    """One detector's predictions of one batch, with the columns of `SCHEMA`. seconds: that the detector took for
    `timed` images, on one core, or on its GPU; both 0 where it was attacked, or is computed elsewhere."""

    label: str
    batch: int
    table: pa.Table
    seconds: float
    timed: int


class Scorer:
    """Scores batches with detectors (by label). failures: why some of them cannot score at all, by label; their rows
    then say so."""

    def __init__(
        self,
        images: Images,
        detectors: Mapping[str, Detector],
        workers: int,
        max_pixels: int,
        failures: Mapping[str, str] | None = None,
    ) -> None:
        self._images = images
        self._detectors = detectors
        self._workers = workers
        self._max_pixels = max_pixels
        self._failures = failures or {}
        self._shared = {label for label, detector in detectors.items() if runs_on_workers(detector)}

    def score(self, jobs: Iterable[Job]) -> Iterator[Scored]:
        """The predictions of each job, batch by batch, each detector of a batch in the job's order. What fails becomes
        failed rows."""
        with Workers(self._workers) as pool:

            def ask(job: Job, images: list[Future[Prepared]]) -> dict[str, list[Future[_Answers]]]:
                parts = [images[start : start + PIECE] for start in range(0, len(images), PIECE)]
                labels = [label for label in job.labels if label in self._shared]
                return {label: [pool.submit(self._ask_piece, label, job, part) for part in parts] for label in labels}

            whole = _Whole()
            last: tuple[Job, list[Prepared], dict[str, list[Future[_Answers]]], dict[str, _Asked]] | None = None
            for job, images, asked in stream(self._images, jobs, self._detectors, pool, self._max_pixels, follow=ask):
                # the next piece is on its way to a GPU before the answers to this one are waited for
                prepared = [image.result() for image in images]
                rest = {label: self._ask(label, job, prepared) for label in job.labels if label not in self._shared}
                if last:
                    yield from self._gather(whole, *last)
                last = job, prepared, asked, rest
            if last:
                yield from self._gather(whole, *last)

    def _gather(
        self,
        whole: _Whole,
        job: Job,
        images: list[Prepared],
        asked: dict[str, list[Future[_Answers]]],
        rest: dict[str, _Asked],
    ) -> Iterator[Scored]:
        """Answers to a piece of a batch; with the last piece, the batch's predictions."""
        for label in job.labels:
            spent = sum(image.seconds.get(label, 0.0) for image in images)
            if label in asked:
                answers = _joined([future.result() for future in asked[label]])
            else:
                answers = rest[label].read()
                if self._detectors[label].device.type != "cpu":
                    spent = 0.0  # all cores preprocess while the GPU computes
            whole.add(label, answers, spent + answers.seconds)
        if job.is_last:
            for label in job.labels:
                scored = whole.take(label, job, images)
                yield replace(scored, seconds=0.0, timed=0) if self._detectors[label].elsewhere else scored

    def _ask_piece(self, label: str, job: Job, images: Sequence[Future[Prepared]]) -> _Answers:
        """In a worker, which is one core: the seconds are that core's."""
        prepared = [image.result() for image in images]
        started = time.thread_time()
        answers = self._ask(label, job, prepared).read()
        return _Answers(answers.names, answers.logits, answers.unsure, answers.reasons, time.thread_time() - started)

    def _ask(self, label: str, job: Job, images: Sequence[Prepared]) -> _Asked:
        """Put the question; on a GPU the answer need not be there yet."""
        detector = self._detectors[label]
        asked = _Asked(len(images), detector.device)
        for perturbation in job.perturbations:
            if applies(detector, perturbation):
                reasons = [self._reason(label, image, perturbation.name) for image in images]
                usable = [index for index, reason in enumerate(reasons) if not reason]
                items = [images[index].items.pop((label, perturbation.name)) for index in usable]
                asked.add(detector, perturbation.name, reasons, usable, items)
        asked.sent()
        return asked

    def _reason(self, label: str, image: Prepared, perturbation: str) -> str:
        if label in self._failures or image.error:
            return self._failures.get(label) or image.error
        item = image.items[label, perturbation]
        return str(item) if isinstance(item, Failure) else ""


def runs_on_workers(detector: Detector) -> bool:
    """Whether each core computes it by itself, a few images at a time."""
    return detector.concurrent and detector.device.type == "cpu" and detector.parameter_count() < LARGE


@dataclass(frozen=True)
class _Answers:
    """What a detector said of n images under p perturbations. names: of the perturbations; logits, unsure: (p, n);
    reasons: p lists of n, why there is no logit."""

    names: list[str]
    logits: NDArray[np.float64]
    unsure: NDArray[np.bool_]
    reasons: list[list[str]]
    seconds: float


def _joined(parts: list[_Answers]) -> _Answers:
    """Answers of one detector to the pieces of a batch -> to the batch."""
    reasons = [[reason for row in rows for reason in row] for rows in zip(*(p.reasons for p in parts), strict=True)]
    logits, unsure = (np.concatenate([getattr(p, name) for p in parts], axis=1) for name in ("logits", "unsure"))
    return _Answers(parts[0].names, logits, unsure, reasons, sum(part.seconds for part in parts))


class _Asked:
    """Questions to one detector about n images, whose answers may still be computed by a GPU."""

    def __init__(self, count: int, device: torch.device) -> None:
        self._count = count
        self._names: list[str] = []
        self._reasons: list[list[str]] = []
        self._answers: list[tuple[list[int], torch.Tensor, torch.Tensor] | None] = []
        self._clock = _GpuClock(device) if device.type == "cuda" else _Clock()

    def add(self, detector: Detector, name: str, reasons: list[str], usable: list[int], items: list[Any]) -> None:
        """The images under one perturbation; a detector that raises fails all of `usable`, and no other detector."""
        answer, problem = _answer(detector, items) if items else (None, "")
        if problem:
            reasons = [problem if index in set(usable) else reason for index, reason in enumerate(reasons)]
        self._names.append(name)
        self._reasons.append(reasons)
        self._answers.append((usable, *answer) if answer else None)

    def sent(self) -> None:
        """Everything has been asked."""
        self._clock.stop()

    def read(self) -> _Answers:
        """Wait for the answers."""
        logits = np.full((len(self._names), self._count), np.nan)
        unsure = np.zeros((len(self._names), self._count), dtype=bool)
        for index, answer in enumerate(self._answers):
            if answer is None:
                continue
            usable, values, doubts = answer
            try:
                logits[index, usable] = values.to("cpu", torch.float64).numpy()
                unsure[index, usable] = doubts.cpu().numpy()
            except RuntimeError as error:  # what a GPU tells only now
                problem = f"{type(error).__name__}: {error}".splitlines()[0]
                logits[index, usable] = np.nan
            else:
                problem = "the detector returned NaN"
            for image in usable:
                if np.isnan(logits[index, image]):
                    self._reasons[index][image] = problem
        return _Answers(self._names, logits, unsure, self._reasons, self._clock.seconds())


def _answer(detector: Detector, items: list[Any]) -> tuple[tuple[torch.Tensor, torch.Tensor] | None, str]:
    """(n,) logits of a batch and which are unsure; or None, and the reason."""
    try:
        with torch.inference_mode():
            logits, unsure = detector.answer(to_device(detector.collate(items), detector.device))
        for what, tensor in (("logits", logits), ("unsure", unsure)):
            if tuple(tensor.shape) != (len(items),):
                shape = list(tensor.shape)
                return None, f"returned {what} of shape {shape} for {len(items)} images; expected [{len(items)}]"
    except Exception as error:  # whatever a plug-in raises
        return None, f"{type(error).__name__}: {error}".splitlines()[0]
    return (logits, unsure), ""


class _Clock:
    """The seconds from its making to `stop`, of every core that torch uses in this thread."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._spent = 0.0

    def stop(self) -> None:
        self._spent = (time.perf_counter() - self._started) * torch.get_num_threads()

    def seconds(self) -> float:
        return self._spent


class _GpuClock(_Clock):
    """The same of a GPU's own time: the program does not wait for it."""

    def __init__(self, device: torch.device) -> None:
        self._events = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
        self._stream = torch.cuda.current_stream(device)
        self._events[0].record(self._stream)

    def stop(self) -> None:
        self._events[1].record(self._stream)

    def seconds(self) -> float:
        self._events[1].synchronize()
        return self._events[0].elapsed_time(self._events[1]) / 1000


@dataclass
class _Whole:
    """The answers to a batch that comes in pieces, so far, by label."""

    answers: dict[str, list[_Answers]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def add(self, label: str, answers: _Answers, seconds: float) -> None:
        self.answers.setdefault(label, []).append(answers)
        self.seconds[label] = self.seconds.get(label, 0.0) + seconds

    def take(self, label: str, job: Job, images: Sequence[Prepared]) -> Scored:
        """The batch's predictions, and begin with the next. job: any piece of the batch."""
        pieces, seconds = self.answers.pop(label), self.seconds.pop(label)
        names = [name for piece in pieces for name in piece.names]
        table = _table(
            label,
            job,
            images,
            names,
            np.concatenate([piece.logits for piece in pieces]).ravel(),
            np.concatenate([piece.unsure for piece in pieces]).ravel(),
            [reason for piece in pieces for row in piece.reasons for reason in row],
        )
        if any(map(is_attack, names)):
            return Scored(label, job.index, table, 0.0, 0)
        failed = table.num_rows - table.column("logit").drop_null().length()
        return Scored(label, job.index, table, seconds, table.num_rows - failed)


def _table(
    label: str,
    job: Job,
    images: Sequence[Prepared],
    names: list[str],
    logits: NDArray[np.float64],
    unsure: NDArray[np.bool_],
    reasons: list[str],
) -> pa.Table:
    """The images under the first perturbation, then under the second, ..."""
    times, is_failed = len(names), np.array([bool(reason) for reason in reasons], dtype=bool)
    columns: dict[str, Any] = {
        "image_id": [image.image_id for image in images] * times,
        **{name: [row[name] for row in job.rows] * times for name in ("path", "label", "generator")},
        "source": [row.get("source") or "" for row in job.rows] * times,
        "split": [row["split"] for row in job.rows] * times,
        "perturbation": [name for name in names for _ in images],
        "detector": [label] * (times * len(images)),
        "logit": pa.array(logits, pa.float64(), mask=is_failed),
        "score": pa.array(expit(logits), pa.float64(), mask=is_failed),
        "status": np.where(is_failed, "failed", np.where(unsure, "unsure", "ok")).tolist(),
        "error": reasons,
    }
    return pa.table(columns, schema=SCHEMA)
