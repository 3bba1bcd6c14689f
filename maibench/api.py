"""The Python front door."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from maibench.errors import MaibenchError

if TYPE_CHECKING:
    from typing import Unpack

    from maibench.evaluation.finished_run import Run
    from maibench.models.base import Detector
    from maibench.progress import Progress


class Settings(TypedDict, total=False):
    """What a comparison takes besides detectors, data and folder; the flags and keys of the command, documented at
    `maibench.config.RunConfig`."""

    columns: str
    split: Literal["train", "validation", "test"]
    perturb: str | Sequence[str]
    engine: Literal["local", "ray"]
    address: str | None
    predictions: str | None
    backend: str
    device: str
    batch_size: int
    workers: int | None
    limit: int | None
    seed: int
    strict: bool
    resamples: int
    interval: Literal["bootstrap", "bca", "analytic"]
    figures: bool
    gallery: int
    evidence: bool
    audit: bool
    max_pixels: int
    options: dict[str, dict[str, Any]]
    table: dict[str, Any]


def compare(
    models: str | Sequence[str | Detector] | Mapping[str, str | Detector],
    data: str | Path = "demo",
    *,
    out: str | Path | None = None,
    fresh: bool = False,
    progress: Progress | None = None,
    **settings: Unpack[Settings],
) -> Run:
    """Compare detectors, as the command does, and return the run with its frames.

    models: SPECs or LABEL=SPECs, in a list or with commas between them; a detector of yours, which is then set to
    evaluation mode and has a row under its card's name; or {label: SPEC or detector}. data: a SOURCE. out: the run's
    folder; the same call goes on in it with what is missing, another one is refused unless `fresh`. progress: hears how
    it goes. settings: any other key of a run (split, perturb, device, batch_size, limit, seed, options, ...).

    Raises MaibenchError when the request is wrong.
    """
    from maibench.config import make_config
    from maibench.evaluation.compare import run_comparison

    specs, made = _named(models)
    flags = {"models": specs, "data": str(data), "out": None if out is None else str(out), **settings}
    return run_comparison(make_config(None, flags, []), fresh=fresh, progress=progress, made=made)


def _named(models: str | Sequence[str | Detector] | Mapping[str, str | Detector]) -> tuple[Any, dict[str, Detector]]:
    """The SPECs as a configuration has them, and the detectors that are there already by their labels."""
    if isinstance(models, str) or not isinstance(models, (Mapping, Sequence)):
        return models, {}
    pairs = models.items() if isinstance(models, Mapping) else [("", model) for model in models]
    specs: list[str] = []
    made: dict[str, Detector] = {}
    for label, model in pairs:
        if isinstance(model, str):
            specs.append(f"{label}={model}" if label else model)
            continue
        name = _card_name(model)
        label = label or name
        if "=" in label:
            raise MaibenchError(f"models: '{label}': a label has no '='")
        specs.append(f"{label}={type(model).__name__}")
        made[label] = model
    return specs, made


def _card_name(model: object) -> str:
    """What a detector's card calls it. Raises MaibenchError for anything that is no detector."""
    from maibench.models.base import Detector
    from maibench.models.card import Card

    if isinstance(model, Detector) and isinstance(card := getattr(model, "card", None), Card):
        return card.name
    what = f"the class {model.__name__}; give an object, {model.__name__}()" if isinstance(model, type) else repr(model)
    raise MaibenchError(f"models: neither a SPEC nor a maibench.Detector with a card: {what}")
