"""Training an adapter: the base stays as it is, and what is written loads as it was validated."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel
from pydantic import ValidationError
from safetensors.torch import load_file

from maibench import load_detector
from maibench.datasets.readers import read_manifest
from maibench.errors import MaibenchError
from maibench.finetune import trainer
from maibench.finetune.batches import Batches
from maibench.finetune.checkpoint import Checkpoint
from maibench.finetune.recipe import Recipe, read_recipe
from maibench.finetune.samples import SampleSource
from maibench.finetune.validation import read_validation
from maibench.models.weights import sha256


@pytest.fixture(scope="module")
def weights(tiny_moondream) -> Path:
    return tiny_moondream


@pytest.fixture(scope="module")
def manifest(data_set):
    return read_manifest(data_set(n_real=3, n_synthetic=3, splits=("train", "validation")))


@pytest.fixture
def recipe(weights):
    def make(**changes: object) -> Recipe:
        values = {
            "detector": "moondream", "options": {"adapter": "none", "weights": str(weights)},
            "lora": {"rank": 2, "alpha": 4, "dropout": 0.1}, "lr": 3e-2, "steps": 2, "warmup": 1, "batch_size": 2,
            "crop": [40, 64], "averaging": 0.5, "validate_every": 1,
            "augmentation": {"jpeg": 0.5, "resize": 0.5},
        }  # fmt: skip
        return Recipe.model_validate({**values, **changes})

    return make


def train(recipe: Recipe, manifest, out: Path) -> Path:
    return trainer.train(recipe, [manifest], out)


def batch_of(recipe: Recipe, manifest, count: int = 1) -> list:
    """A detector, and the first batches of its training."""
    torch.manual_seed(recipe.seed)
    detector = trainer.make_detector(recipe, "cpu")
    batches = Batches(SampleSource([manifest]), recipe, detector, 0, 1)
    return [detector, *(batches.draw(step, 0) for step in range(1, count + 1))]


def test_the_loss_falls(recipe, manifest, weights, tmp_path):
    settings = recipe(steps=12, lr=5e-2, averaging=0, validate_every=12, batch_size=4, precision="float32")
    _, *drawn = batch_of(settings, manifest, 4)
    base, trained = load_detector("moondream", weights=weights), load_detector(str(train(settings, manifest, tmp_path)))
    with torch.no_grad():
        before, after = (
            np.mean([detector.loss(images, labels).item() for images, labels in drawn]) for detector in (base, trained)
        )
    assert after < 0.7 * before


def test_gradients_reach_every_targeted_projection_and_nothing_else(recipe, manifest):
    """B of an adapter begins as zeros, so that A gets none until B has moved."""
    detector, *drawn = batch_of(recipe(lora={"rank": 2, "alpha": 4, "dropout": 0}, batch_size=4), manifest, 2)
    targets = [
        f"text.model.layers.{layer}.{name}"
        for layer in range(2)
        for name in (
            "self_attn.q_proj",
            "self_attn.k_proj",
            "self_attn.v_proj",
            "self_attn.dense",
            "mlp.fc1",
            "mlp.fc2",
        )
    ]
    expected = {f"model.{name}.lora_{side}.default.weight" for name in targets for side in "AB"}
    trained = {name for name, parameter in detector.named_parameters() if parameter.requires_grad}
    assert trained == expected
    assert any(name.startswith("model.vision") for name, _ in detector.named_parameters())
    before = {name: tensor.clone() for name, tensor in detector.state_dict().items() if name not in trained}
    optimiser = trainer.make_optimiser(recipe(), detector)
    for moved, (images, labels) in zip(("B", "AB"), drawn, strict=True):
        optimiser.zero_grad()
        detector.loss(images, labels).backward()
        for name, parameter in detector.named_parameters():
            if name in trained and name.split("lora_")[1][0] in moved:
                assert parameter.grad.abs().max() > 0, name
            elif name in trained:
                assert parameter.grad.abs().max() == 0, name
            else:
                assert parameter.grad is None, name
        optimiser.step()
    assert all(torch.equal(tensor, detector.state_dict()[name]) for name, tensor in before.items())


def test_what_is_trained_has_equal_logits_beside_the_base_and_merged_into_it(recipe, manifest, weights, tmp_path):
    out = train(recipe(precision="float32"), manifest, tmp_path)
    merged = load_detector(str(out))
    beside = load_detector("moondream", weights=weights, adapter="none")
    plain = read_validation(manifest, beside).logits(beside)
    wrapped = PeftModel.from_pretrained(beside.model, str(out)).eval()
    assert any("lora_" in name for name, _ in wrapped.named_parameters())
    split = read_validation(manifest, beside)
    np.testing.assert_allclose(split.logits(beside), split.logits(merged), rtol=0, atol=1e-5)
    assert np.abs(split.logits(merged) - plain).max() > 1e-3
    assert not any("lora_" in name for name in merged.state_dict())


def test_checkpointing_spares_memory_and_changes_no_weight(recipe, manifest, tmp_path):
    found = {}
    for name in (False, True):
        settings = recipe(checkpointing=name, precision="float32", batch_size=4)
        found[name] = load_file(train(settings, manifest, tmp_path / str(name)) / "adapter_model.safetensors")
        detector, (images, labels) = batch_of(settings, manifest)
        kept: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda x, kept=kept: kept.append(x.nbytes) or x, lambda x: x):
            detector.train().loss(images, labels)
        found[f"kept {name}"] = sum(kept)
    assert found["kept True"] < 0.6 * found["kept False"]
    for name, tensor in found[False].items():
        torch.testing.assert_close(found[True][name], tensor, rtol=1e-4, atol=1e-6)


def test_the_result_is_an_adapter_that_loads_in_both_ways(recipe, manifest, weights, tmp_path):
    before = {file.name: file.read_bytes() for file in weights.iterdir()}
    out = train(recipe(exclude=["gen-b"]), manifest, tmp_path / "run")
    assert {file.name: file.read_bytes() for file in weights.iterdir()} == before
    assert not (out / "model.safetensors").exists()
    assert json.loads((out / "config.json").read_text())["base_sha256"] == sha256(weights / "model.safetensors")

    detector, again = load_detector(str(out)), load_detector("moondream", weights=weights, adapter=out)
    plain = load_detector("moondream", weights=weights, adapter="none")
    split = read_validation(manifest, plain)
    np.testing.assert_allclose(split.logits(detector), split.logits(again), rtol=0, atol=1e-6)
    assert np.abs(split.logits(detector) - split.logits(plain)).max() > 1e-4
    assert detector.card.trained_on == ("gen-a",)
    assert manifest.fingerprint in detector.card.training_data
    assert 0 <= detector.card.validation["threshold"] <= 1
    for name, tensor in detector.model.state_dict().items():
        adapted = name.startswith("text.model.layers") and "layernorm" not in name and name.endswith("weight")
        if not adapted:
            assert torch.equal(tensor, plain.model.state_dict()[name]), name


def test_what_is_written_scores_as_it_was_validated(recipe, manifest, tmp_path, monkeypatch):
    validated = []
    export = trainer.export

    def remember(detector, *others):
        validated.append(read_validation(manifest, detector).logits(detector))
        export(detector, *others)

    monkeypatch.setattr(trainer, "export", remember)
    detector = load_detector(str(train(recipe(), manifest, tmp_path)))
    np.testing.assert_allclose(read_validation(manifest, detector).logits(detector), validated[-1], rtol=0, atol=1e-4)


def test_a_killed_run_goes_on_to_the_same_adapter(recipe, manifest, tmp_path, monkeypatch):
    save = Checkpoint.save

    def die_after(*arguments: object) -> None:
        save(*arguments)
        raise KeyboardInterrupt

    train(recipe(), manifest, tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "save", die_after)
        with pytest.raises(KeyboardInterrupt):
            train(recipe(), manifest, tmp_path / "stopped")
    train(recipe(), manifest, tmp_path / "stopped")
    whole, stopped = (torch.load(tmp_path / name / "checkpoint.pt", weights_only=True) for name in ("whole", "stopped"))
    assert stopped["state"]["step"] == whole["state"]["step"] == 2
    for name, tensor in whole["detector"].items():
        assert torch.equal(tensor, stopped["detector"][name]), name
    one, other = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("whole", "stopped"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert any(tensor.abs().max() > 0 for name, tensor in one.items() if "lora_B" in name)


def test_a_folder_can_be_put_on_its_base_elsewhere_and_on_no_other(recipe, manifest, weights, tmp_path):
    out = train(recipe(steps=1), manifest, tmp_path / "run")
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (moved / name).write_bytes((weights / name).read_bytes())
    assert load_detector(str(out), weights=moved).checkpoint.name == str(moved)
    with pytest.raises(MaibenchError, match="an adapter for another base"):
        load_detector("moondream", adapter=out)


def test_crops_are_drawn_from_a_range(recipe, manifest, tmp_path):
    settings = recipe(crop=[40, 200])  # the images have 96 x 80 pixels: what is larger is the whole image
    draws = {settings.draw_crop(np.random.default_rng(seed)) for seed in range(2000)}
    assert draws == set(range(40, 201))
    assert settings.smallest_image == 40
    assert recipe(crop=64).draw_crop(np.random.default_rng(0)) == recipe(crop=64).smallest_image == 64
    assert (train(settings, manifest, tmp_path) / "adapter_model.safetensors").is_file()


@pytest.mark.parametrize("crop", [[16, 64], [64, 40], [64], 16])
def test_wrong_ranges_of_crops(recipe, crop):
    with pytest.raises(ValidationError):
        recipe(crop=crop)


@pytest.mark.parametrize("lora", [{"rank": 0}, {"alpha": 0}, {"dropout": 1}, {"target": "q_proj"}, {"targets": 3}])
def test_wrong_adapters(recipe, lora):
    with pytest.raises(ValidationError):
        recipe(lora=lora)


def test_targets_that_match_nothing(recipe, manifest, tmp_path):
    with pytest.raises(MaibenchError, match=r"lora\.targets 'nothing'"):
        train(recipe(lora={"targets": "nothing"}), manifest, tmp_path)


def test_a_network_that_takes_no_adapter(recipe, manifest, tmp_path):
    with pytest.raises(MaibenchError, match="mai_cnn takes no LoRA adapter; leave 'lora' out of the recipe"):
        train(recipe(detector="mai_cnn", options={}), manifest, tmp_path)


def test_a_network_that_is_trained_through_an_adapter_alone(recipe, manifest, tmp_path):
    with pytest.raises(MaibenchError, match="lora"):
        train(recipe(lora=None), manifest, tmp_path)


def test_the_recipe_that_is_shipped():
    shipped = read_recipe(Path(__file__).parents[2] / "configs" / "finetune" / "moondream_lora.yaml")
    assert shipped.detector == "moondream"
    assert shipped.lora is not None
    assert shipped.options.get("adapter") == "none"  # one is trained on the base, not on another


def test_an_adapter_is_asked_what_it_was_trained_with(recipe, manifest, weights, tmp_path):
    options = {"adapter": "none", "weights": str(weights), "question": "Is this image"}
    out = train(recipe(options=options), manifest, tmp_path)
    own, through = load_detector(str(out)), load_detector("moondream", weights=weights, adapter=out)
    assert own.prompt_ids == through.prompt_ids == (1, 2, 4, 5, 6, 3)
    other = load_detector("moondream", weights=weights, adapter=out, question="Is this AI-generated?")
    assert other.prompt_ids == (1, 2, 4, 5, 7, 3)


def test_the_adapter_is_no_part_of_the_parameter_count(recipe, manifest, weights, tmp_path):
    out = train(recipe(), manifest, tmp_path)
    counts = {
        load_detector("moondream", weights=weights, adapter=adapter, dtype=dtype).parameter_count()
        for adapter in ("none", out)
        for dtype in ("float32", "bfloat16")
    }
    assert counts == {json.loads((out / "card.json").read_text())["parameters"]}
