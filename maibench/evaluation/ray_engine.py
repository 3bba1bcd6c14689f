"""Score detectors with Ray Data: the plan in slices, pools of workers that stream them, parts written where they are
scored. The driver holds rows, never images."""

from __future__ import annotations

import contextlib
import secrets
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from maibench.errors import MaibenchError
from maibench.evaluation.attacks import Attack
from maibench.evaluation.cluster.connect import Cluster, connected
from maibench.evaluation.cluster.slices import disturbances_of, missing_batches, missing_slices
from maibench.evaluation.cluster.stages import Stage, stages_of
from maibench.evaluation.cluster.worker import ScoreSlice, Setup, Told, code_version, read_rows, row_of
from maibench.evaluation.detectors import probe_items
from maibench.evaluation.scoring import Entry, Plan
from maibench.files import PART
from maibench.progress import Progress

PLUGINS = "maibench_plugin_"
"""How the modules of detectors begin that were named as FILE.py:Class: no other machine has them."""


def score_on_ray(
    plan: Plan,
    entries: Sequence[Entry],
    address: str | None,
    workers: int | None,
    max_pixels: int,
    progress: Progress | None = None,
) -> None:
    """Score what is missing and write it, as `scoring.score` does on this machine alone.

    entries: with detectors on the CPU, whatever they are scored on (`Entry.device`). address, workers: of `connected`;
    workers: cores to be used at most, None for all.
    Raises MaibenchError where Ray is missing, the cluster cannot be reached, a node cannot load a detector, or a part
    cannot be written; what was written before is kept.
    """
    progress = progress or Progress()
    devices = {entry.label: entry.device for entry in entries}
    run = _Run(plan, entries, max_pixels, progress, devices)
    if not run.count_done():
        return
    with connected(address, workers) as cluster:
        if cluster.gpus and set(devices.values()) == {"cpu"}:
            progress.say(f"the cluster's {cluster.gpus} GPUs are not used; --device cuda, or --set LABEL.device=cuda")
        run.score(cluster, workers, hand_over=False)
        if lost := run.lost():
            progress.say(f"{lost} They are scored once more, and written from here")
            run.score(cluster, workers, hand_over=True)
    if lost := run.lost():
        raise MaibenchError(lost)


class _Run:
    """One call of `score_on_ray`."""

    def __init__(
        self,
        plan: Plan,
        entries: Sequence[Entry],
        max_pixels: int,
        progress: Progress,
        devices: dict[str, str],
    ) -> None:
        self._plan, self._progress, self._devices = plan, progress, devices
        self._entries = {entry.label: entry for entry in entries}
        self._max_pixels = max_pixels
        self._is_told: set[str] = set()
        self._written_on: dict[tuple[str, int, int], str] = {}

    def count_done(self) -> bool:
        """Tell what was done before; whether anything is missing."""
        missing = sum(len(self._plan.batches[batch][0]) for batch, _ in self._missing())
        self._progress.advance(self._plan.images - missing)
        return missing > 0

    def score(self, cluster: Cluster, cores: int | None, hand_over: bool) -> None:
        """Score what is missing. hand_over: whether all of it is written here, not where it is scored."""
        import ray

        parameters = {label: entry.detector.parameter_count() for label, entry in self._entries.items()}
        together = any(isinstance(one, Attack) for kind in disturbances_of(self._plan) for one in kind)
        stages = stages_of(self._devices, parameters, cluster, cores, together)
        with self._probe(hand_over) as probe, _quiet_data(), _plugins_by_value():
            setups = [ray.put(self._pickled(stage, probe)) for stage in stages]
            rows = [row_of(piece, []) for piece in missing_slices(self._plan, list(self._entries.values()))]
            flow = ray.data.from_blocks(rows)
            count = len(rows)
            del rows
            for stage, setup in zip(stages, setups, strict=True):
                flow = _add(flow, stage, setup, count)
            self._collect(flow, is_counted=not hand_over)

    def lost(self) -> str:
        """What was told to be written and is not there, with its node; "" where nothing is missing."""
        missing = {(label, batch) for batch, labels in self._missing() for label in labels}
        if not missing:
            return ""
        parts = self._written_on.items()
        wrong = {node for (name, first, last), node in parts for at in range(first, last + 1) if (name, at) in missing}
        place = next(iter(self._entries.values())).store.place
        return (
            f"{', '.join(sorted(wrong)) or 'the cluster'}: {len(missing)} batches were scored there and are not among "
            f"the predictions ({place}); is that a folder that all nodes share?"
        )

    def _missing(self) -> Iterator[tuple[int, tuple[str, ...]]]:
        return missing_batches(self._plan, list(self._entries.values()))

    def _pickled(self, stage: Stage, probe: str) -> Any:
        """What the workers of a stage need, as an array of bytes, which they read where Ray keeps it."""
        own = [self._entries[label] for label in stage.labels]
        setup = Setup(
            self._plan.manifest.images,
            {entry.label: entry.detector for entry in own},
            {entry.label: entry.store for entry in own},
            {label: self._devices[label] for label in stage.labels},
            disturbances_of(self._plan),
            self._max_pixels,
            {entry.label: entry.failure for entry in own if entry.failure},
            self._backends(own),
            probe,
        )
        from ray import cloudpickle

        try:
            return np.frombuffer(cloudpickle.dumps(setup), dtype=np.uint8)
        except Exception as error:  # of a plug-in's own members
            raise MaibenchError(
                f"{', '.join(stage.labels)}: cannot be sent to the cluster ({type(error).__name__}: {error}); keep "
                "what cannot be pickled out of the detector, or score with --engine local"
            ) from error

    def _backends(self, entries: list[Entry]) -> dict[str, tuple[str, Sequence[Any]]]:
        return {
            entry.label: (
                entry.backend.name,
                probe_items(entry.label, entry.detector, self._plan, self._max_pixels),
            )
            for entry in entries
            if entry.backend and entry.backend.name != "torch"
        }

    @contextlib.contextmanager
    def _probe(self, hand_over: bool) -> Iterator[str]:
        """The name of a file that lies among the predictions meanwhile; a node that does not see it there has another
        folder of that name."""
        if hand_over:
            yield ""
            return
        name = f"{PART}ray-{secrets.token_hex(8)}"
        places = [entry.store.place for entry in self._entries.values()]
        try:
            for place in places:
                place.write(name, name.encode())
            yield name
        finally:
            for place in places:
                place.remove(name)

    def _collect(self, flow: Any, is_counted: bool) -> None:
        """Let the slices flow, and write what could not be written where it was scored."""
        from ray.exceptions import RayError

        batches = iter(flow.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0))
        try:
            for table in batches:
                for piece, told in read_rows(table):
                    for one in told:
                        self._hear(one)
                    if is_counted:
                        self._progress.advance(piece.images)
        except RayError as error:
            raise MaibenchError(f"Ray stopped: {_reason(error)}; what was scored is kept") from error
        finally:
            del batches  # which ends the workers, also where this was interrupted

    def _hear(self, told: Told) -> None:
        if told.fatal:
            raise MaibenchError(told.fatal)
        if told.table is None:
            self._written_on[told.label, told.first, told.last] = told.node
            return
        if told.problem and told.node not in self._is_told:
            self._is_told.add(told.node)
            self._progress.say(f"{told.node}: {told.problem}; what it scores is written from here")
        store = self._entries[told.label].store
        store.write(told.table, told.first, told.last, told.seconds, told.timed)


def _add(flow: Any, stage: Stage, setup: Any, slices: int) -> Any:
    """The flow through one more pool. Workers that are lost begin again elsewhere, and so does what they were at: both
    as often as it takes, which is Ray Data's default for pools."""
    import ray

    begin = min(stage.workers, slices)
    return flow.map_batches(
        ScoreSlice,
        fn_constructor_args=(setup, code_version(), stage.labels, stage.cores),
        batch_size=None,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=stage.most, initial_size=begin),
        num_cpus=stage.cores,
        num_gpus=stage.gpus,
    )


@contextlib.contextmanager
def _quiet_data() -> Iterator[None]:
    """Ray Data without bars and lines of its own; errors are never passed over."""
    import ray

    context = ray.data.DataContext.get_current()
    wanted = {
        "enable_progress_bars": False,
        "print_on_execution_start": False,
        "enable_auto_log_stats": False,
        "max_errored_blocks": 0,
    }
    before = {name: getattr(context, name) for name in wanted}
    try:
        for name, value in wanted.items():
            setattr(context, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(context, name, value)


@contextlib.contextmanager
def _plugins_by_value() -> Iterator[None]:
    """Detectors from a file are sent with their code."""
    from ray import cloudpickle

    modules = [module for name, module in list(sys.modules.items()) if name.startswith(PLUGINS)]
    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in modules:
            cloudpickle.unregister_pickle_by_value(module)


def _reason(error: Exception) -> str:
    """The last line of what Ray says, which names the first cause."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
