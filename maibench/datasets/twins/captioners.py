"""Captioners: moondream, or any image-to-text model of transformers; always the likeliest words (temperature 0)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from maibench.datasets.twins.places import Found, Place, brief, dtype_for, found_at, load_model, parse_place
from maibench.errors import MaibenchError

NANO = "moondream-nano"
"""The small one that is bundled, to try things out with: it knows the pictures that it was trained on."""
QUESTION = "Describe this image in one sentence."
TOKENS = 64


class Captioner(Protocol):
    """facts: its model, revision, weights and settings, for receipts."""

    facts: dict[str, Any]

    def caption(self, pixels: NDArray[np.uint8]) -> str:
        """What it says of an image, uint8 height x width x 3, as it says it."""
        ...


@dataclass(frozen=True)
class CaptionerSpec:
    """What `--captioner` names. name: for messages. kind: "nano", "moondream" or "transformers"."""

    name: str
    kind: str
    place: Place | None


def choose_captioner(text: str) -> CaptionerSpec:
    """`moondream` (the full model of the Hub), `moondream:FOLDER_OR_REPOSITORY`, `moondream-nano` (bundled), or a
    folder or OWNER/NAME[@REVISION] of an image-to-text model of transformers. Nothing is fetched yet.

    Raises MaibenchError for anything else.
    """
    kind, colon, where = text.partition(":")
    if text == NANO:
        return CaptionerSpec(text, "nano", None)
    if kind == "moondream":
        from maibench.models.moondream.config import OFFICIAL

        place = parse_place(where if colon else OFFICIAL, "moondream")
        return CaptionerSpec(str(place), "moondream", place)
    try:
        place = parse_place(text, "captioner")
    except MaibenchError as error:
        raise MaibenchError(f"{error}; moondream; or {NANO}, the small one that is bundled") from error
    return CaptionerSpec(str(place), "transformers", place)


def find_captioner(spec: CaptionerSpec) -> Found:
    """Its weights, fetched where they are not cached. Raises MaibenchError where they cannot be had."""
    from maibench.models.moondream.checkpoint import bundled, find_checkpoint

    if spec.place is None:
        return Found(spec.name, None, bundled().sha256[:16])
    if spec.kind == "transformers":
        return found_at(spec.place)
    checkpoint = find_checkpoint(_weights(spec.place))
    return Found(spec.name, checkpoint.tensors[0].parent, checkpoint.sha256[:16])


def load_captioner(spec: CaptionerSpec, found: Found, device: str) -> Captioner:
    """The captioner on its device. Raises MaibenchError for what cannot be loaded as one."""
    if spec.kind == "transformers":
        return TransformersCaptioner(found, device)
    return MoondreamCaptioner(spec, found, device)


def _weights(place: Place) -> str:
    """As moondream's loader takes it: of a repository it fetches the tokenizer, too."""
    return str(place.folder) if place.is_folder else str(place)


class MoondreamCaptioner:
    """moondream 2, with its own short caption."""

    def __init__(self, spec: CaptionerSpec, found: Found, device: str) -> None:
        from maibench.models.loading import load_detector

        weights = None if spec.place is None else _weights(spec.place)
        self._model: Any = load_detector("moondream", device=device, weights=weights, adapter="none")
        self.facts = {**found.facts, "settings": {"length": "short", "max_tokens": TOKENS, "temperature": 0}}

    def caption(self, pixels: NDArray[np.uint8]) -> str:
        """A short caption."""
        return self._model.caption([pixels], "short", TOKENS)[0]


class TransformersCaptioner:
    """An AutoModelForImageTextToText: BLIP, GIT, LLaVA and their like."""

    def __init__(self, found: Found, device: str) -> None:
        from transformers import AutoModelForImageTextToText

        assert found.folder is not None  # none of these is bundled
        model, self._processor = load_model(AutoModelForImageTextToText, found.folder, "captioner", dtype_for(device))
        self._model = model.to(device)
        self._asks = bool(getattr(self._processor, "chat_template", None))
        settings = {"max_new_tokens": TOKENS, "temperature": 0, **({"question": QUESTION} if self._asks else {})}
        self.facts = {**found.facts, "settings": settings}

    def caption(self, pixels: NDArray[np.uint8]) -> str:
        """Its caption, or where it is a model to talk with, its answer to `QUESTION`.

        Raises MaibenchError for a model that cannot be asked so.
        """
        import torch
        from PIL import Image

        try:
            with torch.no_grad():
                given = self._inputs(Image.fromarray(pixels)).to(self._model.device, self._model.dtype)
                words = self._model.generate(**given, max_new_tokens=TOKENS, do_sample=False, num_beams=1)[0]
        except Exception as error:  # a processor that wants more than an image, a full GPU: whatever the model says
            raise MaibenchError(
                f"the captioner '{self.facts['model']}' fails ({brief(error)}); take another"
            ) from error
        asked = given["input_ids"][0] if "input_ids" in given else words[:0]
        if len(asked) <= len(words) and torch.equal(words[: len(asked)], asked):  # a decoder repeats what it was given
            words = words[len(asked) :]
        return self._processor.decode(words, skip_special_tokens=True).strip()

    def _inputs(self, image: Any) -> Any:
        if not self._asks:
            return self._processor(images=image, return_tensors="pt")
        content = [{"type": "image", "image": image}, {"type": "text", "text": QUESTION}]
        return self._processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=True, return_dict=True,
            return_tensors="pt",
        )  # fmt: skip
