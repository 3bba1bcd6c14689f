"""A plan cut into slices: what one worker is given at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import isqrt
from typing import Any

import pyarrow as pa

from maibench.evaluation.pipeline import Disturbance, Job
from maibench.evaluation.scoring import Entry, Plan

ANSWERS = 8_000
"""What a slice asks for at most, over images, perturbations and detectors: about a minute of a core with a small
network, which is what is done once more where a worker is lost."""
_ROW = ("path", "label", "generator", "source", "split", "image_id")


@dataclass(frozen=True)
class Batch:
    """index: in the plan. images: how many it has. disturbances: which of the plan's lists of them. labels: of the
    detectors that have not scored it yet."""

    index: int
    images: int
    disturbances: int
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Slice:
    """Batches of one place of the plan, and the rows of their images, one below the other."""

    batches: tuple[Batch, ...]
    rows: pa.Table

    @property
    def images(self) -> int:
        return sum(batch.images for batch in self.batches)

    def jobs(self, labels: Sequence[str], disturbances: Sequence[Sequence[Disturbance]]) -> Iterator[Job]:
        """What is missing of these detectors. disturbances: `disturbances_of` the plan."""
        start = 0
        for batch in self.batches:
            rows: list[Any] = self.rows.slice(start, batch.images).to_pylist()
            start += batch.images
            if missing := [label for label in labels if label in batch.labels]:
                yield Job(batch.index, rows, disturbances[batch.disturbances], missing)


def disturbances_of(plan: Plan) -> list[list[Disturbance]]:
    """The different lists of perturbations in a plan."""
    return list({id(perturbations): perturbations for _, perturbations in plan.batches}.values())


def batches_per_slice(plan: Plan, detectors: int) -> int:
    """How many batches a slice holds: more in a larger plan, so that handing out slices costs little of a small one and
    many workers end a large one together. It follows from the plan alone: the same batches always make one slice, and
    a slice that is scored twice writes the same parts twice."""
    if not plan.batches:
        return 1
    asked = max(len(rows) * len(perturbations) for rows, perturbations in plan.batches) * detectors
    return max(1, min(isqrt(len(plan.batches)) // 4, ANSWERS // max(1, asked)))


def missing_batches(plan: Plan, entries: Sequence[Entry]) -> Iterator[tuple[int, tuple[str, ...]]]:
    """The places of the batches that some detector has not scored yet, and the labels of those."""
    done = {entry.label: entry.store.done() for entry in entries}
    for index in range(len(plan.batches)):
        if labels := tuple(entry.label for entry in entries if index not in done[entry.label]):
            yield index, labels


def missing_slices(plan: Plan, entries: Sequence[Entry]) -> Iterator[Slice]:
    """The slices in which some detector has something to score, without the batches in which none has."""
    kinds = {id(perturbations): kind for kind, perturbations in enumerate(disturbances_of(plan))}
    frame = plan.manifest.rows
    frame = frame[[name for name in _ROW if name in frame]]
    size = batches_per_slice(plan, len(entries))
    for _, group in groupby(missing_batches(plan, entries), key=lambda pair: pair[0] // size):
        positions: list[int] = []
        batches = []
        for index, labels in group:
            rows, perturbations = plan.batches[index]
            positions += rows
            batches.append(Batch(index, len(rows), kinds[id(perturbations)], labels))
        yield Slice(tuple(batches), pa.Table.from_pandas(frame.loc[positions], preserve_index=False))
