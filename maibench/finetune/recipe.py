"""One YAML file = one recipe for training a detector."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from maibench.errors import MaibenchError


class Augmentation(BaseModel):
    """What is done to a training crop, for both classes alike; probabilities in [0, 1].

    A crop of a pair gets the same treatment on both sides. jpeg: JPEG or WebP of a quality drawn from `quality`;
    pair_jpeg: the same for pairs. resize: by a factor drawn from `scale`, before the crop. noise: Gaussian, up to 5
    levels. flip and rotate: mirrored, turned by a multiple of 90 degrees.
    """

    model_config = ConfigDict(extra="forbid")

    jpeg: float = Field(default=0.9, ge=0, le=1)
    pair_jpeg: float = Field(default=0.5, ge=0, le=1)
    quality: tuple[int, int] = (60, 96)
    resize: float = Field(default=0.4, ge=0, le=1)
    scale: tuple[float, float] = (0.5, 1.0)
    noise: float = Field(default=0.0, ge=0, le=1)
    flip: bool = True
    rotate: bool = False


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


class Recipe(BaseModel):
    """How a detector is trained.

    detector, options: a name of the registry and its options. lora: train an adapter, the rest is frozen. crop: pixels
    a side, or [least, most], drawn anew for every step, where the detector takes any size. pairs: the share of a batch
    that is made of photographs beside their own reconstructions. start: a safetensors file to begin with, "" for fresh
    weights; relative paths are relative to where the command runs. exclude: generators that are never trained on.
    """

    model_config = ConfigDict(extra="forbid")

    detector: str
    options: dict[str, Any] = {}
    lora: Lora | None = None
    start: str = ""
    source: str = ""
    optimiser: Literal["adamw", "rmsprop"] = "adamw"
    lr: float = Field(gt=0)
    weight_decay: float = Field(0.0, ge=0)
    steps: int = Field(ge=1)
    warmup: int = Field(100, ge=0)
    batch_size: int = Field(32, ge=2)
    crop: Annotated[int, Field(ge=32)] | tuple[Annotated[int, Field(ge=32)], int]
    pairs: float = Field(default=0.0, ge=0, le=1)
    averaging: float = Field(0.998, ge=0, lt=1)
    validate_every: int = Field(500, ge=1)
    seed: int = 0
    exclude: list[str] = []
    augmentation: Augmentation = Augmentation()

    @field_validator("crop")
    @classmethod
    def _rises(cls, crop: int | tuple[int, int]) -> int | tuple[int, int]:
        if isinstance(crop, tuple) and crop[0] > crop[1]:
            raise ValueError(f"[least, most], got [{crop[0]}, {crop[1]}]")
        return crop

    @property
    def smallest_crop(self) -> int:
        """The least pixels a side that a training image needs."""
        return self.crop if isinstance(self.crop, int) else self.crop[0]

    def draw_crop(self, rng: np.random.Generator) -> int:
        """Pixels a side of one step's crops."""
        return self.crop if isinstance(self.crop, int) else int(rng.integers(self.crop[0], self.crop[1] + 1))


def read_recipe(file: Path) -> Recipe:
    """Read a recipe. Raises MaibenchError with the key that is unknown or wrong."""
    import yaml

    try:
        return Recipe.model_validate(yaml.safe_load(file.read_text()))
    except (OSError, yaml.YAMLError) as error:
        raise MaibenchError(f"{file}: cannot be read as YAML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise MaibenchError(f"{file}: {key}: {first['msg']}; known keys: {', '.join(Recipe.model_fields)}") from error
