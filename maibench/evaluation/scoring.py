"""Score detectors on a manifest: decode once, all detectors see the same pixels, predictions written in parts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.special import expit

from maibench.datasets.manifest import Manifest
from maibench.evaluation.attacks import Attack
from maibench.evaluation.draw import drawn
from maibench.evaluation.pipeline import Disturbance, Failure, Job, Prepared, Row, applies, stream
from maibench.evaluation.store import COLUMNS, PredictionStore
from maibench.models.base import Detector
from maibench.models.device import to_device

BATCHES_PER_PART = 64
SECONDS_PER_PART = 20
"""A part is written when it holds this many batches or took this long, whichever is first."""


@dataclass
class Entry:
    """One row of the comparison: a detector under its label, and where its predictions go. spec: what was asked for;
    code: the detector's fingerprint as it was loaded; failure: why it cannot score at all (its rows then say so)."""

    label: str
    detector: Detector
    store: PredictionStore
    spec: str = ""
    code: str = ""
    failure: str = ""


@dataclass(frozen=True)
class Plan:
    """Which rows are scored under which perturbations, cut into batches at fixed places."""

    manifest: Manifest
    batches: list[tuple[list[int], list[Disturbance]]]

    @property
    def images(self) -> int:
        return sum(len(rows) for rows, _ in self.batches)


def make_plan(
    manifest: Manifest, split: str, perturbations: Sequence[Disturbance], batch_size: int, limit: int | None, seed: int
) -> Plan:
    """The rows of `split` under every perturbation, then those of the validation split undisturbed, for thresholds.

    limit: at most that many images of each split, drawn at random with `seed`, each class in its share of the split,
    in the manifest's order.
    """
    batches: list[tuple[list[int], list[Disturbance]]] = []
    clean = [perturbation for perturbation in perturbations if perturbation.name == "none"]
    for name, wanted in ((split, list(perturbations)), ("validation", clean)):
        if name == "validation" and name == split and batches:
            continue
        rows = drawn(manifest.split(name), limit, seed).index.to_numpy()
        if wanted:
            batches += [
                (rows[start : start + batch_size].tolist(), wanted) for start in range(0, len(rows), batch_size)
            ]
    return Plan(manifest, batches)


def score(
    plan: Plan,
    entries: list[Entry],
    workers: int,
    max_pixels: int,
    advance: Callable[[int], None] = lambda images: None,
) -> None:
    """Score what is missing and write it. `advance` is told of every batch of images that is done.

    Raises MaibenchError when a part cannot be written; what was written before is kept. KeyboardInterrupt passes
    through after what was scored so far has been written.
    """
    writers = {entry.label: _PartWriter(entry.store) for entry in entries}
    by_label = {entry.label: entry for entry in entries}
    is_timed = [not any(isinstance(p, Attack) for p in perturbations) for _, perturbations in plan.batches]
    try:
        for job, images in stream(plan.manifest, _jobs(plan, entries, advance), workers, max_pixels):
            for label in job.detectors:
                writers[label].collect(*_score_batch(by_label[label], job, images))
                if job.is_last:
                    writers[label].complete(job.index, is_timed[job.index])
            if job.is_last:
                advance(len(job.rows))
    finally:
        for writer in writers.values():
            writer.flush()


def _jobs(plan: Plan, entries: list[Entry], advance: Callable[[int], None]) -> Iterator[Job]:
    done = {entry.label: entry.store.done() for entry in entries}
    for index, (rows, perturbations) in enumerate(plan.batches):
        missing = {entry.label: entry.detector for entry in entries if index not in done[entry.label]}
        if missing:
            yield Job(index, plan.manifest.rows.loc[rows].to_dict("records"), perturbations, missing)
        else:
            advance(len(rows))


def _score_batch(entry: Entry, job: Job, images: list[Prepared]) -> tuple[list[dict[str, Any]], float]:
    """The prediction rows of one detector for one piece of a batch, and the seconds that the detector took."""
    rows: list[dict[str, Any]] = []
    seconds = sum(image.seconds.get(entry.label, 0.0) for image in images)
    for perturbation in job.perturbations:
        if not applies(entry.detector, perturbation):
            continue
        reasons = [_reason(entry, image, perturbation.name) for image in images]
        usable = [index for index, reason in enumerate(reasons) if not reason]
        logits = np.full(len(images), np.nan)
        unsure = np.zeros(len(images), dtype=bool)
        if usable:
            started = time.perf_counter()
            items = [images[index].items[entry.label, perturbation.name] for index in usable]
            logits[usable], unsure[usable], problem = _forward(entry.detector, items)
            seconds += time.perf_counter() - started
            for index in usable:
                if problem or np.isnan(logits[index]):
                    reasons[index] = problem or "the detector returned NaN"
        rows += [
            _row(entry.label, perturbation.name, row, image, logit, "unsure" if doubt else "ok", reason)
            for row, image, logit, doubt, reason in zip(job.rows, images, logits, unsure, reasons, strict=True)
        ]
    return rows, seconds


def _reason(entry: Entry, image: Prepared, perturbation: str) -> str:
    if entry.failure or image.error:
        return entry.failure or image.error
    item = image.items[entry.label, perturbation]
    return str(item) if isinstance(item, Failure) else ""


def _forward(detector: Detector, items: list[Any]) -> tuple[NDArray[np.float64], NDArray[np.bool_], str]:
    """Logits of a batch and which are unsure, or NaN and the reason: a detector that fails does not stop the others."""
    nothing = np.full(len(items), np.nan), np.zeros(len(items), dtype=bool)
    try:
        with torch.inference_mode():
            logits, unsure = detector.answer(to_device(detector.collate(items), detector.device))
        values, doubts = logits.to("cpu", torch.float64).numpy(), unsure.cpu().numpy()
    except Exception as error:  # whatever a plug-in raises
        return *nothing, f"{type(error).__name__}: {error}".splitlines()[0]
    for what, array in (("logits", values), ("unsure", doubts)):
        if array.shape != (len(items),):
            wrong = f"returned {what} of shape {list(array.shape)} for {len(items)} images; expected [{len(items)}]"
            return *nothing, wrong
    return values, doubts, ""


def _row(
    label: str, perturbation: str, row: Row, image: Prepared, logit: float, status: str, reason: str
) -> dict[str, Any]:
    return {
        "image_id": image.image_id,
        "path": row["path"],
        "label": row["label"],
        "generator": row["generator"],
        "source": row.get("source") or "",
        "split": row["split"],
        "perturbation": perturbation,
        "detector": label,
        "logit": None if reason else logit,
        "score": None if reason else float(expit(logit)),
        "status": "failed" if reason else status,
        "error": reason,
    }


@dataclass
class _PartWriter:
    """Collects batches that follow one another until a part is due; of the batch at hand, what is scored so far. The
    seconds of a batch that is attacked are not counted: attacks take cores from the detectors."""

    store: PredictionStore
    rows: list[dict[str, Any]] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    timed: int = 0
    seconds: float = 0.0
    started: float = field(default_factory=time.monotonic)
    at_hand: list[dict[str, Any]] = field(default_factory=list)
    seconds_at_hand: float = 0.0

    def collect(self, rows: list[dict[str, Any]], seconds: float) -> None:
        """Rows of a batch that is not complete yet."""
        self.at_hand += rows
        self.seconds_at_hand += seconds

    def complete(self, batch: int, is_timed: bool) -> None:
        if self.batches and batch != self.batches[-1] + 1:
            self.flush()
        self.batches.append(batch)
        self.rows += self.at_hand
        if is_timed:
            self.seconds += self.seconds_at_hand
            self.timed += sum(row["status"] != "failed" for row in self.at_hand)
        self.at_hand, self.seconds_at_hand = [], 0.0
        if len(self.batches) >= BATCHES_PER_PART or time.monotonic() - self.started > SECONDS_PER_PART:
            self.flush()

    def flush(self) -> None:
        if self.batches:
            frame = pd.DataFrame(self.rows, columns=list(COLUMNS))
            self.store.write(frame, self.batches[0], self.batches[-1], self.seconds, self.timed)
        self.rows, self.batches, self.timed, self.seconds, self.started = [], [], 0, 0.0, time.monotonic()
