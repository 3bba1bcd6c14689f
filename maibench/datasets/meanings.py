"""What the words and numbers of other people's data sets mean here: a label, a split, a class."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

_PLAIN = {"real", "reals", "authentic", "genuine"}
REAL = _PLAIN | {"human", "humans", "nature", "natural", "original", "originals", "camera", "pristine"}
SYNTHETIC = {"fake", "fakes", "ai", "aigc", "synthetic", "synthesized", "synthesised", "generated", "artificial",
             "deepfake", "deepfakes", "aigenerated"}  # fmt: skip
_PHOTO = {"photo", "photos", "photograph", "photographs", "photography"}
"""Mean real unless another word says otherwise: a "generated photo"."""
_NEUTRAL = {"image", "images", "img", "imgs", "picture", "pictures", "pics", "art", "arts", "data", "face", "faces",
            "is", "by", "class", "label", "made", "created", "content", "sample", "samples", "only", "set", "train",
            "training", "val", "validation", "test", "testing"}  # fmt: skip
_NOT = {"not", "non", "no"}
_TOKENS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid", "dev", "eval", "evaluation"),
}


def label_meant(word: str) -> int | None:
    """0 where a word means real, 1 where it means synthetic, None where it says neither or both.

    "0_real", "AI-generated", "FakeArt", "not_ai", "photo" say it; "sdxl", "1" and "real_vs_fake" do not.
    """
    tokens = _words(word)
    said = {token for token in tokens if not token.isdecimal()} - _NEUTRAL - _NOT
    if said <= _PHOTO and said:
        label = 0
    elif said - _PHOTO <= SYNTHETIC and said:
        label = 1
    elif said - _PHOTO <= REAL and said:
        label = 0
    else:
        return None
    return 1 - label if tokens & _NOT else label


def says_plainly(word: str) -> bool:
    """Whether a name can mean nothing but a class: "real" and "fake_images" do; "nature", "human" and "photos" may also
    say what is on the images."""
    return label_meant(word) is not None and bool(_words(word) & (_PLAIN | SYNTHETIC))


def split_meant(word: str) -> str:
    """The split that a word names: "train", "validation", or else "test"."""
    tokens = _words(word)
    return next((split for split, names in _SPLITS.items() if tokens & set(names)), "test")


def _words(name: str) -> set[str]:
    return {token.lower() for token in _TOKENS.findall(name)}


def class_names(metadata: Mapping[bytes, bytes] | None) -> dict[str, list[str]]:
    """{column: the names of its numbers} of a Parquet schema's metadata, as Hugging Face datasets writes it."""
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
    except (LookupError, ValueError, TypeError):
        return {}
    return {name: list(of["names"]) for name, of in features.items() if isinstance(of, dict) and "names" in of}
