"""A tiny moondream 2 with random weights, folders of it, tokenizers of known words, and the official vectors."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from maibench.models.loading import load_detector
from maibench.models.moondream.config import MoondreamConfig
from maibench.models.moondream.detector import Moondream
from maibench.models.moondream.model import MoondreamModel
from maibench.models.moondream.tensors import save_folder

OFFICIAL = Path(__file__).parents[2] / "data" / "moondream"
"""The official class's tiny model with its weights in half precision, to be small here."""
IN_FULL = Path(__file__).parents[4] / "shared" / "moondream"
"""The same in float32, where this is a developer's checkout or CI."""
WORDS = ("Is", "this", "image", "AI-generated?", "real?", "a", "photo?", "Yes", "yes", "No", "no", "NO")
SPECIAL = ("<|endoftext|>", "<|1|>", "<|2|>", "<|3|>")


def _settings(vision: dict[str, int], templates: dict[str, Any], **text: int) -> MoondreamConfig:
    shapes = {
        "text": {"dim": 32, "ff_dim": 48, "n_layers": 2, "vocab_size": 64, "max_context": 800, "n_heads": 2} | text,
        "vision": {"enc_dim": 16, "enc_ff_dim": 24, "enc_n_layers": 1, "enc_n_heads": 2, "proj_inner_dim": 24} | vision,
        "tokenizer": {"templates": templates},
    }
    shapes["text"].setdefault("n_kv_heads", shapes["text"]["n_heads"])
    shapes["vision"].setdefault("proj_out_dim", shapes["text"]["dim"])
    return MoondreamConfig.model_validate(shapes)


@pytest.fixture(scope="session")
def tiny() -> Callable[..., MoondreamModel]:
    """tiny(seed=0, vision={}, **text) -> a network of known shapes whose every tensor is random."""

    def make(seed: int = 0, vision: dict[str, int] | None = None, **text: int) -> MoondreamModel:
        templates = {
            "query": {"prefix": [1, 2], "suffix": [3]},
            "caption": {"short": [1, 5, 2, 3], "normal": [1, 6, 2, 3]},
        }
        model = MoondreamModel(_settings(vision or {}, templates, **text))
        generator = torch.Generator().manual_seed(seed)
        for parameter in model.parameters():
            parameter.data.normal_(0, 0.4, generator=generator)
        return model.eval().requires_grad_(False)

    return make


@pytest.fixture(scope="session")
def words() -> Callable[..., Tokenizer]:
    """words(more=(), without=()) -> a tokenizer of whole words, with ids from 4 on in the order of WORDS and `more`."""

    def make(more: tuple[str, ...] = (), without: tuple[str, ...] = ()) -> Tokenizer:
        kept = [word for word in (*WORDS, *more) if word not in without]
        vocabulary = {word: token for token, word in enumerate((*SPECIAL, *kept, "[UNK]"))}
        tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        tokenizer.decoder = decoders.Fuse()
        return tokenizer

    return make


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory, tiny, words) -> Callable[..., Path]:
    """tiny_folder(seed=0, tokenizer=True, **shapes) -> a new folder, laid out as the official repository."""

    def make(seed: int = 0, tokenizer: bool = True, **shapes: Any) -> Path:
        folder = tmp_path_factory.mktemp("moondream")
        save_folder(tiny(seed, **shapes), folder)
        if tokenizer:
            words().save(str(folder / "tokenizer.json"))
        return folder

    return make


@pytest.fixture(scope="session")
def shared_folder(tiny_folder) -> Path:
    """A tiny folder for tests that do not change it."""
    return tiny_folder()


@pytest.fixture(scope="session")
def asked(shared_folder) -> Moondream:
    """The detector of `shared_folder`; not to be changed."""
    detector = load_detector("moondream", weights=shared_folder)
    assert isinstance(detector, Moondream)
    return detector


@pytest.fixture(scope="session")
def pictures(texture) -> list[np.ndarray]:
    """Three images of different sizes, of tilings (1, 1), (4, 2) and (1, 1)."""
    return [texture((90, 60), 1), texture((380, 500), 2), texture((14, 200), 3)]


@pytest.fixture(scope="session")
def official() -> Moondream:
    """The official class's tiny model; not to be changed."""
    detector = load_detector("moondream", weights=IN_FULL if IN_FULL.is_dir() else OFFICIAL)
    assert isinstance(detector, Moondream)
    return detector


@pytest.fixture(scope="session")
def close() -> dict[str, float]:
    """How near `official` comes to `reference`."""
    return {"rtol": 0.0, "atol": 1e-4 if IN_FULL.is_dir() else 2e-3}


@pytest.fixture(scope="session")
def reference() -> dict[str, Any]:
    """What the official code computed: reference.json, with the `pixels` of each image and all `expected` tensors."""
    content = json.loads((OFFICIAL / "reference.json").read_text())
    for image in content["images"]:
        with Image.open(OFFICIAL / image["file"]) as picture:
            image["pixels"] = np.asarray(picture.convert("RGB"))
    return content | {"expected": load_file(OFFICIAL / "expected.safetensors")}
