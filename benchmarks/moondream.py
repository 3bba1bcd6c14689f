"""The nano moondream on all cores: one by one, in batches, in batches with several questions; ratios to one by one."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np

from maibench.models.loading import load_detector
from maibench.models.moondream.detector import Moondream

IMAGES, ROUNDS = 32, 5
QUESTIONS = ["Is this image AI-generated?", "Is this image blurred?", "Is this image noisy?", "Is this image resized?"]


def main() -> None:
    """Rounds alternate among the ways, so that a noisy machine disturbs all alike."""
    detector = load_detector("moondream", adapter="none")
    assert isinstance(detector, Moondream)
    images = [np.random.default_rng(seed).integers(0, 256, (256, 256, 3), np.uint8) for seed in range(IMAGES)]
    ways: dict[str, Callable[[], object]] = {
        "one by one": lambda: [detector.ask([image], QUESTIONS[:1]) for image in images],
        "a batch": lambda: detector.ask(images, QUESTIONS[:1]),
        "one by one, four questions, each from the start": lambda: [
            detector.ask([image], [question]) for image in images for question in QUESTIONS
        ],
        "a batch, four questions": lambda: detector.ask(images, QUESTIONS),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - started)
    base = statistics.median(seconds["one by one"])
    print("way                                               images/s   times one by one")
    for name, times in seconds.items():
        middle = statistics.median(times)
        print(f"{name:48s} {IMAGES / middle:9.1f} {base / middle:18.2f}")


if __name__ == "__main__":
    main()
