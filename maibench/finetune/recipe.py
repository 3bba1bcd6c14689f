"""One YAML file = one recipe for training a detector."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from maibench.config import parse_setting, read_yaml
from maibench.errors import MaibenchError

Share = Annotated[float, Field(ge=0, le=1)]


class Augmentation(BaseModel):
    """What is done to a training crop, for both classes alike; probabilities in [0, 1].

    A crop of a pair gets the same treatment on both sides. jpeg: JPEG or WebP of a quality drawn from `quality`;
    pair_jpeg: the same for pairs. resize: by a factor drawn from `scale`, before the crop. colour: saturation, contrast
    and brightness changed by up to a quarter. noise: Gaussian, up to 5 levels. flip and rotate: mirrored, turned by a
    multiple of 90 degrees.
    """

    model_config = ConfigDict(extra="forbid")

    jpeg: Share = 0.9
    pair_jpeg: Share = 0.5
    quality: tuple[Annotated[int, Field(ge=1, le=100)], Annotated[int, Field(ge=1, le=100)]] = (60, 96)
    resize: Share = 0.4
    scale: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (0.5, 1.0)
    colour: Share = 0.0
    noise: Share = 0.0
    flip: bool = True
    rotate: bool = False

    @field_validator("quality", "scale")
    @classmethod
    def _rises(cls, ends: tuple[float, float]) -> tuple[float, float]:
        return _rising(ends)


class Lora(BaseModel):
    """A low-rank adapter (arXiv 2106.09685) in place of training every weight; the defaults are Bi-LoRA's.

    targets: a regular expression over the whole names of the linear layers that get one; by default the attention and
    MLP projections of the decoder.
    """

    model_config = ConfigDict(extra="forbid")

    rank: int = Field(16, ge=1)
    alpha: int = Field(32, ge=1)
    dropout: float = Field(0.05, ge=0, lt=1)
    targets: str = r"text\.model\.layers\.\d+\.(self_attn\.(q_proj|k_proj|v_proj|dense)|mlp\.(fc1|fc2))"


class Head(BaseModel):
    """A head on bailu's frozen trunk that says which generator made an image, in place of training the network.

    least: training images that a generator needs to be a class of its own; those of all others are one class, "other".
    views: crops of each training image, the first as it is, the others augmented; the trunk reads them once. hidden:
    units between the trunk and the classes, 0 for a linear head. dropout: of the trunk's features. strangeness: how the
    unknown is told ("softmax", "energy", "mahalanobis"; "choose": what does best on generators that are left out in
    turn). kept: the share of validation images of known generators that are not called unknown.
    """

    model_config = ConfigDict(extra="forbid")

    least: int = Field(20, ge=1)
    views: int = Field(8, ge=1)
    hidden: int = Field(0, ge=0)
    dropout: float = Field(0.0, ge=0, lt=1)
    strangeness: Literal["choose", "softmax", "energy", "mahalanobis"] = "choose"
    kept: float = Field(0.95, gt=0, le=1)


class Recipe(BaseModel):
    """How a detector is trained.

    What: detector, options: a name of the registry and its options; lora: train an adapter, the rest is frozen; head:
    train a head on what the frozen network sees, which tells generators apart (detector: attribution); start:
    a safetensors file to begin with, "" for fresh weights (relative to where the command runs); source: where the
    settings come from.

    On what: exclude: generators and collections of photographs (`collections_of`) that are never trained on nor
    validated with; hold_out: those of the training split that are validated on instead; crop: pixels a side, or
    [least, most], drawn anew for every step where the detector takes any size; pad: keep images that are smaller, for
    detectors that fill them up; pairs: the share of a batch that is made of photographs beside their own
    reconstructions; batch_size: images a device and part.

    How: steps or epochs (one epoch sees as many images as there are single ones, or in pairs where there are only
    those); validate_every, patience: in optimiser steps; warmup: too, or the share of all steps where it is below 1;
    patience: stop after so many without a better validation AUC, 0 never; accumulate: parts to a step; averaging: decay
    of the moving average of the weights, which is what is validated and kept, 0 for the last ones; anchor: how much of
    the weights that the training began with is mixed into it; clip: the largest norm of the gradient; precision: of the
    forward pass; checkpointing: compute activations twice to save memory; validation_images: at most so many of each
    data set, drawn once.
    """

    model_config = ConfigDict(extra="forbid")

    detector: str
    options: dict[str, Any] = {}
    lora: Lora | None = None
    head: Head | None = None
    start: str = ""
    source: str = ""
    optimiser: Literal["adamw", "rmsprop"] = "adamw"
    lr: float = Field(gt=0)
    weight_decay: float = Field(0.0, ge=0)
    steps: int | None = Field(None, ge=1)
    epochs: float | None = Field(None, gt=0)
    warmup: float = Field(0.05, ge=0)
    batch_size: int = Field(32, ge=2)
    accumulate: int = Field(1, ge=1)
    clip: float = Field(1.0, gt=0)
    precision: Literal["bf16", "float32"] = "bf16"
    checkpointing: bool = False
    averaging: float = Field(0.998, ge=0, lt=1)
    anchor: float = Field(0.0, ge=0, lt=1)
    crop: Annotated[int, Field(ge=32)] | tuple[Annotated[int, Field(ge=32)], int]
    pad: bool = False
    pairs: Share = 0.0
    exclude: list[str] = []
    hold_out: list[str] = []
    augmentation: Augmentation = Augmentation()
    validate_every: int = Field(500, ge=1)
    validation_images: int = Field(1000, ge=2)
    patience: int = Field(0, ge=0)
    tensorboard: bool = False
    seed: int = Field(0, ge=0)

    @field_validator("crop")
    @classmethod
    def _rises(cls, crop: int | tuple[int, int]) -> int | tuple[int, int]:
        return _rising(crop) if isinstance(crop, tuple) else crop

    @model_validator(mode="after")
    def _has_a_length(self) -> Recipe:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("give either steps or epochs")
        return self

    @property
    def smallest_image(self) -> int:
        """The least pixels a side that a training image needs."""
        return 1 if self.pad else self.crop if isinstance(self.crop, int) else self.crop[0]

    def draw_crop(self, rng: np.random.Generator) -> int:
        """Pixels a side of one step's crops."""
        return self.crop if isinstance(self.crop, int) else int(rng.integers(self.crop[0], self.crop[1] + 1))

    def count_steps(self, images: int, processes: int) -> int:
        """Optimiser steps of the whole training, with so many single images."""
        if self.steps is not None:
            return self.steps
        assert self.epochs is not None
        return max(1, math.ceil(self.epochs * images / (self.batch_size * self.accumulate * processes)))

    def warmup_steps(self, steps: int) -> int:
        """How many of `steps` warm up."""
        return round(self.warmup * steps) if self.warmup < 1 else round(self.warmup)


def _rising(ends: Any) -> Any:
    if ends[0] > ends[1]:
        raise ValueError(f"[least, most], got [{ends[0]}, {ends[1]}]")
    return ends


def read_recipe(file: Path, settings: Sequence[str] = ()) -> Recipe:
    """Read a recipe; settings: "key=value" or "group.key=value", which win over the file.

    Raises MaibenchError with the key that is unknown or wrong.
    """
    return make_recipe(read_yaml(file), dict(parse_setting(setting) for setting in settings), str(file))


def make_recipe(values: dict[str, Any], changes: dict[str, Any], where: str) -> Recipe:
    """A recipe of a file's values with changes, whose keys may have dots. `steps` replaces `epochs` and the other way
    round. Raises MaibenchError with the key that is unknown or wrong."""
    values = dict(values)
    for key, other in (("steps", "epochs"), ("epochs", "steps")):
        if key in changes and other not in changes:
            values.pop(other, None)
    for key, value in changes.items():
        *groups, last = key.split(".")
        place = values
        for group in groups:
            if not isinstance(place.get(group) or {}, dict):
                raise MaibenchError(f"{where}: unknown key '{key}'; '{group}' has no keys of its own")
            place[group] = dict(place.get(group) or {})
            place = place[group]
        place[last] = value
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        problems = error.errors()
        # of the forms that crop may have, the one that was meant is the one that was understood furthest
        first = max((p for p in problems if p["loc"][:1] == problems[0]["loc"][:1]), key=lambda p: len(p["loc"]))
        key = re.sub(r"\.(constrained-int|tuple\[[^]]*\])", "", ".".join(str(part) for part in first["loc"]))
        said = first["msg"].removeprefix("Value error, ")
        message = f"{where}: {key}: {said}" if key else f"{where}: {said}"
        if first["type"] == "extra_forbidden":
            parts: dict[str, type[BaseModel]] = {"augmentation": Augmentation, "lora": Lora, "head": Head}
            known = list(parts.get(key.rpartition(".")[0], Recipe).model_fields)
            near = difflib.get_close_matches(key.rpartition(".")[2], known, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"known keys: {', '.join(known)}"
            message = f"{where}: unknown key '{key}'; {hint}"
        raise MaibenchError(message) from error
