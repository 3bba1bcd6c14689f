"""What `maibench models` and `maibench show` print."""

from __future__ import annotations

import fnmatch
import inspect
from typing import TYPE_CHECKING, Any

from maibench.errors import MaibenchError
from maibench.models.card import Card
from maibench.models.loading import build, load_detector, options_of
from maibench.models.registry import detector_class, names
from maibench.models.weights import BUNDLED

if TYPE_CHECKING:
    from rich.console import RenderableType


OTHERS = {
    "hf:OWNER/NAME[@REV]": "an image classifier of the Hub, or hf:FOLDER",
    "hf-vlm:OWNER/NAME[@REV]": "a vision-language model with a chat template, asked a question, or hf-vlm:FOLDER",
    "timm:ARCH@FILE": "a network of timm with a checkpoint",
    "clip:OWNER/NAME[@REV]": "frozen features of a vision model, and a probe fitted on the training split",
    "mean(A,B)": "the mean of several detectors' logits",
    "stack(A,B)": "a logistic regression on them, fitted on the validation split",
    "scores:FILE.csv": "scores that were made elsewhere",
    "http://HOST:PORT/PATH": "a server that is sent images (or https)",
    "FOLDER": "what finetuning wrote",
    "FILE.py:CLASS": "a detector of yours (maibench new-detector writes one)",
}
"""What a SPEC may be besides a name."""


def list_models(pattern: str) -> RenderableType:
    """A table of the detectors whose names match a glob; of all of them with `OTHERS` below. Raises MaibenchError when
    none does."""
    from rich.console import Group
    from rich.markup import escape
    from rich.table import Column, Table

    matching = fnmatch.filter(names(), pattern)
    if not matching:
        raise MaibenchError(f"no detector matches '{pattern}': there are {', '.join(names())}")
    table = Table(
        Column("name", no_wrap=True),
        "parameters",
        "weights",
        "trained on",
        "reported",
        "what it is",
        box=None,
        pad_edge=False,
    )
    for name in matching:
        try:
            card, parameters, weights = _in_short(name)
        except MaibenchError as error:  # somebody else's detector: it must not hide the others
            table.add_row(escape(name), "–", "–", "–", "–", escape(str(error)))
            continue
        reported = f"{card.reported.accuracy:.4f}" if card.reported and card.reported.accuracy else "–"
        trained = "unknown" if card.trained_on is None else f"{len(card.trained_on)} generators"
        if card.trained_on is None and weights in ("none", "training split"):
            trained = "–"
        table.add_row(*map(escape, (name, parameters, weights, trained, reported, card.summary)))
    if pattern != "*":
        return table
    others = Table(Column("or", no_wrap=True), "what it is", box=None, pad_edge=False)
    for spec, what in OTHERS.items():
        others.add_row(escape(spec), escape(what))
    return Group(table, "", others)


def show_card(spec: str, settings: dict[str, Any] | None = None) -> RenderableType:
    """Every fact of a detector's card, and its options with their defaults. settings: options that it is loaded with.

    Raises MaibenchError for a wrong SPEC or option.
    """
    from rich.table import Table
    from rich.text import Text

    from maibench.models.backends.backend import installed, takes_backends

    facts: dict[str, str] = {}
    if spec in names() and not settings and "weights" not in detector_class(spec).loads:
        cls = detector_class(spec)
        card, options = _facts(spec)[0], options_of(cls)
    else:
        detector = load_detector(spec, **(settings or {}))
        cls = type(detector)
        card, options, facts = detector.card, options_of(cls), detector.facts()
    table = Table(show_header=False, box=None, pad_edge=False)
    for fact, value in card.model_dump(exclude_defaults=True).items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {item}" for key, item in value.items())
        elif isinstance(value, (list, tuple)):
            value = ", ".join(map(str, value))
        table.add_row(fact, Text(str(value)))
    for fact, told in facts.items():
        table.add_row(fact, Text(told))
    if takes_backends(cls):
        table.add_row("backends", f"{', '.join(installed())} (installed here; --set LABEL.backend=NAME or auto)")
    for name, parameter in options.items():
        default = "" if parameter.default is inspect.Parameter.empty else f" (default {parameter.default})"
        table.add_row("option", Text(f"{name}{default}"))
    return table


def _in_short(name: str) -> tuple[Card, str, str]:
    """`_facts`, but a detector that can be one of many networks is not made: the default one's size says nothing."""
    cls = detector_class(name)
    return (cls.card, "–", "none") if "pretrained" in cls.loads else _facts(name)


def _facts(name: str) -> tuple[Card, str, str]:
    """(card with the bundled weights' facts, parameters in words, where the weights come from)."""
    cls = detector_class(name)
    file = BUNDLED / f"{name}.json"
    if "weights" in cls.loads and file.is_file():  # its card says all, and it is not worth loading for a list
        card = cls.bundled_card()
        return card, f"{card.parameters:,}", card.weights
    own = getattr(cls, "card", None)
    if own and own.parameters and not file.is_file():  # as its class says; it is not worth making a network for a list
        return own, f"{own.parameters:,}", own.weights or "none"
    detector = build(cls, name, {})
    card = detector.card
    if file.is_file():
        card = card.read(file)
    if detector.fitted:
        return card, "fitted", "training split"
    count = card.parameters or detector.parameter_count()
    return card, f"{count:,}", card.weights or ("bundled" if file.is_file() else "none")
