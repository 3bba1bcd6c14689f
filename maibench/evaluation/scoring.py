"""Score detectors on a manifest: the plan, and its predictions written in parts as they come."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import pyarrow as pa

from maibench.datasets.manifest import Manifest
from maibench.evaluation.draw import drawn
from maibench.evaluation.pipeline import Disturbance, Job
from maibench.evaluation.scorer import Scored, Scorer
from maibench.evaluation.store import COLUMNS, PredictionStore
from maibench.models.backends.choose import TORCH, Chosen
from maibench.models.base import Detector

BATCHES_PER_PART = 64
SECONDS_PER_PART = 20
"""A part is written when it holds this many batches or took this long, whichever is first."""


@dataclass
class Entry:
    """One row of the comparison: a detector under its label, and where its predictions go. spec: what was asked for;
    code: the detector's fingerprint as it was loaded; device: what it is scored on; backend: what computes it;
    failure: why it cannot score at all (its rows then say so). of, point: of a sweep, what its points are of, and the
    options that make it this one. kept: what run.json says of it, where it cannot be used now and what an earlier call
    has scored stays."""

    label: str
    detector: Detector
    store: PredictionStore
    spec: str = ""
    code: str = ""
    device: str = "cpu"
    backend: Chosen = TORCH
    failure: str = ""
    of: str = ""
    point: dict[str, Any] = field(default_factory=dict)
    kept: dict[str, Any] = field(default_factory=dict)


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
    writers = {entry.label: PartWriter(entry.store) for entry in entries}
    detectors = {entry.label: entry.detector for entry in entries}
    failures = {entry.label: entry.failure for entry in entries if entry.failure}
    waiting: dict[int, int] = {}

    def jobs() -> Iterator[Job]:
        for job in missing_jobs(plan, entries):
            if job.labels:
                waiting[job.index] = len(job.labels)
                yield job
            else:
                advance(len(job.rows))

    try:
        for scored in Scorer(plan.manifest.images, detectors, workers, max_pixels, failures).score(jobs()):
            writers[scored.label].add(scored)
            waiting[scored.batch] -= 1
            if not waiting[scored.batch]:
                del waiting[scored.batch]
                advance(len(plan.batches[scored.batch][0]))
    finally:
        for writer in writers.values():
            writer.flush()


def missing_jobs(plan: Plan, entries: Sequence[Entry]) -> Iterator[Job]:
    """Every batch of the plan, for the detectors that have not scored it yet: for none, where all have."""
    done = {entry.label: entry.store.done() for entry in entries}
    missing = [
        [entry.label for entry in entries if index not in done[entry.label]] for index in range(len(plan.batches))
    ]
    for start in range(0, len(plan.batches), BATCHES_PER_PART):
        batches = plan.batches[start : start + BATCHES_PER_PART]
        wanted = [row for at, (rows, _) in enumerate(batches) if missing[start + at] for row in rows]
        # many rows at a time: pandas takes most of a millisecond to begin
        records = iter(plan.manifest.rows.loc[wanted, _columns(plan)].to_dict("records"))
        for at, (rows, perturbations) in enumerate(batches):
            labels = missing[start + at]
            own = list(islice(records, len(rows))) if labels else [{}] * len(rows)
            yield Job(start + at, own, perturbations, labels)


def _columns(plan: Plan) -> list[str]:
    """What a prediction says of its image."""
    return [name for name in COLUMNS if name in plan.manifest.rows.columns]


@dataclass
class PartWriter:
    """Collects batches that follow one another until a part is due."""

    store: PredictionStore
    tables: list[pa.Table] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    timed: int = 0
    seconds: float = 0.0
    started: float = field(default_factory=time.monotonic)

    def add(self, scored: Scored) -> None:
        """One detector's rows of a whole batch. Raises DiskError where they cannot be written."""
        if self.batches and scored.batch != self.batches[-1] + 1:
            self.flush()
        self.batches.append(scored.batch)
        self.tables.append(scored.table)
        self.seconds += scored.seconds
        self.timed += scored.timed
        if len(self.batches) >= BATCHES_PER_PART or time.monotonic() - self.started > SECONDS_PER_PART:
            self.flush()

    def flush(self) -> None:
        """Write what was collected."""
        if self.batches:
            table = pa.concat_tables(self.tables)
            self.store.write(table, self.batches[0], self.batches[-1], self.seconds, self.timed)
        self.tables, self.batches, self.timed, self.seconds, self.started = [], [], 0, 0.0, time.monotonic()
