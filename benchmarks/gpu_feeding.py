"""What feeds a GPU: preprocessing there, sending batches, decoding there, and scoring against the slower of the host's
work and the networks'; `benchmarks.gpu` says how it is run."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Sequence
from concurrent.futures import wait
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from benchmarks.gpu import Scale, command, finished, picture, where_there_is_one
from benchmarks.measure import Ratio, alternating, times_as_fast
from benchmarks.scoring import MOST, NONE, plan_of, scored
from maibench.cores import cores
from maibench.datasets.demo import demo_manifest
from maibench.evaluation.pipeline import Job, Workers, load, prepare
from maibench.models.base import Detector
from maibench.models.device import to_device
from maibench.models.loading import load_detector
from maibench.models.on_device import preprocess_on_device, preprocesses_alike


def main() -> list[Ratio]:
    return where_there_is_one(measured)


def measured(place: torch.device, scale: Scale) -> list[Ratio]:
    return [
        *preprocessing(place, scale),
        transfers(place, scale),
        decoding(place, scale),
        scoring(["bailu"], place, scale),
        scoring(["bailu", "mai_cnn"], place, scale),
    ]


def preprocessing(place: torch.device, scale: Scale) -> list[Ratio]:
    """bailu's and the MAI CNN's, on the device from bytes, against one core and floats, both until they are there."""
    rows = []
    for name in ("bailu", "mai_cnn"):
        detector = load_detector(name, device=str(place))
        for side in (256, 512):
            images = [picture(side, seed) for seed in range(scale.many)]
            ways = {
                "host": finished(place, lambda given, d=detector: on_host(d, given), images),
                "device": finished(
                    place,
                    lambda given, d=detector: preprocess_on_device(d, to_device(torch.tensor(np.stack(given)), place)),
                    images,
                ),
            }
            seconds = alternating(ways, max(1, scale.rounds // 3))
            speeds = {way: scale.many / min(times) for way, times in seconds.items()}
            bits = "the same bits" if preprocesses_alike(detector, images[:4]) else "OTHER BITS"
            detail = f"{speeds['device']:.0f} against {speeds['host']:.0f} images/s from one core, {bits}"
            ratio = times_as_fast(seconds, "device", than="host")
            rows.append(Ratio(f"preprocessing there, {name}, {side} pixels", ratio, None, detail))
    return rows


def on_host(detector: Detector, images: Sequence[NDArray[np.uint8]]) -> Any:
    """Preprocessed by one core, and sent."""
    return to_device(detector.collate([detector.preprocess(image) for image in images]), detector.device)


def transfers(place: torch.device, scale: Scale) -> Ratio:
    """A batch of floats from the heap: as torch sends it, and through page-locked memory (its copy counted)."""
    batch = torch.rand(scale.many, 3, 256, 256)
    ways = {
        "pageable": finished(place, lambda x: x.to(place), batch),
        "pinned": finished(place, lambda x: to_device(x, place), batch),
    }
    seconds = alternating(ways, scale.rounds, warm=3)
    rates = {way: batch.nbytes / 1e9 / min(times) for way, times in seconds.items()}
    ratio = times_as_fast(seconds, "pinned", than="pageable")
    return Ratio(
        "sending a batch, page-locked", ratio, None, f"{rates['pinned']:.1f} against {rates['pageable']:.1f} GB/s"
    )


def decoding(place: torch.device, scale: Scale) -> Ratio:
    """nvJPEG against Pillow on one core, and how far its pixels are off: the reason why it is not offered."""
    name = "decoding JPEG there, 512 pixels (not offered)"
    try:
        from torchvision.io import decode_jpeg
    except ImportError as error:
        return Ratio(name, None, None, f"not measured: {error}")
    files = [jpeg(picture(512, seed)) for seed in range(scale.many)]
    data = [torch.frombuffer(bytearray(file), dtype=torch.uint8) for file in files]
    try:
        decoded = decode_jpeg(data, device=place)
    except RuntimeError as error:  # a build of torchvision without nvJPEG
        return Ratio(name, None, None, f"not measured: {error}".splitlines()[0])
    exact = [np.asarray(Image.open(io.BytesIO(file))).transpose(2, 0, 1).astype(int) for file in files]
    off = np.stack([np.abs(own.cpu().numpy().astype(int) - other) for own, other in zip(decoded, exact, strict=True)])
    ways = {
        "Pillow": finished(place, lambda given: [np.asarray(Image.open(io.BytesIO(file))) for file in given], files),
        "device": finished(place, lambda given: decode_jpeg(given, device=place), data),
    }
    seconds = alternating(ways, max(1, scale.rounds // 3))
    speeds = {way: scale.many / min(times) for way, times in seconds.items()}
    detail = f"{speeds['device']:.0f} against {speeds['Pillow']:.0f} images/s from one core, "
    detail += f"{100 * (off > 0).mean():.2g} % of levels differ, by {off.max()} at most"
    return Ratio(name, times_as_fast(seconds, "device", than="Pillow"), None, detail)


def scoring(names: Sequence[str], place: torch.device, scale: Scale) -> Ratio:
    """`score`, predictions written, against the slower of the host's work on all cores and the networks' on the GPU."""
    detectors = {name: load_detector(name, device=str(place)) for name in names}
    manifest = demo_manifest()
    plan = plan_of(manifest, scale.scored)
    jobs = [Job(0, manifest.rows.loc[rows].to_dict("records"), [NONE], list(names)) for rows, _ in plan.batches]

    def read(job: Job) -> list[Any]:
        return [prepare(load(manifest.images, row, MOST), row, job, detectors) for row in job.rows]

    images = read(jobs[0])
    ready = {
        name: to_device(detector.collate([image.items[name, "none"] for image in images]), place)
        for name, detector in detectors.items()
    }

    def host(pool: Workers) -> None:
        wait([pool.submit(read, job) for job in jobs])

    def forward(_: Workers) -> None:
        with torch.inference_mode():
            for _ in jobs:
                for name, detector in detectors.items():
                    detector.answer(ready[name])

    with tempfile.TemporaryDirectory() as folder, Workers(cores()) as pool:
        ways = {
            "scoring": finished(place, lambda _: scored(plan, detectors, Path(tempfile.mkdtemp(dir=folder))), None),
            "host": finished(place, host, pool),
            "forward": finished(place, forward, pool),
        }
        seconds = alternating(ways, max(1, scale.rounds // 5))
    slower = max(("host", "forward"), key=lambda way: min(seconds[way]))
    speeds = {way: plan.images / min(times) for way, times in seconds.items()}
    detail = ", ".join(f"{way} {speed:.0f}" for way, speed in speeds.items()) + f" images/s, {cores()} cores"
    ratio = times_as_fast(seconds, "scoring", than=slower)
    return Ratio(f"scoring, {' + '.join(names)}, against {slower}", ratio, 0.9, detail)


def jpeg(image: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=90)
    return file.getvalue()


if __name__ == "__main__":
    command(measured, __doc__)
