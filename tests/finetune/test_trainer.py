"""The training loop: it learns, stops anywhere, and goes on to the same weights."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from maibench.datasets.readers import read_manifest
from maibench.errors import MaibenchError
from maibench.finetune import trainer
from maibench.finetune.checkpoint import Checkpoint
from maibench.finetune.recipe import Recipe
from maibench.models.loading import load_detector


def recipe(**changes: object) -> Recipe:
    values = {
        "detector": "bailu", "lr": 3e-3, "steps": 8, "warmup": 2, "batch_size": 8, "crop": 64, "averaging": 0.5,
        "validate_every": 4, "augmentation": {"jpeg": 0.0, "pair_jpeg": 0.0, "resize": 0.0},
    }  # fmt: skip
    return Recipe.model_validate({**values, **changes})


@pytest.fixture(scope="module")
def manifest(data_set):
    return read_manifest(data_set(n_real=8, n_synthetic=8, splits=("train", "validation")))


def test_the_loss_falls_and_the_validation_auc_rises_above_chance(manifest, tmp_path: Path):
    trainer.train(recipe(steps=60, validate_every=20), [manifest], tmp_path)
    curve = pd.read_csv(tmp_path / "curve.csv")
    assert curve["loss"].iloc[-1] < curve["loss"].iloc[0]
    assert curve.filter(like="_auc").max().item() > 0.9


def test_a_stopped_run_goes_on_to_the_same_weights_bit_for_bit(manifest, tmp_path: Path, monkeypatch):
    trainer.train(recipe(), [manifest], tmp_path / "whole")
    save = Checkpoint.save

    def stop_after_first(*arguments: object) -> None:
        save(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "save", stop_after_first)
    with pytest.raises(KeyboardInterrupt):
        trainer.train(recipe(), [manifest], tmp_path / "stopped")
    monkeypatch.setattr(Checkpoint, "save", save)
    trainer.train(recipe(), [manifest], tmp_path / "stopped")
    whole, stopped = (torch.load(tmp_path / name / "checkpoint.pt", weights_only=True) for name in ("whole", "stopped"))
    assert stopped["state"]["step"] == whole["state"]["step"] == 8
    for name, tensor in whole["detector"].items():
        assert torch.equal(tensor, stopped["detector"][name]), name


def test_the_result_is_a_folder_that_loads_and_says_how_it_was_made(manifest, tmp_path: Path):
    trainer.train(recipe(exclude=["gen-b"]), [manifest], tmp_path)
    detector = load_detector(str(tmp_path))
    assert detector.card.trained_on == ("gen-a",)
    assert manifest.fingerprint in detector.card.training_data
    assert 0 <= detector.card.validation["threshold"] <= 1
    assert json.loads((tmp_path / "config.json").read_text())["detector"] == "bailu"
    stored = load_file(tmp_path / "model.safetensors")
    assert torch.equal(stored["stem.conv.weight"], detector.state_dict()["stem.conv.weight"])


def test_another_recipe_does_not_go_on_from_a_checkpoint(manifest, tmp_path: Path):
    trainer.train(recipe(steps=4), [manifest], tmp_path)
    with pytest.raises(MaibenchError, match="another recipe"):
        trainer.train(recipe(steps=4, lr=1e-4), [manifest], tmp_path)


def test_a_loss_that_is_not_a_number_stops_and_keeps_the_last_checkpoint(manifest, tmp_path: Path):
    trainer.train(recipe(), [manifest], tmp_path)
    content = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    content["state"]["step"] = 4
    content["detector"]["stem.conv.weight"].fill_(float("nan"))
    torch.save(content, tmp_path / "checkpoint.pt")
    before = (tmp_path / "model.safetensors").read_bytes()
    with pytest.raises(MaibenchError, match="loss is nan at step 5"):
        trainer.train(recipe(), [manifest], tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == before


def test_data_without_a_validation_split_is_refused(data_set, tmp_path: Path):
    manifest = read_manifest(data_set(splits=("train",)))
    with pytest.raises(MaibenchError, match="validation split"):
        trainer.train(recipe(), [manifest], tmp_path)


def test_a_second_stage_starts_from_the_weights_of_the_first(manifest, tmp_path: Path):
    trainer.train(recipe(steps=4), [manifest], tmp_path / "first")
    second = recipe(steps=1, lr=1e-12, warmup=0, averaging=0.0, start=str(tmp_path / "first" / "model.safetensors"))
    trainer.train(second, [manifest], tmp_path / "second")
    first, again = (load_file(tmp_path / name / "model.safetensors") for name in ("first", "second"))
    assert torch.allclose(first["stem.conv.weight"], again["stem.conv.weight"], atol=1e-6)
