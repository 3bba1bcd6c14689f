"""The pass over the images: every one once, nothing lost where it is killed."""

import numpy as np
import pandas as pd
import pytest

from maibench.datasets.image import parse_file
from maibench.datasets.readers import open_data
from maibench.errors import DiskError, MaibenchError
from maibench.evaluation.audit import measure as module
from maibench.evaluation.audit.measure import measure
from maibench.evaluation.draw import drawn
from maibench.progress import Progress

STEPS = ("file", "likeness", "history")


class Killed(Progress):
    """Stops the work after so many images, as Ctrl-C does."""

    def __init__(self, after):
        self.left, self.began_at = after, None

    def start(self, total, done=0):
        self.began_at = done

    def advance(self, count, note=""):
        self.left -= count
        if self.left < 0:
            raise KeyboardInterrupt


@pytest.fixture
def manifest(data_set):
    return open_data(str(data_set(n_real=6, n_synthetic=5)))


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(module, "IMAGES_A_PART", 3)


def test_a_row_an_image_in_the_list_s_order(manifest):
    facts = measure(manifest, manifest.rows, STEPS, workers=3).facts
    assert facts["path"].tolist() == manifest.rows["path"].tolist()
    assert set(facts["format"]) == {"PNG"} and set(facts["width"]) == {96}
    file = parse_file("", (manifest.root / facts["path"][0]).read_bytes())
    assert facts["image_id"][0] == file.image_id
    assert str(facts["dhash"].dtype) == "uint64"


@pytest.mark.parametrize("after", [0, 2, 3, 7, 10])
def test_a_killed_pass_goes_on_to_the_same_facts(manifest, tmp_path, after):
    whole = measure(manifest, manifest.rows, STEPS, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        measure(manifest, manifest.rows, STEPS, tmp_path / "killed", workers=2, progress=Killed(after))
    again = Killed(after=11)
    resumed = measure(manifest, manifest.rows, STEPS, tmp_path / "killed", workers=2, progress=again)
    pd.testing.assert_frame_equal(resumed.facts, whole.facts)
    assert resumed.means.counts() == {"real": 6, "gen-a": 3, "gen-b": 2}
    for name, array in resumed.means.state().items():
        np.testing.assert_array_equal(array, whole.means.state()[name])
    assert again.began_at == after // 3 * 3
    for part in (tmp_path / "whole").iterdir():
        assert (tmp_path / "killed" / part.name).read_bytes() == part.read_bytes()


def test_a_finished_pass_reads_nothing_and_another_one_starts_afresh(manifest, tmp_path):
    measure(manifest, manifest.rows, STEPS, tmp_path)
    measure(manifest, manifest.rows, STEPS, tmp_path, progress=(nothing := Killed(after=0)))
    assert nothing.began_at == 11
    other = Killed(after=5)
    assert len(measure(manifest, manifest.rows[:5], STEPS, tmp_path, progress=other).facts) == 5
    assert other.began_at == 0 and len(list(tmp_path.iterdir())) == 3


def test_what_cannot_be_read_is_listed_with_its_reason(manifest, tmp_path):
    (manifest.root / manifest.rows["path"][1]).unlink()
    broken = manifest.root / manifest.rows["path"][7]
    broken.write_bytes(broken.read_bytes()[:200])
    for _ in range(2):  # made, and read from the parts
        measured = measure(manifest, manifest.rows, STEPS, tmp_path)
        assert len(measured.facts) == 9
        assert measured.failures["path"].tolist() == manifest.rows["path"][[1, 7]].tolist()
        assert "No such file" in measured.failures["error"][0]


def test_nothing_to_read_is_an_error_that_names_the_first(manifest):
    for path in manifest.rows["path"]:
        (manifest.root / path).write_bytes(b"")
    with pytest.raises(MaibenchError, match=r"the first, 'test/real/000\.png': the file is empty"):
        measure(manifest, manifest.rows, STEPS)


def test_a_folder_that_cannot_be_written_says_so(manifest, tmp_path):
    (tmp_path / "facts").write_text("a file")
    with pytest.raises(DiskError, match="choose another folder"):
        measure(manifest, manifest.rows, STEPS, tmp_path / "facts")


def test_an_image_without_a_source_is_its_own(data_set):
    manifest = open_data(str(data_set(n_real=2, n_synthetic=2, sources=False)))
    facts = measure(manifest, manifest.rows, ("file",)).facts
    assert facts["source"].tolist() == facts["path"].tolist()


def test_a_draw_keeps_the_shares_of_classes_and_splits():
    rows = pd.DataFrame({"path": range(100), "split": ["train"] * 60 + ["test"] * 40, "label": [0, 1] * 50})
    some = drawn(rows, 50, seed=1)
    assert some.groupby(["split", "label"]).size().to_dict() == {
        ("test", 0): 10, ("test", 1): 10, ("train", 0): 15, ("train", 1): 15,
    }  # fmt: skip
    assert some.index.is_monotonic_increasing
    assert some.index.tolist() == drawn(rows, 50, seed=1).index.tolist() != drawn(rows, 50, seed=2).index.tolist()
    assert drawn(rows, 100, 0) is rows
