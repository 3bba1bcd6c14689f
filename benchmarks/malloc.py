"""What it gains that glibc keeps freed memory (mallopt), in throughput, and what it costs in memory."""

from __future__ import annotations

import statistics

from benchmarks.measure import Ratio, in_turns, python

IMAGES, ROUNDS = 512, 2

SCORE = """
import json, sys, tempfile, time
from pathlib import Path
from benchmarks.measure import own_peak_mb
from benchmarks.scoring import plan_of, scored
from maibench.datasets.demo import demo_manifest
from maibench.memory import keep_freed_memory
from maibench.models.loading import load_detector
if sys.argv[1] == "kept":
    assert keep_freed_memory()
detectors = {sys.argv[2]: load_detector(sys.argv[2])}
plan = plan_of(demo_manifest(), int(sys.argv[3]))
with tempfile.TemporaryDirectory() as folder:
    scored(plan, detectors, Path(folder) / "first")
    started = time.perf_counter()
    scored(plan, detectors, Path(folder) / "second")
    print(json.dumps({"speed": plan.images / (time.perf_counter() - started), "peak": own_peak_mb()}))
"""


def main() -> list[Ratio]:
    """Both ways in turns, each in processes of its own."""
    rows = []
    for name in ("bailu", "mai_cnn"):
        ways = {
            how: lambda how=how, name=name: python(SCORE, how, name, IMAGES).facts for how in ("kept", "given back")
        }  # type: ignore[misc]
        facts = in_turns(ways, ROUNDS)
        speed, peak = (
            {how: statistics.median(each[what] for each in found) for how, found in facts.items()}
            for what in ("speed", "peak")
        )
        detail = f"{speed['kept']:.0f} against {speed['given back']:.0f} images/s"
        rows.append(
            Ratio(f"{name}, freed memory kept, to malloc's defaults", speed["kept"] / speed["given back"], 1.0, detail)
        )
        detail = f"{peak['kept']:.0f} against {peak['given back']:.0f} MB at most"
        rows.append(Ratio(f"{name}, memory of that", peak["given back"] / peak["kept"], 0.8, detail))
    return rows
