"""Scoring against the bare work (each image read once, forward passes on ready tensors), and its memory."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from concurrent.futures import wait
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.measure import Ratio, alternating, python, times_as_fast
from maibench.cores import cores
from maibench.datasets.demo import demo_manifest
from maibench.datasets.manifest import Manifest
from maibench.datasets.perturb import Perturbation
from maibench.evaluation.pipeline import Job, Workers, load, prepare
from maibench.evaluation.scorer import PIECE
from maibench.evaluation.scoring import Entry, Plan, score
from maibench.evaluation.store import PredictionStore
from maibench.memory import keep_freed_memory
from maibench.models.base import Detector
from maibench.models.loading import load_detector

IMAGES, FEWER, BATCH, ROUNDS = 1024, 160, 32, 5
FEW, MANY = 1_000, 100_000
MOST = 100_000_000
NONE = Perturbation("none", ())

MEMORY = """
import json, sys, tempfile
from pathlib import Path
from benchmarks.measure import own_peak_mb
from benchmarks.scoring import NONE, plan_of, scored
from maibench.datasets.readers import open_data
from maibench.memory import keep_freed_memory
from maibench.models.loading import load_detector
keep_freed_memory()
manifest = open_data(sys.argv[1])
with tempfile.TemporaryDirectory() as folder:
    scored(plan_of(manifest), {"mai_cnn": load_detector("mai_cnn")}, Path(folder))
print(json.dumps({"peak": own_peak_mb()}))
"""


def main() -> list[Ratio]:
    keep_freed_memory()
    manifest = demo_manifest()
    return [
        against_floor(manifest, ["bailu"], IMAGES),
        against_floor(manifest, ["mai_cnn"], IMAGES),
        against_floor(manifest, ["bailu", "mai_cnn", "moondream"], FEWER),
        flat_memory(),
    ]


def against_floor(manifest: Manifest, names: Sequence[str], images: int) -> Ratio:
    """Images a second of `score`, predictions written, over those of the bare work."""
    detectors = {name: load_detector(name) for name in names}
    plan = plan_of(manifest, images)
    ready = ready_inputs(plan, detectors)
    with tempfile.TemporaryDirectory() as folder, Workers(cores()) as pool:
        ways = {
            "scoring": lambda: scored(plan, detectors, Path(tempfile.mkdtemp(dir=folder))),
            "floor": lambda: bare(plan, detectors, ready, pool),
        }
        seconds = alternating(ways, ROUNDS)
    speeds = {way: plan.images / sorted(times)[len(times) // 2] for way, times in seconds.items()}
    detail = f"{speeds['scoring']:.0f} of {speeds['floor']:.0f} images/s on {cores()} cores"
    return Ratio(f"scoring, {' + '.join(names)}", times_as_fast(seconds, "scoring", than="floor"), 0.9, detail)


def plan_of(manifest: Manifest, images: int | None = None) -> Plan:
    """All rows, or as many as asked for, again and again from the first where there are fewer."""
    rows = np.resize(np.arange(len(manifest.rows)), images or len(manifest.rows))
    return Plan(manifest, [(rows[start : start + BATCH].tolist(), [NONE]) for start in range(0, len(rows), BATCH)])


def scored(plan: Plan, detectors: dict[str, Detector], folder: Path) -> None:
    """What a comparison does on one machine."""
    entries = [Entry(name, detector, PredictionStore(folder, name, "key")) for name, detector in detectors.items()]
    score(plan, entries, cores(), MOST)


def ready_inputs(plan: Plan, detectors: dict[str, Detector]) -> dict[str, list[Any]]:
    """A batch of each detector's inputs, in the pieces that a core takes."""
    records = plan.manifest.rows.loc[plan.batches[0][0]].to_dict("records")
    job = Job(0, records, [NONE], list(detectors))
    images = [prepare(load(plan.manifest.images, row, MOST), row, job, detectors) for row in records]
    return {
        name: [
            detector.collate([image.items[name, "none"] for image in images[start : start + PIECE]])
            for start in range(0, len(images), PIECE)
        ]
        for name, detector in detectors.items()
    }


def bare(plan: Plan, detectors: dict[str, Detector], ready: dict[str, list[Any]], pool: Workers) -> None:
    """The work that cannot be left out, on all cores: first the images, then one network after the other."""

    def read(rows: list[int]) -> None:
        records = plan.manifest.rows.loc[rows].to_dict("records")
        job = Job(0, records, [NONE], list(detectors))
        for row in records:
            prepare(load(plan.manifest.images, row, MOST), row, job, detectors)

    def forward(detector: Detector, batch: Any) -> None:
        with torch.inference_mode():
            detector.answer(batch)

    wait([pool.submit(read, rows) for rows, _ in plan.batches])
    for name, detector in detectors.items():
        wait([pool.submit(forward, detector, piece) for _ in plan.batches for piece in ready[name]])


def flat_memory() -> Ratio:
    """Peak memory of scoring few images over that of scoring many."""
    peaks: dict[int, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for count in (FEW, MANY):
            manifest = list_images(Path(folder) / str(count), count)
            peaks[count] = python(MEMORY, manifest).facts["peak"]
    detail = f"{peaks[FEW]:.0f} MB with {FEW:,} images, {peaks[MANY]:.0f} MB with {MANY:,}, the list of them included"
    return Ratio("memory of scoring, 100 times the images", peaks[FEW] / peaks[MANY], 0.8, detail)


def list_images(folder: Path, count: int) -> Path:
    """A manifest of `count` paths of a hundred images."""
    folder.mkdir()
    noise = np.random.default_rng(0)
    for index in range(100):
        Image.fromarray(noise.integers(0, 256, (200, 200, 3), np.uint8)).save(folder / f"{index}.jpg", quality=75)
    lines = ["path,label,generator"]
    for index in range(count):
        name = f"{index // 100}/{index}.jpg"
        (folder / name).parent.mkdir(exist_ok=True)
        os.link(folder / f"{index % 100}.jpg", folder / name)
        lines.append(f"{name},{index % 2},{'gen' if index % 2 else 'real'}")
    manifest = folder / "manifest.csv"
    manifest.write_text("\n".join(lines) + "\n")
    return manifest


if __name__ == "__main__":
    for row in main():
        print(row)
