"""Bundling: half precision is taken only where it changes no decision."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from maibench.errors import MaibenchError
from maibench.finetune import bundle
from maibench.models.bailu import Bailu
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
