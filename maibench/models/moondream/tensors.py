"""Official tensor names and ours, and loading every tensor to the letter or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from maibench.errors import MaibenchError
from maibench.models.moondream.checkpoint import Checkpoint
from maibench.models.moondream.model import MoondreamModel
from maibench.models.weights import differences, read_tensors, shapes, write_tensors

IGNORED = "model.region."
"""Pointing and detection heads: never asked here."""

BLOCKS = {
    "vision": {"ln1": "layer_norm1", "ln2": "layer_norm2", "attn.proj": "self_attn.out_proj", "mlp.fc1": "mlp.fc1",
               "mlp.fc2": "mlp.fc2"},
    "text": {"ln": "input_layernorm", "attn.proj": "self_attn.dense", "mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2"},
}  # fmt: skip
"""Parts of a block, by their official names, and what transformers calls them; the fused qkv is apart."""


def load_model(checkpoint: Checkpoint, dtype: torch.dtype, device: str = "cpu") -> MoondreamModel:
    """Build the network without values and fill it, in `dtype` and on `device`; frozen, in evaluation mode.

    Raises MaibenchError when a tensor is missing, left over (model.region.* aside), or of another shape.
    """
    with torch.device("meta"):
        model = MoondreamModel(checkpoint.settings)
    names = dict(_names(model))
    expected = shapes(to_official(model))
    state: dict[str, Tensor] = {}
    found: dict[str, list[int]] = {}
    for file in checkpoint.tensors:
        for name, tensor in read_tensors(file).items():
            if not name.startswith(IGNORED):
                found[name] = list(tensor.shape)
            if expected.get(name) == list(tensor.shape):
                state |= _ours(names[name], tensor.to(device, dtype), model)
    if problems := differences(found, expected):
        raise MaibenchError(
            f"{checkpoint.name}: not the weights that its config.json describes: {problems}; another revision of "
            "moondream, perhaps: the layout of 2025-06-21 is the one that is read"
        )
    model.load_state_dict(state, assign=True)
    _fill_buffers(model)
    return model.to(device).eval().requires_grad_(False)


def save_folder(model: MoondreamModel, folder: Path, half: bool = False) -> None:
    """Write model.safetensors and config.json, laid out as the official repository; in half precision when asked."""
    write_official(model, folder / "model.safetensors", folder / "config.json", half)


def write_official(model: MoondreamModel, tensors: Path, config: Path, half: bool) -> None:
    """Write a model's tensors under their official names, and its configuration."""
    official = {name: tensor.half() if half else tensor for name, tensor in to_official(model).items()}
    write_tensors(official, tensors)
    settings = model.settings.model_dump(exclude_defaults=True)
    content = {"architectures": ["HfMoondream"], "model_type": "moondream1", "config": settings}
    config.write_text(json.dumps(content, indent=2) + "\n")


def to_official(model: MoondreamModel) -> dict[str, Tensor]:
    """A model's tensors under their official names and in their official shapes."""
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


def _ours(names: list[str], tensor: Tensor, model: MoondreamModel) -> dict[str, Tensor]:
    shapes = [model.get_parameter(name).shape for name in names]
    parts = tensor.split([shape[0] for shape in shapes]) if len(names) > 1 else [tensor]
    return {name: part.reshape(shape).contiguous() for name, part, shape in zip(names, parts, shapes, strict=True)}


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


def _fill_buffers(model: MoondreamModel) -> None:
    """Compute the buffers that no file holds: a model built on the meta device has none of their values."""
    vision = getattr(model.vision, "vision_model", model.vision).embeddings
    vision.register_buffer("position_ids", torch.arange(model.settings.vision.tokens)[None], persistent=False)
    text = model.text.model
    text.rotary_emb = type(text.rotary_emb)(config=text.config)
    left = [name for name, tensor in [*model.named_parameters(), *model.named_buffers()] if tensor.is_meta]
    if left:
        raise RuntimeError(f"tensors without values: {left}")
