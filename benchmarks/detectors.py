"""Milliseconds an image and multiply-adds of the bundled CNNs on one core, and each as a ratio to bailu."""

from __future__ import annotations

import statistics
import time

import torch
from torch.utils.flop_counter import FlopCounterMode

from maibench.models.bailu import Bailu
from maibench.models.base import Detector
from maibench.models.mai_cnn import MaiCnn
from maibench.models.mai_resnet import MaiResnet

CASES: tuple[tuple[type[Detector], int], ...] = ((Bailu, 256), (MaiCnn, 200), (MaiResnet, 224))
ROUNDS = 40


def million_multiply_adds(model: Detector, side: int) -> float:
    """Of one forward pass of one image."""
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(torch.zeros(1, 3, side, side))
    return counter.get_total_flops() / 2e6


def main() -> None:
    """Rounds alternate among the models, so that a noisy machine disturbs all alike."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    models = [(cls().eval(), side) for cls, side in CASES]
    seconds: dict[tuple[str, int], list[float]] = {}
    with torch.inference_mode():
        for _ in range(ROUNDS):
            for model, side in models:
                for batch in (1, 16) if not isinstance(model, MaiResnet) else (1,):
                    images = torch.rand(batch, 3, side, side)
                    started = time.perf_counter()
                    model(images)
                    seconds.setdefault((model.card.name, batch), []).append((time.perf_counter() - started) / batch)
    torch.set_num_threads(threads)
    base = statistics.median(seconds["bailu", 1])
    print("detector     batch   best ms   median ms   to bailu   million multiply-adds")
    for model, side in models:
        for (name, batch), times in seconds.items():
            if name == model.card.name:
                middle = statistics.median(times)
                print(
                    f"{name:11s} {batch:6d} {1e3 * min(times):9.2f} {1e3 * middle:11.2f} {middle / base:10.2f}"
                    f" {million_multiply_adds(model, side):23.0f}"
                )


if __name__ == "__main__":
    main()
