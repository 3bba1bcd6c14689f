"""The bundled CNNs in torch on one core: batches against single images, bailu against the time that its card claims."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measure import Ratio, alternating, times_as_fast
from maibench.models.bailu import Bailu
from maibench.models.base import Detector
from maibench.models.mai_cnn import MaiCnn
from maibench.models.mai_resnet import MaiResnet

CASES: tuple[tuple[type[Detector], int], ...] = ((Bailu, 256), (MaiCnn, 200), (MaiResnet, 224))
ROUNDS, BATCH = 40, 16
CLAIMED_MS = 10  # an image, on a GPU, by the BAILU card


def million_multiply_adds(model: Detector, side: int) -> float:
    """Of one forward pass of one image."""
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(torch.zeros(1, 3, side, side))
    return counter.get_total_flops() / 2e6


def main() -> list[Ratio]:
    """Rounds alternate among the models, so that a noisy machine disturbs all alike."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    models = {cls.card.name: (cls().eval(), side) for cls, side in CASES}
    ways: dict[str, Callable[[], object]] = {}
    for name, (model, side) in models.items():
        for batch in (1, BATCH):
            ways[f"{name} {batch}"] = partial(model, torch.rand(batch, 3, side, side))
    with torch.inference_mode():
        seconds = alternating(ways, ROUNDS)
    torch.set_num_threads(threads)
    ms = {name: 1e3 * statistics.median(times) / int(name.split()[1]) for name, times in seconds.items()}
    rows = [
        Ratio("bailu, one image, to the 10 ms that its card claims on a GPU", CLAIMED_MS / ms["bailu 1"], 2, _ms(ms, 1))
    ]
    for name, (model, side) in models.items():
        adds = f"{million_multiply_adds(model, side):,.0f} million multiply-adds an image"
        figures = f"{ms[f'{name} {BATCH}']:.2f} against {ms[f'{name} 1']:.2f} ms an image; {adds}"
        ratio = BATCH * times_as_fast(seconds, f"{name} {BATCH}", f"{name} 1")
        rows.append(Ratio(f"{name}, a batch of {BATCH} to single images", ratio, 0.95, figures))
    print("\n".join(f"{name:14} {ms[name]:8.2f} ms an image" for name in ms))
    return rows


def _ms(ms: dict[str, float], batch: int) -> str:
    return ", ".join(f"{name} {ms[f'{name} {batch}']:.2f} ms" for name in (cls.card.name for cls, _ in CASES))


if __name__ == "__main__":
    main()
