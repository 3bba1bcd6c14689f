"""ONNX Runtime and OpenVINO, imported so that they report to nobody.

Both send who uses them, and how, to their makers by default (seen with strace: a name looked up, a device's identifier
written to the home directory): onnxruntime since its Linux builds have Microsoft's 1DS (Privacy.md of the package),
openvino in its `import` (openvino/tools/ovc/__init__.py).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType

_REPORTERS = {"openvino": "openvino_telemetry"}


def import_quietly(package: str) -> ModuleType:
    """`import package`. Where the user's own code imported it before, it is too late for openvino."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read when its library is loaded
    with _absent(_REPORTERS.get(package, "")):
        module = import_module(package)
    if package == "onnxruntime":
        module.disable_telemetry_events()
    return module


@contextmanager
def _absent(name: str) -> Iterator[None]:
    """As if a module were not installed: what would use it has a stub of its own. "": nothing."""
    before = {name: sys.modules[name]} if name in sys.modules else {}
    hidden = {name: None} if name else {}
    sys.modules.update(hidden)  # type: ignore[arg-type]
    try:
        yield
    finally:
        for each in hidden:
            del sys.modules[each]
        sys.modules.update(before)
