"""Detectors that are there and cannot be used, or return what looks like probabilities: rows that say so."""

import pytest

from maibench.config import make_config
from maibench.errors import MaibenchError
from maibench.evaluation.compare import run_comparison

PLUGIN = """
import maibench, torch

class Bad(maibench.Detector):
    card = maibench.Card(name="bad")
    def __init__(self):
        raise RuntimeError("no licence server")

class Probability(maibench.Detector):
    card = maibench.Card(name="probability")
    def preprocess(self, image):
        return torch.tensor(float(image.mean()) / 255)
    def forward(self, batch):
        return batch
"""


@pytest.fixture
def plugin(tmp_path):
    file = tmp_path / "plugin.py"
    file.write_text(PLUGIN)
    return file


def compare(models, data, out):
    flags = {"models": models, "data": str(data), "out": str(out), "resamples": 10, "figures": False, "gallery": 0}
    return run_comparison(make_config(None, flags, []))


def test_one_that_cannot_be_made_is_a_row_and_the_others_go_on(greys, dummies, plugin, tmp_path):
    data = greys([(10, 0), (200, 1)] * 3)
    for scored in (2, 0):
        run = compare([f"{plugin}:Bad", f"{dummies}:Brightness"], data, tmp_path / "out")
        assert (run.clean, run.scored) == (False, scored)
        assert run.metrics.set_index("detector")["n"].to_dict() == {"Bad": 0, "Brightness": 6}
        assert any("RuntimeError: no licence server" in note for note in run.summary.notes)


def test_where_none_can_be_used_nothing_is_written(greys, plugin, tmp_path):
    with pytest.raises(MaibenchError, match=r"Bad: .*cannot be built: RuntimeError: no licence server"):
        compare([f"{plugin}:Bad"], greys([(10, 0), (200, 1)]), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_was_scored_stays_where_the_detector_is_gone(greys, dummies, tmp_path):
    data, gone = greys([(10, 0), (200, 1)] * 3), tmp_path / "gone.py"
    gone.write_text("from tests.dummy_detectors import Brightness as Gone")
    models = [f"{gone}:Gone", f"{dummies}:Brightness"]
    first = compare(models, data, tmp_path / "out")
    working = gone.read_text()
    gone.write_text("import no_such_module")
    for _ in range(2):
        again = compare(models, data, tmp_path / "out")
        assert (again.clean, again.scored) == (False, 0)
        assert again.metrics["accuracy"].equals(first.metrics["accuracy"])
    gone.write_text(working)
    back = compare(models, data, tmp_path / "out")
    assert (back.clean, back.scored) == (True, 0)


def test_what_looks_like_probabilities_is_told_and_not_clean(greys, plugin, tmp_path):
    data = greys([(value, value > 100) for value in range(20, 180, 4)])
    run = compare([f"{plugin}:Probability"], data, tmp_path / "out")
    assert not run.clean
    assert run.summary.notes[0].startswith("Probability: every logit lies between 0 and 1")
