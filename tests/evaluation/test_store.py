"""Predictions on disk: parts that are whole or absent, and files that somebody else wrote."""

import json
import multiprocessing
import os
import pickle
import uuid

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from maibench.errors import DiskError, MaibenchError
from maibench.evaluation.store import (
    COLUMNS,
    SCHEMA,
    PredictionStore,
    check_predictions,
    images_per_second,
    open_store,
    read_note,
    read_predictions,
    remove_other_detectors,
)
from maibench.files import remove_parts, write_text, write_whole


def rows(paths, detector="a", status="ok"):
    failed = status == "failed"
    return pd.DataFrame(
        {
            "image_id": "id", "path": list(paths), "label": 1, "generator": "gen-a", "source": "s", "split": "test",
            "perturbation": "none", "detector": detector, "logit": None if failed else 2.5,
            "score": None if failed else 0.9, "status": status, "error": "why" if failed else "",
        }
    )  # fmt: skip


@pytest.fixture
def store(tmp_path):
    return PredictionStore(tmp_path, "a", "key")


@pytest.fixture(params=["folder", "path", "file", "memory"])
def predictions(request, tmp_path):
    """Where a run at `tmp_path` keeps its predictions, as its run.json says; None: in its own folder."""
    if request.param == "folder":
        return None
    name = f"kept {uuid.uuid4().hex}"
    where = {"path": str(tmp_path / name), "file": f"file://{tmp_path}/{name}", "memory": f"memory://{name}"}
    (tmp_path / "run.json").write_text(json.dumps({"predictions": where[request.param]}))
    return where[request.param]


def test_they_can_be_anywhere(tmp_path, predictions):
    keys = {"b/c": "key", "a": "key"}
    for label in keys:
        store = open_store(tmp_path, predictions, label, "key")
        assert store.done() == set()
        store.write(rows(["2", "3"], label), 1, 1, 0.5)
        store.write(rows(["0", "1"], label), 0, 0, 0.5)
        assert store.done() == {0, 1}
        assert list(store.parts()) == ["part-0000000-0000000.parquet", "part-0000001-0000001.parquet"]
    read = read_predictions(tmp_path, keys)
    assert (read["detector"] + read["path"]).tolist() == ["b/c0", "b/c1", "b/c2", "b/c3", "a0", "a1", "a2", "a3"]
    assert set(read_predictions(tmp_path)["detector"]) == {"a", "b/c"}
    assert images_per_second(tmp_path, keys) == {"b/c": 4.0, "a": 4.0}
    other = open_store(tmp_path, predictions, "a", "other")
    other.write(rows(["9"]), 0, 0, 0.5)
    assert store.done() == {1}  # its name is that of the first part
    other.sweep()
    assert read_predictions(tmp_path, {"a": "other"})["path"].tolist() == ["9"]
    remove_other_detectors(tmp_path, ["a"])
    assert read_predictions(tmp_path)["detector"].tolist() == ["a"]


def _batches(*numbers):
    """Rows of batches of two images under two perturbations."""
    images = [f"{number}{image}" for number in numbers for image in "ab"]
    return pd.concat([rows(images[at : at + 2]).assign(perturbation=name)
                      for at in range(0, len(images), 2) for name in ("none", "jpeg:75")])  # fmt: skip


@pytest.mark.parametrize(
    "parts",
    [
        [(0, 2), (1, 3)],
        [(0, 3), (1, 2)],
        [(0, 1), (0, 3)],
        [(0, 1), (1, 2), (1, 3), (2, 2)],
        [(0, 2), (1, 3), (3, 3)],  # the cut part takes the name of another
        [(3, 3), (2, 2), (1, 1), (0, 0), (0, 3)],
    ],
)
def test_a_batch_in_two_parts_counts_once(store, tmp_path, parts):
    for first, last in parts:
        store.write(_batches(*range(first, last + 1)), first, last, 0.25 * (last + 1 - first))
    expected = _batches(0, 1, 2, 3)
    pairs = list(zip(expected["path"], expected["perturbation"], strict=True))
    for _ in range(2):
        read = read_predictions(tmp_path, {"a": "key"})
        assert list(zip(read["path"], read["perturbation"], strict=True)) == pairs
        assert read_predictions(tmp_path).equals(read)
        assert store.done() == {0, 1, 2, 3}
        assert images_per_second(tmp_path, {"a": "key"}) == {"a": 16.0}
        store.sweep()
    held = [batch for part in store.parts().values() for batch in range(part.first, part.last + 1)]
    assert sorted(held) == [0, 1, 2, 3]


def test_batches_without_rows(store):
    store.write(_batches(0).iloc[:0], 0, 1, 0.0)  # a detector that reads files, where all is disturbed
    store.write(_batches(0).iloc[:0], 1, 2, 0.0)
    store.sweep()
    assert store.done() == {0, 1, 2}


def test_a_table_is_written_as_a_frame_is(store):
    frame = rows(["0", "1"], status="failed")
    store.write(frame, 0, 0, 0.5)
    store.write(pa.Table.from_pandas(frame, schema=SCHEMA, preserve_index=False), 1, 1, 0.5)
    first, second = (pq.read_table(file) for file in sorted(store.place.root.iterdir()))
    assert first.equals(second)
    assert [part.rows for part in store.parts().values()] == [0, 0]


def _write_elsewhere(pickled, folder):
    os.chdir(folder)
    pickle.loads(pickled).write(rows(["1"]), 1, 1, 0.5)


def test_another_process_writes_to_the_same_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = PredictionStore(tmp_path.relative_to(tmp_path), "a", "key")
    store.write(rows(["0"]), 0, 0, 0.5)
    assert store.done() == {0}
    (tmp_path / "there").mkdir()
    worker = multiprocessing.get_context("spawn").Process(
        target=_write_elsewhere, args=(pickle.dumps(store), tmp_path / "there")
    )
    worker.start()
    worker.join()
    assert worker.exitcode == 0
    assert store.done() == {0, 1}


def test_a_part_that_is_written_again_is_read_again(store):
    store.write(rows(["0"]), 0, 0, 0.5)
    assert store.parts()["part-0000000-0000000.parquet"].seconds == 0.5
    PredictionStore(store.place.root.parent.parent, "a", "key").write(rows(["0"]), 0, 0, 0.75)
    assert store.parts()["part-0000000-0000000.parquet"].seconds == 0.75


def test_a_place_is_checked(tmp_path):
    where = f"memory://{uuid.uuid4().hex}"
    assert check_predictions(where + "/", {}) == where
    assert check_predictions(str(tmp_path / "new" / "place"), {}) == str(tmp_path / "new" / "place")
    open_store(tmp_path, where, "a", "key").write(rows(["0"]), 0, 0, 0.5)
    assert check_predictions(where, {"predictions": where}) == where
    with pytest.raises(MaibenchError, match=r"holds the predictions of another run.*choose another place"):
        check_predictions(where, {})
    with pytest.raises(MaibenchError, match=r"s3://x: Install s3fs"):
        check_predictions("s3://x", {})
    with pytest.raises(MaibenchError, match=r"nothing can be written to a web server"):
        check_predictions("http://localhost/x", {})
    (tmp_path / "file").touch()
    with pytest.raises(DiskError, match=r"cannot be written"):
        check_predictions(str(tmp_path / "file" / "x"), {})


def test_what_is_written_is_read(store, tmp_path):
    store.write(rows(["2", "3"], status="failed"), 1, 1, 0.5)
    store.write(rows(["0", "1"]), 0, 0, 0.5)
    assert store.done() == {0, 1}
    read = read_predictions(tmp_path, {"a": "key"})
    assert list(read.columns) == list(COLUMNS)
    assert read["path"].tolist() == ["0", "1", "2", "3"]
    assert read["logit"].tolist()[:2] == [2.5, 2.5]
    assert read["logit"].isna().tolist() == [False, False, True, True]
    assert read["error"].tolist() == ["", "", "why", "why"]
    assert read["label"].dtype == "int64"
    assert read["logit"].dtype == "float64"


def test_a_part_is_plain_parquet(store):
    store.write(rows(["0"]), 0, 0, 0.5)
    (file,) = store.place.root.iterdir()
    assert pd.read_parquet(file)["path"].tolist() == ["0"]
    types = {field.name: str(field.type) for field in pq.read_schema(file)}
    assert {name for name, kind in types.items() if kind == "string"} == set(COLUMNS) - {"label", "logit", "score"}


def test_parts_of_another_computation_do_not_count(store, tmp_path):
    store.write(rows(["0"]), 0, 3, 0.5)
    other = PredictionStore(tmp_path, "a", "other key")
    assert other.done() == set()
    assert len(other.stale()) == 1
    with pytest.raises(MaibenchError, match="no predictions there"):
        read_predictions(tmp_path, {"a": "other key"})
    other.write(rows(["1"]), 0, 0, 0.5)
    assert read_predictions(tmp_path, {"a": "other key"})["path"].tolist() == ["1"]
    assert store.done() == {0, 1, 2, 3}


def test_sweep_removes_what_is_left_over(store, tmp_path):
    PredictionStore(tmp_path, "a", "other key").write(rows(["1"]), 5, 5, 0.5)
    store.write(rows(["0"]), 0, 0, 0.5)
    store.sweep()
    assert [file.name for file in store.place.root.iterdir()] == ["part-0000000-0000000.parquet"]


def test_half_written_files_are_not_read_and_are_removed(store, tmp_path):
    store.write(rows(["0"]), 0, 0, 0.5)
    for half in (store.place.root / ".part-1-part-0000001-0000001.parquet", tmp_path / ".part-1-metrics.csv"):
        half.write_bytes(b"half")
    assert store.done() == {0}
    assert len(read_predictions(tmp_path)) == 1
    remove_parts(tmp_path)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["part-0000000-0000000.parquet"]


def test_other_detectors_are_removed_and_files_of_others_are_not(store, tmp_path):
    for label in ("a", "b", "c/d"):
        PredictionStore(tmp_path, label, "key").write(rows(["0"], label), 0, 0, 0.5)
    rows(["0"], "b").to_parquet(tmp_path / "predictions" / "b" / "theirs.parquet")
    remove_other_detectors(tmp_path, ["a"])
    assert sorted(path.name for path in (tmp_path / "predictions").iterdir()) == ["a", "b"]
    assert [path.name for path in (tmp_path / "predictions" / "b").iterdir()] == ["theirs.parquet"]
    assert store.done() == {0}


def test_order_of_detectors_is_that_of_the_request(tmp_path):
    for label in ("b", "a", "c"):
        PredictionStore(tmp_path, label, "key").write(rows(["0"], label), 0, 0, 0.5)
    assert read_predictions(tmp_path, {"c": "key", "a": "key"})["detector"].tolist() == ["c", "a"]
    assert read_predictions(tmp_path)["detector"].tolist() == ["a", "b", "c"]


@pytest.mark.parametrize("label", ["hf:owner/name", "mean(a,b)", "Größe 3", "a%2Fb", "../up"])
def test_any_label_is_a_folder_of_its_own(tmp_path, label):
    store = PredictionStore(tmp_path, label, "key")
    store.write(rows(["0"], label), 0, 0, 0.5)
    assert store.place.root.parent == tmp_path / "predictions"
    assert [path.name for path in tmp_path.iterdir()] == ["predictions"]
    assert read_predictions(tmp_path, {label: "key"})["detector"].tolist() == [label]


def test_images_per_second(tmp_path):
    store = PredictionStore(tmp_path, "a", "key")
    store.write(rows("0123"), 0, 0, 0.5)
    store.write(pd.concat([rows("45"), rows("67", status="failed")]), 1, 1, 1.5)
    PredictionStore(tmp_path, "b", "key").write(rows("01", "b", "failed"), 0, 0, 0.0)
    assert images_per_second(tmp_path, {"a": "key", "b": "key", "c": "key"}) == {"a": 3.0}


def test_files_of_somebody_else(tmp_path):
    folder = tmp_path / "predictions" / "theirs"
    folder.mkdir(parents=True)
    frame = rows(["0", "1"], "theirs")[["path", "label", "generator", "perturbation", "detector", "logit"]]
    frame["detector"] = frame["detector"].astype("category")
    frame["source"] = pd.Categorical(["s", None])
    frame.to_parquet(folder / "all.parquet")
    assert read_note(folder / "all.parquet") is None
    read = read_predictions(tmp_path)
    assert list(read.columns) == list(COLUMNS)
    assert read["score"].tolist() == pytest.approx([0.9241418199787566] * 2)
    assert read["status"].tolist() == ["ok", "ok"]
    assert read["source"].tolist() == ["s", ""]
    assert read["split"].tolist() == ["test", "test"]


def test_probabilities_of_another_tool_are_enough(tmp_path):
    folder = tmp_path / "predictions" / "their%20tool"
    folder.mkdir(parents=True)
    theirs = rows(["0", "1"])[["path", "label", "generator"]].assign(score=[0.5, 0.9])
    theirs.to_parquet(folder / "all.parquet")
    read = read_predictions(tmp_path)
    assert read["logit"].tolist() == pytest.approx([0.0, np.log(9)])
    assert read["perturbation"].tolist() == ["none", "none"]
    assert read["detector"].tolist() == ["their tool", "their tool"]


@pytest.mark.parametrize("column", ["path", "label", "generator", "logit"])
def test_missing_column(tmp_path, column):
    folder = tmp_path / "predictions" / "theirs"
    folder.mkdir(parents=True)
    rows(["0"]).drop(columns=["score", column]).to_parquet(folder / "all.parquet")
    with pytest.raises(MaibenchError, match=rf"all\.parquet: the column '{column}' is missing"):
        read_predictions(tmp_path)


@pytest.mark.parametrize("data", [b"", b"PAR1", b"not Parquet at all"])
def test_not_parquet(tmp_path, data):
    folder = tmp_path / "predictions" / "theirs"
    folder.mkdir(parents=True)
    (folder / "all.parquet").write_bytes(data)
    with pytest.raises(MaibenchError, match=r"all\.parquet: not a whole Parquet file.*remove it and run again"):
        read_predictions(tmp_path)


def test_damaged_part_is_not_done(store):
    store.write(rows(["0"]), 0, 0, 0.5)
    (file,) = store.place.root.iterdir()
    file.write_bytes(file.read_bytes()[:-20])
    assert store.done() == set()


def test_nothing_there(tmp_path):
    with pytest.raises(MaibenchError, match=r"no predictions there; expected predictions/<detector>/\*\.parquet"):
        read_predictions(tmp_path)


def test_a_file_that_fails_halfway_leaves_what_stood_there(tmp_path):
    write_text(tmp_path / "a.txt", "before")

    def fail(part):
        part.write_text("half")
        raise OSError(5, os.strerror(5))

    with pytest.raises(MaibenchError, match=r"a\.txt: cannot be written \(Input/output error\)"):
        write_whole(tmp_path / "a.txt", fail)
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "before"
