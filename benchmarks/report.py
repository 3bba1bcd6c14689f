"""Seconds and peak memory of `maibench report`, from stored predictions to tables, figures and page."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.measure import Ratio

DETECTORS, GENERATORS, RESAMPLES = 3, 20, 1000
GOAL_SECONDS, GOAL_GB = 60, 4  # a million predictions, two cores

# In a process of its own, which then tells its own peak: the parent's would be that of all children.
_CHILD = """
import sys
from benchmarks.measure import own_peak_mb
from maibench.cli import app
app(["report", *sys.argv[1:]], standalone_mode=False)
print(own_peak_mb() / 1024, file=sys.stderr)
"""


def write_predictions(folder: Path, images: int, per_source: int) -> None:
    """`images` of the test split and a tenth as many of validation, half of them of GENERATORS generators; each source
    has `per_source` of them."""
    rng = np.random.default_rng(0)
    n = images + images // 10
    labels, source = rng.integers(0, 2, n), np.arange(n) // per_source
    names = np.array([f"generator {at:02d}" for at in range(GENERATORS)])
    common = pd.DataFrame(
        {
            "image_id": [f"{at:064x}" for at in range(n)],
            "path": [f"images/{at:08d}.jpg" for at in range(n)],
            "label": labels,
            "generator": np.where(labels == 1, rng.choice(names, n), "real"),
            "source": [f"source {at}" for at in source],
            "split": np.where(np.arange(n) < images, "test", "validation"),
            "perturbation": "none",
            "status": "ok",
            "error": "",
        }
    )
    shared = 0.7 * rng.normal(size=source[-1] + 1)[source]
    for at in range(DETECTORS):
        logits = rng.normal((1 + 0.1 * at) * labels - 0.5) + shared
        place = folder / "predictions" / f"detector {at}"
        place.mkdir(parents=True)
        common.assign(detector=f"detector {at}", logit=logits).to_parquet(place / "part.parquet", index=False)


def main() -> list[Ratio]:
    """A million predictions against the goals, and against 10,000 of the same run."""
    print("predictions   images a source   seconds   times 10,000 predictions   peak GB")
    rows, first = [], None
    for images, per_source in ((3_333, 1), (3_333, 3), (333_333, 1), (333_333, 3)):
        with tempfile.TemporaryDirectory() as name:
            write_predictions(Path(name), images, per_source)
            command = [sys.executable, "-c", _CHILD, name, "--resamples", str(RESAMPLES)]
            started = time.perf_counter()
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            seconds = time.perf_counter() - started
            first = first or seconds
            peak = float(done.stderr.split()[-1])
            print(
                f"{images * DETECTORS:11,d}   {per_source:15d}   {seconds:7.1f}   {seconds / first:24.1f}   {peak:7.2f}"
            )
        if images < 100_000:
            continue
        name = f"{images * DETECTORS:,} predictions, {per_source} a source"
        figures = f"{seconds:.1f} s; {seconds / first:.1f} times 10,000 predictions"
        rows.append(Ratio(f"{name}, the goal of {GOAL_SECONDS} s to seconds", GOAL_SECONDS / seconds, 1, figures))
        rows.append(Ratio(f"{name}, the goal of {GOAL_GB} GB to the peak", GOAL_GB / peak, 1, f"{peak:.2f} GB"))
    return rows


if __name__ == "__main__":
    main()
