"""A detector's network as an ONNX graph in memory."""

from __future__ import annotations

import io
import warnings
from typing import Any, cast

import torch
from torch import Tensor, nn

from maibench.models.backends.backend import Unsuitable
from maibench.models.base import Detector

INPUT, OUTPUT = "images", "logits"
OPSET = 18


def onnx_graph(detector: Detector, example: Tensor) -> bytes:
    """`tensor_logits` of a detector on a CPU, exported. example: float32, (n, ...).

    The number of images stays free; so do height and width where the detector reads images of any size. Raises
    Unsuitable where ONNX has no word for what the network does.
    """
    axes = {0: "n", 2: "height", 3: "width"} if has_any_size(detector, example) else {0: "n"}
    file = io.BytesIO()
    try:
        with warnings.catch_warnings(), torch.inference_mode(False), torch.no_grad():
            # the newer exporter needs another package and minutes; that sizes become constants is checked afterwards
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)
            warnings.filterwarnings("ignore", module=r"torch\.onnx")
            torch.onnx.export(
                _Network(detector).eval(),
                (example.clone(),),
                cast(Any, file),  # which it takes, though its types do not say so
                dynamo=False,
                opset_version=OPSET,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_axes={INPUT: axes, OUTPUT: {0: "n"}},
            )
    except Exception as error:  # whatever the exporter and a plug-in raise
        raise Unsuitable(f"its network cannot be exported to ONNX: {first_line(error)}") from error
    return file.getvalue()


def has_any_size(detector: Detector, example: Tensor) -> bool:
    """Whether batches are images (n, channels, height, width) whose height and width may be others next time."""
    return example.dim() == 4 and detector.card.input_size is None


def first_line(error: BaseException) -> str:
    """An error's type and its first line, at most 200 characters."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:200]


class _Network(nn.Module):
    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, x: Tensor) -> Tensor:
        return self.detector.tensor_logits(x)
