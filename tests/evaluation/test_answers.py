"""Detectors that can tell how sure an answer is, and what their rows are called."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

import maibench
from maibench.config import make_config
from maibench.errors import MaibenchError
from maibench.evaluation.compare import run_comparison

BARE = {"adapter": "none"}


class Hesitant(maibench.Detector):
    """logit = (mean of all values - 127.5) / 10; unsure of what is neither dark nor bright."""

    card = maibench.Card(name="hesitant")

    def preprocess(self, image: NDArray[np.uint8]) -> Tensor:
        return torch.tensor((float(image.mean()) - 127.5) / 10, dtype=torch.float64)

    def forward(self, batch: Tensor) -> Tensor:
        return batch

    def answer(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        return batch, batch.abs() < 3


class NanWhereUnsure(Hesitant):
    def answer(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        logits, unsure = super().answer(batch)
        return torch.where(unsure, torch.nan, logits), unsure


class RaisesInAnswer(Hesitant):
    def answer(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        raise RuntimeError("no comment")


class WrongShape(Hesitant):
    """Says of every token whether it is sure."""

    def answer(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        return batch, torch.zeros(len(batch), 3, dtype=torch.bool)


@pytest.fixture
def compare(tmp_path):
    def run(models, data, out="out", **settings):
        flags = {"models": models, "data": str(data), "out": str(tmp_path / out), "resamples": 2, "workers": 1}
        flags |= {"figures": False, "gallery": 0}
        return run_comparison(make_config(None, flags | settings, []))

    return run


@pytest.fixture(scope="module")
def known(greys):
    """Two of each class are far from the middle, one is near; one near image is called by the wrong name."""
    return greys([(10, 0), (60, 0), (120, 0), (200, 1), (250, 1), (110, 1)])


def test_unsure_answers_are_scored_and_counted(compare, known):
    run = compare([f"{__file__}:Hesitant"], known)
    rows = run.predictions.sort_values("path")
    logits = (np.array([10, 60, 120, 200, 250, 110]) - 127.5) / 10
    assert rows["status"].tolist() == ["ok", "ok", "unsure", "ok", "ok", "unsure"]
    np.testing.assert_allclose(rows["logit"], logits)
    np.testing.assert_allclose(rows["score"], 1 / (1 + np.exp(-logits)))
    assert rows["error"].tolist() == [""] * 6
    metrics = run.metrics.iloc[0]
    assert (metrics["n"], metrics["n_real"], metrics["n_synthetic"], metrics["n_failed"]) == (6, 3, 3, 0)
    assert metrics["accuracy"] == pytest.approx(5 / 6)
    assert metrics["auc"] == pytest.approx(8 / 9)
    assert run.clean
    assert any("2 of 6 answers are unsure" in note and "Hesitant" in note for note in run.summary.notes)


def test_a_detector_that_cannot_tell_is_always_sure(compare, known, dummies):
    run = compare([f"{dummies}:Brightness"], known)
    assert run.predictions["status"].tolist() == ["ok"] * 6
    assert not any("unsure" in note for note in run.summary.notes)


def test_an_answer_that_is_no_number_is_failed_and_not_unsure(compare, known):
    run = compare([f"{__file__}:NanWhereUnsure"], known)
    rows = run.predictions.sort_values("path")
    assert rows["status"].tolist() == ["ok", "ok", "failed", "ok", "ok", "failed"]
    assert rows["logit"].isna().tolist() == [False, False, True, False, False, True]
    assert run.metrics["n_failed"].tolist() == [2]


@pytest.mark.parametrize("name", ["RaisesInAnswer", "WrongShape"])
def test_an_answer_that_fails_does_not_stop_the_others(compare, known, dummies, name):
    run = compare([f"{__file__}:{name}", f"{dummies}:Brightness"], known)
    metrics = run.metrics.set_index("detector")
    assert metrics["n"].to_dict() == {name: 0, "Brightness": 6}
    assert math.isnan(metrics["accuracy"][name])
    assert not run.clean


def test_the_row_of_the_bundled_moondream_says_that_it_is_the_small_one(compare, greys):
    data = greys([(10, 0), (200, 1)])
    models, options = ["moondream", "x=moondream"], {"moondream": BARE | {"min_mass": 1}, "x": BARE | {"min_mass": 0}}
    run = compare(models, data, options=options)
    assert run.metrics["detector"].tolist() == ["moondream-nano", "x"]
    rows = run.predictions.set_index("detector")
    assert set(rows.loc["moondream-nano", "status"]) == {"unsure"}
    assert set(rows.loc["x", "status"]) == {"ok"}
    np.testing.assert_allclose(rows.loc["moondream-nano", "logit"], rows.loc["x", "logit"], rtol=0, atol=1e-5)
    assert compare(models, data, options=options).scored == 0  # all of it is there


def test_a_label_that_is_given_is_kept(compare, greys):
    run = compare(["moondream=moondream"], greys([(10, 0), (200, 1)]), options={"moondream": BARE})
    assert run.metrics["detector"].tolist() == ["moondream"]


@pytest.mark.parametrize("order", [1, -1])
def test_two_rows_of_one_name_are_refused(compare, greys, dummies, tmp_path, order):
    models = ["moondream", f"moondream-nano={dummies}:Brightness"][::order]
    with pytest.raises(
        MaibenchError, match="two detectors are called 'moondream-nano': name one of them, as in other="
    ):
        compare(models, greys([(10, 0), (200, 1)]), options={"moondream": BARE})
    assert not (tmp_path / "out").exists()


def test_a_detector_that_cannot_answer_yet_stops_before_anything_is_scored(compare, greys, tmp_path):
    """A folder without a tokenizer."""
    from maibench.models.weights import BUNDLED

    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes((BUNDLED / "moondream.safetensors").read_bytes())
    (folder / "config.json").write_bytes((BUNDLED / "moondream" / "config.json").read_bytes())
    data = greys([(10, 0), (200, 1)])
    with pytest.raises(MaibenchError, match=r"moondream: .*has no tokenizer\.json.*moondream\.tokenizer=FILE"):
        compare(["moondream"], data, options={"moondream": {"weights": str(folder)}})
    assert not (tmp_path / "out").exists()
    given = {"weights": str(folder), "question": [5, 6], "yes": [17], "no": [21], "min_mass": 0}
    run = compare(["moondream"], data, options={"moondream": given})
    assert run.metrics["detector"].tolist() == ["moondream"]  # weights that somebody named are not the nano ones
    assert run.predictions["status"].tolist() == ["ok", "ok"]


def test_the_report_says_what_was_asked(compare, greys):
    question = "Was this made by a machine? Answer: yes or no"
    run = compare(["moondream"], greys([(10, 0), (200, 1)]), options={"moondream": BARE | {"question": question}})
    assert f'asked "{question}", yes meaning synthetic: moondream-nano' in (run.folder / "table.md").read_text()
    page = (run.folder / "report.html").read_text()
    assert question in page
    assert "prompt ids" in page
