"""Images a second of a whole training of bailu, as a share of its bare forward and backward passes."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.measure import Ratio
from maibench.datasets.demo import demo_manifest
from maibench.finetune.recipe import Recipe
from maibench.finetune.trainer import make_detector, train
from maibench.progress import Progress

BATCH, CROP, STEPS, ROUNDS = 32, 192, 40, 3
RECIPE = Recipe(
    detector="bailu", lr=1e-4, steps=STEPS, warmup=0, batch_size=BATCH, crop=CROP, validate_every=STEPS, averaging=0.99
)


class Clock(Progress):
    """When each step was done."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def advance(self, count: int, note: str = "") -> None:
        self.times.append(time.perf_counter())


def bare() -> float:
    """Seconds of a step that only goes forward and backward, on a batch that lies ready; the median of so many."""
    detector = make_detector(RECIPE, "cpu").train()
    images, labels = torch.randn(BATCH, 3, CROP, CROP), torch.arange(BATCH) % 2
    seconds = []
    for _ in range(STEPS // 2):
        started = time.perf_counter()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            detector.loss(images, labels).backward()
        detector.zero_grad()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def trained() -> float:
    """Seconds of a step of a whole training: batches drawn, cut and compressed, optimiser, averaging."""
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        train(RECIPE, [demo_manifest()], Path(folder), device="cpu", progress=clock)
    return statistics.median(after - before for before, after in zip(clock.times, clock.times[1:], strict=False))


def main() -> list[Ratio]:
    """Rounds alternate, so that a noisy machine disturbs both alike."""
    bares, trainings = zip(*((bare(), trained()) for _ in range(ROUNDS)), strict=True)
    alone, whole = statistics.median(bares), statistics.median(trainings)
    print(f"bare forward and backward   {BATCH / alone:7.1f} images/s")
    print(f"whole training              {BATCH / whole:7.1f} images/s   {alone / whole:.2f} of it")
    figures = f"{BATCH / whole:.1f} against {BATCH / alone:.1f} images/s, batches of {BATCH} crops of {CROP}"
    return [Ratio("bailu, a whole training to its bare passes", alone / whole, 0.9, figures)]


if __name__ == "__main__":
    main()
