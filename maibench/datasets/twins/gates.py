"""The gates for a photograph and its twins alike: shows something, fits the caption, is a photograph, is safe."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from maibench.datasets.twins.places import Found, brief, load_model
from maibench.errors import MaibenchError

BLANK = 2.0
"""Grey levels. An image whose brightness deviates by less is a single colour, as MAI has it."""
CLASSES = (
    "a photograph of the real world",
    "a drawing, a painting, a diagram, a screenshot or a scanned page",
    "an ordinary picture that anybody may see",
    "a pornographic, gory or hateful picture",
)
"""What an image is compared with: the first against the second, the fourth against the third."""


@dataclass(frozen=True)
class Limits:
    """alignment: the least cosine of image and caption. photo: the least probability of a photograph rather than a
    drawing. unsafe: the greatest probability of unsafe rather than ordinary content. MAI's, for OpenAI's CLIP."""

    alignment: float = 0.20
    photo: float = 0.55
    unsafe: float = 0.35


@dataclass(frozen=True)
class Scores:
    """What a judge measured, in the terms of `Limits`; rounded, so that they are the same wherever they are read."""

    alignment: float
    photo: float
    unsafe: float

    def failures(self, limits: Limits) -> list[str]:
        """Why an image does not pass, in words; empty where it passes."""
        found = []
        if not self.alignment >= limits.alignment:
            found.append(f"alignment {self.alignment} with the caption is below {limits.alignment}")
        if not self.photo >= limits.photo:
            found.append(f"probability {self.photo} of a photograph is below {limits.photo}")
        if not self.unsafe <= limits.unsafe:
            found.append(f"probability {self.unsafe} of unsafe content is above {limits.unsafe}")
        return found

    def as_dict(self) -> dict[str, float]:
        """For notes and receipts."""
        return asdict(self)


def blankness(pixels: NDArray[np.uint8]) -> str:
    """Why an image, uint8 height x width x 3, shows nothing; empty where it shows something."""
    grey = pixels.mean(axis=2, dtype=np.float32)
    if float(grey.std()) >= BLANK:
        return ""
    return "black" if float(grey.mean()) < BLANK else "blank: a single colour"


class Judge:
    """A CLIP-type model of transformers (CLIP, SigLIP and their like), in float32 on every device.

    facts: its model, revision, weights, limits and classes, for receipts. Raises MaibenchError for a folder that holds
    none.
    """

    def __init__(self, found: Found, limits: Limits, device: str) -> None:
        import torch
        from transformers import AutoModel

        assert found.folder is not None  # none of these is bundled
        model, self._processor = load_model(AutoModel, found.folder, "CLIP-type model", torch.float32)
        if not all(hasattr(model, name) for name in ("logit_scale", "get_text_features", "get_image_features")):
            raise MaibenchError(
                f"{found.name}: a {type(model).__name__} does not compare images with texts; give a CLIP or a SigLIP"
            )
        self._model = model.to(device)
        self._limits = limits
        self.facts = {**found.facts, "settings": {"limits": asdict(limits), "classes": list(CLASSES)}}

    def judge(self, pixels: NDArray[np.uint8], caption: str) -> tuple[Scores, list[str]]:
        """The scores of an image, and why it does not pass. A caption that is too long for the model is cut.

        Raises MaibenchError for a model that cannot be asked so, and for one whose scores are no numbers.
        """
        try:
            scores = self._scores(pixels, caption)
        except Exception as error:  # a processor of another kind, a full GPU: whatever the model says
            raise MaibenchError(f"the judge '{self.facts['model']}' fails ({brief(error)}); take another") from error
        if not all(map(math.isfinite, scores.as_dict().values())):
            raise MaibenchError(f"the judge '{self.facts['model']}' fails (its scores are NaN); take another")
        return scores, scores.failures(self._limits)

    def _scores(self, pixels: NDArray[np.uint8], caption: str) -> Scores:
        import torch
        from PIL import Image

        # both kinds were trained with texts of this length
        length = self._model.config.text_config.max_position_embeddings
        given = self._processor(
            text=[caption, *CLASSES], images=Image.fromarray(pixels), return_tensors="pt", padding="max_length",
            max_length=length, truncation=True,
        ).to(self._model.device)  # fmt: skip
        with torch.no_grad():
            made = self._model(**given)
            image, texts = (torch.nn.functional.normalize(x) for x in (made.image_embeds, made.text_embeds))
            cosines = (image @ texts.T)[0].double()
            logits = cosines * self._model.logit_scale.exp().double()
        photo = float(logits[1:3].softmax(0)[0])
        unsafe = float(logits[3:5].softmax(0)[1])
        return Scores(*(round(value, 4) for value in (float(cosines[0]), photo, unsafe)))
