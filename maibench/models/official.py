"""Weights as their authors publish them: safetensors, or a checkpoint of torch that is read without running code."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from maibench.errors import MaibenchError
from maibench.models.weights import read_tensors

CHECKPOINTS = (".pth", ".pt", ".ckpt")


def read_official(file: Path, inside: Sequence[str] = ("model", "state_dict")) -> dict[str, Tensor]:
    """{name: tensor} of a published file: safetensors, or a .pth, .pt or .ckpt, of which tensors alone are unpickled.

    inside: keys that the tensors may lie under; they are unwrapped, and "module." of data parallelism is taken off.
    Raises MaibenchError when the file is missing, cut short or something else, or holds more than tensors can be
    read from without running code.
    """
    if file.suffix not in CHECKPOINTS:
        return read_tensors(file)
    if not file.is_file():
        raise MaibenchError(f"{file}: no weights file there")
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):  # settings beside the tensors: plain values
            found = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes end in whatever they come upon
        raise MaibenchError(
            f"{file}: not a checkpoint whose tensors can be read without running code "
            f"({type(error).__name__}: {' '.join(str(error).split())[:160]}): on a machine that you trust it on, keep "
            "the tensors alone with safetensors.torch.save_file"
        ) from error
    for key in inside:
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    return {name.removeprefix("module."): tensor for name, tensor in _checked(found, file).items()}


def _checked(found: Any, file: Path) -> dict[str, Tensor]:
    if not isinstance(found, dict) or not found:
        raise MaibenchError(f"{file}: holds no tensors by name, but a {type(found).__name__}")
    for name, value in found.items():
        if not (isinstance(name, str) and isinstance(value, Tensor)):
            raise MaibenchError(f"{file}: holds '{name}', a {type(value).__name__}, where tensors should be")
    return found
