"""Train a detector from a recipe: one loop that can be read from top to bottom, stopped anywhere, and gone on with."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn

from maibench.datasets.manifest import Manifest
from maibench.errors import MaibenchError
from maibench.evaluation.files import make_folder, write_text, write_whole
from maibench.evaluation.metrics import accuracy, auc
from maibench.evaluation.scoring import to_device
from maibench.evaluation.thresholds import fit_threshold
from maibench.finetune.augment import augment
from maibench.finetune.recipe import Recipe
from maibench.finetune.samples import SampleSource
from maibench.finetune.validation import ValidationSplit, read_validation
from maibench.models.base import Detector
from maibench.models.loading import build, load_detector
from maibench.models.registry import detector_class
from maibench.models.weights import load_weights, sha256


def train(
    recipe: Recipe, manifests: list[Manifest], out: Path, device: str = "cpu", say: Callable[[str], None] = print
) -> Path:
    """Train and write a folder that `load_detector` loads: config.json, model.safetensors (with `lora` a PEFT adapter),
    card.json, curve.csv.

    The best weights by the mean AUC over the manifests' validation splits are kept. The same call goes on from the
    last checkpoint. Raises MaibenchError for data without both classes or a validation split, and for a loss that is
    not a number.
    """
    make_folder(out)
    torch.manual_seed(recipe.seed)
    source = SampleSource(manifests, recipe.exclude, recipe.smallest_crop)
    if source.skipped:
        say(f"{len(source.skipped)} training images are left out (unreadable, or smaller than the crop)")
    say(f"{len(source.images)} images of {len(source.generators)} generators and real ones, {len(source.pairs)} pairs")
    model = _model(recipe, device)
    splits = [read_validation(manifest, model, recipe.exclude) for manifest in manifests]
    validation = [split for split in splits if split.has_both_classes]
    if not validation:
        raise MaibenchError("none of the data has a validation split with both classes; the best weights need one")
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(recipe.averaging))
    optimiser = _optimiser(recipe, model)
    state = _resume(out, model, average, optimiser, recipe)
    with ThreadPoolExecutor(1) as pool:
        upcoming = pool.submit(_batch, source, recipe, model, state["step"] + 1)
        for step in range(state["step"] + 1, recipe.steps + 1):
            batch, labels = upcoming.result()
            upcoming = pool.submit(_batch, source, recipe, model, step + 1)
            for group in optimiser.param_groups:
                group["lr"] = recipe.lr * _schedule(step, recipe)
            model.train()
            with torch.autocast(torch.device(device).type, dtype=torch.bfloat16):
                loss = model.loss(to_device(batch, model.device), labels.to(device))
            if not torch.isfinite(loss):
                raise MaibenchError(f"the loss is {loss.item()} at step {step}; the last checkpoint in {out} is kept")
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            average.update_parameters(model)
            state["loss"] = 0.98 * state["loss"] + 0.02 * loss.item()
            if step % recipe.validate_every == 0 or step == recipe.steps:
                _validate(out, step, state, average, validation, recipe, source, manifests, say)
                _checkpoint(out, {**state, "step": step}, model, average, optimiser, recipe)
    return out


def _model(recipe: Recipe, device: str) -> Detector:
    cls = detector_class(recipe.detector)
    if "weights" in cls.loads:
        model = load_detector(recipe.detector, device=device, **recipe.options)
    else:
        model = build(cls, recipe.detector, recipe.options).to(device)
    if recipe.start:
        load_weights(model, Path(recipe.start))
    if recipe.lora is not None:
        model.add_adapter(**recipe.lora.model_dump())
    return model


def _schedule(step: int, recipe: Recipe) -> float:
    """Linear warm-up, then half a cosine down to a hundredth, both counted in optimiser steps."""
    if step <= recipe.warmup:
        return step / recipe.warmup
    done = (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup)
    return 0.01 + 0.99 * (0.5 + 0.5 * math.cos(math.pi * done))


def _optimiser(recipe: Recipe, model: Detector) -> torch.optim.Optimizer:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trained:
        raise MaibenchError(f"{recipe.detector} is trained through an adapter: the recipe needs 'lora'")
    if recipe.optimiser == "rmsprop":
        return torch.optim.RMSprop(trained, lr=recipe.lr, weight_decay=recipe.weight_decay)
    return torch.optim.AdamW(trained, lr=recipe.lr, weight_decay=recipe.weight_decay)


def _batch(source: SampleSource, recipe: Recipe, model: Detector, step: int) -> tuple[Any, torch.Tensor]:
    """The batch of one step; it depends on the seed and the step alone, so that a resumed run sees the same."""
    rng = np.random.default_rng([recipe.seed, step])
    samples = source.draw(recipe.batch_size, recipe.pairs, rng)
    crops = augment(samples, recipe.draw_crop(rng), recipe.augmentation, (recipe.seed, step))
    batch = model.collate([model.preprocess(crop) for crop in crops])
    return batch, torch.tensor([float(sample.label) for sample in samples])


def _validate(
    out: Path,
    step: int,
    state: dict[str, Any],
    average: AveragedModel,
    validation: list[ValidationSplit],
    recipe: Recipe,
    source: SampleSource,
    manifests: list[Manifest],
    say: Callable[[str], None],
) -> None:
    model = cast(Detector, average.module)
    # averaged weights produce other statistics than the weights that they are an average of
    batches = (_batch(source, recipe, model, number)[0] for number in range(1, 17))
    update_bn((to_device(batch, model.device) for batch in batches), average)
    scores: dict[str, float] = {}
    everything: list[tuple[np.ndarray, np.ndarray]] = []
    for split in validation:
        logits = split.logits(model)
        scores[f"{split.name}_auc"] = auc(split.labels, logits)
        scores[f"{split.name}_accuracy"] = accuracy(split.labels, logits)
        everything.append((split.labels, logits))
    mean = float(np.mean([value for name, value in scores.items() if name.endswith("_auc")]))
    told = ", ".join(f"{name} {value:.3f}" for name, value in scores.items())
    say(f"step {step} of {recipe.steps}: loss {state['loss']:.3f}, {told}")
    _append_curve(out, {"step": step, "loss": state["loss"], **scores})
    if mean > state["best"]:
        state["best"] = mean
        labels, logits = (np.concatenate(part) for part in zip(*everything, strict=True))
        scores["threshold"] = fit_threshold(labels, logits)
        _export(out, model, recipe, source, manifests, step, scores)


def _export(
    out: Path,
    model: Detector,
    recipe: Recipe,
    source: SampleSource,
    manifests: list[Manifest],
    step: int,
    scores: dict[str, float],
) -> None:
    """The folder's public files: what `load_detector(out)` reads."""
    config = {"detector": recipe.detector, "options": recipe.options} | model.save(out)
    write_text(out / "config.json", json.dumps(config, indent=2) + "\n")
    facts = {
        "name": model.card.name,
        "weights": f"trained by maibench finetune, step {step}",
        "sha256": model.card.sha256 if recipe.lora else sha256(out / "model.safetensors"),
        "parameters": model.parameter_count(),
        "trained_on": source.generators,
        "training_data": "; ".join(f"{m.name} (train split, fingerprint {m.fingerprint})" for m in manifests),
        "recipe": recipe.model_dump_json(exclude_defaults=True),
        "validation": {name: round(value, 4) for name, value in scores.items()},
    }
    write_text(out / "card.json", json.dumps(facts, indent=2) + "\n")


def _append_curve(out: Path, row: dict[str, float]) -> None:
    file = out / "curve.csv"
    is_new = not file.is_file()
    with open(file, "a", newline="") as stream:
        writer = csv.DictWriter(stream, list(row))
        if is_new:
            writer.writeheader()
        writer.writerow(row)


def _checkpoint(
    out: Path,
    state: dict[str, Any],
    model: Detector,
    average: AveragedModel,
    optimiser: torch.optim.Optimizer,
    recipe: Recipe,
) -> None:
    content = {
        "state": state,
        "model": model.state_dict(),
        "average": average.state_dict(),
        "optimiser": optimiser.state_dict(),
        "random": torch.get_rng_state(),
        "recipe": recipe.model_dump_json(),
    }
    write_whole(out / "checkpoint.pt", lambda part: torch.save(content, part))


def _resume(
    out: Path, model: Detector, average: AveragedModel, optimiser: torch.optim.Optimizer, recipe: Recipe
) -> dict[str, Any]:
    file = out / "checkpoint.pt"
    if not file.is_file():
        return {"step": 0, "loss": math.log(2), "best": -1.0}
    content = torch.load(file, weights_only=True)
    if content["recipe"] != recipe.model_dump_json():
        raise MaibenchError(f"{out}: holds a checkpoint of another recipe; choose another --out or remove it")
    model.load_state_dict(content["model"])
    average.load_state_dict(content["average"])
    optimiser.load_state_dict(content["optimiser"])
    torch.set_rng_state(content["random"])
    return content["state"]
