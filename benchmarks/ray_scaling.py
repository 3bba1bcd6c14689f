"""The Ray engine against scoring in one process on the same cores, one worker against two, and the driver's memory."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from benchmarks.manifest import make
from benchmarks.measure import Ratio, in_turns, python
from benchmarks.scoring import MOST, plan_of
from maibench.cores import cores
from maibench.datasets.demo import demo_manifest
from maibench.datasets.manifest import Manifest
from maibench.evaluation.scoring import Entry, score
from maibench.evaluation.store import PredictionStore
from maibench.memory import keep_freed_memory
from maibench.models.base import Detector
from maibench.models.loading import load_detector

DETECTOR, SIZES, WARM, ROUNDS = "bailu", (1_024, 6_144), 64, 3
LISTED = 1_000_000
GIGABYTE = 1000.0  # MB

_DRIVER = """
import json, sys, tempfile
from pathlib import Path
from maibench.datasets.perturb import Perturbation
from maibench.datasets.readers import open_data
from maibench.evaluation.ray_engine import score_on_ray
from maibench.evaluation.scoring import Entry, make_plan
from maibench.evaluation.store import PredictionStore
from maibench.models.loading import load_detector
def held(what):  # MB; of what was mapped, without the pages that Ray's object store shares
    lines = dict(line.split(":") for line in open("/proc/self/status") if line.startswith(("Vm", "Rss")))
    return sum(int(lines[name].split()[0]) for name in what) / 1024
class Peak:
    at = 0.0
    def say(self, text): pass
    def advance(self, count, note=""): self.at = max(self.at, held(["RssAnon", "RssFile"]))
peak, manifest = Peak(), open_data(sys.argv[1])
plan = make_plan(manifest, "test", [Perturbation("none", ())], 32, None, 0)
with tempfile.TemporaryDirectory() as folder:
    entry = Entry("mai_cnn", load_detector("mai_cnn"), PredictionStore(Path(folder), "mai_cnn", "key"))
    peak.advance(0)
    before = peak.at
    score_on_ray(plan, [entry], None, None, 10**8, peak)
    peak.advance(0)
    batches = len(entry.store.done())
print(json.dumps({"images": plan.images, "complete": batches == len(plan.batches), "before": before, "peak": peak.at,
                  "with_shared": held(["VmHWM"])}))
"""


def main() -> list[Ratio]:
    return measured(SIZES, ROUNDS, LISTED)


def measured(sizes: tuple[int, int], rounds: int, listed: int) -> list[Ratio]:
    """What `main` returns, for so many images and rounds."""
    if find_spec("ray") is None:
        return [Ratio("the Ray engine", None, detail='Ray is not installed: pip install "maibench[ray]"')]
    return [*speeds(sizes, rounds), driver_memory(listed)]


def speeds(sizes: tuple[int, int], rounds: int) -> list[Ratio]:
    """Seconds of few and of many images: a line through both parts what is fixed from what an image costs. All rounds
    are on one cluster, whose own start is timed by itself."""
    keep_freed_memory()
    manifest, detector = demo_manifest(), load_detector(DETECTOR)
    most = cores()
    with tempfile.TemporaryDirectory() as folder, _cluster(most) as (started, score_there, memory):
        ways = {"in process": _in_process(detector, most), "Ray": score_there(detector, most)}
        if most > 1:
            ways["Ray, 1 worker"] = score_there(detector, 1)
        for work in ways.values():
            work(manifest, WARM, folder)
        timed = {
            f"{name} {size}": lambda work=work, size=size: work(manifest, size, folder)
            for name, work in ways.items()
            for size in sizes
        }
        seconds = in_turns(timed, rounds)
        held = memory()
        size = sum(file.stat().st_size for file in Path(folder).rglob("*.parquet"))
        size //= len(ways) * (WARM + rounds * sum(sizes))
    few, many = sizes
    lines = {}
    for name in ways:
        pairs = zip(seconds[f"{name} {few}"], seconds[f"{name} {many}"], strict=True)
        each = [(long - short) / (many - few) for short, long in pairs]
        image = float(np.median(each))
        lines[name] = image, float(np.median(seconds[f"{name} {few}"])) - few * image
    (alone, begin), (there, begin_there) = lines["in process"], lines["Ray"]
    what = f"{1 / there:.0f} against {1 / alone:.0f} images/s on {most} cores"
    fixed = f"to begin {begin_there - begin:.1f} s more, and {started:.1f} s where a cluster is started"
    rows = [
        Ratio(
            f"Ray against in process, {DETECTOR}",
            alone / there,
            0.9,
            f"{what}; {fixed}; {held:.0f} MB a worker, {size} bytes a prediction",
        )
    ]
    if most > 1:
        one = lines["Ray, 1 worker"][0]
        detail = f"{1 / there:.0f} against {1 / one:.0f} images/s"
        rows.append(Ratio(f"Ray, {most} workers against 1, {DETECTOR}", one / there, 0.85 * most, detail))
    return rows


def driver_memory(listed: int) -> Ratio:
    """The most that the driver holds while a long list is scored; its images are not there, so that all of the work is
    the harness's own."""
    with tempfile.TemporaryDirectory() as folder:
        (file, _) = make(Path(folder), listed)
        facts = python(_DRIVER, file).facts
    if not facts["complete"]:
        raise RuntimeError(f"predictions are missing: {facts}")
    detail = (
        f"{facts['peak']:.0f} MB at most with a list of {listed:,} images, {facts['images']:,} of them scored; "
        f"{facts['before']:.0f} MB before, {facts['with_shared']:.0f} MB with what is shared with Ray's object store"
    )
    return Ratio("memory of Ray's driver, a gigabyte against it", GIGABYTE / facts["peak"], 1.0, detail)


Work = Callable[[Manifest, int, str], float]
"""(images, how many of them, where to write) -> seconds."""


def _in_process(detector: Detector, most: int) -> Work:
    return lambda manifest, size, folder: _timed(
        manifest, size, folder, detector, lambda plan, entries: score(plan, entries, most, MOST)
    )


def _timed(manifest: Manifest, size: int, folder: str, detector: Detector, run: Callable[..., None]) -> float:
    plan = plan_of(manifest, size)
    store = PredictionStore(Path(tempfile.mkdtemp(dir=folder)), DETECTOR, "key")
    began = time.perf_counter()
    run(plan, [Entry(DETECTOR, detector, store)])
    seconds = time.perf_counter() - began
    if len(store.done()) != len(plan.batches):
        raise RuntimeError(f"{len(plan.batches) - len(store.done())} batches are missing in {store}")
    return seconds


@contextmanager
def _cluster(most: int) -> Iterator[tuple[float, Callable[[Detector, int], Work], Callable[[], float]]]:
    """Of a cluster of this machine's cores: the seconds that it took to start, scoring there with so many workers, and
    the most megabytes that one of its workers held so far."""
    from maibench.evaluation.cluster.connect import connected
    from maibench.evaluation.ray_engine import score_on_ray

    peaks = [0.0]

    def there(detector: Detector, workers: int) -> Work:
        def run(plan: object, entries: list[Entry]) -> None:
            score_on_ray(plan, entries, None, workers, MOST, _Look(peaks))  # type: ignore[arg-type]

        return lambda manifest, size, folder: _timed(manifest, size, folder, detector, run)

    began = time.perf_counter()
    with connected(None, most):
        yield time.perf_counter() - began, there, lambda: peaks[0]


class _Look:
    """A Progress that looks at how much the workers hold."""

    def __init__(self, peaks: list[float]) -> None:
        self._peaks = peaks

    def say(self, text: str) -> None:
        print(text)

    def advance(self, count: int, note: str = "") -> None:
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if (folder / "cmdline").read_bytes().startswith(
                    b"ray::MapWorker"
                ) and os.getuid() == folder.stat().st_uid:
                    lines = (folder / "smaps_rollup").read_text().splitlines()
                    held = next(int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:"))
                    self._peaks[0] = max(self._peaks[0], held)
            except (OSError, StopIteration):  # it ended meanwhile
                continue


if __name__ == "__main__":
    for row in main():
        print(row)
