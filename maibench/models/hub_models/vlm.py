"""hf-vlm:OWNER/NAME: any image-text-to-text model of the Hub, or of a folder, asked whether an image is generated."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from maibench.errors import DetectorError, ImageError, MaibenchError
from maibench.models.card import Card
from maibench.models.hub_models.answers import answer_loss, find_tokens, log_odds
from maibench.models.hub_models.loading import load_processor
from maibench.models.hub_models.network import HubNetwork
from maibench.models.hub_models.padding import TOKENS, pad_together, positions
from maibench.models.hub_models.policy import policy_facts, process
from maibench.models.hub_models.quiet import brief, quietly
from maibench.models.moondream.config import QUESTION

Words = str | Sequence[str] | Sequence[int]
IMAGES_AT_ONCE = {"cpu": 4, "cuda": 16}
"""Images that go through the network together: keys and values of large batches fill a memory."""


class HubVlm(HubNetwork):
    """A VLM of transformers (`AutoModelForImageTextToText`), asked a question to which yes means synthetic.

    The score's logit is logsumexp(logits of the tokens for yes) - logsumexp(logits of those for no) at the answer
    position, never the parsed text; every spelling of an answer that is a single token counts. After Bi-LoRA (arXiv
    2404.01959).

    model: a folder, or OWNER/NAME[@REVISION], fetched where it is not cached. prompt: what is asked (None: "Is this
    image AI-generated? Answer yes or no.", with the answers' own words). yes, no: the answers, each a word, or a list
    of words or of token ids. template: the whole prompt around {question}, in place of the model's chat template, for
    models that have none. adapter: a PEFT adapter, as finetuning writes it. min_mass: an answer with less probability
    on yes and no together is `unsure`. dtype: float32, bfloat16, float16; auto: bfloat16 on a GPU, float32 elsewhere.

    Raises MaibenchError for a place that there is not and options of a wrong kind; DetectorError for a model that
    cannot be loaded or asked, and for answers that are no single tokens.
    """

    card = Card(
        name="hf-vlm",
        summary="a VLM of transformers that is asked whether the image is AI-generated",
        reference="arXiv 2404.01959 (Bi-LoRA)",
    )

    def __init__(
        self,
        *,
        model: str | Path,
        prompt: str | None = None,
        yes: Words = "yes",
        no: Words = "no",
        template: str | None = None,
        adapter: str | Path | None = None,
        min_mass: float = 0.5,
        dtype: str = "auto",
        weights: str | Path | None = None,
        device: str = "cpu",
    ) -> None:
        super().__init__()
        from transformers import AutoModelForImageTextToText

        question = _question(prompt, yes, no)
        self.min_mass = _share(min_mass)
        self._load(AutoModelForImageTextToText, model, adapter, dtype, device, weights)
        if self.network.config.is_encoder_decoder:
            raise DetectorError(f"{self.files.name}: an encoder with a decoder; only decoders are asked")
        self.processor = load_processor(self.files)
        self.tokenizer = self.processor.tokenizer
        self.answers = self._find_answers(yes, no)
        self.answer_ids = tuple(tuple(found.values()) for found in self.answers.values())
        self.prompt = self._prompt(question, template)
        takes = inspect.signature(self.network.forward).parameters
        self._extras = {"use_cache": False, "logits_to_keep": 1}
        self._extras = {name: value for name, value in self._extras.items() if name in takes}
        # models that place tokens in space as well as in line (Qwen-VL) find their positions themselves
        places_itself = any(hasattr(part, "get_rope_index") for part in self.network.modules())
        self._takes_positions = "position_ids" in takes and not places_itself
        self._try()
        looks = self.processor.image_processor
        self.settings = looks.to_json_string()  # is part of the fingerprint, as is the prompt
        self.card = self.card.updated(
            summary=f"{self.files.title}, a {type(self.network).__name__} that is asked a question",
            notes=f"asked: {question}",
            **policy_facts(looks),
        )

    def preprocess(self, image: NDArray[np.uint8]) -> Any:
        """uint8 height x width x 3 -> tensors by name: what the model's own processor makes of it and of the prompt."""
        # most chat templates write the token that begins a text, which the tokenizer would write again
        begins = self.tokenizer.bos_token
        plain = {"add_special_tokens": False} if begins and self.prompt.startswith(begins) else {}
        inputs = process(self.processor, image, text=[self.prompt], **plain)
        inputs.pop("labels", None)  # PaliGemma's, for training on texts
        # cast here: tiles in half precision take half the memory while they wait
        return {name: value.to(self.dtype) if value.is_floating_point() else value for name, value in inputs.items()}

    def collate(self, items: Sequence[Any]) -> list[dict[str, Tensor]]:
        """Batches of as many images as go through the network together, padded on the left."""
        size = IMAGES_AT_ONCE.get(self.device.type, 4)
        pad = self.tokenizer.pad_token_id or 0  # masked, whatever it is
        return [pad_together(items[start : start + size], pad) for start in range(0, len(items), size)]

    def forward(self, batch: list[dict[str, Tensor]]) -> Tensor:
        """A batch of n images -> (n,) log-odds of yes against no."""
        return self.answer(batch)[0]

    def answer(self, batch: list[dict[str, Tensor]]) -> tuple[Tensor, Tensor]:
        """(n,) log-odds, and which of them are unsure: less than `min_mass` on yes and no together."""
        logits, mass = log_odds(self._next_token(batch), *self.answer_ids)
        return logits, mass < self.min_mass

    def loss(self, batch: list[dict[str, Tensor]], labels: Tensor) -> Tensor:
        """Cross-entropy of the answer, in any of its spellings, against the whole vocabulary."""
        return answer_loss(self._next_token(batch), labels, *self.answer_ids)

    def facts(self) -> dict[str, str]:
        """What `maibench show` adds to the card: the prompt, and the answers that count."""
        listed = {
            word: ", ".join(f"{spelling!r} ({token})" for spelling, token in found.items())
            for word, found in self.answers.items()
        }
        facts = {"prompt": repr(self.prompt), **listed, "min_mass": str(self.min_mass), "dtype": str(self.dtype)[6:]}
        return facts | ({"adapter sha256": self.adapter_sha256.partition(" ")[0]} if self.adapter_sha256 else {})

    def _next_token(self, batch: list[dict[str, Tensor]]) -> Tensor:
        """(n, vocabulary) float32 logits of the token after the prompt."""
        logits = []
        for part in batch:
            extras: dict[str, Any] = dict(self._extras)
            if self._takes_positions and (places := positions(part["attention_mask"])) is not None:
                extras["position_ids"] = places
            logits.append(self.network(**part, **extras).logits[:, -1].float())
        return torch.cat(logits)

    def _find_answers(self, yes: Words, no: Words) -> dict[str, dict[str, int]]:
        try:
            answers = {name: find_tokens(self.tokenizer, words, name) for name, words in (("yes", yes), ("no", no))}
        except DetectorError as error:
            raise DetectorError(f"{self.files.name}: {error}") from error
        if shared := set(answers["yes"].values()) & set(answers["no"].values()):
            raise MaibenchError(f"yes and no share the token {min(shared)}; they are two answers")
        return answers

    def _prompt(self, question: str, template: str | None) -> str:
        """The whole prompt as text, with the place of the image in it."""
        if template is not None:
            if not isinstance(template, str) or "{question}" not in template:
                raise MaibenchError("template: the whole prompt, with {question} where the question stands")
            return template.replace("{question}", question)
        content = [{"type": "image"}, {"type": "text", "text": question}]
        try:
            # models that think aloud first are asked not to; others know no such switch
            with quietly():
                text = self.processor.apply_chat_template(
                    [{"role": "user", "content": content}], add_generation_prompt=True, enable_thinking=False
                )
            if question not in text:
                raise ValueError("the question is not in what it makes")
        except Exception as error:  # whatever a template raises
            raise DetectorError(
                f"{self.files.name}: has no chat template that takes an image and a question ({brief(error)}); write "
                "the prompt as its authors do: --set LABEL.template='... {question} ...'"
            ) from error
        return str(text)

    def _try(self) -> None:
        """Ask the processor once: what is wrong with the prompt is then no matter of single images. Its tokenizer is
        set up by its first call, and threads find it so. Raises DetectorError."""
        try:
            inputs = self.preprocess(np.full((64, 64, 3), 128, np.uint8))
        except ImageError as error:
            raise DetectorError(f"{self.files.name}: the prompt {self.prompt!r} cannot be used: {error}") from error
        if not inputs.keys() >= {TOKENS, "attention_mask"} or len(inputs) < 3:
            raise DetectorError(f"{self.files.name}: its processor gives {sorted(inputs)}, not a text and an image")


def _question(prompt: str | None, yes: Words, no: Words) -> str:
    if prompt is None:
        return f"{QUESTION} Answer {_first(yes) or 'yes'} or {_first(no) or 'no'}."
    if not isinstance(prompt, str) or not prompt.strip():
        raise MaibenchError(f"prompt is a question to which yes means synthetic; got {prompt!r}")
    return prompt


def _first(words: Words) -> str:
    """The first of an answer's words; "" for token ids."""
    first = words[0] if isinstance(words, (list, tuple)) and words else words
    return first.strip() if isinstance(first, str) else ""


def _share(min_mass: float) -> float:
    if isinstance(min_mass, bool) or not isinstance(min_mass, (int, float)) or not 0 <= min_mass <= 1:
        raise MaibenchError(f"min_mass is a share of probability, from 0 to 1; got {min_mass!r}")
    return float(min_mass)
