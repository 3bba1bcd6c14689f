"""Backends on one core: what computes bailu and the MAI CNN, held against torch in float32, and how far off it is."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from benchmarks.measure import Ratio, alternating, times_as_fast
from maibench.cores import one_core
from maibench.models.backends.backend import BACKENDS, Unsuitable
from maibench.models.base import Detector
from maibench.models.loading import load_detector

Network = Callable[[Tensor], Tensor]

CASES = (("bailu", 256), ("mai_cnn", 200))
BATCHES = (1, 8)
ROUNDS = 15
GOALS = {("bailu", 8, "float32"): 200.0, ("bailu", 8, "bfloat16"): 400.0, ("bailu", 1, "float32"): 1 / 0.005}
"""Images/s a core that the fastest way has to reach; a batch of one in under 5 ms."""


def main() -> list[Ratio]:
    """Images are random pixels: what is computed does not hang on them."""
    rows: list[Ratio] = []
    with one_core(), torch.inference_mode():
        for name, side in CASES:
            for batch in BATCHES:
                rows += _measure(name, torch.randn(batch, 3, side, side))
    return rows


def _measure(name: str, x: Tensor) -> list[Ratio]:
    detector = load_detector(name)
    compiled, absent = _compiled(detector, x)
    networks: dict[str, Network] = {"torch": detector.run_in_torch, **compiled}
    ways = {way: partial(network, x) for way, network in networks.items()}
    wanted = ways["torch"]()
    seconds = alternating(ways, ROUNDS, warm=3)
    rate = {way: len(x) / min(times) for way, times in seconds.items()}
    case = f"{name}, batch {len(x)}"
    rows = [
        Ratio(
            f"{case}: {way} / torch",
            times_as_fast(seconds, way, "torch"),
            detail=f"{rate[way]:.0f} against {rate['torch']:.0f} images/s, logits within "
            f"{float((ways[way]() - wanted).abs().max()):.1e}",
        )
        for way in compiled
    ]
    for precision in ("float32", "bfloat16"):
        goal = GOALS.get((name, len(x), precision))
        of_it = [way for way in rate if _precision(way) == precision]
        if goal is not None and of_it:
            best = max(of_it, key=lambda way: rate[way])
            detail = f"{best}: {rate[best]:.0f} of {goal:.0f} images/s, {1e3 / rate[best]:.1f} ms an image"
            rows.append(Ratio(f"{case}: fastest in {precision} / goal", rate[best] / goal, 1.0, detail))
    return rows + [Ratio(f"{case}: {way} / torch", None, detail=reason) for way, reason in absent.items()]


def _compiled(detector: Detector, x: Tensor) -> tuple[dict[str, Network], dict[str, str]]:
    """What each backend for a CPU made of the detector, and why some made nothing."""
    compiled: dict[str, Network] = {}
    absent: dict[str, str] = {}
    for backend in BACKENDS.values():
        if "cpu" not in backend.devices:
            continue
        if backend.missing:
            absent[backend.name] = f"{backend.missing} is not installed"
            continue
        try:
            compiled[backend.name] = backend.compile_network(detector, x)
        except Unsuitable as error:
            absent[backend.name] = str(error)
    return compiled, absent


def _precision(way: str) -> str:
    return "bfloat16" if way in BACKENDS and BACKENDS[way].bfloat16 else "float32"
