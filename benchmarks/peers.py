"""Images a second and peak memory against the loops of CNNDetection, SIDBench and detectzoo: same images, same weights.

Every loop runs in a process of its own, in turns, on the same cores; the best of the rounds counts. A row whose
scores are not those of the peers is void.
"""

from __future__ import annotations

import importlib.util
import io
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

from benchmarks.measure import Child, Ratio, child, in_turns
from benchmarks.peer_loops import REAL, SYNTHETIC
from maibench.datasets.demo import demo_manifest
from maibench.models.loading import load_detector
from maibench.models.mai_cnn import MaiCnn

IMAGES, SIDE, ROUNDS = 1000, 512, 2
PEERS = ("CNNDetection", "SIDBench", "detectzoo")
AGREE = 1e-4  # P(synthetic), the same networks on the same pixels
REPOSITORY = Path(__file__).parents[1]


def main() -> list[Ratio]:
    """One detector, and three of them."""
    ways = [*PEERS, "torch", "auto", "loop alone"]
    missing = [name for name in ("detectzoo", "lpips") if importlib.util.find_spec(name) is None]
    rows = []
    if missing:
        ways.remove("detectzoo")
        why = f"{' and '.join(missing)} not installed: pip install --no-deps -r requirements-bench.txt"
        rows.append(Ratio("against detectzoo", None, None, why))
    with tempfile.TemporaryDirectory() as name:
        here = Path(name)
        make_images(here / "images", IMAGES)
        other = other_weights(here / "other")
        one = {"mai_cnn": "mai_cnn"}
        for title, models, floor in (
            ("one detector", one, 2),
            ("three detectors", {**one, "bailu": "bailu", "other": str(other)}, 4),
        ):
            rows += compared(here, title, models, ways, IMAGES, ROUNDS, floor)
    return rows


def compared(
    here: Path, title: str, models: Mapping[str, str], ways: Sequence[str], images: int, rounds: int, floor: float
) -> list[Ratio]:
    """The rows of one set of detectors. `here` holds the folder of images."""
    problems: dict[str, str] = {}
    able = []
    memory = {}
    for way in ways:  # a round of its own finds what cannot run here, and measures memory, which would slow the others
        try:
            memory[way] = _run(here, way, models, memory=True).peak_mb
            able.append(way)
        except RuntimeError as error:
            problems[way] = str(error).strip().splitlines()[-1][:200]
    children = in_turns({way: partial(_run, here, way, models, memory=False) for way in able}, rounds)
    speed = {way: images / min(each.facts["seconds"] for each in found) for way, found in children.items()}
    for way in able:
        print(f"{title:16} {way:13} {speed[way]:7.1f} images/s {memory[way]:7.0f} MB")
    peers = [way for way in PEERS if way in able]
    says = ", ".join(f"{way} {speed[way]:.1f} images/s {memory[way]:.0f} MB" for way in peers)
    rows = []
    for way in ("torch", "auto"):
        name = f"{title}, maibench {'float32' if way == 'torch' else 'backend auto'}, to the fastest peer"
        if way in problems or not peers:
            rows.append(Ratio(name, None, floor, problems.get(way, "no peer ran")))
            continue
        apart = max(difference(here, way, peer) for peer in peers)
        if apart > AGREE:
            rows.append(Ratio(name, None, floor, f"void: scores differ by up to {apart:.1e}"))
            continue
        own = f"{speed[way]:.1f} images/s {memory[way]:.0f} MB; {says}; scores within {apart:.0e}"
        rows.append(Ratio(name, speed[way] / max(speed[peer] for peer in peers), floor, own))
        least = min(memory[peer] for peer in peers)
        rows.append(Ratio(name.replace("fastest", "smallest") + ", memory", least / memory[way], None, ""))
    if "loop alone" in able and "torch" in able:
        ratio = speed["torch"] / speed["loop alone"]
        detail = f"CNNDetection's loop around maibench's own modules: {speed['loop alone']:.1f} images/s"
        rows.append(Ratio(f"{title}, maibench float32, to the loop alone", ratio, None, detail))
    return rows + [Ratio(f"{title}, {way}", None, None, why) for way, why in problems.items() if way in PEERS]


def difference(here: Path, one: str, other: str) -> float:
    """The largest difference of P(synthetic) over all images and detectors; infinite where one has others."""
    first, second = (json.loads(_scores(here, way).read_text()) for way in (one, other))
    if first.keys() != second.keys() or any(first[name].keys() != second[name].keys() for name in first):
        return float("inf")
    return max(abs(first[name][path] - second[name][path]) for name in first for path in first[name])


def make_images(folder: Path, count: int) -> None:
    """`count` JPEGs of SIDE x SIDE: the demo's images mirrored outwards, with a camera's noise, about 100 kB each."""
    demo = demo_manifest()
    rng = np.random.default_rng(0)
    paths = demo.rows["path"].tolist()
    rows = []
    for at in range(count):
        label = at % 2
        with Image.open(io.BytesIO(demo.read(paths[at % len(paths)]).data)) as image:
            pixels = np.asarray(image.convert("RGB"))
        wide = [((SIDE - side) // 2, SIDE - side - (SIDE - side) // 2) for side in pixels.shape[:2]]
        noisy = np.pad(pixels, [*wide, (0, 0)], mode="symmetric") + rng.normal(0, 3, (SIDE, SIDE, 3))
        path = f"{(REAL, SYNTHETIC)[label]}/{at:05d}.jpg"
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / path, quality=90)
        rows.append((path, label, "made" if label else "real", "test"))
    pd.DataFrame(rows, columns=["path", "label", "generator", "split"]).to_csv(folder / "manifest.csv", index=False)


def other_weights(folder: Path) -> Path:
    """The MAI CNN with weights of its own."""
    detector = load_detector("mai_cnn")
    assert isinstance(detector, MaiCnn)
    with torch.no_grad():
        for values in detector.parameters():
            values.mul_(0.9)
    detector.save_pretrained(folder)
    return folder


def _run(here: Path, way: str, models: Mapping[str, str], memory: bool) -> Child:
    named = [f"{name}={spec}" for name, spec in models.items()]
    command = [sys.executable, "-m", "benchmarks.peer_loops", way, here / "images", _scores(here, way), *named]
    return child(command, cwd=REPOSITORY, memory=memory)


def _scores(here: Path, way: str) -> Path:
    return here / f"{way.replace(' ', '-')}.json"


if __name__ == "__main__":
    main()
