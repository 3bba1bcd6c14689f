"""What a training leaves behind: a folder that `load_detector` loads and that can be put on the Hub as it is."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from maibench.datasets.manifest import Manifest
from maibench.finetune.recipe import Recipe
from maibench.finetune.samples import SampleSource
from maibench.models.base import Detector
from maibench.models.folder import write_folder


@dataclass(frozen=True)
class Origin:
    """Where weights come from: the recipe and the data."""

    recipe: Recipe
    source: SampleSource
    manifests: list[Manifest]


def export(detector: Detector, folder: Path, origin: Origin, step: int, scores: dict[str, float]) -> None:
    """Write weights, config.json, card.json and README.md. scores: on the validation splits, and the threshold that was
    fitted there."""
    data = "; ".join(f"{m.name} (train split, fingerprint {m.fingerprint})" for m in origin.manifests)
    recipe = origin.recipe
    if recipe.start:  # where it lies on this machine is nobody's business
        recipe = recipe.model_copy(update={"start": "/".join(Path(recipe.start).parts[-2:])})
    earlier = trained_on_before(Path(origin.recipe.start)) if origin.recipe.start else []
    card = detector.card.updated(
        reported=None,
        weights=f"trained by maibench finetune, seed {recipe.seed}, step {step}",
        trained_on=sorted({*earlier, *origin.source.trained_on(recipe.pairs)}),
        training_data=data,
        recipe=recipe.model_dump_json(exclude_defaults=True),
        validation={name: round(value, 4) for name, value in scores.items()},
    )
    write_folder(detector, folder, card=card)


def trained_on_before(start: Path) -> list[str]:
    """The generators of the training that weights come from, where a card lies beside them."""
    cards = [file for file in (start.with_name("card.json"), start.with_suffix(".json")) if file.is_file()]
    return list(json.loads(cards[0].read_text()).get("trained_on") or []) if cards else []
