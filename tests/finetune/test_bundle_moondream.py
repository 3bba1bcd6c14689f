"""Bundling the nano moondream: half precision, cards that say what is in it, and no adapter that it would change."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models

from maibench import load_detector
from maibench.datasets.readers import open_data
from maibench.errors import MaibenchError
from maibench.finetune.bundle_moondream import bundle_adapter, bundle_base
from maibench.finetune.recipe import Lora
from maibench.finetune.validation import read_validation
from maibench.models.card import Card
from maibench.models.moondream.config import MoondreamConfig
from maibench.models.moondream.model import MoondreamModel
from maibench.models.moondream.tensors import save_folder
from maibench.models.weights import BUNDLED, sha256


@pytest.fixture
def run(tmp_path) -> Path:
    """A folder as the base's training leaves it."""
    torch.manual_seed(4)
    settings = MoondreamConfig.model_validate(
        {
            "text": {"dim": 32, "ff_dim": 48, "n_layers": 1, "vocab_size": 16, "n_heads": 2, "n_kv_heads": 2},
            "vision": {
                "enc_dim": 16, "enc_ff_dim": 24, "enc_n_layers": 1, "enc_n_heads": 2, "proj_inner_dim": 24,
                "proj_out_dim": 32,
            },
        }
    )  # fmt: skip
    folder = tmp_path / "run"
    folder.mkdir()
    save_folder(MoondreamModel(settings), folder)
    tokenizer = Tokenizer(models.WordLevel({"é": 0, "Yes": 4, "No": 5, "[UNK]": 6}, unk_token="[UNK]"))
    tokenizer.save(str(folder / "tokenizer.json"), pretty=True)
    (folder / "validation.json").write_text(json.dumps({"step": 9, "Is this image noisy?": 0.75}))
    return folder


@pytest.fixture
def target(tmp_path) -> Path:
    """Where it is bundled, with the real base's card."""
    folder = tmp_path / "package"
    folder.mkdir()
    shutil.copy(BUNDLED / "moondream.json", folder)
    return folder


@pytest.fixture(scope="module")
def source(data_set) -> str:
    return str(data_set(n_real=2, n_synthetic=2, splits=("validation",)))


def trained(folder: Path, spread: float, targets: str = Lora().targets) -> Path:
    """A folder as the training of an adapter on the bundled base leaves it."""
    detector = load_detector("moondream", adapter="none")
    detector.add_adapter(rank=2, alpha=4, dropout=0, targets=targets)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in detector.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, spread, generator=generator)
    folder.mkdir()
    config = {"detector": "moondream", "options": {"adapter": "none"}} | detector.save(folder)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "card.json").write_text(json.dumps({"name": "moondream", "trained_on": ["gen-a"], "recipe": "mine"}))
    return folder


def test_a_base_in_half_precision_with_its_card(run, target):
    file = bundle_base(run, "photographs", target)
    card = Card(name="moondream").read(target / "moondream.json")
    assert card.sha256 == sha256(file)
    assert (card.weights, card.training_data, card.trained_on) == ("bundled", "photographs", ())
    assert card.validation == {"Is this image noisy?": 0.75}
    stored, whole = load_file(file), load_file(run / "model.safetensors")
    assert card.parameters == sum(tensor.numel() for tensor in whole.values())
    assert stored.keys() == whole.keys()
    for name, tensor in stored.items():
        assert torch.equal(tensor, whole[name].half()), name
    assert json.loads((target / "moondream" / "config.json").read_text()) == json.loads(
        (run / "config.json").read_text()
    )
    texts = [(folder / "tokenizer.json").read_text() for folder in (run, target / "moondream")]
    assert json.loads(texts[0]) == json.loads(texts[1])
    assert len(texts[1]) < len(texts[0])


def test_the_bundled_files_are_a_checkpoint(run, target, texture):
    file = bundle_base(run, "photographs", target)
    file.rename(target / "moondream" / "model.safetensors")
    found = load_detector("moondream", weights=target / "moondream").next_token_logits([texture()], [4, 5])
    expected = load_detector("moondream", weights=run).next_token_logits([texture()], [4, 5])
    torch.testing.assert_close(found, expected, rtol=0, atol=0.01)


def test_a_base_without_a_tokenizer_is_not_bundled(run, target):
    before = (target / "moondream.json").read_bytes()
    (run / "tokenizer.json").unlink()
    with pytest.raises(MaibenchError, match=r"needs tokenizer\.json"):
        bundle_base(run, "photographs", target)
    assert [file.name for file in target.rglob("*") if file.is_file()] == ["moondream.json"]
    assert (target / "moondream.json").read_bytes() == before


def test_an_adapter_in_half_precision_with_its_card(tmp_path, target, source):
    folder = trained(tmp_path / "run", spread=0.2)
    adapter = bundle_adapter(folder, [source], "small images", target)
    assert adapter == target / "moondream" / "adapter"
    assert {tensor.dtype for tensor in load_file(adapter / "adapter_model.safetensors").values()} == {torch.float16}
    detector, before = load_detector("moondream", adapter=adapter), load_detector("moondream", adapter=folder)
    assert detector.card.trained_on == ("gen-a",)
    assert detector.card.training_data.endswith("adapter: small images")
    assert detector.card.recipe.endswith("adapter: mine")
    assert detector.row_name == "moondream-nano"
    split = read_validation(open_data(source), detector)
    np.testing.assert_allclose(split.logits(detector), split.logits(before), rtol=0, atol=0.05)
    told = detector.card.validation
    assert 0 <= told.pop("threshold") <= 1
    assert {name.rpartition("_")[2] for name in told} == {"auc", "accuracy"}
    assert all(0 <= share <= 1 for share in told.values())


def test_an_adapter_that_half_precision_changes_is_not_bundled(tmp_path, target, source):
    """A factor that is too large for half precision: infinity less infinity is no decision at all."""
    folder = trained(tmp_path / "run", spread=0.0, targets=r"text\.lm_head")
    detector = load_detector("moondream", adapter="none")
    split = read_validation(open_data(source), detector)
    yes, no = (next(iter(found.values())) for found in (detector.answers.yes, detector.answers.no))
    tensors = load_file(folder / "adapter_model.safetensors")
    a, b = ("base_model.model.text.lm_head.lora_A.weight", "base_model.model.text.lm_head.lora_B.weight")
    tensors[a].normal_(0, 1e-4, generator=torch.Generator().manual_seed(0))
    for sign in (1, -1):  # some image has to be called synthetic before
        tensors[b][yes], tensors[b][no] = sign * 1e5, -sign * 1e5
        save_file(tensors, folder / "adapter_model.safetensors")
        if (split.logits(load_detector("moondream", adapter=folder)) > 0).any():
            break
    with pytest.raises(MaibenchError, match=r"half precision changes \d of 4 decisions"):
        bundle_adapter(folder, [source], "small images", target)
    assert not list(target.rglob("adapter*.safetensors"))
