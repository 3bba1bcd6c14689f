"""LoRA on models of the Hub: trained, written, loaded, and refused on another base."""

import json
import shutil
from itertools import product
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from maibench import load_detector
from maibench.datasets.readers import open_data
from maibench.errors import DetectorError, MaibenchError
from maibench.finetune.recipe import Recipe
from maibench.finetune.trainer import train

SHIPPED = Path(__file__).parents[3] / "configs" / "finetune" / "hf_vlm_lora.yaml"


@pytest.fixture(scope="module")
def base(vlm):
    return vlm("llava")


@pytest.fixture(scope="module")
def trained(base, write_image, tmp_path_factory):
    """The shipped recipe, in two steps."""
    shipped = yaml.safe_load(SHIPPED.read_text())
    few = {"steps": 2, "warmup": 1, "batch_size": 2, "validate_every": 2, "crop": [32, 48], "lr": 0.1}
    recipe = Recipe.model_validate({**shipped, **few, "detector": f"hf-vlm:{base}", "precision": "float32"})
    out = tmp_path_factory.mktemp("trained")
    for seed, (split, kind, number) in enumerate(product(("train", "validation"), ("real", "gen"), "ab")):
        write_image(out / "data" / split / kind / f"{number}.png", (48, 48), seed)
    return train(recipe, [open_data(str(out / "data"))], out / "model", "cpu")


def logit(detector, image):
    with torch.inference_mode():
        return detector.answer(detector.collate([detector.preprocess(image)]))[0].item()


def test_what_was_trained_is_loaded_by_its_folder(trained, base, texture):
    plain, found = load_detector(f"hf-vlm:{base}"), load_detector(str(trained))
    named = load_detector(f"hf-vlm:{base}", adapter=str(trained))
    assert abs(logit(found, texture()) - logit(plain, texture())) > 1e-4
    assert logit(named, texture()) == logit(found, texture())
    assert found.card.trained_on == ("gen",) and plain.card.trained_on is None
    assert found.card.weights == f"{base} + adapter {trained}"
    assert found.parameter_count() == plain.parameter_count()
    targets = {name.split(".lora_")[0].rpartition(".")[2] for name in load_file(trained / "adapter_model.safetensors")}
    assert targets == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


def test_an_adapter_beside_half_precision_weights_is_nearly_the_same(trained, texture):
    beside, merged = load_detector(str(trained), dtype="bfloat16"), load_detector(str(trained))
    assert any("lora_" in name for name, _ in beside.named_parameters())
    assert not any("lora_" in name for name, _ in merged.named_parameters())
    assert beside.parameter_count() == merged.parameter_count()
    assert logit(beside, texture()) == pytest.approx(logit(merged, texture()), abs=0.2)


def test_a_loaded_adapter_is_saved_as_it_lies(trained, base, tmp_path, texture):
    found = load_detector(str(trained))
    found.save_pretrained(tmp_path / "copy")
    assert f"an adapter of the base {base}" in (tmp_path / "copy" / "card.json").read_text()
    assert logit(load_detector(str(tmp_path / "copy")), texture()) == logit(found, texture())


def test_an_adapter_of_another_base_is_refused(trained, vlm, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(trained, other)
    weights = other / "adapter_model.safetensors"
    tensors = load_file(weights)
    config = json.loads((other / "config.json").read_text())
    tensors.pop(sorted(tensors)[0])
    save_file(tensors, weights)
    with pytest.raises(DetectorError, match="1 tensors are missing or left over"):
        load_detector(str(other))
    (other / "config.json").write_text(json.dumps({**config, "base_sha256": "0" * 64}))
    with pytest.raises(DetectorError, match="was trained on weights with sha256 000000000000…"):
        load_detector(str(other))


def test_what_cannot_be_saved_or_trained_says_so(base, trained, tmp_path):
    plain = load_detector(f"hf-vlm:{base}")
    with pytest.raises(MaibenchError, match="has no adapter, and the base is not copied"):
        plain.save_pretrained(tmp_path)
    with pytest.raises(MaibenchError, match=r"lora\.targets 'nothing'"):
        plain.add_adapter(2, 4, 0.0, "nothing")
    with pytest.raises(MaibenchError, match="load it without the option adapter"):
        load_detector(str(trained)).add_adapter(2, 4, 0.0, ".*q_proj")


def test_a_classifier_takes_an_adapter_too(classifier, tmp_path, texture):
    folder = classifier("real", "fake")
    detector = load_detector(f"hf:{folder}")
    before = logit(detector, texture())
    detector.add_adapter(2, 4, 0.0, r".*\.(query|value|q_proj|v_proj)")
    for name, tensor in detector.named_parameters():
        if "lora_B" in name:
            tensor.data.fill_(0.5)
    detector.eval().save_pretrained(tmp_path)
    found = load_detector(str(tmp_path))
    assert logit(found, texture()) == pytest.approx(logit(detector, texture()), abs=1e-4)
    assert abs(logit(found, texture()) - before) > 1e-3
