"""Which detectors share a pool of workers, and what each worker of it is given of the cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from maibench.errors import MaibenchError
from maibench.evaluation.cluster.connect import Cluster
from maibench.evaluation.scorer import LARGE

MOST_CORES = 16
"""A GPU's worker has at most so many to decode and preprocess with."""


@dataclass(frozen=True)
class Stage:
    """A pool of like workers. labels: the detectors that each holds. cores, gpus: of a worker; gpus may be a share of
    one. workers: how many begin; most: how many there may be, None where the cluster may grow."""

    labels: tuple[str, ...]
    device: str
    cores: int
    gpus: float
    workers: int
    most: int | None


def stages_of(
    devices: Mapping[str, str], parameters: Mapping[str, int], cluster: Cluster, cores: int | None, together: bool
) -> list[Stage]:
    """One pool in which an image is decoded once for all CPU detectors, and one for each GPU detector.

    devices, parameters: of each detector, by label; where the CPU detectors have `LARGE` parameters together, a node
    holds them once, not once a core. cores: to be used at most, None for all. together: whether all detectors have to
    be in one place, as where one of them is attacked for the others to see.
    Raises MaibenchError where there is no GPU for a detector that wants one, or no core at all.
    """
    on_gpu = [label for label, device in devices.items() if device != "cpu"]
    on_cpu = [label for label, device in devices.items() if device == "cpu"]
    if on_gpu and not cluster.gpus:
        raise MaibenchError(f"{on_gpu[0]}: no machine of the cluster has a GPU; use --device cpu")
    free = min(cluster.cores, cores or cluster.cores)
    if free < 1:
        raise MaibenchError("no machine of the cluster offers a core; add one with 'ray start --address HOST:PORT'")
    if on_gpu and together:
        return [_on_gpu((*on_gpu, *on_cpu), 1, cluster, free, cores, alone=True)]
    gpu_stages = [_on_gpu((label,), len(on_gpu), cluster, free, cores, alone=not on_cpu) for label in on_gpu]
    if not on_cpu:
        return gpu_stages
    free = max(1, free - sum(stage.cores * stage.workers for stage in gpu_stages))
    return [_on_cpu(tuple(on_cpu), sum(parameters[label] for label in on_cpu), cluster, free, cores), *gpu_stages]


def _on_cpu(labels: tuple[str, ...], parameters: int, cluster: Cluster, free: int, cores: int | None) -> Stage:
    each = 1
    if parameters >= LARGE:
        each = min(free, *(node.cores for node in cluster.nodes if node.cores))
    workers = max(1, free // each)
    return Stage(labels, "cpu", each, 0, workers, None if cluster.grows and cores is None else workers)


def _on_gpu(labels: tuple[str, ...], pools: int, cluster: Cluster, free: int, cores: int | None, alone: bool) -> Stage:
    """alone: whether no pool of CPU detectors shares the cores."""
    share = min(1.0, int(100 * cluster.gpus / pools) / 100)  # rounded down: all pools have to fit at once
    workers = max(1, cluster.gpus // pools)
    near = min(node.cores / node.gpus for node in cluster.nodes if node.gpus)  # cores beside each GPU
    each = min(near * share, free / (workers * pools)) * (1 if alone else 1 / 2)
    each = max(1, min(MOST_CORES, int(each)))
    return Stage(labels, "cuda", each, share, workers, None if cluster.grows and cores is None else workers)
