"""The points of a sweep: where one value is expected, a list stands for a run, or a row, with each of its values."""

from __future__ import annotations

import inspect
import itertools
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from maibench.errors import MaibenchError

_LONGEST = 40


def combinations(lists: Mapping[str, Sequence[Any]]) -> dict[str, dict[str, Any]]:
    """{key: its values} -> every combination, {"key=value key=value": {key: value}}, the last key turning fastest; the
    one without a key where there is none, {"": {}}.

    Raises MaibenchError for a list that is empty or says a value twice.
    """
    for key, values in lists.items():
        if not values:
            raise MaibenchError(f"{key}: the list is empty; a sweep needs a value at least")
        for place, value in enumerate(values):
            if any(type(value) is type(other) and value == other for other in values[:place]):
                raise MaibenchError(f"{key}: {value!r} is listed twice")
    points: dict[str, dict[str, Any]] = {}
    for values in itertools.product(*lists.values()):
        point = dict(zip(lists, values, strict=True))
        name = plain = " ".join(f"{key}={shown(value)}" for key, value in point.items())
        number = 2
        while name in points:  # long values may begin and end alike
            name, number = f"{plain} ({number})", number + 1
        points[name] = point
    return points


def option_points(cls: type[Any], options: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """`combinations` of the options of a detector that are lists without its class taking a list there.

    cls: the annotations of its constructor say what it takes: a list that fits them is one value, and its points are
    a list of such lists. An option without an annotation takes a list where its default is one.
    """
    known = inspect.signature(cls.__init__).parameters
    try:
        hints = typing.get_type_hints(cls.__init__)
    except (NameError, TypeError):  # names that are imported for type checkers alone
        hints = {}
    lists = {}
    for name, value in options.items():
        if isinstance(value, list):
            default = known[name].default if name in known else None
            if not _takes(hints.get(name), default, value):
                lists[name] = value
    return combinations(lists)


def shown(value: Any) -> str:
    """A value as the name of a point has it; a long text without its middle."""
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    text = " ".join(str(value).split())
    end = _LONGEST // 3
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1 - end] + "…" + text[-end:]


def _takes(annotation: Any, default: Any, value: list[Any]) -> bool:
    """Whether an option takes this list as one value."""
    if annotation in (None, Any):
        return isinstance(default, (list, tuple))
    try:
        TypeAdapter(annotation).validate_python(value)
    except (ValidationError, PydanticUserError):  # it does not fit, or is nothing that can be checked
        return False
    return True
