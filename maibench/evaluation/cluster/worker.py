"""What a worker of the cluster does: score the slices that it is given, and write their parts."""

from __future__ import annotations

import hashlib
import pickle
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa

import maibench
from maibench.datasets.images import Images
from maibench.errors import MaibenchError
from maibench.evaluation.cluster.slices import Slice
from maibench.evaluation.pipeline import Disturbance
from maibench.evaluation.scorer import Scored, Scorer
from maibench.evaluation.store import PredictionStore
from maibench.memory import keep_freed_memory
from maibench.models.base import Detector
from maibench.models.device import choose_device

SLICE, TOLD = "slice", "told"
"""The columns of what goes from pool to pool: a row is a slice, pickled and packed, and what was made of it so far."""

_SCORING = ("models", "datasets", "evaluation")


@dataclass(frozen=True)
class Told:
    """What a worker tells of one part. first, last: its batches. node: where it was scored. problem: why it could not
    be written there; its table is then here. fatal: why this worker can score nothing at all."""

    label: str = ""
    first: int = 0
    last: int = 0
    seconds: float = 0.0
    timed: int = 0
    node: str = ""
    problem: str = ""
    table: pa.Table | None = None
    fatal: str = ""


@dataclass
class Setup:
    """What a worker needs to score. Everything is by label but `disturbances`, which are the plan's. devices: "cpu", or
    "cuda" for a detector that the worker moves to its GPU. backends: of those that torch does not compute, the
    backend's name and preprocess results to try it on. probe: a file that the driver has put among the predictions; a
    worker that does not see it there hands its tables over. "": all do."""

    images: Images
    detectors: dict[str, Detector]
    stores: dict[str, PredictionStore]
    devices: dict[str, str]
    disturbances: list[list[Disturbance]]
    max_pixels: int
    failures: dict[str, str] = field(default_factory=dict)
    backends: dict[str, tuple[str, Sequence[Any]]] = field(default_factory=dict)
    probe: str = ""


@cache
def code_version() -> str:
    """What has to be the same on every node: what maibench scores with, to the letter, and torch."""
    import torch

    digest, package = hashlib.sha256(), Path(str(maibench.__file__)).parent
    for folder in _SCORING:
        for file in sorted((package / folder).rglob("*.py")):
            digest.update(file.read_bytes())
    torch_version = torch.__version__.partition("+")[0]
    return f"maibench {maibench.__version__} (code {digest.hexdigest()[:8]}) with torch {torch_version}"


class ScoreSlice:
    """One worker of a pool. What a user has to know it tells; it raises for nothing else than a fault of its own."""

    def __init__(self, setup: Any, version: str, labels: Sequence[str], cores: int) -> None:
        """setup: Ray's reference to a pickled `Setup`, as an array of bytes. version: `code_version` of the driver.
        labels: of the detectors that score here. cores: for this worker."""
        import ray

        self._node = ray.util.get_node_ip_address()
        self._labels = list(labels)
        self._fatal = ""
        try:
            if code_version() != version:
                raise MaibenchError(f"there is {code_version()}, here {version}; install the same everywhere")
            self._prepare(pickle.loads(memoryview(ray.get(setup))), cores)
        except MaibenchError as error:
            self._fatal = f"{self._node}: {error}"
        except Exception as error:  # a plug-in's own code, or what it imports and this node does not have
            self._fatal = f"{self._node}: the detectors cannot be loaded there ({type(error).__name__}: {error})"

    def _prepare(self, setup: Setup, cores: int) -> None:
        import torch

        keep_freed_memory()
        torch.set_num_threads(cores)
        for label, device in setup.devices.items():
            setup.detectors[label].to(choose_device(device)).eval()
        for label, (backend, probes) in setup.backends.items():
            from maibench.models.backends.choose import use_backend

            use_backend(setup.detectors[label], backend, probes)
        self._setup = setup
        self._writes = bool(setup.probe) and all(_sees(store, setup.probe) for store in setup.stores.values())
        detectors = {label: setup.detectors[label] for label in self._labels}
        self._scorer = Scorer(setup.images, detectors, cores, setup.max_pixels, setup.failures)

    def __call__(self, table: pa.Table) -> pa.Table:
        """Rows of `SLICE` and `TOLD` -> the same, with what was made of the slices here."""
        return pa.concat_tables([row_of(piece, told + self._told(piece)) for piece, told in read_rows(table)])

    def _told(self, piece: Slice) -> list[Told]:
        if self._fatal:
            return [Told(fatal=self._fatal)]
        jobs = piece.jobs(self._labels, self._setup.disturbances)
        runs: dict[str, list[list[Scored]]] = {label: [] for label in self._labels}
        for scored in self._scorer.score(jobs):
            of_label = runs[scored.label]
            if not of_label or of_label[-1][-1].batch + 1 != scored.batch:
                of_label.append([])
            of_label[-1].append(scored)
        return [self._written(run) for of_label in runs.values() for run in of_label]

    def _written(self, run: list[Scored]) -> Told:
        """Write batches that follow one another as one part, and tell of it."""
        table = pa.concat_tables([scored.table for scored in run])
        first, last, label = run[0].batch, run[-1].batch, run[0].label
        seconds, timed = sum(scored.seconds for scored in run), sum(scored.timed for scored in run)
        problem = f"does not see the run's folder {self._setup.stores[label]}"
        if self._writes:
            try:
                self._setup.stores[label].write(table, first, last, seconds, timed)
                return Told(label, first, last, seconds, timed, self._node)
            except MaibenchError as error:
                problem = str(error)
        return Told(label, first, last, seconds, timed, self._node, problem, table)


def row_of(piece: Slice, told: list[Told]) -> pa.Table:
    """What goes from pool to pool. Slices are packed: the driver holds all of them."""
    columns = {SLICE: zlib.compress(pickle.dumps(piece), 1), TOLD: pickle.dumps(told)}
    return pa.table({name: pa.array([value], pa.large_binary()) for name, value in columns.items()})


def read_rows(table: pa.Table) -> Iterator[tuple[Slice, list[Told]]]:
    """The slices of a table, and what was made of each."""
    for row in table.to_pylist():
        yield pickle.loads(zlib.decompress(row[SLICE])), pickle.loads(row[TOLD])


def _sees(store: PredictionStore, probe: str) -> bool:
    """Whether what is written here is written where the driver reads."""
    try:
        with store.place.open(probe) as stream:
            return stream.read() == probe.encode()
    except (OSError, MaibenchError):
        return False
