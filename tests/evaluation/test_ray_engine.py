"""Scored by Ray: the same predictions as in one process, whatever happens on the way."""

import importlib.util
import re
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from maibench.datasets.perturb import parse_perturbation
from maibench.datasets.readers import open_data, read_manifest
from maibench.errors import MaibenchError
from maibench.evaluation.cluster.connect import connected
from maibench.evaluation.cluster.slices import disturbances_of, missing_slices
from maibench.evaluation.cluster.worker import ScoreSlice, Setup, code_version, read_rows, row_of
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


def on_ray(plan, entries, progress=None, workers=1):
    score_on_ray(plan, entries, None, workers, 10**8, progress)


def on_two(plan, entries):
    on_ray(plan, entries, workers=2)


def in_process(plan, entries):
    score(plan, entries, 2, 10**8)


def predictions(folder, entries):
    return read_predictions(folder, {entry.label: entry.store.key for entry in entries})


def begin_of(plan, batches):
    return Plan(plan.manifest, plan.batches[:batches])


def written(folders):
    return {file: file.stat().st_mtime_ns for folder in folders for file in folder.glob("*.parquet")}


def worker(folder, entries, plan, version=None, probe=""):
    """A worker in this process."""
    import ray
    from ray import cloudpickle

    setup = Setup(
        plan.manifest.images,
        {entry.label: entry.detector for entry in entries},
        {entry.label: entry.store for entry in entries},
        {entry.label: "cpu" for entry in entries},
        disturbances_of(plan),
        10**8,
        probe=probe,
    )
    pickled = np.frombuffer(cloudpickle.dumps(setup), dtype=np.uint8)
    return ScoreSlice(ray.put(pickled), version or code_version(), [entry.label for entry in entries], 1)


def told_by(one, plan, entries):
    tables = [one(row_of(piece, [])) for piece in missing_slices(plan, entries)]
    return [told for table in tables for _, all_told in read_rows(table) for told in all_told]


def test_equal_to_one_process(demo_cache, dummies, tmp_path, monkeypatch):
    monkeypatch.setenv("MAIBENCH_CACHE", str(demo_cache))
    perturbations = [parse_perturbation(name) for name in ("none", "resize:0.5+jpeg:75")]
    plan = make_plan(open_data("demo"), "test", perturbations, 8, 48, 0)
    specs = {"bailu": "bailu", "mai_cnn": "mai_cnn", "own": f"{dummies}:Brightness", "other": f"{dummies}:Broken"}
    both = []
    for engine, folder in ((in_process, tmp_path / "local"), (on_two, tmp_path / "ray")):
        entries = entries_of(folder, specs)
        entries[2].failure = "could not be fitted"
        engine(plan, entries)
        both.append(predictions(folder, entries))
    pd.testing.assert_frame_equal(both[0], both[1], check_exact=True)
    assert set(both[1].loc[both[1]["detector"] == "other", "error"]) == {"RuntimeError: out of order"}
    assert set(both[1].loc[both[1]["detector"] == "own", "error"]) == {"could not be fitted"}
    assert both[1].loc[both[1]["detector"] == "bailu", "status"].eq("ok").all()


def test_each_engine_goes_on_with_the_other(plan, dummies, tmp_path):
    begun, whole = tmp_path / "begun", tmp_path / "whole"
    specs = {"a": f"{dummies}:Brightness", "b": f"{dummies}:Slow"}
    entries, reference = (entries_of(folder, specs, b={"seconds": 0.0}) for folder in (begun, whole))
    folders = [entry.store.place.root for entry in entries]
    in_process(begin_of(plan, 4), entries[:1])
    before = written(folders)
    heard = Heard()
    on_ray(begin_of(plan, 8), entries, heard)
    assert heard.done == 32 and heard.said == []
    assert before.items() <= written(folders).items(), "what was there is not scored again"
    # every batch is a slice here, and every slice a part: scored twice, it replaces itself
    assert sorted(file.name for file in folders[1].iterdir()) == [f"part-{n:07d}-{n:07d}.parquet" for n in range(8)]
    before = written(folders)
    in_process(plan, entries)
    assert before.items() <= written(folders).items()
    in_process(plan, reference)
    pd.testing.assert_frame_equal(predictions(begun, entries), predictions(whole, reference), check_exact=True)
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
    in_process(plan, entries)
    assert sorted(predictions(tmp_path, entries)["path"]) == sorted(plan.manifest.rows["path"])


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


def test_nodes_that_cannot_write_where_the_driver_reads(plan, dummies, tmp_path, sent_with_its_code):
    """One detector's folder is refused on the node, another's is a folder of the node's own."""
    own = tmp_path / "own"
    entries = entries_of(tmp_path, {"refused": f"{dummies}:Brightness", "own": f"{dummies}:Brightness"})
    for entry, writes in zip(entries, (Path("/proc/nowhere"), own), strict=True):
        entry.store.place = NodePlace(entry.store.place.root, entry.store.place.root, writes)
    heard = Heard()
    on_ray(plan, entries, heard)
    found = predictions(tmp_path, entries)
    assert sorted(found["path"]) == sorted([*plan.manifest.rows["path"]] * 2)
    refused, lost = heard.said  # once a node, not once a part
    assert "/proc/nowhere" in refused and "what it scores is written from here" in refused
    assert f"{len(plan.batches)} batches were scored there and are not among the predictions" in lost
    assert list(own.iterdir()), "the node has written there"
    assert heard.done == plan.images
    assert not list((tmp_path / "predictions").rglob(".*")), "what tells nodes of the folder is removed"


def test_a_node_that_does_not_see_the_folder_writes_nothing_there(plan, dummies, tmp_path):
    entries = entries_of(tmp_path, {"a": f"{dummies}:Brightness"})
    told = told_by(worker(tmp_path, entries, plan, probe=".part-not-there"), plan, entries)
    assert [(one.first, one.table.num_rows) for one in told] == [(batch, 4) for batch in range(len(plan.batches))]
    assert all("does not see the run's folder" in one.problem for one in told)
    assert not entries[0].store.place.root.exists()


def test_a_node_with_other_code(plan, dummies, tmp_path):
    entries = entries_of(tmp_path, {"a": f"{dummies}:Brightness"})
    told = told_by(worker(tmp_path, entries, plan, version="maibench 9.9.9"), plan, entries)
    assert re.search(r"there is maibench .*, here maibench 9\.9\.9; install the same everywhere", told[0].fatal)
