"""Training batches, prepared in threads while the network works."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from maibench.finetune.augment import augment
from maibench.finetune.recipe import Recipe
from maibench.finetune.samples import SampleSource
from maibench.models.base import Detector

AHEAD = 2
"""Batches that each thread has ready or in work."""


class Batches:
    """The batches of one process. Each depends on the seed and on its place in the training alone (step, part,
    process), so that a training that was stopped goes on with the same ones, whatever number of threads draws them.

    What the processes draw for a step and part is together what one process draws with as many times the batch size:
    each takes every so manieth couple of a real and a synthetic image, both sides of a pair with it.
    """

    def __init__(
        self,
        source: SampleSource,
        recipe: Recipe,
        detector: Detector,
        process: int,
        workers: int,
        processes: int = 1,
    ) -> None:
        self.source = source
        self.recipe = recipe
        self.detector = detector
        self.workers = workers
        size = recipe.batch_size
        self._together = size * processes
        couples = sorted(range(self._together), key=lambda place: (place // 2 % processes, place))
        self._places = couples[process * size : (process + 1) * size]

    def between(self, first: int, last: int) -> Generator[tuple[Any, Tensor]]:
        """(batch, labels) of every part of the steps from `first` to `last`, in order.

        Raises ImageError for an image that cannot be read any more.
        """
        places = iter([(step, part) for step in range(first, last + 1) for part in range(self.recipe.accumulate)])
        waiting: deque[Future[tuple[Any, Tensor]]] = deque()
        with ThreadPoolExecutor(self.workers, thread_name_prefix="batches") as pool:
            try:
                while True:
                    while len(waiting) < AHEAD * self.workers and (place := next(places, None)):
                        waiting.append(pool.submit(self.draw, *place))
                    if not waiting:
                        return
                    yield waiting.popleft().result()
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def first(self, count: int) -> Iterator[Any]:
        """The batches of the first steps, without their labels."""
        return (self.draw(step, 0)[0] for step in range(1, count + 1))

    def draw(self, step: int, part: int) -> tuple[Any, Tensor]:
        """(batch, labels) of one place of the training."""
        seed = (self.recipe.seed, step, part, 0)
        rng = np.random.default_rng(seed)
        samples = self.source.draw(self._together, self.recipe.pairs, rng, self._places)
        crops = augment(samples, self.recipe.draw_crop(rng), self.recipe.augmentation, seed, self._places)
        batch = self.detector.collate([self.detector.preprocess(crop) for crop in crops])
        return batch, torch.tensor([float(sample.label) for sample in samples])
