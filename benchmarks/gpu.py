"""Networks on a GPU: milliseconds an image against the goals, and moondream against the official procedure.

`python -m benchmarks gpu gpu_feeding` measure where there is a GPU; `python -m benchmarks.gpu --device cpu --tiny` (and
`benchmarks.gpu_feeding`) run all of it on small shapes, to know that it runs.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from benchmarks.measure import Ratio, alternating, times_as_fast
from maibench.cores import cores
from maibench.models.backends.backend import BACKENDS
from maibench.models.device import choose_device, to_device
from maibench.models.loading import load_detector
from maibench.models.moondream.config import MoondreamConfig
from maibench.models.moondream.model import MoondreamModel

GOALS = {("bailu", "one"): 1.0, ("bailu", "many"): 0.1}
"""Milliseconds an image at most, in batches of one and of many, by the fastest backend."""
PROMPT = [1, 15381, 2, 3845, 428, 3160, 9312, 12, 14578, 27, 3]
"""As long as the question that detectors ask; its meaning is nothing to random weights."""
PASSES = 3
"""Of the decoder, for the official code to have read "Yes", a full stop and the end."""
TINY = {
    "text": {"dim": 32, "ff_dim": 48, "n_layers": 2, "max_context": 800, "n_heads": 2, "n_kv_heads": 2},
    "vision": {
        "enc_dim": 16, "enc_ff_dim": 24, "enc_n_layers": 1, "enc_n_heads": 2, "proj_inner_dim": 24, "proj_out_dim": 32,
    },
}  # fmt: skip


@dataclass(frozen=True)
class Scale:
    """How much is measured. many: images of a large batch. asked: images that moondream answers for, of one crop and of
    many. scored: images of a whole comparison."""

    many: int
    rounds: int
    asked: tuple[int, int]
    scored: int
    moondream: MoondreamConfig


FULL = Scale(256, 15, (64, 16), 16_384, MoondreamConfig())
SMALL = Scale(2, 1, (2, 1), 8, MoondreamConfig.model_validate(TINY))


def main() -> list[Ratio]:
    return where_there_is_one(measured)


def measured(place: torch.device, scale: Scale) -> list[Ratio]:
    return [
        *networks("bailu", 256, place, scale),
        *networks("mai_cnn", 200, place, scale),
        *moondream(place, scale),
    ]


def networks(name: str, side: int, place: torch.device, scale: Scale) -> list[Ratio]:
    """Each backend against torch in float32, on batches that lie on the device; and the fastest against the goal."""
    detector = load_detector(name, device=str(place))
    rows = []
    for batch, count in (("one", 1), ("many", scale.many)):
        x = torch.rand(count, 3, side, side, device=place) * 4 - 2
        ways: dict[str, Callable[[Tensor], Tensor]] = {"torch": detector.run_in_torch}
        for backend in ("torch-bf16", "cudagraph", "cudagraph-bf16"):
            if place.type in BACKENDS[backend].devices:
                ways[backend] = BACKENDS[backend].compile_network(detector, x)
        with torch.inference_mode():
            expected = detector.run_in_torch(x)
            apart = {way: float((run(x) - expected).abs().max()) for way, run in ways.items()}
            seconds = alternating({way: finished(place, run, x) for way, run in ways.items()}, scale.rounds, warm=3)
        each = {way: 1000 * min(times) / count for way, times in seconds.items()}
        what = f"{name}, batch of {count}"
        for way in list(ways)[1:]:
            detail = f"{each[way]:.4f} against {each['torch']:.4f} ms an image, logits within {apart[way]:.1e}"
            rows.append(Ratio(f"{what}, {way} against torch", times_as_fast(seconds, way, than="torch"), None, detail))
        if goal := GOALS.get((name, batch)):
            best = min(each, key=lambda way: each[way])
            detail = f"{each[best]:.4f} ms an image with {best}, goal under {goal} ms; torch {each['torch']:.4f}"
            rows.append(Ratio(f"{what}, its goal", goal / each[best], 1.0, detail))
    return rows


def moondream(place: torch.device, scale: Scale) -> list[Ratio]:
    """Random weights in bfloat16: one vision pass and one prefix for a batch, against one image after the other."""
    with torch.device(place):
        model = MoondreamModel(scale.moondream).to(torch.bfloat16)
    model.eval().requires_grad_(False)
    rows = []
    for count, side, what in zip(scale.asked, (256, 1024), ("one crop", "many crops"), strict=True):
        images = [picture(side, seed) for seed in range(count)]
        with torch.inference_mode(), ThreadPoolExecutor(cores()) as pool:
            apart = (batched(model, images, pool, place) - official(model, images, place, 1)).abs().max()
            ways = {
                "official": finished(place, lambda given: official(model, given, place), images),
                "batched": finished(place, lambda given: batched(model, given, pool, place), images),
            }
            seconds = alternating(ways, max(1, scale.rounds // 5))
        speeds = {way: count / min(times) for way, times in seconds.items()}
        crops = len(model.crop(images[0])[0])
        detail = f"{speeds['batched']:.2f} against {speeds['official']:.2f} images/s, {crops} crops an image, "
        detail += f"logits of the first token within {float(apart):.1e}"
        ratio = times_as_fast(seconds, "batched", than="official")
        rows.append(Ratio(f"moondream, {what}, against one by one as the official code", ratio, 5.0, detail))
    return rows


def official(
    model: MoondreamModel, images: Sequence[NDArray[np.uint8]], place: torch.device, passes: int = PASSES
) -> Tensor:
    """Logits of the first token, image by image, in the order of the official code (moondream/torch/moondream.py of
    github.com/vikhyat/moondream, read): crops, encoder, prefix, prompt, then token by token, each known to the host
    before the next. Cheaper than that code: no cache of 2,048 places, no copy of it, no sampling."""
    first = []
    for image in images:
        cropped = model.stack([model.crop(image)])
        cache = model.prefill({"crops": cropped["crops"].to(place), "tilings": cropped["tilings"]})
        ids = torch.tensor([PROMPT], device=place)
        for at in range(passes):
            logits = model.text(input_ids=ids, past_key_values=cache, logits_to_keep=1).logits[:, -1]
            if at == 0:
                first.append(logits.float())
            ids = torch.tensor([[int(logits.argmax())]], device=place)
    return torch.cat(first)


def batched(
    model: MoondreamModel, images: Sequence[NDArray[np.uint8]], pool: ThreadPoolExecutor, place: torch.device
) -> Tensor:
    """The same as the detector has them: the crops by all cores, then the whole batch."""
    batch = to_device(model.stack(list(pool.map(model.crop, images))), place)
    return torch.cat([model.continue_with(model.prefill(part), PROMPT) for part in model.split(batch)])


def finished(place: torch.device, work: Callable[[Any], object], given: Any) -> Callable[[], None]:
    """The work, until the device has done it."""

    def run() -> None:
        work(given)
        if place.type == "cuda":
            torch.cuda.synchronize(place)

    return run


def picture(side: int, seed: int) -> NDArray[np.uint8]:
    """Something like a photograph: smooth shapes and a little noise, uint8 side x side x 3."""
    noise = np.random.default_rng(seed)
    shapes = Image.fromarray(noise.integers(0, 256, (8, 8, 3), np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
    return np.clip(np.asarray(shapes) + noise.normal(0, 6, (side, side, 3)), 0, 255).astype(np.uint8)


Measure = Callable[[torch.device, Scale], list[Ratio]]


def where_there_is_one(measure: Measure) -> list[Ratio]:
    """The rows of a benchmark in full, or one that says why there are none."""
    if not torch.cuda.is_available():
        return [Ratio("GPU", None, None, "no GPU here: not measured")]
    return named(measure, "cuda", FULL)


def named(measure: Measure, device: str, scale: Scale) -> list[Ratio]:
    """The rows of a benchmark, each with the device's name."""
    place = torch.device(choose_device(device))
    name = torch.cuda.get_device_name(place) if place.type == "cuda" else place.type
    return [Ratio(f"GPU, {row.name}", row.ratio, row.floor, f"{name}: {row.detail}") for row in measure(place, scale)]


def command(measure: Measure, about: str | None, arguments: Sequence[str] | None = None) -> None:
    """Print the rows of a benchmark on any device, in full or on small shapes."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N or cpu")
    parser.add_argument("--tiny", action="store_true", help="small shapes, to see that it runs")
    given = parser.parse_args(arguments)
    for row in named(measure, given.device, SMALL if given.tiny else FULL):
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        print(f"{row.name}: {ratio} {row.verdict}; {row.detail}")


if __name__ == "__main__":
    command(measured, __doc__)
