"""OpenVINO: one compiled network with a core for every thread that calls it."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from maibench.cores import cores
from maibench.models.backends.backend import PIECE, Unsuitable
from maibench.models.backends.graph import first_line, onnx_graph
from maibench.models.backends.quiet import import_quietly
from maibench.models.base import Detector
from maibench.models.device import in_chunks


def compile_network(detector: Detector, example: Tensor, bfloat16: bool) -> Callable[[Tensor], Tensor]:
    """`tensor_logits` by OpenVINO on a CPU, in float32 or in bfloat16.

    Raises Unsuitable where it cannot be exported or read, and where the processor has no bfloat16.
    """
    core = import_quietly("openvino").Core()
    if bfloat16 and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise Unsuitable("this processor has no bfloat16")
    try:
        model = core.read_model(io.BytesIO(onnx_graph(detector, example)))
        network = core.compile_model(model, "CPU", _settings(bfloat16))
    except RuntimeError as error:
        raise Unsuitable(f"OpenVINO cannot read its network: {first_line(error)}") from error
    own = threading.local()

    def run(x: Tensor) -> Tensor:
        return in_chunks(piece, x.detach().contiguous(), PIECE)

    def piece(x: Tensor) -> Tensor:
        if not hasattr(own, "request"):
            own.request = network.create_infer_request()
        found = own.request.infer({0: x.numpy()}, share_inputs=True)
        return torch.from_numpy(found[0])

    return run


def _settings(bfloat16: bool) -> dict[str, Any]:
    """As many streams as cores, each of one thread, none bound to a core: other processes may be at work there."""
    return {
        "NUM_STREAMS": cores(),
        "INFERENCE_NUM_THREADS": cores(),
        "ENABLE_CPU_PINNING": False,
        "INFERENCE_PRECISION_HINT": "bf16" if bfloat16 else "f32",
    }
