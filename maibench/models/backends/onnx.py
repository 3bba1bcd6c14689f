"""ONNX Runtime: one session for all threads, each of whose calls computes in the thread that makes it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from maibench.models.backends.backend import PIECE, Unsuitable
from maibench.models.backends.graph import INPUT, first_line, onnx_graph
from maibench.models.backends.quiet import import_quietly
from maibench.models.base import Detector
from maibench.models.device import in_chunks

_ERRORS_ONLY = 3


def compile_network(detector: Detector, example: Tensor, bfloat16: bool) -> Callable[[Tensor], Tensor]:
    """`tensor_logits` by ONNX Runtime in float32 on a CPU. Raises Unsuitable where it cannot be exported or loaded."""
    if bfloat16:
        raise Unsuitable("ONNX Runtime computes in float32 on a CPU")
    onnxruntime = import_quietly("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    try:
        session = onnxruntime.InferenceSession(
            onnx_graph(detector, example), options, providers=["CPUExecutionProvider"]
        )
    except Unsuitable:
        raise
    except Exception as error:  # its own exceptions have no class in common
        raise Unsuitable(f"ONNX Runtime cannot load its network: {first_line(error)}") from error

    def run(x: Tensor) -> Tensor:
        return in_chunks(piece, x.detach().contiguous(), PIECE)

    def piece(x: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {INPUT: x.numpy()})[0])

    return run
