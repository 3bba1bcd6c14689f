"""Train a head on bailu's frozen trunk that says which generator made an image, or that none of them did."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
import pandas as pd
import torch

from maibench.cores import cores
from maibench.datasets.manifest import Manifest
from maibench.errors import MaibenchError
from maibench.files import make_folder, write_whole
from maibench.finetune.attribution_head import (
    MEAN,
    calibrate,
    choose_classes,
    train_head,
    try_the_unknown,
    with_strangeness,
)
from maibench.finetune.export import trained_on_before
from maibench.finetune.recipe import Head, Recipe
from maibench.finetune.trunk_features import TrunkFeatures, read_features
from maibench.models.attribution import Attribution, Strangeness
from maibench.models.attribution_names import OTHER
from maibench.models.bailu import Bailu
from maibench.models.device import choose_device
from maibench.models.folder import write_folder
from maibench.models.weights import BUNDLED, load_weights
from maibench.progress import Progress

USED = {
    "detector", "options", "head", "start", "source", "optimiser", "lr", "weight_decay", "steps", "epochs", "warmup",
    "batch_size", "clip", "crop", "pad", "exclude", "augmentation", "validation_images", "seed",
}  # fmt: skip
"""What of a recipe says something of a head; anything else in it would be without effect."""


def train_attribution(
    recipe: Recipe,
    manifests: list[Manifest],
    out: Path,
    device: str = "auto",
    progress: Progress | None = None,
    workers: int | None = None,
) -> Path:
    """Train a head and write a folder that `load_detector` loads, with unknown.csv, what each way to tell the unknown
    is worth on generators that were left out in turn.

    The trunk is bailu's bundled one, or that of `start`, a safetensors file of bailu. What it makes of the images is
    kept under `out`: the same call goes on from there. The validation splits are used for the temperature, the
    threshold and the choice of how to tell the unknown; the generators that the trunk was trained on are its card's.
    Raises MaibenchError for a recipe that says what has no effect here, for data without photographs or generators, and
    for features of other data.
    """
    head, progress = _checked(recipe), progress or Progress()
    make_folder(out)
    network = Attribution().to(choose_device(device)).eval()
    start = Path(recipe.start) if recipe.start else BUNDLED / "bailu.safetensors"
    trunk = _trunk(start)
    network.load_state_dict(trunk, strict=False)
    threads = workers or max(1, cores() - 1)
    train, validation = read_features(network, recipe, head.views, manifests, out / "features", threads, progress)
    classes, pooled = choose_classes(train.rows["generator"], head.least)
    if len(classes) < 2 or not (train.rows["generator"] == classes[0]).any():
        raise MaibenchError("attribution needs photographs and at least one generator in the training split")
    progress.say(_described(train, classes, pooled))
    worth = try_the_unknown(recipe, head, train, validation, classes, pooled)
    write_whole(out / "unknown.csv", lambda file: worth.to_csv(file, float_format="%.4f"))
    means = {way: float(worth[way][MEAN]) for way in get_args(Strangeness)} if len(worth) else {"softmax": float("nan")}
    chosen = cast(Strangeness, max(means, key=means.__getitem__) if head.strangeness == "choose" else head.strangeness)
    whole = with_strangeness(train_head(recipe, head, train, classes, pooled), chosen)
    whole.load_state_dict(trunk, strict=False)
    calibrate(whole, validation, head.kept)
    scores = validation_scores(whole, validation)
    if len(worth):
        scores["unknown_auroc"] = means[chosen]
    told = ", ".join(f"{name} {value:.3f}" for name, value in scores.items())
    progress.say(f"validation: {told} (the unknown by {chosen})")
    whole.built_from = "attribution"
    whole.built_with = {
        "classes": list(classes), "pooled": pooled, "hidden": head.hidden, "strangeness": chosen, "tiles": whole.tiles,
    }  # fmt: skip
    shown = recipe.model_copy(update={"start": "/".join(start.parts[-2:])}) if recipe.start else recipe
    card = whole.card.updated(
        weights=f"trained by maibench finetune, seed {recipe.seed}",
        trained_on=sorted({*trained_on_before(start), *train.rows["generator"]} - {"real"}),
        training_data="; ".join(f"{m.name} (train split, fingerprint {m.fingerprint})" for m in manifests),
        recipe=shown.model_dump_json(exclude_defaults=True),
        validation={name: round(value, 4) for name, value in scores.items() if np.isfinite(value)},
        notes=_notes(classes, pooled),
    )
    write_folder(whole, out, card=card)
    return out


def validation_scores(network: Attribution, validation: TrunkFeatures) -> dict[str, float]:
    """{top1, balanced_accuracy: the mean recall of the classes that are there, kept: the share under the threshold} of
    the validation images of known generators."""
    truth = validation.rows["generator"].map(network.truth_of)
    known = validation.of(truth.isin(network.classes))
    if known.rows.empty:
        return {}
    with torch.no_grad():
        said = network.of_features(known.values[:, 0])
    answers = np.array(network.classes)[said.logits.argmax(dim=1).numpy()]
    right = pd.Series(answers == truth[truth.isin(network.classes)].to_numpy())
    recalls = right.groupby(truth[truth.isin(network.classes)].to_numpy()).mean()
    named = (known.rows["generator"].map(network.truth_of) != OTHER).to_numpy()
    under = (said.strangeness <= network.threshold).numpy()[named]
    return {
        "top1": float(right.mean()),
        "balanced_accuracy": float(recalls.mean()),
        "kept": float(under.mean()) if len(under) else float("nan"),
    }


def _checked(recipe: Recipe) -> Head:
    """The recipe's head. Raises MaibenchError for a recipe of something else."""
    if recipe.head is None or recipe.detector != "attribution":
        raise MaibenchError(
            "a head that tells generators apart is asked for by detector: attribution together with head: {...} "
            "(configs/finetune/attribution.yaml)"
        )
    if recipe.options:
        raise MaibenchError("options: the classes of attribution follow from the data, and the rest is said by head")
    if unused := sorted(recipe.model_fields_set - USED):
        raise MaibenchError(f"{', '.join(unused)}: without effect where only a head is trained; leave it out")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise MaibenchError("a head is trained by one process in minutes; leave out torchrun or accelerate")
    return recipe.head


def _trunk(file: Path) -> dict[str, Any]:
    """The tensors of bailu's trunk. Raises MaibenchError for a file of anything else."""
    bailu = Bailu()
    load_weights(bailu, file)
    return {name: tensor for name, tensor in bailu.state_dict().items() if not name.startswith("head.")}


def _described(train: TrunkFeatures, classes: list[str], pooled: list[str]) -> str:
    named = len(classes) - 1 - bool(pooled)
    others = f"; {len(pooled)} with fewer images are 'other'" if pooled else ""
    return f"{len(train.rows)} training images: photographs and {named} generators{others}"


def _notes(classes: list[str], pooled: list[str]) -> str:
    text = f"classes: {', '.join(classes)}"
    return text + (f"; 'other' stands for {', '.join(pooled)}" if pooled else "")
