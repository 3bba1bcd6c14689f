"""Pools of workers: what each is given of a cluster."""

import pytest

from maibench.errors import MaibenchError
from maibench.evaluation.cluster.connect import Cluster, Node
from maibench.evaluation.cluster.stages import stages_of

SMALL, LARGE = 5_000_000, 2_000_000_000


def stages(devices, nodes, parameters=SMALL, cores=None, together=False, grows=True):
    cluster = Cluster([Node(*node) for node in nodes], grows)
    return stages_of(devices, dict.fromkeys(devices, parameters), cluster, cores, together)


def fits(found, nodes):
    """Whether the workers of all pools have room at once, were the cluster one machine."""
    cores, gpus = (sum(column) for column in zip(*nodes, strict=True))
    used_cores = sum(stage.cores * stage.workers for stage in found)
    used_gpus = sum(stage.gpus * stage.workers for stage in found)
    return used_cores <= cores and used_gpus <= gpus + 1e-9


def test_cpu_detectors_share_one_pool_of_single_cores():
    (stage,) = stages({"a": "cpu", "b": "cpu"}, [(4, 0), (8, 0)])
    assert stage.labels == ("a", "b")
    assert (stage.cores, stage.gpus, stage.workers, stage.most) == (1, 0, 12, None)


def test_workers_are_capped():
    (stage,) = stages({"a": "cpu"}, [(64, 0)], cores=3)
    assert (stage.workers, stage.most) == (3, 3)


def test_own_cluster_does_not_grow():
    (stage,) = stages({"a": "cpu"}, [(2, 0)], grows=False)
    assert stage.most == 2


def test_large_networks_lie_once_on_a_node():
    (stage,) = stages({"vlm": "cpu"}, [(16, 0), (16, 0)], parameters=LARGE)
    assert (stage.cores, stage.workers) == (16, 2)
    (stage,) = stages({"vlm": "cpu"}, [(0, 0), (8, 0), (16, 0)], parameters=LARGE)  # the head offers no core
    assert (stage.cores, stage.workers) == (8, 3)


@pytest.mark.parametrize("gpus", [1, 2, 8])
@pytest.mark.parametrize("detectors", [1, 2, 3, 5])
@pytest.mark.parametrize("cpu_too", [False, True])
def test_gpu_detectors_have_pools_of_their_own_that_fit_at_once(gpus, detectors, cpu_too):
    devices = {f"gpu{index}": "cuda" for index in range(detectors)} | ({"small": "cpu"} if cpu_too else {})
    found = stages(devices, [(64, gpus)])
    assert sorted(label for stage in found for label in stage.labels) == sorted(devices)
    assert [len(stage.labels) for stage in found] == [1] * len(found)
    assert all(stage.gpus > 0 for stage in found if stage.device == "cuda")
    assert fits(found, [(64, gpus)])


def test_attacked_detectors_stay_with_those_that_see_the_attack():
    (stage,) = stages({"small": "cpu", "big": "cuda"}, [(8, 1)], together=True)
    assert set(stage.labels) == {"small", "big"}
    assert stage.gpus == 1


def test_no_gpu_for_a_detector_that_wants_one():
    with pytest.raises(MaibenchError, match=r"big: no machine of the cluster has a GPU; use --device cpu"):
        stages({"big": "cuda"}, [(8, 0)])


def test_no_core_at_all():
    with pytest.raises(MaibenchError, match="no machine of the cluster offers a core"):
        stages({"a": "cpu"}, [(0, 0)])
