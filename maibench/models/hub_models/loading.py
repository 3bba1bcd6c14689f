"""transformers' own loaders, held to what we promise: safetensors, no foreign code, no network, every tensor filled."""

from __future__ import annotations

from typing import Any

import torch

from maibench.errors import DetectorError, MaibenchError
from maibench.models.hub_models.files import HubFiles
from maibench.models.hub_models.quiet import brief, quietly

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load_network(auto: Any, files: HubFiles, dtype: torch.dtype) -> Any:
    """The network that a folder holds, by one of transformers' AutoModel classes; frozen, in evaluation mode, on the
    CPU. Raises DetectorError where it is another kind of model, needs code of its own, or lacks a tensor."""
    try:
        with quietly():
            network, info = auto.from_pretrained(
                files.folder,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
                dtype=dtype,
            )
    except Exception as error:  # whatever a wrong folder makes of transformers
        raise DetectorError(f"{files.name}: cannot be loaded by {auto.__name__} ({brief(error)})") from error
    if wrong := [str(key) for kind in ("missing_keys", "mismatched_keys") for key in info.get(kind, ())]:
        raise DetectorError(
            f"{files.name}: its weights do not fill a {type(network).__name__}: {len(wrong)} tensors are missing or of "
            f"another shape ('{sorted(wrong)[0]}')"
        )
    return network.eval().requires_grad_(False)


def load_image_processor(files: HubFiles) -> Any:
    """What makes a network's input of an image. Raises DetectorError where there is none that can be loaded."""
    # by its whole name: without torchvision, `transformers.AutoImageProcessor` stands for an error
    from transformers.models.auto.image_processing_auto import AutoImageProcessor

    # Pillow's resizing: what most models were trained with, and the same with and without torchvision
    return _processor(AutoImageProcessor, files, backend="pil")


def load_processor(files: HubFiles) -> Any:
    """What makes a VLM's inputs of an image and a text. Raises DetectorError where there is none, or where a package
    that it needs is not installed."""
    from transformers import AutoProcessor

    try:
        return _processor(AutoProcessor, files, backend="pil")
    except DetectorError:  # one that knows videos too: those have no such backend
        processor = _processor(AutoProcessor, files)
    processor.image_processor = load_image_processor(files)
    return processor


def find_dtype(name: str, device: str) -> torch.dtype:
    """float32, bfloat16, float16; auto: bfloat16 on a GPU, float32 elsewhere. Raises MaibenchError for another name."""
    if name == "auto":
        return torch.bfloat16 if device.startswith("cuda") else torch.float32
    if name not in DTYPES:
        raise MaibenchError(f"dtype '{name}': there are auto, {', '.join(DTYPES)}")
    return DTYPES[name]


def _processor(auto: Any, files: HubFiles, **options: Any) -> Any:
    try:
        with quietly():
            return auto.from_pretrained(files.folder, local_files_only=True, trust_remote_code=False, **options)
    except Exception as error:  # whatever a wrong folder makes of transformers
        is_missing = isinstance(error, ImportError) or "torchvision" in str(error)
        hint = "; pip install 'maibench[vlm]' has what VLMs need besides" if is_missing else ""
        raise DetectorError(
            f"{files.name}: has no {auto.__name__} that can be loaded ({brief(error)}){hint}"
        ) from error
