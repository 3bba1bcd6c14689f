"""moondream 2 as a detector: the question is asked, the score is read off the next token's probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from maibench.errors import ImageError, MaibenchError
from maibench.models.base import Detector
from maibench.models.card import Card
from maibench.models.device import to_device
from maibench.models.moondream.checkpoint import (
    Checkpoint,
    bundled,
    bundled_adapter,
    find_adapter,
    find_checkpoint,
    trained_options,
)
from maibench.models.moondream.config import OFFICIAL, QUESTION
from maibench.models.moondream.prompt import Answers, find_answers, open_tokenizer
from maibench.models.tiles import check_whole
from maibench.models.weights import BUNDLED, sha256

if TYPE_CHECKING:
    from maibench.models.moondream.model import Images

Pixels = NDArray[np.uint8]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Moondream(Detector):
    """The moondream 2 VLM, asked "Is this image AI-generated?".

    The score's logit is logsumexp(logits of the "Yes" tokens) - logsumexp(logits of the "No" tokens) at the answer
    position, never the parsed text. Sources: https://huggingface.co/vikhyatk/moondream2 (architecture), arXiv
    2404.01959 (Bi-LoRA: a VLM finetuned to answer this question), https://github.com/athen-lab/mai (with moondream).

    weights: a folder laid out as the official repository, or OWNER/NAME@REVISION (None: the bundled nano moondream).
    adapter: a folder with a PEFT LoRA adapter, "none", or "bundled" (the default, where the weights are bundled).
    question: a text, or token ids, to which yes has to mean synthetic (None: what the adapter was trained with, else
    "Is this image AI-generated?"). tokenizer: a tokenizer.json elsewhere. prefix, suffix: the ids around the question,
    in place of the checkpoint's template ([1, 15381, 2] and [3]; the released code of mid-2025 ends in [3, 3]). yes,
    no: token ids that count as answers, in place of every single-token spelling. answers: other words than "Yes/No",
    the one for synthetic first; a question to which yes means real is asked with "No/Yes". crops: tiles of a large
    image at most, beside the view of the whole (None: as the checkpoint says, 12; 1: none, but for panoramas).
    min_mass: an answer with less probability on yes and no together is `unsure`. dtype: "auto" is bfloat16 on a GPU,
    float32 elsewhere.

    Raises MaibenchError for weights, adapters and tokenizers that do not fit one another.
    """

    loads: ClassVar[tuple[str, ...]] = ("weights", "adapter", "tokenizer", "device")
    concurrent: ClassVar[bool] = True
    card = Card(
        name="moondream",
        summary="a VLM that is asked whether the image is AI-generated",
        reference="https://github.com/vikhyat/moondream; arXiv 2404.01959 (Bi-LoRA)",
        licence="Apache-2.0",
        input_size=378,
        input_policy="resized to 378 x 378 (Lanczos, aspect ratio not kept) and, above 378 pixels a side, up to 12 "
        "overlapping tiles beside it; smaller than 14 pixels a side: a failed row",
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        notes=f"the full model: --set moondream.weights={OFFICIAL}",
    )

    def __init__(
        self,
        *,
        weights: str | Path | None = None,
        adapter: str | Path | None = None,
        question: str | Sequence[int] | None = None,
        tokenizer: str | Path | None = None,
        prefix: Sequence[int] | None = None,
        suffix: Sequence[int] | None = None,
        yes: Sequence[int] | None = None,
        no: Sequence[int] | None = None,
        answers: str | None = None,
        crops: int | None = None,
        min_mass: float = 0.5,
        dtype: str = "auto",
        device: str = "cpu",
    ) -> None:
        super().__init__()
        from maibench.models.moondream.tensors import load_model

        self.checkpoint = bundled() if weights is None else find_checkpoint(weights)
        self.tokenizer = open_tokenizer(self.checkpoint, tokenizer)
        folder = _adapter_folder(adapter, is_bundled=weights is None)
        given: dict[str, Any] = {
            "question": question,
            "prefix": prefix,
            "suffix": suffix,
            "yes": yes,
            "no": no,
            "answers": answers,
        }
        trained = trained_options(folder) if folder is not None else {}
        if answers is not None or yes is not None:  # either says it all
            trained = {name: value for name, value in trained.items() if name not in ("yes", "no", "answers")}
        asked = {name: trained.get(name) if value is None else value for name, value in given.items()}
        self.question = _question(asked["question"])
        words = _words(asked["answers"])
        self.words = "/".join(words or ("yes", "no"))
        self.answers = self._find_answers(_ids("yes", asked["yes"]), _ids("no", asked["no"]), words)
        self.checkpoint = _with_crops(self.checkpoint, trained.get("crops") if crops is None else crops)
        self.min_mass = _share(min_mass)
        around = _ids("prefix", asked["prefix"]), _ids("suffix", asked["suffix"])
        self.template = self.checkpoint.settings.query_template(*around)
        self.prompt_ids: tuple[int, ...] = ()  # none where a text has no tokenizer
        if not isinstance(self.question, str):
            self.prompt_ids = tuple(self._prompt(list(self.question)))
        elif self.tokenizer is not None:
            self.prompt_ids = tuple(self._prompt(self.encode(self.question)))
        # two spellings may be one token, which counts once
        self.answer_ids = tuple(tuple(dict.fromkeys(d.values())) for d in (self.answers.yes, self.answers.no))
        self.model = load_model(self.checkpoint, _dtype(dtype, device), device)
        self.adapter_sha256 = self._put_on(folder)

    @property
    def row_name(self) -> str:
        """The nano model never passes for the full one."""
        return "moondream-nano" if self.checkpoint.name == "bundled" else ""

    def preprocess(self, image: Pixels) -> Any:
        """uint8 height x width x 3 -> its crops and tiling. Raises ImageError for less than a patch a side."""
        if not isinstance(image, np.ndarray):
            raise ImageError(f"expected a uint8 array, height x width x 3, got a {type(image).__name__}")
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ImageError(f"expected uint8 height x width x 3, got {image.dtype} {list(image.shape)}")
        self._check_size(*image.shape[:2])
        return self.model.crop(image)

    def differentiable(self, pixels: Tensor) -> Any:
        """`preprocess` for float (3, height, width) pixels in [0, 255], with gradients: the crops are exactly those of
        the rounded pixels, the gradients those of a Lanczos resizing that does not round."""
        self._check_size(*pixels.shape[1:])
        return self.model.crop_tensor(pixels)

    def collate(self, items: Sequence[Any]) -> Images:
        """Crops of all images in one batch, whatever their tilings."""
        return self.model.stack(items)

    def forward(self, batch: Images) -> Tensor:
        """A batch of n images -> (n,) log-odds of yes against no."""
        return self.answer(batch)[0]

    def answer(self, batch: Images) -> tuple[Tensor, Tensor]:
        """(n,) log-odds, and which of them are unsure: less than `min_mass` on yes and no together."""
        self.check_ready()
        return self._read(self._next_token(batch, self.prompt_ids))

    def check_ready(self) -> None:
        """Raises MaibenchError where the question or the answers are not known in token ids."""
        if not self.prompt_ids or not self.answers.yes or not self.answers.no:
            raise self._no_tokenizer()
        self._check_ids(self.prompt_ids)

    def facts(self) -> dict[str, str]:
        """What `maibench show` adds to the card: the question, the prompt and the answers that count."""
        listed = {
            word: ", ".join(f"{spelling!r} ({token})" for spelling, token in found.items())
            for word, found in (("yes", self.answers.yes), ("no", self.answers.no))
        }
        facts = {"question": str(self.question), "synthetic": self.words.partition("/")[0]}
        facts |= {"prompt ids": str(list(self.prompt_ids)), **listed}
        facts |= {"tiles": f"at most {self.checkpoint.settings.vision.max_crops}"}
        facts |= {"min_mass": str(self.min_mass), "dtype": str(self.model.projector["fc1"].weight.dtype)[6:]}
        return facts | ({"adapter sha256": self.adapter_sha256.partition(" ")[0]} if self.adapter_sha256 else {})

    def parameter_count(self) -> int:
        """Of the network; an adapter that stays beside it, where others are taken into it, is not counted."""
        return sum(tensor.numel() for name, tensor in self.named_parameters() if "lora_" not in name)

    def encode(self, text: str) -> list[int]:
        """A text as token ids. Raises MaibenchError where there is no tokenizer."""
        if self.tokenizer is None:
            raise self._no_tokenizer()
        return self.tokenizer.encode(text).ids

    def next_token_logits(self, images: Sequence[Pixels], prompt_ids: Sequence[int]) -> Tensor:
        """(n, vocabulary) float32 logits of the token after BOS + image + prompt.

        images: uint8 height x width x 3, of any sizes. prompt_ids: token ids, the template's included. Raises
        ImageError for an image that cannot be read, MaibenchError for ids that the vocabulary or the context has no
        room for.
        """
        self._check_prompt(prompt_ids)
        with torch.no_grad():
            return self._next_token(self._batch(images), prompt_ids).cpu()

    def ask(self, images: Sequence[Pixels], questions: Sequence[str]) -> Tensor:
        """(n, questions) log-odds of yes against no; the images are computed once for all questions.

        images: uint8 height x width x 3. Raises ImageError for an image that cannot be read, MaibenchError for a
        question that is empty or too long.
        """
        self.check_ready()
        if isinstance(questions, str) or not len(questions) or not all(text.strip() for text in questions):
            raise MaibenchError("questions: a list of texts, none of them empty")
        with torch.no_grad():
            prompts = [self._prompt(self.encode(question)) for question in questions]
            for prompt in prompts:
                self._check_prompt(prompt)
            caches = map(self.model.prefill, self.model.split(self._batch(images)))
            rows = [[self._read(self.model.continue_with(cache, ids))[0] for ids in prompts] for cache in caches]
            return torch.cat([torch.stack(row, dim=1) for row in rows]).cpu()

    def generate(self, images: Sequence[Pixels], prompt_ids: Sequence[int], max_tokens: int = 64) -> list[list[int]]:
        """Greedy continuations as token ids, one list an image, without the EOS that ends them.

        Raises as `next_token_logits` does.
        """
        if max_tokens < 1:
            raise MaibenchError(f"max_tokens is at least 1; got {max_tokens}")
        self._check_prompt(prompt_ids, max_tokens)
        eos = self.checkpoint.settings.tokenizer.eos_id
        with torch.no_grad():
            ids = self.model.generate(self.model.prefill(self._batch(images)), prompt_ids, max_tokens).tolist()
        return [row[: row.index(eos)] if eos in row else row for row in ids]

    def caption(self, images: Sequence[Pixels], length: str = "short", max_tokens: int = 64) -> list[str]:
        """A caption of each image. Raises MaibenchError where the checkpoint has no template of this length."""
        template = (self.checkpoint.settings.tokenizer.templates.get("caption") or {}).get(length)
        if template is None:
            raise MaibenchError(f"{self.checkpoint.name}: has no template for a '{length}' caption")
        return self._texts(self.generate(images, template, max_tokens))

    def reply(self, images: Sequence[Pixels], question: str, max_tokens: int = 64) -> list[str]:
        """A free answer to a question about each image. Raises MaibenchError for an empty question."""
        if not question.strip():
            raise MaibenchError("the question is empty")
        return self._texts(self.generate(images, self._prompt(self.encode(question)), max_tokens))

    def loss(self, batch: Images, labels: Tensor) -> Tensor:
        """Cross-entropy of the answer token against the whole vocabulary: "Yes" for label 1, "No" for label 0."""
        self.check_ready()
        yes, no = self.answer_ids
        tokens = torch.tensor([no[0], yes[0]], device=labels.device)
        return F.cross_entropy(self._next_token(batch, self.prompt_ids), tokens[labels.long()])

    def add_adapter(self, rank: int, alpha: int, dropout: float, targets: str) -> None:
        """Put a fresh LoRA adapter on the network. Raises MaibenchError where it was loaded with one: what is saved
        belongs to the base alone."""
        from maibench.models.moondream.adapter import add_adapter

        if self.adapter_sha256:
            raise MaibenchError("a new adapter is trained on the base: load it with the option adapter: none")
        self.lora = add_adapter(self.model, rank, alpha, dropout, targets)
        self.lora.base_model_name_or_path = self.checkpoint.name

    def save_memory(self) -> None:
        """Recompute activations in the backward pass."""
        self.model.text.gradient_checkpointing_enable({"use_reentrant": False})
        self.model.vision.gradient_checkpointing_enable({"use_reentrant": False})

    def save(self, folder: Path) -> dict[str, Any]:
        """Write the adapter in PEFT's format; config.json says which base it belongs to."""
        from maibench.models.moondream.adapter import save_adapter

        save_adapter(self.model, self.lora, folder)
        return {"base_sha256": self.checkpoint.sha256}

    def _check_size(self, height: int, width: int) -> None:
        patch = self.checkpoint.settings.vision.enc_patch_size
        if min(height, width) < patch:
            raise ImageError(f"{width} x {height} pixels: smaller than a patch of {patch} x {patch}")

    def _next_token(self, batch: Images, prompt_ids: Sequence[int]) -> Tensor:
        if torch.is_grad_enabled():
            ids = torch.tensor([list(prompt_ids)], device=self.device).expand(len(batch["tilings"]), -1)
            return self.model(batch, ids)[:, -1].float()
        parts = self.model.split(batch)
        return torch.cat([self.model.continue_with(self.model.prefill(part), prompt_ids) for part in parts])

    def _read(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        spellings = to_device([torch.tensor(ids) for ids in self.answer_ids], logits.device)
        yes, no = (logits.index_select(-1, ids).logsumexp(-1) for ids in spellings)
        mass = (torch.logaddexp(yes, no) - logits.logsumexp(-1)).exp()
        return yes - no, mass < self.min_mass

    def _prompt(self, question: list[int]) -> list[int]:
        prefix, suffix = self.template
        return [*prefix, *question, *suffix]

    def _batch(self, images: Sequence[Pixels]) -> Images:
        if isinstance(images, np.ndarray) or not len(images):
            raise MaibenchError("images: a list of uint8 arrays, height x width x 3, at least one")
        return to_device(self.collate([self.preprocess(image) for image in images]), self.device)

    def _texts(self, ids: list[list[int]]) -> list[str]:
        if self.tokenizer is None:
            raise self._no_tokenizer()
        return [self.tokenizer.decode(row).strip() for row in ids]

    def _no_tokenizer(self) -> MaibenchError:
        return MaibenchError(
            f"{self.checkpoint.name}: has no tokenizer.json, so a text cannot be written as tokens: put one beside the "
            "weights, name one (--set moondream.tokenizer=FILE), or give ids: --set moondream.question=[5,6] "
            "--set moondream.yes=[17] --set moondream.no=[21], and where the vocabulary is another than the official "
            "one also moondream.prefix and moondream.suffix"
        )

    def _find_answers(
        self, yes: Sequence[int] | None, no: Sequence[int] | None, words: tuple[str, str] | None
    ) -> Answers:
        if words is not None and (yes is not None or no is not None):
            raise MaibenchError("moondream.answers is given, or moondream.yes and moondream.no, not all")
        if (yes is None) != (no is None):
            raise MaibenchError("moondream.yes and moondream.no are given together, or neither")
        if yes is not None and no is not None:
            for ids in (yes, no):
                self._check_ids(ids)
            if set(yes) & set(no) or not (list(yes) and list(no)):
                raise MaibenchError("moondream.yes and moondream.no are two lists of ids that share none")
            return Answers({f"id {i}": i for i in yes}, {f"id {i}": i for i in no})
        if self.tokenizer is None:
            return Answers({}, {})
        return find_answers(self.tokenizer, *([words] if words else []))

    def _check_prompt(self, ids: Sequence[int], more: int = 0) -> None:
        if not len(ids):
            raise MaibenchError("the prompt is empty; one token at least has to follow the image")
        self._check_ids(ids, more)

    def _check_ids(self, ids: Sequence[int], more: int = 0) -> None:
        text = self.checkpoint.settings.text
        for token in ids:
            if isinstance(token, bool) or not isinstance(token, (int, np.integer)) or not 0 <= token < text.vocab_size:
                raise MaibenchError(f"{token!r} is not a token id; they run from 0 to {text.vocab_size - 1}")
        if text.prefix_attn + len(ids) + more > text.max_context:
            raise MaibenchError(
                f"{len(ids) + more} tokens after the image are too many: {text.max_context - text.prefix_attn} fit"
            )

    @classmethod
    def bundled_card(cls) -> Card:
        """The card of the bundled base with the bundled adapter, as `load_detector("moondream")` has it."""
        card = cls.card.read(BUNDLED / "moondream.json").read(bundled_adapter() / "card.json")
        return card.updated(weights="bundled")

    def _put_on(self, folder: Path | None) -> str:
        """Load the adapter, and say on the card what was loaded; returns the sha256s of the adapter's two files."""
        from maibench.models.moondream.adapter import load_adapter

        own = self.checkpoint.sha256
        if self.checkpoint.name == "bundled":
            self.card = self.card.read(BUNDLED / "moondream.json")
            if own != self.card.sha256:
                raise MaibenchError(f"{self.checkpoint.tensors[0]}: its sha256 is not the one on the card beside it")
        else:
            self.card = self.card.updated(weights=self.checkpoint.name, sha256=own)
        if folder is None:
            return ""
        load_adapter(self.model, folder, self.checkpoint)
        if (folder / "card.json").is_file():
            self.card = self.card.read(folder / "card.json")
        else:
            self.card = self.card.updated(trained_on=None)
        named = "bundled" if folder == bundled_adapter() else folder
        self.card = self.card.updated(weights=f"{self.checkpoint.name} + adapter {named}")
        # the scale of an adapter is in no tensor, but in its configuration
        return " ".join(sha256(folder / name) for name in ("adapter_model.safetensors", "adapter_config.json"))


def _adapter_folder(adapter: str | Path | None, is_bundled: bool) -> Path | None:
    if str(adapter) == "none" or (adapter is None and not is_bundled):
        return None
    return bundled_adapter() if adapter is None or str(adapter) == "bundled" else find_adapter(adapter)


def _ids(name: str, ids: object) -> Sequence[int] | None:
    """A list of token ids, or None; raises MaibenchError for anything else."""
    if ids is None or (isinstance(ids, (list, tuple)) and all(type(token) is int for token in ids)):
        return ids
    raise MaibenchError(f"moondream.{name} is a list of token ids, as in --set moondream.{name}=[17]; got {ids!r}")


def _words(answers: object) -> tuple[str, str] | None:
    """ "Yes/No" -> the word for synthetic and the word for real."""
    if answers is None:
        return None
    words = [word.strip() for word in answers.split("/")] if isinstance(answers, str) else []
    if len(words) != 2 or not all(words):
        raise MaibenchError(
            f"moondream.answers is two words, the one for synthetic first, as in Yes/No; got {answers!r}"
        )
    return words[0], words[1]


def _with_crops(checkpoint: Checkpoint, crops: int | None) -> Checkpoint:
    if crops is None:
        return checkpoint
    check_whole("moondream", "crops", crops, 1)
    vision = checkpoint.settings.vision.model_copy(update={"max_crops": crops})
    return replace(checkpoint, settings=checkpoint.settings.model_copy(update={"vision": vision}))


def _question(question: str | Sequence[int] | None) -> str | tuple[int, ...]:
    if question is None:
        return QUESTION
    if isinstance(question, str):
        if not question.strip():
            raise MaibenchError("moondream.question is empty")
        return question
    if not isinstance(question, (list, tuple)):
        raise MaibenchError(f"moondream.question is a text or a list of token ids; got {question!r}")
    if not len(question):
        raise MaibenchError("moondream.question is empty")
    return tuple(_ids("question", question) or ())


def _share(min_mass: float) -> float:
    if not isinstance(min_mass, (int, float)) or not 0 <= min_mass <= 1:
        raise MaibenchError(f"moondream.min_mass is a share of probability, from 0 to 1; got {min_mass!r}")
    return float(min_mass)


def _dtype(name: str, device: str) -> torch.dtype:
    if name == "auto":
        return torch.bfloat16 if device.startswith("cuda") else torch.float32
    if name not in DTYPES:
        raise MaibenchError(f"moondream.dtype '{name}': there are auto, {', '.join(DTYPES)}")
    return DTYPES[name]
