"""LoRA adapters of any network of transformers, in PEFT's format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from maibench.errors import DetectorError
from maibench.models.hub_models.files import HubFiles
from maibench.models.hub_models.quiet import brief, quietly
from maibench.models.weights import sha256

FILES = ("adapter_model.safetensors", "adapter_config.json")


def load_adapter(network: Any, folder: Path, files: HubFiles) -> str:
    """Put an adapter on a network and fill it; returns the sha256s of its two files. Where the network is float32 it is
    then taken into its weights, which costs nothing at scoring; in half precision it stays beside them.

    Raises DetectorError for an adapter of another base, or one that is not whole.
    """
    from peft import PeftConfig, PeftModel, set_peft_model_state_dict
    from safetensors.torch import load_file

    _check_base(folder, files)
    try:
        with quietly():
            wrapped = PeftModel(network, PeftConfig.from_pretrained(str(folder)))
            result: Any = set_peft_model_state_dict(wrapped, load_file(folder / FILES[0]))
    except Exception as error:  # whatever another base makes of PEFT
        raise DetectorError(f"{folder}: an adapter for another base than {files.name} ({brief(error)})") from error
    wrong = [*result.unexpected_keys, *(key for key in result.missing_keys if "lora_" in key)]
    if wrong:
        raise DetectorError(
            f"{folder}: an adapter for another base than {files.name}: {len(wrong)} tensors are missing or left over "
            f"('{wrong[0]}')"
        )
    if next(network.parameters()).dtype == torch.float32:
        wrapped.merge_and_unload()
    network.requires_grad_(False)
    return " ".join(sha256(folder / name) for name in FILES)


def _check_base(folder: Path, files: HubFiles) -> None:
    """Shapes cannot tell two trainings of one architecture apart; a stored sha256 can."""
    note = folder / "config.json"
    if not note.is_file():
        return
    try:
        stored = json.loads(note.read_text()).get("base_sha256", "")
    except (OSError, ValueError, AttributeError) as error:
        raise DetectorError(f"{note}: cannot be read: {error}") from error
    if stored and stored != files.sha256:
        raise DetectorError(
            f"{folder}: an adapter for another base: it was trained on weights with sha256 {stored[:12]}…, not on "
            f"those of {files.name}"
        )
