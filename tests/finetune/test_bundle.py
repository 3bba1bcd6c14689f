"""Bundling: half precision is taken only where it changes no decision."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.special import expit

from maibench.datasets.readers import open_data
from maibench.errors import MaibenchError
from maibench.finetune import bundle
from maibench.finetune.validation import read_validation
from maibench.models.bailu import Bailu
from maibench.models.loading import load_detector
from maibench.models.weights import save_weights, sha256


def folder_of(detector: Bailu, folder: Path) -> Path:
    folder.mkdir()
    save_weights(detector, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"detector": "bailu", "options": {}}))
    (folder / "card.json").write_text(json.dumps({"name": "bailu", "trained_on": ["gen-a"]}))
    return folder


def test_half_precision_weights_and_a_card_with_their_hash(data_set, tmp_path: Path):
    torch.manual_seed(0)
    folder = folder_of(Bailu(), tmp_path / "run")
    file = bundle.bundle(folder, [str(data_set(splits=("validation",)))], tmp_path)
    card = json.loads((tmp_path / "bailu.json").read_text())
    assert card["sha256"] == sha256(file)
    assert card["weights"] == "bundled"
    assert load_file(file)["stem.conv.weight"].dtype == torch.float16


def test_a_changed_decision_bundles_nothing(data_set, tmp_path: Path):
    torch.manual_seed(0)
    detector = Bailu()
    with torch.no_grad():  # a logit that is lost in half precision: 1e-9 rounds to 0, which is "real"
        detector.head[-1].weight.zero_()
        detector.head[-1].bias.fill_(1e-9)
    folder = folder_of(detector, tmp_path / "run")
    with pytest.raises(MaibenchError, match="changes 8 of 8 decisions"):
        bundle.bundle(folder, [str(data_set(splits=("validation",)))], tmp_path)
    assert not list(tmp_path.glob("*.safetensors"))
    assert not list(tmp_path.glob(".*.safetensors"))


def noisy(n: int, scale: float, shift: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from P = sigmoid(scale * logit + shift)."""
    rng = np.random.default_rng(seed)
    logits = rng.uniform(-4, 4, n)
    return (rng.random(n) < expit(scale * logits + shift)).astype(np.int64), logits


def test_the_scale_is_the_one_that_the_labels_were_drawn_with():
    labels, logits = noisy(20_000, 0.5, 0.0, 0)
    assert bundle.operating_point([(labels, logits + 1.0)], 0.9)[0] == pytest.approx(0.5, abs=0.02)


def test_the_shift_calls_as_many_photographs_real_as_was_asked_for_and_hardly_more():
    one, other = noisy(4000, 1.0, 0.5, 1), noisy(300, 2.0, -0.5, 2)
    scale, shift = bundle.operating_point([one, other], 0.94)
    rates = [(scale * x[y == 0] + shift <= 0).mean() for y, x in (one, other)]
    assert 0.94 <= np.mean(rates) < 0.945
    scale, shift = bundle.operating_point([one], 1.0)
    assert -shift / scale == pytest.approx(one[1][one[0] == 0].max(), abs=0.1)


def test_every_set_counts_alike_however_large():
    one, other = noisy(400, 1.0, 0.5, 1), noisy(300, 2.0, -0.5, 2)
    many = (np.tile(other[0], 50), np.tile(other[1], 50))
    expected = bundle.operating_point([one, other], 0.9)
    assert bundle.operating_point([one, many], 0.9) == pytest.approx(expected, abs=1e-3)


def test_logits_that_point_the_wrong_way_are_refused():
    labels, logits = noisy(400, 1.0, 0.0, 3)
    with pytest.raises(MaibenchError, match="higher logits do not mean synthetic"):
        bundle.operating_point([(labels, -logits)], 0.9)


def test_the_operating_point_is_in_the_weights_and_on_the_card(data_set, tmp_path: Path, monkeypatch):
    torch.manual_seed(0)
    folder = folder_of(Bailu(), tmp_path / "run")
    source = str(data_set(n_real=6, n_synthetic=6, splits=("validation",)))
    before = load_detector(str(folder))
    split = read_validation(open_data(source), before)
    logits = split.logits(before)
    # random weights may point the wrong way
    monkeypatch.setattr(bundle, "operating_point", lambda scored, tnr: (2.0, -0.7))
    bundle.bundle(folder, [source], tmp_path, tnr=0.94)
    moved = split.logits(load_detector("bailu", weights=tmp_path / "bailu.safetensors"))
    assert moved == pytest.approx(2 * logits - 0.7, abs=0.04)
    notes = json.loads((tmp_path / "bailu.json").read_text())["notes"]
    assert "scaled by 2.000 (Platt) and moved by -0.700, so that 94% of the photographs" in notes
