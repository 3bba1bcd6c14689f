"""CUDA graphs: the kernels of a network, recorded once for a shape of input and launched together from then on.

A small network spends most of its time on a GPU on being launched kernel by kernel from Python; of a large batch little
is left to win. Nothing is compiled: the kernels are torch's own. (torch.compile would fuse them, at tens of seconds for
every shape and with a compiler on the machine; it is not used.)
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

from maibench.models.backends.backend import Unsuitable
from maibench.models.backends.graph import first_line
from maibench.models.backends.per_shape import PerShape
from maibench.models.base import Detector

SHAPES = 8
"""Shapes of input that are recorded at most; each holds the memory of its activations."""


def compile_network(detector: Detector, example: Tensor, bfloat16: bool) -> CudaGraphs:
    """`tensor_logits` from CUDA graphs. Raises Unsuitable for a network that cannot be recorded: one that asks for a
    value in the middle of its computation, or that launches something else there."""
    graphs = CudaGraphs(detector, bfloat16)
    try:
        for _ in range(2):
            graphs(example)
    except RuntimeError as error:
        raise Unsuitable(f"its network cannot be recorded as a CUDA graph: {first_line(error)}") from error
    return graphs


class CudaGraphs:
    """`tensor_logits` of a detector on a GPU, in its own type of numbers or (half) in bfloat16 where torch's autocast
    uses it: (n, ...) -> (n,) float32 logits.

    A shape is recorded when it comes for the second time, so the first batches of each run kernel by kernel. What is
    recorded reads the memory of a copy of the network, which nothing else can move, train or free: its weights are held
    twice. All graphs of a process run one after the other, whatever threads ask for them.
    """

    _lane: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, detector: Detector, half: bool = False) -> None:
        with torch.inference_mode(False):
            self._network = copy.deepcopy(detector).eval()
        self._half = half
        self._stream = torch.cuda.Stream(detector.device)
        self._pool = torch.cuda.graph_pool_handle()
        self._run = PerShape(self._launch, self._record, SHAPES)

    def __call__(self, x: Tensor) -> Tensor:
        with self._lane, torch.inference_mode():
            caller = torch.cuda.current_stream(x.device)
            self._stream.wait_stream(caller)
            with torch.cuda.stream(self._stream):
                logits = self._run(x)
            caller.wait_stream(self._stream)
            logits.record_stream(caller)
        return logits

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Those that are recorded."""
        return [shape for _, shape, _ in self._run.made]

    def _launch(self, x: Tensor) -> Tensor:
        # kept casts would be freed when the context ends, and a graph would read what has become of their memory
        with torch.autocast("cuda", torch.bfloat16, enabled=self._half, cache_enabled=False):
            return self._network.tensor_logits(x).float()

    def _record(self, x: Tensor) -> Callable[[Tensor], Tensor]:
        given = x.clone()  # laid out as x is
        graph = torch.cuda.CUDAGraph()
        # worker threads go on to copy batches to the GPU meanwhile
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
            logits = self._launch(given)

        def replay(x: Tensor) -> Tensor:
            given.copy_(x)
            graph.replay()
            return logits.clone()  # the next replay writes over it

        return replay
