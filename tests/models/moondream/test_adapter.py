"""LoRA adapters: PEFT's own format, and never on another base than theirs."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from peft import LoraConfig, PeftModel
from safetensors.torch import load_file, save_file

from maibench import load_detector
from maibench.errors import MaibenchError
from maibench.finetune.recipe import Lora
from maibench.models.loading import fingerprint
from maibench.models.moondream.adapter import load_adapter, save_adapter
from maibench.models.moondream.checkpoint import find_checkpoint
from maibench.models.moondream.tensors import load_model

IDS = [1, 2, 5, 6, 3]


def adapted(folder):
    """A detector that carries a random adapter beside its weights."""
    detector = load_detector("moondream", weights=folder)
    detector.add_adapter(rank=4, alpha=8, dropout=0.1, targets=Lora().targets)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in detector.model.named_parameters():
            if "lora_" in name:
                parameter.normal_(0, 0.3, generator=generator)
    return detector.eval()


@pytest.fixture(scope="module")
def beside(shared_folder):
    """The detector that the adapter was made with; not to be changed."""
    return adapted(shared_folder)


@pytest.fixture
def adapter(beside, tmp_path):
    """A folder with the adapter alone, as others publish it."""
    beside.save(tmp_path)
    return tmp_path


def change(adapter, edit):
    tensors = load_file(adapter / "adapter_model.safetensors")
    edit(tensors)
    save_file(tensors, adapter / "adapter_model.safetensors")


def test_a_fresh_adapter_changes_nothing_and_is_all_that_is_trained(shared_folder, asked, pictures):
    detector = load_detector("moondream", weights=shared_folder)
    detector.add_adapter(**Lora(rank=4).model_dump())
    trained = {name: parameter for name, parameter in detector.named_parameters() if parameter.requires_grad}
    assert all("lora_" in name for name in trained)
    # two layers; four projections of width 32, and the MLP's two between 32 and 48
    assert sum(parameter.numel() for parameter in trained.values()) == 2 * 4 * (4 * (32 + 32) + 2 * (32 + 48))
    found = detector.eval().next_token_logits(pictures[:1], IDS)
    torch.testing.assert_close(found, asked.next_token_logits(pictures[:1], IDS), rtol=0, atol=1e-6)


def test_taken_into_the_weights_it_scores_as_it_did_beside_them(shared_folder, adapter, beside, asked, pictures):
    merged = load_detector("moondream", weights=shared_folder, adapter=adapter)
    expected = beside.next_token_logits(pictures, IDS)
    torch.testing.assert_close(merged.next_token_logits(pictures, IDS), expected, rtol=1e-5, atol=1e-5)
    assert (expected - asked.next_token_logits(pictures, IDS)).abs().max() > 0.1
    assert merged.model.state_dict().keys() == asked.model.state_dict().keys()
    assert not any(parameter.requires_grad for parameter in merged.parameters())
    assert "adapter" in merged.card.weights
    assert merged.card.trained_on is None  # what a stranger's adapter was trained on is unknown


def test_pefts_own_loading_gives_the_same_logits(shared_folder, adapter, beside, pictures):
    model = load_model(find_checkpoint(shared_folder), torch.float32)
    wrapped = PeftModel.from_pretrained(model, str(adapter)).eval()
    assert not wrapped.load_adapter(str(adapter), "again").missing_keys
    batch = model.stack([model.crop(pixels) for pixels in pictures])
    with torch.no_grad():
        found = model.continue_with(model.prefill(batch), IDS)
    torch.testing.assert_close(found, beside.next_token_logits(pictures, IDS), rtol=1e-5, atol=1e-5)


def test_an_adapter_that_peft_wrote(shared_folder, tmp_path, beside, pictures):
    config = LoraConfig(r=4, lora_alpha=8, target_modules=Lora().targets)
    wrapped = PeftModel(load_model(find_checkpoint(shared_folder), torch.float32), config)
    tensors = {name: p for name, p in beside.model.named_parameters() if "lora_" in name}
    with torch.no_grad():
        for name, parameter in wrapped.base_model.model.named_parameters():
            if name in tensors:
                parameter.copy_(tensors[name])
    wrapped.save_pretrained(str(tmp_path))
    detector = load_detector("moondream", weights=shared_folder, adapter=tmp_path)
    expected = beside.next_token_logits(pictures, IDS)
    torch.testing.assert_close(detector.next_token_logits(pictures, IDS), expected, rtol=1e-5, atol=1e-5)


def test_an_adapter_that_was_made_on_the_decoder_alone(shared_folder, tmp_path, asked, pictures):
    model = load_model(find_checkpoint(shared_folder), torch.float32)
    wrapped = PeftModel(model.text, LoraConfig(r=2, lora_alpha=6, target_modules=["q_proj", "fc2"])).eval()
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.3, generator=torch.Generator().manual_seed(len(name)))
        expected = model.continue_with(model.prefill(model.stack([model.crop(pictures[0])])), IDS)
    wrapped.save_pretrained(str(tmp_path))
    detector = load_detector("moondream", weights=shared_folder, adapter=tmp_path)
    found = detector.next_token_logits(pictures[:1], IDS)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert (found - asked.next_token_logits(pictures[:1], IDS)).abs().max() > 0.1


def test_in_half_precision_it_stays_beside_the_weights(shared_folder, adapter, beside, pictures):
    detector = load_detector("moondream", weights=shared_folder, adapter=adapter, dtype="bfloat16")
    assert [name for name, _ in detector.named_parameters() if "lora_" in name]
    assert not any(parameter.requires_grad for parameter in detector.parameters())
    found, expected = detector.next_token_logits(pictures, IDS), beside.next_token_logits(pictures, IDS)
    assert (found - expected).abs().max() < 0.2 * expected.std()


def test_half_precision_files_load(shared_folder, beside, tmp_path, pictures):
    save_adapter(beside.model, beside.lora, tmp_path, half=True)
    stored = load_file(tmp_path / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    detector = load_detector("moondream", weights=shared_folder, adapter=tmp_path)
    expected = beside.next_token_logits(pictures[:1], IDS)
    torch.testing.assert_close(detector.next_token_logits(pictures[:1], IDS), expected, rtol=0, atol=0.02)


def test_its_own_base_and_no_other(shared_folder, beside, tiny_folder, adapter):
    config = beside.save(adapter)
    (adapter / "config.json").write_text(json.dumps(config))
    load_detector("moondream", weights=shared_folder, adapter=adapter)
    with pytest.raises(MaibenchError, match="an adapter for another base: it was trained on weights with sha256"):
        load_detector("moondream", weights=tiny_folder(seed=1), adapter=adapter)
    with pytest.raises(MaibenchError, match="an adapter for another base: it was trained on weights with sha256"):
        load_detector("moondream", adapter=adapter)


@pytest.mark.parametrize(
    ("shapes", "reason"),
    [({"dim": 64}, "'.*' is .*, not "), ({"n_layers": 3}, "is missing"), ({"n_layers": 1}, "is left over")],
)
def test_a_base_of_other_shapes(tiny_folder, adapter, shapes, reason):
    with pytest.raises(MaibenchError, match=f"an adapter for another base than .*{reason}"):
        load_detector("moondream", weights=tiny_folder(**shapes), adapter=adapter)


def test_layers_that_are_not_there(shared_folder, adapter):
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(config | {"target_modules": ["blocks.0.attn.qkv"]}))
    with pytest.raises(MaibenchError, match="an adapter for another base"):
        load_detector("moondream", weights=shared_folder, adapter=adapter)


def test_missing_and_left_over_tensors(shared_folder, adapter):
    name = "base_model.model.text.model.layers.0.self_attn.q_proj.lora_A.weight"
    change(adapter, lambda tensors: tensors.pop(name))
    with pytest.raises(MaibenchError, match=r"'text\.model\.layers\.0\.self_attn\.q_proj\.lora_A\.weight' is missing"):
        load_detector("moondream", weights=shared_folder, adapter=adapter)
    change(adapter, lambda tensors: tensors.update({name: torch.zeros(4, 32), "more": torch.zeros(1)}))
    with pytest.raises(MaibenchError, match="'more' is left over"):
        load_detector("moondream", weights=shared_folder, adapter=adapter)


def test_no_adapter_config(shared_folder, adapter):
    (adapter / "adapter_config.json").unlink()
    with pytest.raises(MaibenchError, match=r"it has no adapter_config\.json"):
        load_detector("moondream", weights=shared_folder, adapter=adapter)


@pytest.mark.parametrize(
    "content", ["", "garbage", "[]", "3", "{}", '{"peft_type": "UNHEARD"}', '{"peft_type": "LORA"}', b"\xff\xfe"]
)
def test_garbage_for_an_adapter_config(shared_folder, adapter, content):
    (adapter / "adapter_config.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(MaibenchError) as raised:
        load_detector("moondream", weights=shared_folder, adapter=adapter)
    assert str(adapter) in str(raised.value)


@pytest.mark.parametrize("content", ["garbage", "[]", b"\xff\xfe"])
def test_garbage_beside_an_adapter(shared_folder, adapter, content):
    (adapter / "config.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(MaibenchError, match=r"config\.json: cannot be read"):
        load_detector("moondream", weights=shared_folder, adapter=adapter)


def test_an_adapter_that_is_a_pickle(shared_folder, adapter):
    torch.save({}, adapter / "adapter_model.safetensors")
    with pytest.raises(MaibenchError, match=r"A pickle .* is never loaded"):
        load_detector("moondream", weights=shared_folder, adapter=adapter)


def test_targets_that_match_nothing(shared_folder):
    detector = load_detector("moondream", weights=shared_folder)
    with pytest.raises(MaibenchError, match=r"lora\.targets 'text\\\.blocks'"):
        detector.add_adapter(rank=4, alpha=8, dropout=0, targets=r"text\.blocks")


def test_what_it_scores_with_is_in_the_fingerprint(shared_folder, adapter, tmp_path_factory):
    """An adapter beside the weights counts with its factor, which no tensor holds."""
    other = tmp_path_factory.mktemp("other") / "adapter"
    shutil.copytree(adapter, other)
    config = json.loads((other / "adapter_config.json").read_text())
    (other / "adapter_config.json").write_text(json.dumps(config | {"lora_alpha": 80}))
    for dtype in ("float32", "bfloat16"):
        prints = {
            fingerprint(load_detector("moondream", weights=shared_folder, adapter=place, dtype=dtype))
            for place in ("none", adapter, other)
        }
        assert len(prints) == 3, dtype


def test_a_second_adapter_is_trained_on_what_the_first_was_taken_into(
    shared_folder, adapter, tmp_path_factory, pictures
):
    """What is saved has to score, once loaded, as it did when it was validated; or nothing is saved."""
    detector = load_detector("moondream", weights=shared_folder, adapter=adapter)
    out = tmp_path_factory.mktemp("second")
    try:
        detector.add_adapter(rank=4, alpha=8, dropout=0, targets=Lora().targets)
        config = {"detector": "moondream", "options": {"weights": str(shared_folder), "adapter": str(adapter)}}
        (out / "config.json").write_text(json.dumps(config | detector.save(out)))
        again = load_detector(str(out))
    except MaibenchError:
        return
    expected = detector.eval().next_token_logits(pictures[:1], IDS)
    torch.testing.assert_close(again.next_token_logits(pictures[:1], IDS), expected, rtol=0, atol=1e-4)


def test_load_adapter_is_told_of_the_base_in_shards_too(shared_folder, adapter, tmp_path_factory):
    """The sha256 of a base in several files depends on all of them."""
    folder = tmp_path_factory.mktemp("shards")
    tensors = load_file(shared_folder / "model.safetensors")
    names = sorted(tensors)
    for file, part in (("a.safetensors", names[::2]), ("b.safetensors", names[1::2])):
        save_file({name: tensors[name] for name in part}, folder / file)
    places = {name: "ab"[number % 2] + ".safetensors" for number, name in enumerate(names)}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    for name in ("config.json", "tokenizer.json"):
        shutil.copy(shared_folder / name, folder)
    detector = adapted(folder)
    config = detector.save(adapter)
    (adapter / "config.json").write_text(json.dumps(config))
    checkpoint = find_checkpoint(folder)
    load_adapter(load_model(checkpoint, torch.float32), adapter, checkpoint)
    tensors["model.text.wte"] += 1
    save_file({name: tensors[name] for name in names[1::2]}, folder / "b.safetensors")
    save_file({name: tensors[name] for name in names[::2]}, folder / "a.safetensors")
    changed = find_checkpoint(folder)
    with pytest.raises(MaibenchError, match="an adapter for another base"):
        load_adapter(load_model(changed, torch.float32), adapter, changed)
