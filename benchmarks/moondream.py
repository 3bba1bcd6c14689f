"""The nano moondream on all cores: one by one, in batches, in batches with several questions."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import numpy as np

from benchmarks.measure import Ratio, alternating, times_as_fast
from maibench.models.loading import load_detector
from maibench.models.moondream.detector import Moondream

IMAGES, ROUNDS = 32, 5
QUESTIONS = ["Is this image AI-generated?", "Is this image blurred?", "Is this image noisy?", "Is this image resized?"]


def main() -> list[Ratio]:
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
    seconds = alternating(ways, ROUNDS)
    speed = {name: IMAGES / statistics.median(times) for name, times in seconds.items()}
    for name, found in speed.items():
        print(f"{name:48s} {found:9.1f} images/s")
    rows = []
    for way, than, floor in (
        ("a batch", "one by one", 0.95),
        ("a batch, four questions", "one by one, four questions, each from the start", 3),
    ):
        figures = f"{speed[way]:.1f} against {speed[than]:.1f} images/s, nano, {IMAGES} images of one crop"
        rows.append(Ratio(f"{way}, to {than}", times_as_fast(seconds, way, than), floor, figures))
    return rows


if __name__ == "__main__":
    main()
