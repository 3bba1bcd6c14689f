"""The code that a detector computes with, which is part of what it is."""

from __future__ import annotations

import ast
import inspect
from functools import cache
from pathlib import Path

from maibench.models.typed_code import typed_code

_PACKAGE = "maibench.models."
_FRAME = frozenset(
    f"{_PACKAGE}{name}"
    for name in ("base", "card", "device", "folder", "hub", "listing", "loading", "registry", "transfer", "weights")
)
"""Modules that every detector goes through, and that compute nothing of its logits."""


def code_of(cls: type) -> bytes:
    """The source of a class's module; within the package also that of the modules of `maibench.models` that it uses.
    What Python compiled, where the class was typed into a notebook."""
    module = inspect.getmodule(cls)
    try:
        if module is not None and module.__name__.startswith(_PACKAGE):
            return _used_by(module.__name__)
        return inspect.getsource(module or cls).encode()
    except (OSError, TypeError):
        return typed_code(cls)


@cache
def _used_by(module: str) -> bytes:
    found: dict[str, bytes] = {}
    left = [module]
    while left:
        name = left.pop()
        if name in found or name in _FRAME or (file := _file(name)) is None:
            continue
        found[name] = file.read_bytes()
        for node in ast.walk(ast.parse(found[name])):
            if isinstance(node, ast.ImportFrom) and node.module:
                left += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return b"".join(found[name] for name in sorted(found))


def _file(name: str) -> Path | None:
    """Of a module of `maibench.models`; None for anything else."""
    if not name.startswith(_PACKAGE):
        return None
    file = Path(__file__).parent.joinpath(*name.removeprefix(_PACKAGE).split(".")).with_suffix(".py")
    return file if file.is_file() else None
