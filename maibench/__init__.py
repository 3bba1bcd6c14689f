"""maibench: put detectors of AI-generated images side by side on the same images."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# diffusers imports ONNX Runtime where it is installed, which would then report its use to its maker
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from maibench.api import compare
    from maibench.models.base import Detector
    from maibench.models.card import Card
    from maibench.models.loading import load_detector
    from maibench.models.registry import register

_LAZY = {
    "compare": "maibench.api",
    "load_detector": "maibench.models.loading",
    "Detector": "maibench.models.base",
    "Card": "maibench.models.card",
    "register": "maibench.models.registry",
}

__all__ = ["Card", "Detector", "__version__", "compare", "load_detector", "register"]


def __getattr__(name: str) -> Any:
    if name in _LAZY:  # torch is imported when something of it is asked for
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'maibench' has no attribute '{name}'")
