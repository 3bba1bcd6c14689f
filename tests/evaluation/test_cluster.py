"""Machines, workers and drivers that are lost in the middle of a run on a real Ray cluster of several nodes: every
image is scored once, none is lost, none is double, and the numbers are those of a run on this machine alone."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from maibench.config import make_config
from maibench.evaluation.compare import run_comparison
from tests.ray_cluster import MARK, Cluster, can_mount, with_full_disk, with_other_folder

pytest.importorskip("ray.data")
pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="several nodes on one machine need Linux"),
    pytest.mark.xdist_group("ray"),
]

ROOT = Path(__file__).parents[2]
PATIENCE = 120
IMAGES, BATCH = 48, 2
FREE = 4
"""Forward passes of each worker before it waits: two batches under two perturbations."""
PLUG_IN = f"""
import os, time
from pathlib import Path
import maibench, torch

class Watched(maibench.Detector):
    '''Writes down what it scores, and where; after FREE passes it waits until the file `gate` is there.'''
    card = maibench.Card(name="watched")

    def __init__(self, log="", gate=""):
        super().__init__()
        self.log, self.gate, self.passes = log, gate, 0

    def preprocess(self, image):
        return torch.tensor(float(image.mean()), dtype=torch.float64)

    def forward(self, batch):
        where = os.environ.get("{MARK}", "-").rpartition("-")[2]
        while self.passes == {FREE} and not Path(self.gate).exists():
            time.sleep(0.02)
        self.passes += 1
        with open(self.log, "a") as log:
            log.write("".join(f"{{where}} {{round(value)}}\\n" for value in batch.tolist()))
        return (batch - 127.5) / 10
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Three nodes: a head that scores nothing, `a` and `b` with a core each."""
    with Cluster() as cluster:
        cluster.add("a", "b")
        yield cluster


@dataclass
class Request:
    """A comparison of Watched and Brightness. log: of what Watched scored, and where."""

    folder: Path
    models: str
    data: Path

    def __post_init__(self) -> None:
        self.started: list[subprocess.Popen[str]] = []
        self.out, self.log, self.gate = (self.folder / name for name in ("out", "log", "gate"))

    @property
    def settings(self) -> list[str]:
        own = {"log": self.log, "gate": self.gate}
        quick = {"batch_size": BATCH, "resamples": 20, "figures": False, "gallery": 0, "audit": False}
        values = {f"Watched.{name}": value for name, value in own.items()} | quick
        return [f"{name}={value}" for name, value in values.items()]

    def start(self, cluster: Cluster) -> subprocess.Popen[str]:
        """The command line."""
        settings = [word for setting in self.settings for word in ("--set", setting)]
        named = ["--models", self.models, "--data", str(self.data), "--out", str(self.out), "--perturb", "jpeg:75"]
        process = subprocess.Popen(
            [sys.executable, "compare.py", "--engine", "ray", "--address", cluster.address, *named, *settings],
            cwd=ROOT,
            env=cluster.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.started.append(process)
        return process

    def scored(self) -> list[tuple[str, int]]:
        """(node, image) in the order in which Watched scored them; an image is known by its value."""
        lines = self.log.read_text().split("\n")[:-1] if self.log.exists() else []
        return [(line.split()[0], int(line.split()[1])) for line in lines]

    def rows(self) -> pd.DataFrame:
        """Every prediction of Watched on disk."""
        files = sorted(self.out.glob("predictions/Watched/part-*"))
        return pd.concat([pq.read_table(file, partitioning=None).to_pandas() for file in files], ignore_index=True)


@pytest.fixture(scope="module")
def data(greys: Callable[..., Path]) -> Path:
    """Grey images, each of its own value, in a list."""
    return greys([(40 + 3 * at, int(at * 7 % 5 > 2)) for at in range(IMAGES)])


@pytest.fixture(scope="module")
def request_in(data: Path, dummies: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Request]:
    plug_in = tmp_path_factory.mktemp("plug-in") / "watched.py"
    plug_in.write_text(PLUG_IN)
    return lambda folder: Request(folder, f"{plug_in}:Watched,{dummies}:Brightness", data)


@pytest.fixture(scope="module")
def alone(request_in: Callable[[Path], Request], tmp_path_factory: pytest.TempPathFactory) -> Request:
    """The same in this process."""
    request = request_in(tmp_path_factory.mktemp("alone"))
    request.gate.touch()
    flags = {"models": request.models, "data": str(request.data), "out": str(request.out), "perturb": "jpeg:75"}
    run_comparison(make_config(None, flags, request.settings))
    return request


@pytest.fixture
def asked(request_in: Callable[[Path], Request], tmp_path: Path) -> Iterator[Request]:
    request = request_in(tmp_path)
    yield request
    for process in request.started:
        process.kill()
        process.wait()


def wait_until(happened: Callable[[], object], process: subprocess.Popen[str] | None = None) -> None:
    """Wait, but not for ever, nor for a process that has ended."""
    deadline = time.monotonic() + PATIENCE
    while not happened():
        if process is not None and process.poll() is not None:
            pytest.fail(f"it ended with {process.returncode}:\n{process.communicate()[0][-3000:]}")
        if time.monotonic() > deadline:
            process.kill() if process else None
            pytest.fail(f"it did not happen:\n{process.communicate()[0][-3000:] if process else ''}")
        time.sleep(0.02)


def at_work(scored: list[tuple[str, int]], *nodes: str) -> bool:
    """Whether each of these nodes has scored two batches, and holds a third in its hands."""
    counts = Counter(node for node, _ in scored)
    return all(counts[node] >= FREE * BATCH for node in nodes)


def finished(process: subprocess.Popen[str]) -> str:
    """What it said."""
    said = process.communicate(timeout=PATIENCE)[0]
    assert process.returncode == 0, said[-3000:]
    return said


def check(asked: Request, alone: Request) -> None:
    """Every image once, with the same logits, and the same metrics to the byte, timing aside."""
    key = ["path", "perturbation", "detector"]
    for name in ("Watched", "Brightness"):
        one, other = (
            pd.concat([pq.read_table(file, partitioning=None).to_pandas() for file in sorted(folder.glob("part-*"))])
            for folder in (request.out / "predictions" / name for request in (asked, alone))
        )
        assert len(one) == IMAGES * 2 and not one.duplicated(key).any()
        assert one["status"].eq("ok").all()
        pd.testing.assert_frame_equal(one.set_index(key), other.set_index(key))
    assert without_timing(asked.out / "metrics.csv") == without_timing(alone.out / "metrics.csv")
    for name in ("per_generator.csv", "roc.csv", "comparisons.csv"):
        assert (asked.out / name).read_bytes() == (alone.out / name).read_bytes()
    assert not list(asked.out.rglob(".part-*"))


def without_timing(file: Path) -> list[list[str]]:
    with open(file, newline="") as stream:
        rows = list(csv.reader(stream))
    timing = rows[0].index("images_per_second")
    return [row[:timing] + row[timing + 1 :] for row in rows]


@pytest.mark.slow
def test_the_driver_is_killed_and_while_the_same_command_goes_on_a_machine_is_lost(
    cluster: Cluster, asked: Request, alone: Request
):
    driver = asked.start(cluster)
    wait_until(lambda: at_work(asked.scored(), "a", "b"), driver)
    driver.kill()
    assert driver.wait() == -signal.SIGKILL
    wait_until(lambda: not cluster.actors("a") + cluster.actors("b"))  # Ray ends what nobody waits for
    assert not (asked.out / "metrics.csv").exists()
    kept = set(asked.rows()["path"])
    assert 2 * BATCH <= len(kept) < IMAGES

    before = len(asked.scored())
    driver = asked.start(cluster)
    wait_until(lambda: at_work(asked.scored()[before:], "a", "b"), driver)
    lost = len(asked.scored())
    cluster.kill("a")
    asked.gate.touch()
    finished(driver)
    check(asked, alone)
    again = {f"{(value - 40) // 3:03d}.png" for _, value in asked.scored()[before:]}
    assert again == set(asked.rows()["path"]) - kept
    assert {node for node, _ in asked.scored()[lost:]} == {"b"}


@pytest.mark.slow
def test_a_worker_is_killed(cluster: Cluster, asked: Request, alone: Request):
    cluster.add("c")
    driver = asked.start(cluster)
    wait_until(lambda: at_work(asked.scored(), "c", "b"), driver)
    killed = cluster.actors("c")
    assert killed
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    asked.gate.touch()
    finished(driver)
    cluster.kill("c")
    check(asked, alone)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lacks", "says"),
    [
        (lambda out: with_full_disk(out, "predictions/Watched", "predictions/Brightness"), "the disk is full"),
        (with_other_folder, "does not see the run's folder"),
    ],
    ids=["full", "other"],
)
def test_a_machine_cannot_write_the_predictions(lacks, says, request, cluster: Cluster, asked: Request, alone: Request):
    if not can_mount():
        pytest.skip("mounting is not allowed here")
    asked.out.mkdir()
    name = request.node.callspec.id
    cluster.add(name, within=lacks(asked.out))
    try:
        driver = asked.start(cluster)
        wait_until(lambda: at_work(asked.scored(), "b", name), driver)
        asked.gate.touch()
        said = finished(driver)
    finally:
        cluster.kill(name)
    assert said.count(says) == 1, said  # once, not for every part
    assert said.count("is written from here") == 1
    own = {path for node, path in asked.scored() if node == name}
    assert len(own) >= 2 * BATCH
    check(asked, alone)
