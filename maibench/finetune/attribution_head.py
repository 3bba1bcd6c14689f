"""A head that tells generators apart, trained on features of the trunk; and which way tells best what it was never
trained on: each is tried on generators that are left out in turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from maibench.evaluation.statistics.metrics import auc
from maibench.finetune.recipe import Head, Recipe
from maibench.finetune.schedule import warm_cosine
from maibench.finetune.trunk_features import TrunkFeatures
from maibench.models.attribution import Attribution, Strangeness
from maibench.models.attribution_names import OTHER, REAL

MEAN = "mean"
SHRINKAGE = 0.05
"""Share of the mean variance that is added to every direction, as few images give no covariance of hundreds of
features."""


def choose_classes(generators: pd.Series, least: int) -> tuple[list[str], list[str]]:
    """(classes, pooled): "real", every generator with at least `least` of the training images (a generator that is
    itself called "other" never), and "other" where there are further generators, which are the pooled ones."""
    counts = generators[generators != REAL].value_counts()
    known = sorted(map(str, counts.index))
    named = [name for name in known if counts[name] >= least and name != OTHER]
    pooled = [name for name in known if name not in named]
    return [REAL, *named, *([OTHER] if pooled else [])], pooled


def train_head(
    recipe: Recipe, head: Head, train: TrunkFeatures, classes: Sequence[str], pooled: Sequence[str]
) -> Attribution:
    """A head on features (images, views, d), with all that the three ways to tell the unknown need; its trunk is not
    filled in.

    A class is drawn by the root of its size, so that no large one drowns the others; then an image and a view.
    """
    torch.manual_seed(recipe.seed)
    network = Attribution(classes, pooled, head.hidden, "mahalanobis")
    labels = _labels(network, train.rows["generator"])
    network.mean.copy_(train.values.mean(dim=(0, 1)))
    network.scale.copy_(train.values.std(dim=(0, 1)).clamp(min=1e-6))
    features = (train.values - network.mean) / network.scale
    share = torch.bincount(labels, minlength=len(classes)).double().clamp(min=1).rsqrt()[labels]
    steps = recipe.count_steps(len(labels), 1)
    cls = torch.optim.RMSprop if recipe.optimiser == "rmsprop" else torch.optim.AdamW
    optimiser = cls(network.head.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
    draw = torch.Generator().manual_seed(recipe.seed)
    for step in range(1, steps + 1):
        for group in optimiser.param_groups:
            group["lr"] = recipe.lr * warm_cosine(step, steps, recipe.warmup_steps(steps))
        images = torch.multinomial(share, recipe.batch_size, replacement=True, generator=draw)
        views = torch.randint(features.shape[1], (recipe.batch_size,), generator=draw)
        seen = F.dropout(features[images, views], head.dropout)
        loss = F.cross_entropy(network.head(seen), labels[images])
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.head.parameters(), recipe.clip)
        optimiser.step()
    _describe_classes(network, features[:, 0], labels)
    return network.eval()


def calibrate(network: Attribution, validation: TrunkFeatures, kept: float) -> None:
    """Scale the logits so that validation images are likeliest (Guo et al. 2017, arXiv 1706.04599), then set the
    threshold that `kept` of the validation images of named classes lie under; images of other generators are left
    out."""
    from scipy.optimize import minimize_scalar

    known = validation.of(validation.rows["generator"].isin(_known(network)))
    with torch.no_grad():
        logits = network.of_features(known.values[:, 0]).logits
        labels = _labels(network, known.rows["generator"])
        if len(labels):
            found = minimize_scalar(
                lambda power: float(F.cross_entropy(logits * 2.0**power, labels)), bounds=(-4, 4), method="bounded"
            )
            for tensor in network.head[-1].parameters():
                tensor.mul_(2.0 ** float(found.x))
        named = known.of(known.rows["generator"].isin(network.classes) & (known.rows["generator"] != OTHER))
        if len(named.rows):
            strangeness = network.of_features(named.values[:, 0]).strangeness
            network.threshold.copy_(strangeness.double().quantile(kept))


def try_the_unknown(
    recipe: Recipe, head: Head, train: TrunkFeatures, validation: TrunkFeatures, classes: Sequence[str],
    pooled: Sequence[str],
) -> pd.DataFrame:  # fmt: skip
    """AUROC of "from a generator that was left out" for every named generator (rows, the last their mean) and way to
    tell it (columns): its training and validation images against the validation images of the other named classes.
    Empty with fewer than two generators."""
    named = [name for name in classes if name not in (REAL, OTHER)]
    rows = {}
    for left_out in named if len(named) > 1 else []:
        rest = [name for name in classes if name != left_out]
        network = train_head(recipe, head, train.of(train.rows["generator"] != left_out), rest, pooled)
        calibrate(network, validation, head.kept)
        known = validation.of(validation.rows["generator"].isin([name for name in rest if name != OTHER]))
        unknown = [split.of(split.rows["generator"] == left_out).values[:, 0] for split in (train, validation)]
        values = torch.cat([known.values[:, 0], *unknown])
        labels = np.r_[np.zeros(len(known.rows)), np.ones(len(values) - len(known.rows))]
        rows[left_out] = {way: auc(labels, _strangeness(network, values, way)) for way in get_args(Strangeness)}
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=list(get_args(Strangeness)))
    frame.index.name = "left_out"
    return pd.concat([frame, frame.mean().to_frame(MEAN).T.rename_axis("left_out")]) if rows else frame


def with_strangeness(network: Attribution, strangeness: Strangeness) -> Attribution:
    """A head of `train_head` with nothing but what one way to tell the unknown needs."""
    chosen = Attribution(network.classes, network.pooled, network.hidden, strangeness)
    tensors = network.state_dict()
    chosen.load_state_dict({name: tensors[name] for name in chosen.state_dict()})
    return chosen.eval()


def _describe_classes(network: Attribution, features: Tensor, labels: Tensor) -> None:
    """Centres of the classes and the inverse of the covariance around them, every class counting alike."""
    count = len(network.classes)
    sizes = torch.bincount(labels, minlength=count).clamp(min=1)
    centres = torch.zeros(count, features.shape[1]).index_add_(0, labels, features) / sizes[:, None]
    away = (features - centres[labels]) / sizes[labels].sqrt()[:, None]
    covariance = (away.T @ away).double() / count
    covariance += SHRINKAGE * covariance.diagonal().mean() * torch.eye(len(covariance), dtype=torch.float64)
    network.centres.copy_(centres)
    network.precision.copy_(torch.linalg.inv(covariance).float())


def _strangeness(network: Attribution, values: Tensor, way: Strangeness) -> np.ndarray:
    network.measure = way
    with torch.no_grad():
        return network.of_features(values).strangeness.double().numpy()


def _known(network: Attribution) -> list[str]:
    return [*network.classes, *network.pooled]


def _labels(network: Attribution, generators: pd.Series) -> Tensor:
    numbers = {name: number for number, name in enumerate(network.classes)}
    return torch.tensor([numbers[network.truth_of(name)] for name in generators], dtype=torch.int64)
