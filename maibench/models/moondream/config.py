"""The facts of a moondream 2 checkpoint: where it lies, its shapes, its prompt template, its answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from maibench.errors import MaibenchError

OFFICIAL = "vikhyatk/moondream2@2025-06-21"
"""The full model's repository and revision. Revisions before 2025-05-31 use other templates and tokens."""

TOKENIZER = "moondream/starmie-v1"
"""The official tokenizer's repository, asked where a checkpoint has no tokenizer.json of its own."""

QUESTION = "Is this image AI-generated?"


def spellings(word: str) -> tuple[str, ...]:
    """How a tokenizer may write an answer; every spelling that is a single token counts."""
    cases = dict.fromkeys((word, word.capitalize(), word.lower(), word.upper()))
    return (*cases, *(f" {case}" for case in cases))


YES, NO = spellings("Yes"), spellings("No")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TextConfig(_Part):
    """The decoder: parallel blocks x + attention(ln x) + mlp(ln x); the first `prefix_attn` positions see each other
    both ways."""

    dim: int = 2048
    ff_dim: int = 8192
    n_layers: int = 24
    vocab_size: int = 51200
    max_context: int = 2048
    n_heads: int = 32
    n_kv_heads: int = 32
    prefix_attn: int = 730
    group_size: int | None = None

    @model_validator(mode="after")
    def _fits(self) -> TextConfig:
        if self.group_size is not None:
            raise ValueError("group_size: quantised weights are not supported; take the plain revision")
        if self.dim % (4 * self.n_heads) or self.n_heads % self.n_kv_heads:
            raise ValueError(f"dim {self.dim}, n_heads {self.n_heads} and n_kv_heads {self.n_kv_heads} do not fit")
        return self


class VisionConfig(_Part):
    """The encoder of 378 x 378 crops and the projector; margins in patches, max_crops without the global one."""

    enc_dim: int = 1152
    enc_patch_size: int = 14
    enc_n_layers: int = 27
    enc_ff_dim: int = 4304
    enc_n_heads: int = 16
    proj_out_dim: int = 2048
    crop_size: int = 378
    in_channels: int = 3
    max_crops: int = 12
    overlap_margin: int = 4
    proj_inner_dim: int = 8192

    @model_validator(mode="after")
    def _fits(self) -> VisionConfig:
        if self.crop_size % self.enc_patch_size or self.enc_dim % self.enc_n_heads or self.in_channels != 3:
            raise ValueError("crop_size and enc_patch_size, or enc_dim and enc_n_heads, or in_channels do not fit")
        if self.grid <= 2 * self.overlap_margin:
            raise ValueError(f"overlap_margin {self.overlap_margin} leaves nothing of a crop of {self.grid} patches")
        return self

    @property
    def grid(self) -> int:
        """Patches a side of a crop."""
        return self.crop_size // self.enc_patch_size

    @property
    def tokens(self) -> int:
        """Image tokens that the decoder sees."""
        return self.grid**2


class TokenizerConfig(_Part):
    """Special token ids and prompt templates. A question is asked as templates["query"]: prefix + question + suffix."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    bos_id: int = 0
    eos_id: int = 0
    templates: dict[str, dict[str, list[int]] | None] = {
        "query": {"prefix": [1, 15381, 2], "suffix": [3]},
        "caption": {"short": [1, 32708, 2, 12492, 3], "normal": [1, 32708, 2, 6382, 3], "long": [1, 32708, 2, 4059, 3]},
    }


class MoondreamConfig(_Part):
    """The `config` entry of a checkpoint's config.json, over the official defaults; `region` is not used here."""

    text: TextConfig = TextConfig()
    vision: VisionConfig = VisionConfig()
    region: dict[str, Any] = {}
    tokenizer: TokenizerConfig = TokenizerConfig()

    @model_validator(mode="after")
    def _fits(self) -> MoondreamConfig:
        if self.vision.proj_out_dim != self.text.dim:
            raise ValueError(f"vision.proj_out_dim {self.vision.proj_out_dim} is not text.dim {self.text.dim}")
        if self.text.prefix_attn != 1 + self.vision.tokens:
            raise ValueError(f"text.prefix_attn {self.text.prefix_attn} is not 1 + {self.vision.tokens} image tokens")
        return self

    def query_template(
        self, prefix: Sequence[int] | None = None, suffix: Sequence[int] | None = None
    ) -> tuple[list[int], list[int]]:
        """The ids before and after a question, each replaced where it is given. Raises MaibenchError where the
        checkpoint has no template for questions."""
        own = self.tokenizer.templates.get("query") or {}
        before, after = own.get("prefix") if prefix is None else prefix, own.get("suffix") if suffix is None else suffix
        if before is None or after is None:
            raise MaibenchError(
                "the checkpoint has no template for questions (tokenizer.templates.query in config.json)"
            )
        return list(before), list(after)


def read_config(file: Path) -> MoondreamConfig:
    """The configuration that a checkpoint's config.json holds.

    Raises MaibenchError when there is none, or when it describes another architecture or revision.
    """
    try:
        content = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise MaibenchError(
            f"{file}: cannot be read; a moondream folder has one beside its weights ({error})"
        ) from error
    kind = content.get("model_type", "moondream1") if isinstance(content, dict) else "?"
    if kind != "moondream1":
        raise MaibenchError(f"{file}: model_type '{kind}' is not moondream 2's ('moondream1')")
    try:
        return MoondreamConfig.model_validate(content.get("config", {}))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(["config", *map(str, first["loc"])])
        raise MaibenchError(f"{file}: {key}: {first['msg']}; is this a revision of moondream 2?") from error
