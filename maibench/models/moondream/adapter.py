"""LoRA adapters in PEFT's format: put on, taken into the weights, written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from maibench.errors import MaibenchError
from maibench.models.moondream.checkpoint import Checkpoint
from maibench.models.moondream.model import MoondreamModel
from maibench.models.weights import differences, read_tensors, shapes, write_tensors

if TYPE_CHECKING:
    from peft import LoraConfig

PREFIX = "base_model.model."
"""What PEFT writes before every name."""


def load_adapter(model: MoondreamModel, folder: Path, checkpoint: Checkpoint) -> None:
    """Put an adapter on a model and fill it. Where the weights are float32 it is then taken into them, which costs
    nothing at scoring; in half precision it stays beside them, since rounding would eat it.

    Raises MaibenchError for an adapter of another base: other layers, other shapes, or other weights than those whose
    sha256 it was stored with.
    """
    from peft import PeftConfig, PeftModel

    try:
        config = PeftConfig.from_pretrained(str(folder))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise MaibenchError(f"{folder}: adapter_config.json cannot be read: {error}") from error
    if str(config.peft_type).rpartition(".")[2] != "LORA":
        raise MaibenchError(f"{folder}: its peft_type is {config.peft_type}; LoRA is what is read")
    _check_base(folder, checkpoint)
    tensors = {
        name.removeprefix(PREFIX): tensor for name, tensor in read_tensors(folder / "adapter_model.safetensors").items()
    }
    # an adapter that was made on the decoder alone names its layers from there
    part = model if any(name.startswith(("vision.", "projector.", "text.")) for name in tensors) else model.text
    try:
        wrapped = PeftModel(part, config)
    except (ValueError, TypeError, KeyError, NotImplementedError) as error:
        raise MaibenchError(f"{folder}: an adapter for another base than {checkpoint.name}: {error}") from error
    own = adapter_tensors(part)
    if problems := differences(shapes(tensors), shapes(own)):
        raise MaibenchError(f"{folder}: an adapter for another base than {checkpoint.name}: {problems}")
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(tensors[name])
    if next(model.parameters()).dtype == torch.float32:
        wrapped.merge_and_unload()
    model.requires_grad_(False)


def add_adapter(model: nn.Module, rank: int, alpha: int, dropout: float, targets: str) -> LoraConfig:
    """Put a fresh adapter on a model, the only part of it that is then trained. targets: a regular expression over the
    names of its linear layers. Raises MaibenchError where nothing matches."""
    from peft import LoraConfig, PeftModel

    model.requires_grad_(False)
    config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=targets)
    try:
        PeftModel(model, config)
    except ValueError as error:
        raise MaibenchError(f"lora.targets '{targets}': {error}") from error
    return config


def save_adapter(model: nn.Module, config: LoraConfig, folder: Path, half: bool = False) -> None:
    """Write adapter_model.safetensors and adapter_config.json, as PEFT's own `save_pretrained` lays them out."""
    tensors = {PREFIX + name: t.half() if half else t for name, t in adapter_tensors(model).items()}
    write_tensors(tensors, folder / "adapter_model.safetensors")
    config.inference_mode = True
    config.save_pretrained(str(folder))


def adapter_tensors(model: nn.Module) -> dict[str, Tensor]:
    """{name as PEFT stores it, without its prefix: parameter} of the adapter that a model carries."""
    return {name.replace(".default", ""): p for name, p in model.named_parameters() if "lora_" in name}


def _check_base(folder: Path, checkpoint: Checkpoint) -> None:
    """Shapes cannot tell two trainings of one architecture apart; a stored sha256 can."""
    file = folder / "config.json"
    if not file.is_file():
        return
    try:
        stored = json.loads(file.read_text()).get("base_sha256", "")
    except (OSError, ValueError, AttributeError) as error:
        raise MaibenchError(f"{file}: cannot be read: {error}") from error
    if stored and stored != checkpoint.sha256:
        raise MaibenchError(
            f"{folder}: an adapter for another base: it was trained on weights with sha256 {stored[:12]}…, not on "
            f"those of {checkpoint.name}"
        )
