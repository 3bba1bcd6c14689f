"""Official moondream 2 weights on disk, and the model that they fill: every tensor to the letter or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from maibench.errors import MaibenchError
from maibench.models.moondream.config import MoondreamConfig
from maibench.models.moondream.model import MoondreamModel
from maibench.models.weights import read_tensors, write_tensors

IGNORED = "model.region."
"""Pointing and detection heads: never asked here."""

BLOCKS = {
    "vision": {"ln1": "layer_norm1", "ln2": "layer_norm2", "attn.proj": "self_attn.out_proj", "mlp.fc1": "mlp.fc1",
               "mlp.fc2": "mlp.fc2"},
    "text": {"ln": "input_layernorm", "attn.proj": "self_attn.dense", "mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2"},
}  # fmt: skip
"""Parts of a block, by their official names, and what transformers calls them; the fused qkv is apart."""


def load_model(folder: Path, settings: MoondreamConfig, dtype: torch.dtype) -> MoondreamModel:
    """Build the network on the meta device and fill it with a folder's weights, in `dtype`, in evaluation mode.

    The folder holds model.safetensors, or shards and model.safetensors.index.json. Raises MaibenchError when a tensor
    is missing, left over (model.region.* aside), or of another shape.
    """
    with torch.device("meta"):
        model = MoondreamModel(settings)
    expected = to_official(model)
    tensors = {name: tensor for name, tensor in _read(folder).items() if not name.startswith(IGNORED)}
    _check(folder, tensors, expected)
    state: dict[str, Tensor] = {}
    for name in list(tensors):
        state |= _ours(name, tensors.pop(name).to(dtype), model)
    model.load_state_dict(state, assign=True)
    _fill_buffers(model)
    return model.eval().requires_grad_(False)


def to_official(model: MoondreamModel) -> dict[str, Tensor]:
    """A model's tensors under their official names and in their official shapes, as model.safetensors holds them."""
    state = model.state_dict()
    official: dict[str, Tensor] = {}
    for name, own in _names(model):
        tensors = [state[key] for key in own]
        tensor = torch.cat(tensors) if len(tensors) > 1 else tensors[0]
        if name.endswith("patch_emb.weight"):
            tensor = tensor.flatten(1)
        elif name.endswith("pos_emb"):
            tensor = tensor[None]
        official[name] = tensor
    if unnamed := set(state) - {key for _, own in _names(model) for key in own}:
        raise RuntimeError(f"tensors without an official name: {sorted(unnamed)}")
    return official


def save_folder(model: MoondreamModel, folder: Path, half: bool = False) -> None:
    """Write model.safetensors and config.json, laid out as the official repository; in half precision when asked."""
    tensors = {name: tensor.half() if half else tensor for name, tensor in to_official(model).items()}
    write_tensors(tensors, folder / "model.safetensors")
    settings = model.settings.model_dump(exclude_defaults=True)
    content = {"architectures": ["HfMoondream"], "model_type": "moondream1", "config": settings}
    (folder / "config.json").write_text(json.dumps(content, indent=2) + "\n")


def _ours(name: str, tensor: Tensor, model: MoondreamModel) -> dict[str, Tensor]:
    own = dict(_names(model))[name]
    shapes = [model.get_parameter(key).shape for key in own]
    parts = tensor.split([shape[0] for shape in shapes]) if len(own) > 1 else [tensor]
    return {
        key: part.reshape(shape).contiguous() for key, part, shape in zip(own, parts, shapes, strict=True)
    }


def _names(model: MoondreamModel) -> Iterator[tuple[str, list[str]]]:
    """(official name, our names in the order in which they were fused)."""
    # releases of transformers differ in whether the encoder lies one level deeper
    vision = "vision.vision_model." if hasattr(model.vision, "vision_model") else "vision."
    pairs = [
        ("vision.patch_emb", f"{vision}embeddings.patch_embedding"),
        ("vision.post_ln", f"{vision}post_layernorm"),
        ("vision.proj_mlp.fc1", "projector.fc1"),
        ("vision.proj_mlp.fc2", "projector.fc2"),
        ("text.post_ln", "text.model.final_layernorm"),
        ("text.lm_head", "text.lm_head"),
    ]
    yield "model.vision.pos_emb", [f"{vision}embeddings.position_embedding.weight"]
    yield "model.text.wte", ["text.model.embed_tokens.weight"]
    towers = (
        ("vision", f"{vision}encoder.layers", model.settings.vision.enc_n_layers),
        ("text", "text.model.layers", model.settings.text.n_layers),
    )
    for tower, layers, count in towers:
        for index in range(count):
            theirs, ours = f"{tower}.blocks.{index}", f"{layers}.{index}"
            pairs += [(f"{theirs}.{part}", f"{ours}.{own}") for part, own in BLOCKS[tower].items()]
            for kind in ("weight", "bias"):
                yield f"model.{theirs}.attn.qkv.{kind}", [f"{ours}.self_attn.{part}_proj.{kind}" for part in "qkv"]
    for theirs, ours in pairs:
        for kind in ("weight", "bias"):
            yield f"model.{theirs}.{kind}", [f"{ours}.{kind}"]


def _read(folder: Path) -> dict[str, Tensor]:
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return read_tensors(folder / "model.safetensors")
    try:
        places: dict[str, str] = json.loads(index.read_text())["weight_map"]
    except (OSError, ValueError, KeyError) as error:
        raise MaibenchError(f"{index}: not an index of shards ({error})") from error
    tensors: dict[str, Tensor] = {}
    for shard in sorted(set(places.values())):
        tensors |= read_tensors(folder / Path(shard).name)
    return tensors


def _check(folder: Path, tensors: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    problems = [f"'{name}' is missing" for name in expected if name not in tensors]
    problems += [f"'{name}' is left over" for name in tensors if name not in expected]
    problems += [
        f"'{name}' is {list(tensors[name].shape)}, not {list(expected[name].shape)}"
        for name in expected
        if name in tensors and tensors[name].shape != expected[name].shape
    ]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise MaibenchError(
            f"{folder}: not the weights that its config.json describes: {'; '.join(problems[:3])}{more}. Another "
            "revision of moondream, perhaps: 2025-06-21 is the layout that is read"
        )


def _fill_buffers(model: MoondreamModel) -> None:
    """Compute the buffers that no file holds: a model built on the meta device has none of their values."""
    vision = getattr(model.vision, "vision_model", model.vision).embeddings
    vision.register_buffer("position_ids", torch.arange(model.settings.vision.tokens)[None], persistent=False)
    text = model.text.model
    text.rotary_emb = type(text.rotary_emb)(config=text.config)
    left = [name for name, tensor in [*model.named_parameters(), *model.named_buffers()] if tensor.is_meta]
    if left:
        raise RuntimeError(f"tensors without values: {left}")
