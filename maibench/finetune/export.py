"""What a training leaves behind: a folder that `load_detector` loads and that can be put on the Hub as it is."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from maibench.datasets.manifest import Manifest
from maibench.files import write_text
from maibench.finetune.recipe import Recipe
from maibench.finetune.samples import SampleSource
from maibench.models.base import Detector
from maibench.models.card import Card
from maibench.models.weights import sha256


@dataclass(frozen=True)
class Origin:
    """Where weights come from: the recipe and the data."""

    recipe: Recipe
    source: SampleSource
    manifests: list[Manifest]


def export(detector: Detector, folder: Path, origin: Origin, step: int, scores: dict[str, float]) -> None:
    """Write weights, config.json, card.json and README.md."""
    recipe = origin.recipe
    config = {"detector": recipe.detector, "options": recipe.options} | detector.save(folder)
    write_text(folder / "config.json", json.dumps(config, indent=2) + "\n")
    weights = folder / "model.safetensors"
    facts = {
        "name": detector.card.name,
        "weights": f"trained by maibench finetune, step {step}",
        "sha256": sha256(weights) if weights.is_file() else detector.card.sha256,
        "parameters": detector.parameter_count(),
        "trained_on": origin.source.generators,
        "training_data": "; ".join(f"{m.name} (train split, fingerprint {m.fingerprint})" for m in origin.manifests),
        "recipe": recipe.model_dump_json(exclude_defaults=True),
        "validation": {name: round(value, 4) for name, value in scores.items()},
    }
    write_text(folder / "card.json", json.dumps(facts, indent=2) + "\n")
    write_text(folder / "README.md", model_card(detector.card.updated(**facts), recipe))


def model_card(card: Card, recipe: Recipe) -> str:
    """The README of a folder of weights, as the Hub shows it."""
    tags = ["ai-generated-image-detection", "maibench", *(["lora", "peft"] if recipe.lora else [])]
    validation = "\n".join(f"| {name} | {value} |" for name, value in card.validation.items())
    return f"""---
library_name: maibench
pipeline_tag: image-classification
tags: [{", ".join(tags)}]
---

# {card.name}

{card.summary}. Trained by `maibench finetune` with seed {recipe.seed}; weights of {card.weights.partition(", ")[2]}.

    python compare.py --models bailu,./this_folder

| validation | |
|---|---|
{validation}

- generators trained on: {", ".join(card.trained_on or ()) or "none"}
- data: {card.training_data}
- input: {card.input_policy}
- recipe: `{card.recipe}`

A score is no evidence by itself: detectors err, and err more on generators and compressions that they have not seen.
"""
