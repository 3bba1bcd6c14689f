"""What a backend is, and which there are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

import torch
from torch import Tensor

from maibench.models.backends.quiet import import_quietly
from maibench.models.base import Detector

FLOAT32_BOUND = 1e-3
"""How far a float32 backend may be from torch: |difference| <= bound x max(1, |logit|). Another order of the same sums
gives about 1e-5; a wrong layer gives far more."""
BFLOAT16_BOUND = 0.1
"""The same in bfloat16, whose numbers have 8 bits: one rounding is up to 0.004 of a value, and a network has many."""
PIECE = 8
"""Images that a backend is given together: on a CPU what more of them need on the way falls out of its cache."""


class Unsuitable(Exception):
    """A backend that cannot be used for a detector; the message says why."""


@dataclass(frozen=True)
class Backend:
    """One way to compute `Detector.tensor_logits`.

    module: of this folder, with `compile_network(detector, example, bfloat16) -> function of a batch`, which raises
    Unsuitable. devices: types of torch's devices. packages: what it imports, the one whose version counts first. extra:
    what `pip install maibench[...]` calls them, "" where they come with maibench.
    """

    name: str
    module: str
    devices: tuple[str, ...]
    packages: tuple[str, ...]
    extra: str = ""
    bfloat16: bool = False

    @property
    def bound(self) -> float:
        """See FLOAT32_BOUND."""
        return BFLOAT16_BOUND if self.bfloat16 else FLOAT32_BOUND

    @property
    def missing(self) -> str:
        """The first package that is not installed, "" where all are."""
        return next((package for package in self.packages if find_spec(package) is None), "")

    @property
    def version(self) -> str:
        """Of the package that computes, whatever its distribution is called (onnxruntime-gpu, ...)."""
        return str(import_quietly(self.packages[0]).__version__).partition("-")[0]

    def compile_network(self, detector: Detector, example: Tensor) -> Callable[[Tensor], Tensor]:
        """`detector.tensor_logits` as this backend computes it; batches are like `example`, but of any number of images
        and, where the detector reads images of any size, of any height and width. Raises Unsuitable."""
        return import_module(f"maibench.models.backends.{self.module}").compile_network(
            detector, example, self.bfloat16
        )


BACKENDS = {
    backend.name: backend
    for backend in (
        Backend("torch-bf16", "autocast", ("cpu", "cuda"), ("torch",), bfloat16=True),
        Backend("onnx", "onnx", ("cpu",), ("onnxruntime", "onnx"), "onnx"),
        Backend("openvino", "openvino", ("cpu",), ("openvino", "onnx"), "openvino"),
        Backend("openvino-bf16", "openvino", ("cpu",), ("openvino", "onnx"), "openvino", bfloat16=True),
        Backend("cudagraph", "cuda", ("cuda",), ("torch",)),
        Backend("cudagraph-bf16", "cuda", ("cuda",), ("torch",), bfloat16=True),
    )
}
"""All but torch in float32, the default."""
NAMES = ("torch", *BACKENDS, "auto")
"""What can be asked for."""


def installed() -> list[str]:
    """The backends whose packages and devices are here, torch first."""
    here = {"cpu", "cuda"} if torch.cuda.is_available() else {"cpu"}
    return ["torch", *(b.name for b in BACKENDS.values() if not b.missing and here.intersection(b.devices))]


def takes_backends(detector: type[Detector]) -> bool:
    """Whether a class of detectors may have another backend than torch: it answers with the logits of stacked images
    alone. Its batches are looked at when one is asked for."""
    is_own = detector.tensor_logits is not Detector.tensor_logits
    is_here = detector.reads == "pixels" and not detector.elsewhere
    return is_here and not detector.fitted and (is_own or detector.answer is Detector.answer)
