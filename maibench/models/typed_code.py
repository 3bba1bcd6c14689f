"""What stands in for the source of a class that was typed into a notebook or an interpreter, where no file has it."""

from __future__ import annotations

import inspect
from types import CodeType
from typing import Any


def typed_code(cls: type) -> bytes:
    """What Python compiled of a class's methods, and its plain constants; where and when it was typed does not count.

    Other values than numbers, strings and tuples of them, and what the methods call elsewhere, are not looked at.
    """
    parts: list[Any] = [cls.__qualname__]
    for name, member in sorted(vars(cls).items()):
        function = getattr(member, "__func__", None) or getattr(member, "fget", None) or member
        code = getattr(inspect.unwrap(function) if callable(function) else function, "__code__", None)
        if isinstance(code, CodeType):
            parts.append([name, _compiled(code)])
        elif not name.startswith("__") and isinstance(member, (int, float, str, tuple)):
            parts.append([name, member])
    return repr(parts).encode()


def _compiled(code: CodeType) -> list[Any]:
    return [code.co_code, code.co_names, code.co_varnames, [_constant(value) for value in code.co_consts]]


def _constant(value: Any) -> Any:
    if isinstance(value, CodeType):
        return _compiled(value)
    return sorted(map(repr, value)) if isinstance(value, frozenset) else value  # a set's order changes with the process
