"""Bundling: half precision is taken only where it changes no decision."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

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


def test_the_best_cut_weighs_data_sets_alike():
    large = (np.repeat([0, 1], 50), np.repeat([1.0, 3.0], 50))
    small = (np.array([0, 1]), np.array([1.5, 2.5]))
    assert bundle.best_cut([large, small]) == pytest.approx(2.0)


def test_of_cuts_that_are_as_good_the_one_nearest_to_zero_is_taken():
    labels = np.array([0, 0, 0, 1, 1, 1])
    assert bundle.best_cut([(labels, np.array([-9.0, -8.0, -7.0, 1.0, 8.0, 9.0]))]) == pytest.approx(-3.0)
    assert bundle.best_cut([(labels, np.array([-9.0, 2.0, 4.0, 6.0, 8.0, 9.0]))]) == pytest.approx(5.0)


def test_centring_moves_every_logit_by_the_cut(data_set, tmp_path: Path):
    torch.manual_seed(0)
    folder = folder_of(Bailu(), tmp_path / "run")
    source = str(data_set(n_real=6, n_synthetic=6, splits=("validation",)))
    before = load_detector(str(folder))
    split = read_validation(open_data(source), before)
    labels, logits = split.labels, split.logits(before)
    bundle.bundle(folder, [source], tmp_path, centre=True)
    moved = split.logits(load_detector("bailu", weights=tmp_path / "bailu.safetensors"))
    assert moved == pytest.approx(logits - bundle.best_cut([(labels, logits)]), abs=0.02)
    assert "moved by" in json.loads((tmp_path / "bailu.json").read_text())["notes"]
