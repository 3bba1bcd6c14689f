"""Which generator made an image: a head on bailu's frozen trunk, over photographs and generators.

What it was not trained on has to come out as unknown. How strange an image is to it can be measured in three ways:
the largest softmax probability (Hendrycks & Gimpel 2017, arXiv 1610.02136), the energy of the class logits (Liu et al.
2020, arXiv 2010.03759), and Mahalanobis' distance to the nearest class in the trunk's features (Lee et al. 2018, arXiv
1807.03888).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from maibench.errors import MaibenchError
from maibench.models.attribution_names import OTHER, REAL, UNKNOWN
from maibench.models.bailu import FEATURES, Bailu
from maibench.models.tiles import mean_logits
from maibench.models.weights import BUNDLED, read_tensors, sha256

Strangeness = Literal["softmax", "energy", "mahalanobis"]
TRUNK = "trunk_sha256"
"""A tensor of 32 bytes in a file that holds a head alone: the sha256 of the bundled weights that it was trained on."""
_HEAD = ("head.", "mean", "scale", "threshold", "centres", "precision")


@dataclass(frozen=True)
class Attributed:
    """What is said of n images. logits: (n, classes); strangeness: (n,), larger for images that resemble no class."""

    logits: Tensor
    strangeness: Tensor


class Attribution(Bailu):
    """bailu's trunk, its pooled features standardised, and a linear layer (or two, with `hidden` units between them) to
    one logit a class.

    As a detector its logit is log P(any generator) - log P(real), averaged over a large image's tiles.

    Options: classes: "real" first, then generators, "other" last where there is such a class; pooled: the generators
    that "other" stands for; strangeness: "softmax" (1 - the largest probability of a class other than "other"),
    "energy" or "mahalanobis".
    """

    mean: Tensor
    scale: Tensor
    threshold: Tensor
    centres: Tensor
    precision: Tensor
    card = Bailu.card.updated(
        name="attribution",
        summary="which generator made it: a head on bailu's frozen trunk",
        reference="a head on bailu's trunk, our own; BAILU's card names attribution as missing",
        reported=None,
    )

    def __init__(
        self,
        classes: Sequence[str] = (REAL, "synthetic"),
        pooled: Sequence[str] = (),
        hidden: int = 0,
        strangeness: Strangeness = "softmax",
        tiles: int = 5,
    ) -> None:
        super().__init__(tiles=tiles)
        _check(classes, pooled, hidden, strangeness)
        self.classes, self.pooled, self.hidden, self.measure = tuple(classes), tuple(pooled), hidden, strangeness
        last = nn.Linear(hidden or FEATURES, len(classes))
        self.head = nn.Sequential(nn.Linear(FEATURES, hidden), nn.ReLU(), last) if hidden else nn.Sequential(last)
        for name, shape in _buffers(len(classes), strangeness).items():
            self.register_buffer(name, torch.full(shape, torch.inf) if name == "threshold" else torch.zeros(shape))
        self.scale.fill_(1.0)

    def truth_of(self, generator: str) -> str:
        """The class that images of a generator belong to; "unknown" for one that it was not trained on."""
        if generator in self.pooled:
            return OTHER
        return generator if generator in self.classes else UNKNOWN

    def trunk_features(self, batch: Tensor | Sequence[Tensor]) -> Tensor:
        """n images as `collate` has them -> (n, FEATURES), those of a large image's tiles averaged."""
        return self.features(batch) if isinstance(batch, Tensor) else mean_logits(self.features, batch)

    def attribute(self, batch: Tensor | Sequence[Tensor]) -> Attributed:
        """What is said of n images as `collate` has them."""
        return self.of_features(self.trunk_features(batch))

    def of_features(self, features: Tensor) -> Attributed:
        """What is said of images with such `trunk_features` (n, FEATURES)."""
        standardised = (features - self.mean) / self.scale
        logits = self.head(standardised)
        if self.measure == "mahalanobis":
            distances = mahalanobis(standardised, self.centres, self.precision)
            return Attributed(logits, distances.min(dim=1).values)
        named = [number for number, name in enumerate(self.classes) if name != OTHER]
        if self.measure == "energy":
            return Attributed(logits, -logits[:, named].logsumexp(dim=1))
        return Attributed(logits, 1 - logits.softmax(dim=1)[:, named].max(dim=1).values)

    def tensor_logits(self, x: Tensor) -> Tensor:
        """(n, 3, h, w) -> (n,) log P(any generator) - log P(real)."""
        logits = self.of_features(self.features(x)).logits
        return logits[:, 1:].logsumexp(dim=1) - logits[:, 0]

    def rename_official(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """A file that holds a head alone is completed by the trunk of bailu's bundled weights.

        Raises MaibenchError where the head was trained on another trunk than those have.
        """
        if TRUNK not in tensors:
            return tensors
        file = BUNDLED / "bailu.safetensors"
        if bytes(tensors[TRUNK].tolist()).hex() != sha256(file):
            raise MaibenchError(
                "this head was trained on other weights of bailu than the bundled ones; train it again: maibench "
                "finetune configs/finetune/attribution.yaml"
            )
        trunk = {name: tensor for name, tensor in read_tensors(file).items() if not name.startswith("head.")}
        return trunk | {name: tensor for name, tensor in tensors.items() if name != TRUNK}

    def head_tensors(self) -> dict[str, Tensor]:
        """All tensors but the trunk's."""
        return {name: tensor for name, tensor in self.state_dict().items() if name.startswith(_HEAD)}


class AttributionDemo(Attribution):
    """The head bundled for the demo: the three nano autoencoders that it has in its training split."""

    card = Attribution.card.updated(
        name="attribution-demo", summary="which of three autoencoders made it: a head on bailu's frozen trunk"
    )

    def __init__(self, tiles: int = 5) -> None:
        super().__init__((REAL, "nano-flux.1", "nano-sd1.5", "nano-sdxl"), hidden=24, tiles=tiles)


class AttributionWild(Attribution):
    """The head bundled for published images of seven generators; eleven others, with few images each, are "other"."""

    card = Attribution.card.updated(
        name="attribution-wild", summary="which of seven generators made it: a head on bailu's frozen trunk"
    )

    def __init__(self, tiles: int = 5) -> None:
        named = ("dalle-mini", "ldm-text2im", "midjourney-v3", "midjourney-v7", "sd-beta-2022", "sd1.4", "sdxl")
        pooled = (
            "cogview2", "flux.1-other", "hidream", "kandinsky", "misc-t2i", "other", "pixart", "sana", "sd-finetune",
            "sd1.5", "sd2.1",
        )  # fmt: skip
        super().__init__((REAL, *named, OTHER), pooled, hidden=24, tiles=tiles)


def mahalanobis(features: Tensor, centres: Tensor, precision: Tensor) -> Tensor:
    """(n, d), (classes, d), (d, d) -> (n, classes): the squared distance to each centre."""
    away = features[:, None] - centres[None]
    return ((away @ precision) * away).sum(dim=2)


def _buffers(classes: int, strangeness: str) -> dict[str, tuple[int, ...]]:
    """{name: shape} of what is kept besides layers."""
    kept: dict[str, tuple[int, ...]] = {"mean": (FEATURES,), "scale": (FEATURES,), "threshold": ()}
    if strangeness == "mahalanobis":
        kept |= {"centres": (classes, FEATURES), "precision": (FEATURES, FEATURES)}
    return kept


def _check(classes: Sequence[str], pooled: Sequence[str], hidden: int, strangeness: str) -> None:
    if isinstance(classes, str) or len(classes) < 2 or classes[0] != REAL or len(set(classes)) != len(classes):
        raise MaibenchError(f"attribution: classes are names that differ, 'real' first and two at least, not {classes}")
    if UNKNOWN in classes or OTHER in classes[:-1] or (pooled and classes[-1] != OTHER):
        raise MaibenchError("attribution: no class can be called 'unknown'; 'other' is the last, where there is one")
    if not isinstance(hidden, int) or hidden < 0:
        raise MaibenchError(f"attribution: hidden is {hidden}; it takes a number of units, 0 for a linear head")
    if strangeness not in get_args(Strangeness):
        raise MaibenchError(f"attribution: strangeness is '{strangeness}'; use {', '.join(get_args(Strangeness))}")
