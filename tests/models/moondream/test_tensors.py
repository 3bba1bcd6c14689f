"""Official tensors are taken to the letter or not at all, and written back as they were."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from maibench.errors import MaibenchError
from maibench.models.moondream.checkpoint import find_checkpoint
from maibench.models.moondream.model import MoondreamModel
from maibench.models.moondream.tensors import load_model, save_folder, to_official

OFFICIAL = Path(__file__).parents[2] / "data" / "moondream"
TEXT = ("ln", "attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
VISION = ("ln1", "ln2", "attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
EXACT = {"rtol": 0, "atol": 0}


@pytest.fixture
def folder(tiny_folder):
    return tiny_folder()


def load(folder, dtype=torch.float32):
    return load_model(find_checkpoint(folder), dtype)


def change(folder, edit):
    tensors = load_file(folder / "model.safetensors")
    edit(tensors)
    save_file(tensors, folder / "model.safetensors")


def shard(folder, parts=3):
    """Cut the one file into several, with an index, as large models come."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    places = {
        name: f"model-{number % parts + 1:05d}-of-{parts:05d}.safetensors"
        for number, name in enumerate(sorted(tensors))
    }
    for place in set(places.values()):
        save_file({name: tensors[name] for name in tensors if places[name] == place}, folder / place)
    index = {"metadata": {"total_size": 0}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return places


def assert_same(found: MoondreamModel, expected: MoondreamModel, **tolerance: float) -> None:
    own = expected.state_dict()
    assert found.state_dict().keys() == own.keys()
    for name, tensor in found.state_dict().items():
        torch.testing.assert_close(tensor, own[name], **(tolerance or EXACT))


def test_round_trip(tiny, folder, tmp_path):
    model = load(folder)
    assert_same(model, tiny())
    assert model.settings == tiny().settings
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    save_folder(model, tmp_path)
    assert (tmp_path / "config.json").read_bytes() == (folder / "config.json").read_bytes()
    assert (tmp_path / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()


def test_official_names_and_no_others(folder):
    stems = ["vision.patch_emb", "vision.post_ln", "vision.proj_mlp.fc1", "vision.proj_mlp.fc2"]
    stems += ["text.post_ln", "text.lm_head"]
    stems += [f"vision.blocks.0.{part}" for part in VISION]
    stems += [f"text.blocks.{index}.{part}" for index in range(2) for part in TEXT]
    names = {f"model.{stem}.{kind}" for stem in stems for kind in ("weight", "bias")}
    tensors = load_file(folder / "model.safetensors")
    assert set(tensors) == names | {"model.vision.pos_emb", "model.text.wte"}
    assert tensors["model.vision.patch_emb.weight"].shape == (16, 588)
    assert tensors["model.vision.pos_emb"].shape == (1, 729, 16)
    assert tensors["model.text.blocks.0.attn.qkv.weight"].shape == (96, 32)


def test_the_official_file_is_written_back_as_it_was():
    expected = load_file(OFFICIAL / "model.safetensors")
    found = to_official(load(OFFICIAL))
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, expected[name].float(), **EXACT)


def test_every_tensor_and_buffer_has_values(tiny, folder):
    model, fresh = load(folder), tiny()
    assert not [name for name, tensor in [*model.named_parameters(), *model.named_buffers()] if tensor.is_meta]
    buffers = dict(model.named_buffers())
    expected = dict(fresh.named_buffers())
    assert buffers.keys() == expected.keys()
    assert any("inv_freq" in name for name in expected)
    for name, tensor in expected.items():
        torch.testing.assert_close(buffers[name], tensor, **EXACT)


@pytest.mark.parametrize(
    "name", ["model.text.blocks.1.attn.qkv.bias", "model.vision.pos_emb", "model.text.lm_head.bias"]
)
def test_missing_tensor(folder, name):
    change(folder, lambda tensors: tensors.pop(name))
    with pytest.raises(MaibenchError, match=f"'{name}' is missing") as raised:
        load(folder)
    assert str(folder) in str(raised.value)


def test_left_over_tensor(folder):
    change(folder, lambda tensors: tensors.update({"model.text.blocks.2.ln.weight": torch.ones(32)}))
    with pytest.raises(MaibenchError, match=r"'model\.text\.blocks\.2\.ln\.weight' is left over"):
        load(folder)


@pytest.mark.parametrize("shape", [(33, 32), (32, 64), (64,), (64, 32, 1)])
def test_wrong_shape(folder, shape):
    change(folder, lambda tensors: tensors.update({"model.text.wte": torch.zeros(shape)}))
    with pytest.raises(MaibenchError, match=r"'model\.text\.wte' is \[.*\], not \[64, 32\]"):
        load(folder)


def test_a_config_of_another_size(folder):
    content = json.loads((folder / "config.json").read_text())
    content["config"]["text"]["n_layers"] = 3
    (folder / "config.json").write_text(json.dumps(content))
    with pytest.raises(MaibenchError, match=r"'model\.text\.blocks\.2\..* is missing.* and \d+ more"):
        load(folder)


def test_region_tensors_are_ignored(tiny, folder):
    change(folder, lambda tensors: tensors.update({"model.region.coord_encoder.bias": torch.ones(3)}))
    assert_same(load(folder), tiny())


def test_shards(tiny, folder):
    places = shard(folder)
    checkpoint = find_checkpoint(folder)
    assert [file.name for file in checkpoint.tensors] == sorted(set(places.values()))
    assert_same(load(folder), tiny())


def test_missing_shard(folder):
    places = shard(folder)
    place = places["model.text.wte"]
    (folder / place).unlink()
    with pytest.raises(MaibenchError, match=f"{place}: no weights file there"):
        load(folder)


def test_an_index_that_forgets_a_shard(folder):
    places = shard(folder)
    forgotten = places["model.text.wte"]
    kept = {name: place for name, place in places.items() if place != forgotten}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": kept}))
    with pytest.raises(MaibenchError, match="is missing"):
        load(folder)


@pytest.mark.parametrize(
    "index", ["", "{", "[]", "{}", "3", '{"weight_map": null}', '{"weight_map": ["model-1.safetensors"]}', b"\xff\xfe{"]
)
def test_broken_index(folder, index):
    shard(folder)
    file = folder / "model.safetensors.index.json"
    file.write_bytes(index if isinstance(index, bytes) else index.encode())
    with pytest.raises(MaibenchError, match=r"model\.safetensors\.index\.json: not an index of shards"):
        load(folder)


@pytest.mark.parametrize("place", ["../model.safetensors", "/etc/passwd", "a/b.safetensors", 3, None])
def test_an_index_that_leaves_its_folder(folder, place):
    places = shard(folder)
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {**places, "model.text.wte": place}})
    )
    with pytest.raises(MaibenchError, match="names files outside its folder"):
        load(folder)


@pytest.mark.parametrize("place", ["", ".", ".."])
def test_an_index_that_names_a_folder(folder, place):
    places = shard(folder)
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {**places, "model.text.wte": place}})
    )
    with pytest.raises(MaibenchError):
        load(folder)


@pytest.mark.parametrize(("dtype", "bits"), [(torch.float16, 11), (torch.bfloat16, 8)])
def test_half_precision_files_load_as_float32(tiny, folder, dtype, bits):
    change(folder, lambda tensors: tensors.update({name: tensor.to(dtype) for name, tensor in tensors.items()}))
    model = load(folder)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert_same(model, tiny(), rtol=2.0**-bits, atol=1e-6)
    with pytest.raises(AssertionError):  # and half precision it was
        assert_same(model, tiny())


def test_half_precision_is_written_where_it_is_asked_for(tiny, tmp_path):
    save_folder(tiny(), tmp_path, half=True)
    assert {tensor.dtype for tensor in load_file(tmp_path / "model.safetensors").values()} == {torch.float16}


def test_loading_in_half_precision_keeps_exact_rotations(tiny, folder):
    model = load(folder, torch.bfloat16)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    frequencies = model.text.model.rotary_emb.inv_freq
    torch.testing.assert_close(frequencies, tiny().text.model.rotary_emb.inv_freq, **EXACT)


def test_a_pickle_is_never_loaded(tiny, folder):
    torch.save(to_official(tiny()), folder / "model.safetensors")
    with pytest.raises(MaibenchError, match=r"not a whole safetensors file.*A pickle .* is never loaded"):
        load(folder)


def test_no_weights(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(MaibenchError, match=r"model\.safetensors: no weights file there"):
        load(folder)
