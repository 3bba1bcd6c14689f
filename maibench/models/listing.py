"""What `maibench models` and `maibench show` print."""

from __future__ import annotations

import fnmatch
import inspect
from typing import TYPE_CHECKING

from maibench.errors import MaibenchError
from maibench.models.card import Card
from maibench.models.loading import build, load_detector, options_of
from maibench.models.registry import detector_class, names
from maibench.models.weights import BUNDLED

if TYPE_CHECKING:
    from rich.console import RenderableType


def list_models(pattern: str) -> RenderableType:
    """A table of the detectors whose names match a glob. Raises MaibenchError when none does."""
    from rich.markup import escape
    from rich.table import Table

    matching = fnmatch.filter(names(), pattern)
    if not matching:
        raise MaibenchError(f"no detector matches '{pattern}': there are {', '.join(names())}")
    table = Table("name", "parameters", "weights", "trained on", "reported", "what it is", box=None, pad_edge=False)
    for name in matching:
        try:
            card, parameters, weights = _facts(name)
        except MaibenchError as error:  # somebody else's detector: it must not hide the others
            table.add_row(escape(name), "–", "–", "–", "–", escape(str(error)))
            continue
        reported = f"{card.reported.accuracy:.4f}" if card.reported and card.reported.accuracy else "–"
        trained = "unknown" if card.trained_on is None else f"{len(card.trained_on)} generators"
        if card.trained_on is None and weights in ("none", "training split"):
            trained = "–"
        table.add_row(*map(escape, (name, parameters, weights, trained, reported, card.summary)))
    return table


def show_card(spec: str) -> RenderableType:
    """Every fact of a detector's card, and its options with their defaults. Raises MaibenchError for a wrong SPEC."""
    from rich.table import Table
    from rich.text import Text

    known = spec in names()
    card, options = (_facts(spec)[0], options_of(detector_class(spec))) if known else _loaded(spec)
    table = Table(show_header=False, box=None, pad_edge=False)
    for fact, value in card.model_dump(exclude_defaults=True).items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {item}" for key, item in value.items())
        elif isinstance(value, (list, tuple)):
            value = ", ".join(map(str, value))
        table.add_row(fact, Text(str(value)))
    for name, parameter in options.items():
        default = "" if parameter.default is inspect.Parameter.empty else f" (default {parameter.default})"
        table.add_row("option", Text(f"{name}{default}"))
    return table


def _loaded(spec: str) -> tuple[Card, dict[str, inspect.Parameter]]:
    detector = load_detector(spec)
    return detector.card, options_of(type(detector))


def _facts(name: str) -> tuple[Card, str, str]:
    """(card with the bundled weights' facts, parameters in words, where the weights come from)."""
    detector = build(detector_class(name), name, {})
    card = detector.card
    file = BUNDLED / f"{name}.json"
    if file.is_file():
        card = card.read(file)
    if detector.fitted:
        return card, "fitted", "training split"
    count = card.parameters or detector.parameter_count()
    return card, f"{count:,}", card.weights or ("bundled" if file.is_file() else "none")
