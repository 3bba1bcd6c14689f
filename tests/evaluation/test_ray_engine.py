"""Scored by Ray: the same predictions as in one process, whatever happens on the way."""

import importlib.util
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from maibench.datasets.perturb import parse_perturbation
from maibench.datasets.readers import open_data, read_manifest
from maibench.errors import MaibenchError
from maibench.evaluation.cluster.connect import connected
from maibench.evaluation.ray_engine import score_on_ray
from maibench.evaluation.scoring import Entry, Plan, make_plan, score
from maibench.evaluation.store import open_store, read_predictions
from maibench.models.loading import load_detector
from maibench.places import LocalPlace
from maibench.progress import Progress

if importlib.util.find_spec("ray") is None:
    pytest.skip("Ray is not installed", allow_module_level=True)


class Heard(Progress):
    def __init__(self, stop_after=None):
        self.said, self.done, self._stop_after = [], 0, stop_after

    def say(self, text):
        self.said.append(text)

    def advance(self, count, note=""):
        self.done += count
        if self._stop_after and self.done >= self._stop_after:
            raise KeyboardInterrupt


@pytest.fixture(scope="module", autouse=True)
def cluster():
    """Two cores of this machine; every test of the module works on them."""
    with connected(None, 2) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def bright(greys):
    return read_manifest(greys([(value % 256, value % 2) for value in range(0, 480, 10)]))


@pytest.fixture
def plan(bright):
    """12 batches of 4."""
    return make_plan(bright, "test", [parse_perturbation("none")], 4, None, 0)


def entries_of(folder, specs, **options):
    """{label: SPEC} -> what is to be scored, its predictions below `folder`."""
    detectors = {label: load_detector(spec, **options.get(label, {})) for label, spec in specs.items()}
    return [Entry(label, one, open_store(folder, None, label, f"key-{label}")) for label, one in detectors.items()]


def on_ray(plan, entries, progress=None):
    score_on_ray(plan, entries, None, 2, 10**8, progress)


def in_process(plan, entries):
    score(plan, entries, 2, 10**8)


def predictions(folder, entries):
    return read_predictions(folder, {entry.label: entry.store.key for entry in entries})


def first_half(plan):
    return Plan(plan.manifest, plan.batches[: len(plan.batches) // 2])


def test_equal_to_one_process(demo_cache, dummies, tmp_path, monkeypatch):
    monkeypatch.setenv("MAIBENCH_CACHE", str(demo_cache))
    perturbations = [parse_perturbation(name) for name in ("none", "resize:0.5+jpeg:75")]
    plan = make_plan(open_data("demo"), "test", perturbations, 8, 48, 0)
    specs = {"bailu": "bailu", "mai_cnn": "mai_cnn", "own": f"{dummies}:Brightness", "other": f"{dummies}:Broken"}
    both = []
    for engine, folder in ((in_process, tmp_path / "local"), (on_ray, tmp_path / "ray")):
        entries = entries_of(folder, specs)
        entries[2].failure = "could not be fitted"
        engine(plan, entries)
        both.append(predictions(folder, entries))
    pd.testing.assert_frame_equal(both[0], both[1], check_exact=True)
    assert set(both[1].loc[both[1]["detector"] == "other", "error"]) == {"RuntimeError: out of order"}
    assert set(both[1].loc[both[1]["detector"] == "own", "error"]) == {"could not be fitted"}
    assert both[1].loc[both[1]["detector"] == "bailu", "status"].eq("ok").all()


@pytest.mark.parametrize("engines", [(in_process, on_ray), (on_ray, in_process)], ids=["local first", "ray first"])
def test_each_engine_goes_on_with_the_other(engines, plan, dummies, tmp_path):
    begun, whole = tmp_path / "begun", tmp_path / "whole"
    entries = entries_of(begun, {"a": f"{dummies}:Brightness", "b": f"{dummies}:Slow"}, b={"seconds": 0.0})
    engines[0](first_half(plan), entries[:1])
    before = {file: file.stat().st_mtime_ns for file in entries[0].store.place.root.glob("*.parquet")}
    assert entries[0].store.done() == set(range(len(plan.batches) // 2))
    engines[1](plan, entries)
    assert before.items() <= {file: file.stat().st_mtime_ns for file in entries[0].store.place.root.glob("*")}.items()
    reference = entries_of(whole, {"a": f"{dummies}:Brightness", "b": f"{dummies}:Slow"}, b={"seconds": 0.0})
    in_process(plan, reference)
    pd.testing.assert_frame_equal(predictions(begun, entries), predictions(whole, reference), check_exact=True)


def test_progress_counts_every_image_once(plan, dummies, tmp_path):
    entries = entries_of(tmp_path, {"a": f"{dummies}:Brightness"})
    heard = Heard()
    on_ray(plan, entries, heard)
    assert heard.done == plan.images and heard.said == []
    heard = Heard()
    on_ray(plan, entries, heard)  # nothing is missing
    assert heard.done == plan.images


def test_a_killed_worker_is_replaced(plan, dummies, tmp_path):
    marker = tmp_path / "killed"
    entries = entries_of(tmp_path, {"a": f"{dummies}:Killed"}, a={"marker": str(marker)})
    on_ray(plan, entries)
    assert marker.exists()
    found = predictions(tmp_path, entries)
    assert sorted(found["path"]) == sorted(plan.manifest.rows["path"])
    assert found["status"].eq("ok").all()


def test_interrupted_keeps_what_was_scored_and_frees_the_cluster(plan, dummies, tmp_path):
    import ray

    entries = entries_of(tmp_path, {"a": f"{dummies}:Slow"}, a={"seconds": 0.2})
    with pytest.raises(KeyboardInterrupt):
        on_ray(plan, entries, Heard(stop_after=8))
    done = entries[0].store.done()
    assert 2 <= len(done) < len(plan.batches)
    deadline = time.monotonic() + 60
    while ray.available_resources().get("CPU", 0) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert ray.available_resources()["CPU"] == 2
    heard = Heard()
    on_ray(plan, entries, heard)
    assert entries[0].store.done() == set(range(len(plan.batches)))


def test_a_detector_that_no_node_can_load(plan, dummies, tmp_path):
    entries = entries_of(tmp_path, {"a": f"{dummies}:Homesick"})
    with pytest.raises(MaibenchError, match=r"^[\d.]+: the detectors cannot be loaded there .*No module named 'home'"):
        on_ray(plan, entries)


def test_a_detector_that_cannot_be_sent(plan, dummies, tmp_path):
    entries = entries_of(tmp_path, {"a": f"{dummies}:Rooted"})
    with pytest.raises(MaibenchError, match=r"^a: cannot be sent to the cluster .*--engine local"):
        on_ray(plan, entries)


class NodePlace(LocalPlace):
    """A folder as the driver sees it. A node reads `reads` in its place, and writes to `writes`."""

    def __init__(self, root, reads, writes):
        super().__init__(root)
        self.reads, self.writes = Path(reads), Path(writes)

    def __reduce__(self):
        return OnNode, (self.reads, self.writes)


class OnNode(LocalPlace):
    def __init__(self, reads, writes):
        super().__init__(reads)
        self.writes = writes

    def write(self, name, data):
        LocalPlace(self.writes).write(name, data)


@pytest.fixture
def sent_with_its_code():
    """This module's classes, to nodes that do not have it."""
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


@pytest.mark.parametrize("sees", ["nothing", "reads and cannot write", "reads and writes elsewhere"])
def test_a_node_without_the_folder(sees, plan, dummies, tmp_path, sent_with_its_code):
    shared, own = tmp_path / "predictions" / "a", tmp_path / "own"
    reads, writes, said = {
        "nothing": (own, own, [f"does not see the run's folder {own}"]),
        "reads and cannot write": (shared, Path("/proc/nowhere"), ["/proc/nowhere: cannot be written"]),
        "reads and writes elsewhere": (shared, own, ["12 batches were scored there and are not among the predictions"]),
    }[sees]
    entries = entries_of(tmp_path, {"a": f"{dummies}:Brightness"})
    entries[0].store.place = NodePlace(shared, reads, writes)
    heard = Heard()
    on_ray(plan, entries, heard)
    found = predictions(tmp_path, entries)
    assert sorted(found["path"]) == sorted(plan.manifest.rows["path"])
    assert len(heard.said) in (1, 2)  # once a node, not once a part
    assert all(text in line for text, line in zip(said, heard.said, strict=False)), heard.said
    assert own.exists() == (sees == "reads and writes elsewhere")
    assert heard.done == plan.images
    assert not list(shared.glob(".*")), "what tells nodes of the folder is removed"


def test_a_node_with_other_code(plan, dummies, tmp_path, monkeypatch):
    from maibench.evaluation import ray_engine

    monkeypatch.setattr(ray_engine, "code_version", lambda: "maibench 9.9.9")
    with pytest.raises(
        MaibenchError, match=r"there is maibench .*, here maibench 9\.9\.9; install the same everywhere"
    ):
        on_ray(plan, entries_of(tmp_path, {"a": f"{dummies}:Brightness"}))


def test_parts_say_which_batches_they_hold(plan, dummies, tmp_path):
    """So that scoring a slice again writes the same files, and never a batch twice."""
    entries = entries_of(tmp_path, {"a": f"{dummies}:Brightness"})
    on_ray(plan, entries)
    names = sorted(file.name for file in entries[0].store.place.root.iterdir())
    assert names == [f"part-{batch:07d}-{batch:07d}.parquet" for batch in range(len(plan.batches))]
