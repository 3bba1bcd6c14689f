"""Bi-LoRA: a captioning model that writes "fake" or "real"."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from maibench.errors import DetectorError, MaibenchError
from maibench.models.card import Card, Reported
from maibench.models.hub_models.adapter import FILES as ADAPTER_FILES
from maibench.models.hub_models.answers import answer_loss, find_tokens, log_odds
from maibench.models.hub_models.loading import load_processor
from maibench.models.hub_models.network import HubNetwork
from maibench.models.hub_models.policy import policy_facts, process

OFFICIAL = "Salesforce/blip2-opt-2.7b"
Words = str | Sequence[str] | Sequence[int]
IMAGES_AT_ONCE = {"cpu": 4, "cuda": 32}
"""Images that go through the network together."""


class BiLora(HubNetwork):
    """Keita et al. 2024 (arXiv 2404.01959; ICASSP 2024: arXiv 2404.02726): BLIP-2 with OPT-2.7B and a LoRA adapter
    (rank 16, alpha 32, on queries and keys of the language model) that captions an image "fake" or "real". Written
    after github.com/Mamadou-Keita/VLM-DETECT at 424d484: nothing is asked; what follows the image and the token that
    begins a text is read.

    The score's logit is logsumexp(logits of the tokens for fake) - logsumexp(logits of those for real) at that place;
    the official code generates a word, and an image that gets another word has no score.

    weights: a folder with BLIP-2 and a decoder, or OWNER/NAME[@REVISION] of the Hub. adapter: a folder in PEFT's format
    (None: BLIP-2 as it is, which knows nothing of the matter). fake, real: the captions, each a word, or a list of
    words or token ids; every spelling that is a single token counts. min_mass: a caption with less probability on both
    together is `unsure`. dtype: float32, bfloat16, float16; auto: bfloat16 on a GPU, float32 elsewhere (the official
    code: eight bits).
    """

    loads: ClassVar[tuple[str, ...]] = ("weights", "adapter", "device")
    concurrent: ClassVar[bool] = True
    card = Card(
        name="bilora",
        summary='BLIP-2 with a LoRA adapter that captions an image "fake" or "real"',
        licence="Apache-2.0 (this code); MIT (BLIP-2; OPT within it has its own, for research); official code and "
        "adapters: none stated",
        reference="arXiv 2404.01959; https://github.com/Mamadou-Keita/VLM-DETECT",
        parameters=3_744_679_936,
        input_size=224,
        input_policy="resized to 224 x 224 (bicubic, aspect ratio not kept)",
        reported=Reported(
            accuracy=0.9341,
            on="the authors' mean over generation models that were not trained on",
            source="abstract of arXiv 2404.01959",
        ),
        notes=(
            f"Base: {OFFICIAL}. Official adapters: SaveFineTune/ and weights/*FineTune/ of the repository, "
            "adapter_model.bin (a pickle: to be stored as adapter_model.safetensors first), sha256 not known here. "
            "Neither base nor adapters were at hand: their loading and their answers are not verified, but the sizes "
            "(5,242,880 numbers of the adapter) are those of the published configuration"
        ),
    )

    def __init__(
        self,
        *,
        weights: str | Path | None = None,
        adapter: str | Path | None = None,
        fake: Words = "fake",
        real: Words = "real",
        min_mass: float = 0.5,
        dtype: str = "auto",
        device: str = "cpu",
    ) -> None:
        super().__init__()
        if isinstance(min_mass, bool) or not isinstance(min_mass, (int, float)) or not 0 <= min_mass <= 1:
            raise MaibenchError(f"bilora.min_mass is a share of probability, from 0 to 1; got {min_mass!r}")
        self.min_mass = float(min_mass)
        self.network = None
        if weights is None:
            return
        from transformers import Blip2ForConditionalGeneration

        if adapter is not None:
            _check_pickle(Path(adapter))
        own = self.card
        self._load(Blip2ForConditionalGeneration, weights, adapter, dtype, device, None)
        if not self.network.config.use_decoder_only_language_model:
            raise DetectorError(
                f"{self.files.name}: an encoder with a decoder (FlanT5); take BLIP-2 with OPT, {OFFICIAL}"
            )
        processor = load_processor(self.files)
        self.image_processor = processor.image_processor
        self.answers = {
            word: find_tokens(processor.tokenizer, given, word) for word, given in (("fake", fake), ("real", real))
        }
        self.answer_ids = tuple(tuple(found.values()) for found in self.answers.values())
        if shared := set(self.answer_ids[0]) & set(self.answer_ids[1]):
            raise MaibenchError(f"bilora: fake and real share the token {min(shared)}; they are two captions")
        self.settings = self.image_processor.to_json_string()  # is part of the fingerprint
        self.card = self.card.updated(
            licence=own.licence, reference=own.reference, **policy_facts(self.image_processor, self.preprocess)
        )

    def preprocess(self, image: NDArray[np.uint8]) -> Tensor:
        """uint8 height x width x 3 -> (3, 224, 224), by BLIP-2's own processor. Raises ImageError where it refuses."""
        pixels: Tensor = process(self.image_processor, image)["pixel_values"][0]
        return pixels.to(self.dtype)

    def forward(self, batch: Tensor) -> Tensor:
        """(n, 3, 224, 224) -> (n,) log-odds of fake against real."""
        return self.answer(batch)[0]

    def answer(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """(n,) log-odds, and which of them are unsure: less than `min_mass` on fake and real together."""
        logits, mass = log_odds(self._next_token(batch), *self.answer_ids)
        return logits, mass < self.min_mass

    def loss(self, batch: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy of the caption against the whole vocabulary."""
        return answer_loss(self._next_token(batch), labels, *self.answer_ids)

    def add_adapter(self, rank: int, alpha: int, dropout: float, targets: str) -> None:
        """Put a fresh LoRA adapter on the network, as `HubNetwork` does. Raises MaibenchError where there is none."""
        self.check_ready()
        super().add_adapter(rank, alpha, dropout, targets)

    def check_ready(self) -> None:
        """Raises MaibenchError where no base was named."""
        if self.network is None:
            raise MaibenchError(
                f"bilora has no bundled weights: --set bilora.weights={OFFICIAL} fetches its base (15 GB, once), or "
                "name a folder that holds it; --set bilora.adapter=FOLDER names an adapter "
                "(configs/finetune/bilora.yaml trains one)"
            )

    def parameter_count(self) -> int:
        """Of BLIP-2, without the adapter."""
        return super().parameter_count() if self.network is not None else self.card.parameters or 0

    def facts(self) -> dict[str, str]:
        """What `maibench show` adds to the card: the tokens that count."""
        if self.network is None:
            return {}
        listed = {
            word: ", ".join(f"{spelling!r} ({token})" for spelling, token in found.items())
            for word, found in self.answers.items()
        }
        return {**listed, "min_mass": str(self.min_mass), "dtype": str(self.dtype)[6:]}

    def _next_token(self, batch: Tensor) -> Tensor:
        """(n, vocabulary) float32 logits of what follows the image and the token that begins a text."""
        self.check_ready()
        size = len(batch) if torch.is_grad_enabled() else IMAGES_AT_ONCE.get(batch.device.type, 4)
        return torch.cat([self._caption(part) for part in batch.split(max(1, size))])

    def _caption(self, pixels: Tensor) -> Tensor:
        network = self.network
        image = network.get_image_features(pixel_values=pixels).pooler_output
        begin = torch.full((len(pixels), 1), network.config.text_config.bos_token_id, device=pixels.device)
        text = network.get_input_embeddings()(begin)
        inputs = torch.cat([image.to(text.dtype), text], dim=1)
        mask = torch.ones(inputs.shape[:2], dtype=torch.long, device=pixels.device)
        output: Any = network.language_model(inputs_embeds=inputs, attention_mask=mask, use_cache=False)
        return output.logits[:, -1].float()


def _check_pickle(folder: Path) -> None:
    """Raises DetectorError for an adapter in the form that the authors published."""
    if (folder / "adapter_model.bin").is_file() and not (folder / ADAPTER_FILES[0]).is_file():
        command = (
            "import torch, safetensors.torch as s; s.save_file(torch.load('adapter_model.bin', weights_only=True, "
            "map_location='cpu'), 'adapter_model.safetensors')"
        )
        raise DetectorError(
            f'{folder}: adapter_model.bin is a pickle; store its tensors once, in that folder: python -c "{command}"'
        )
