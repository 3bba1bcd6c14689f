"""Weights on disk: safetensors, loaded to the letter or not at all."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from maibench.errors import MaibenchError

if TYPE_CHECKING:
    import torch

    from maibench.models.base import Detector

BUNDLED = Path(__file__).parent / "weights"


def sha256(file: Path) -> str:
    """The sha256 of a file's bytes, hexadecimal."""
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_tensors(file: Path) -> dict[str, torch.Tensor]:
    """Read a safetensors file.

    Raises MaibenchError when it is missing, cut short, or something else, such as a pickle.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not file.is_file():
        raise MaibenchError(f"{file}: no weights file there")
    try:
        return load_file(file)
    except (SafetensorError, OSError, ValueError) as error:
        raise MaibenchError(
            f"{file}: not a whole safetensors file ({error}). A pickle (.pt, .pth, .bin) is never loaded, it can run "
            "code: convert it with safetensors.torch.save_file on a machine that you trust it on"
        ) from error


def load_weights(detector: Detector, file: Path, expected_sha256: str = "") -> None:
    """Load a file into a detector; stored half precision becomes the detector's own type. A detector that knows the
    names of published weights (`rename_official`) takes those too.

    Raises MaibenchError when the file's hash is not the expected one, or when a tensor is missing, left over, or of
    another shape.
    """
    from maibench.models.base import Detector
    from maibench.models.official import read_official

    takes_official = type(detector).rename_official is not Detector.rename_official
    tensors = detector.rename_official(read_official(file) if takes_official else read_tensors(file))
    if expected_sha256 and sha256(file) != expected_sha256:
        raise MaibenchError(f"{file}: its sha256 is not the one on the card beside it; the file was changed or damaged")
    own = detector.state_dict()
    if problems := differences(shapes(tensors), shapes(own)):
        raise MaibenchError(f"{file}: not the weights of {type(detector).__name__}: {problems}")
    detector.load_state_dict(tensors)


def shapes(tensors: Mapping[str, torch.Tensor]) -> dict[str, list[int]]:
    """{name: shape} of tensors."""
    return {name: list(tensor.shape) for name, tensor in tensors.items()}


def differences(found: Mapping[str, list[int]], expected: Mapping[str, list[int]]) -> str:
    """What is missing, left over, or of another shape, in words: the first three and how many more; "" for nothing."""
    problems = [f"'{name}' is missing" for name in expected if name not in found]
    problems += [f"'{name}' is left over" for name in found if name not in expected]
    problems += [
        f"'{name}' is {found[name]}, not {shape}"
        for name, shape in expected.items()
        if name in found and found[name] != shape
    ]
    more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
    return "; ".join(problems[:3]) + more


def save_weights(detector: Detector, file: Path, half: bool = False) -> None:
    """Write a detector's tensors as safetensors, floating-point ones in half precision when asked; whole or not at
    all. Raises OSError when the disk refuses."""
    import torch

    tensors = detector.state_dict()
    if half:
        wide = (torch.float32, torch.float64)
        tensors = {name: value.half() if value.dtype in wide else value for name, value in tensors.items()}
    write_tensors(tensors, file)


def write_tensors(tensors: dict[str, torch.Tensor], file: Path) -> None:
    """Write tensors as safetensors, whole or not at all. Raises OSError when the disk refuses."""
    import os

    from safetensors.torch import save

    part = file.with_name(file.name + ".part")
    try:
        # not save_file: a full disk has to be an OSError
        part.write_bytes(save({name: value.detach().cpu().contiguous() for name, value in tensors.items()}))
        os.replace(part, file)
    finally:
        part.unlink(missing_ok=True)
