"""The points of a sweep: which lists are one, and what their combinations are called."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from maibench.errors import MaibenchError
from maibench.points import combinations, option_points

if TYPE_CHECKING:
    from decimal import Decimal


class Options:
    def __init__(
        self,
        tiles: int = 5,
        text: str = "",
        ids: Sequence[int] | None = None,
        either: str | Sequence[int] | None = None,
        pair: tuple[float, float] = (0, 1),
        kind: Literal["a", "b"] = "a",
        place: Path | None = None,
        free: Any = None,
        listed=(1, 2),
    ) -> None: ...


class Hidden:
    def __init__(self, amount: Decimal | None = None, listed=()) -> None: ...


def test_every_combination_in_order():
    points = combinations({"a": [1, 2], "b": ["x", None, True]})
    assert list(points) == ["a=1 b=x", "a=1 b=none", "a=1 b=yes", "a=2 b=x", "a=2 b=none", "a=2 b=yes"]
    assert points["a=2 b=none"] == {"a": 2, "b": None}
    assert combinations({}) == {"": {}}


def test_long_values_that_look_alike_have_names_of_their_own():
    first, second = ("Is it " + middle * 60 + " or is it not?" for middle in "ab")
    alike = "Is it " + "a" * 40 + "b" + "a" * 19 + " or is it not?"
    points = combinations({"question": [first, second, alike]})
    assert [point["question"] for point in points.values()] == [first, second, alike]
    assert all(len(name) < 60 for name in points)
    assert list(points)[2] == f"{next(iter(points))} (2)"


@pytest.mark.parametrize(
    ("values", "reason"), [([], "tiles: the list is empty"), ([1, 2, 1], "tiles: 1 is listed twice")]
)
def test_lists_that_are_no_sweep(values, reason):
    with pytest.raises(MaibenchError, match=reason):
        combinations({"tiles": values})


def test_one_and_true_are_two_values():
    assert len(combinations({"x": [1, True, 1.0]})) == 3


@pytest.mark.parametrize(
    ("options", "swept"),
    [
        ({"tiles": [1, 5]}, 2),
        ({"tiles": 5}, 0),
        ({"text": ["a", "b", "c"]}, 3),
        ({"ids": [17, 18]}, 0),
        ({"ids": [[17], [18, 19]]}, 2),
        ({"either": [5, 6]}, 0),
        ({"either": ["Is it?", "Is it not?"]}, 2),
        ({"either": [[5, 6], "Is it?"]}, 2),
        ({"pair": [0.5, 1.0]}, 0),
        ({"pair": [[0.5, 1.0], [0.2, 1.0]]}, 2),
        ({"kind": ["a", "b"]}, 2),
        ({"place": ["x", None]}, 2),
        ({"free": [1, 2]}, 2),
        ({"listed": [1, 2]}, 0),
        ({"unknown": [1, 2]}, 2),
        ({"tiles": [1, 5], "text": ["a", "b"], "ids": [3]}, 4),
    ],
)
def test_a_list_that_the_option_takes_is_one_value(options, swept):
    points = option_points(Options, options)
    assert len(points) == max(1, swept)
    assert all(bool(point) == bool(swept) for point in points.values())
    assert all("ids" not in point or point["ids"] != [3] for point in points.values())


def test_annotations_that_are_for_type_checkers_alone():
    assert len(option_points(Hidden, {"amount": [1, 2]})) == 2
    assert list(option_points(Hidden, {"listed": [1, 2]})) == [""]
