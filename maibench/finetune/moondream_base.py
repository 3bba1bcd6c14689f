"""Train a small moondream from scratch: vision and text together, on captions and questions about pictures that are
made as they are needed (`datasets/questions.py`). The result is a folder laid out as the official repository.

python -m maibench.finetune.moondream_base configs/pretraining/moondream_nano.yaml --data MANIFEST --out FOLDER
"""

from __future__ import annotations

import argparse
import functools
import json
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from maibench.datasets.image import decode
from maibench.datasets.manifest import Manifest
from maibench.datasets.questions import CLASSES, Example, make_example
from maibench.datasets.readers import open_data
from maibench.errors import ImageError, MaibenchError
from maibench.files import make_folder, write_text, write_whole
from maibench.finetune.schedule import warm_cosine
from maibench.models.moondream.config import QUESTION, MoondreamConfig
from maibench.models.moondream.model import Images, MoondreamModel
from maibench.models.moondream.prompt import find_answers
from maibench.models.moondream.tensors import save_folder

Pixels = NDArray[np.uint8]

KEPT = 640
"""Larger photographs are kept as their middle KEPT x KEPT pixels."""

SPECIAL = ("<|endoftext|>", "<|1|>", "<|2|>", "<|3|>")
"""Ids 0 to 3, as in the official templates: BOS and EOS, then the three marks of a prompt."""


class Stage(BaseModel):
    """So many steps with batches of so many pictures. kept: the share of the image tokens that are computed, drawn for
    every step: fewer are faster (as in FLIP, arXiv 2212.00794). decoder: whether it learns too; without it, encoder and
    projector learn from a linear probe on the image tokens alone."""

    model_config = ConfigDict(extra="forbid")

    steps: int
    batch_size: int
    kept: float = Field(1.0, gt=0, le=1)
    decoder: bool = True


class BaseRecipe(BaseModel):
    """How the base is trained. model: the `config` entry of config.json, without its templates, which follow from the
    tokenizer that is fitted here. stages: one after the other; without a first one that has no decoder, the decoder
    learns to answer from the priors and looks late. probe: the probe's weight beside the decoder's loss. questions:
    asked about one picture, its caption aside."""

    model_config = ConfigDict(extra="forbid")

    model: dict[str, dict[str, int]]
    stages: list[Stage]
    probe: float = 0.5
    lr: float
    warmup: int
    weight_decay: float
    averaging: float
    questions: int = 8
    validate_every: int = 500
    seed: int = 0

    @property
    def steps(self) -> int:
        return sum(stage.steps for stage in self.stages)

    def stage(self, step: int) -> Stage:
        """The stage that a step, counted from 1, belongs to."""
        for stage in self.stages:
            if step <= stage.steps:
                return stage
            step -= stage.steps
        raise ValueError("beyond the last stage")


def train(recipe: BaseRecipe, manifests: list[Manifest], out: Path) -> Path:
    """Train on the real images of the train splits, say how it does on the validation splits, and write `out`. The
    same call goes on from the last checkpoint."""
    make_folder(out)
    torch.manual_seed(recipe.seed)
    photographs = _photographs(manifests, "train")
    held_out = _photographs(manifests, "validation")
    print(f"{len(photographs)} photographs to train on, {len(held_out)} to validate on", flush=True)
    tokenizer = fit_tokenizer(photographs, recipe.model["text"]["vocab_size"])
    settings = MoondreamConfig.model_validate(
        {**recipe.model, "tokenizer": {"bos_id": 0, "eos_id": 0, "templates": templates(tokenizer)}}
    )
    model = MoondreamModel(settings)
    _whiten_patches(model, photographs, recipe.seed)
    probe = Probe(settings.text.dim)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(recipe.averaging))
    learning = [*model.parameters(), *probe.parameters()]
    optimiser = torch.optim.AdamW(learning, lr=recipe.lr, betas=(0.9, 0.98), weight_decay=recipe.weight_decay)
    file = out / "checkpoint.pt"
    parts: dict[str, Any] = {"model": model, "probe": probe, "average": average, "optimiser": optimiser}
    done = 0
    if file.is_file():
        content = torch.load(file, weights_only=True)
        if content["recipe"] != recipe.model_dump_json():
            raise MaibenchError(f"{out}: holds a checkpoint of another recipe; choose another --out or remove it")
        done = content["step"]
        for name, part in parts.items():
            part.load_state_dict(content[name])

    def batch(step: int) -> tuple[Images, Tensor, Packed, list[Example]]:
        rng = np.random.default_rng([recipe.seed, step])
        stage = recipe.stage(step)
        examples = [make_example(photographs[rng.integers(len(photographs))], rng) for _ in range(stage.batch_size)]
        images = model.stack([model.crop(example.pixels) for example in examples])
        tokens = settings.vision.tokens
        kept = np.sort(rng.permutation(tokens)[: round(stage.kept * tokens)])
        return images, torch.from_numpy(kept), pack(examples, tokenizer, settings, recipe), examples

    mean_loss = math.nan
    with ThreadPoolExecutor(1) as pool:
        upcoming = pool.submit(batch, min(done + 1, recipe.steps))
        for step in range(done + 1, recipe.steps + 1):
            images, kept, packed, examples = upcoming.result()
            upcoming = pool.submit(batch, min(step + 1, recipe.steps))
            for group in optimiser.param_groups:
                group["lr"] = recipe.lr * warm_cosine(step, recipe.steps, recipe.warmup, floor=0.02, start=0.0)
            model.train()
            with torch.autocast("cpu", dtype=torch.bfloat16):
                tokens = encode_some(model, images, kept)
                loss = probed = probe.loss(tokens, kept, settings.vision.grid, examples)
                if recipe.stage(step).decoder:
                    logits = model.decode(tokens, packed.ids, packed.visible, packed.positions, kept)
                    loss = F.cross_entropy(logits.float().flatten(0, 1), packed.targets.flatten(), ignore_index=-100)
                    loss = loss + recipe.probe * probed
            if not torch.isfinite(loss):
                raise MaibenchError(f"the loss is {loss.item()} at step {step}; the last checkpoint in {out} is kept")
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(learning, 1.0)
            optimiser.step()
            average.update_parameters(model)
            mean_loss = loss.item() if math.isnan(mean_loss) else 0.98 * mean_loss + 0.02 * loss.item()
            if step % recipe.validate_every == 0 or step == recipe.steps:
                smooth = cast(MoondreamModel, average.module)
                right = answered(smooth, held_out, tokenizer, recipe)
                told = ", ".join(f"{question} {share:.2f}" for question, share in sorted(right.items()))
                print(f"step {step} of {recipe.steps}: loss {mean_loss:.3f} (probe {probed:.3f}); {told}", flush=True)
                content = {name: part.state_dict() for name, part in parts.items()}
                content |= {"step": step, "recipe": recipe.model_dump_json()}
                write_whole(file, functools.partial(torch.save, content))
                save_folder(smooth, out)
                tokenizer.save(str(out / "tokenizer.json"))
                write_text(out / "validation.json", json.dumps({"step": step, **right}, indent=2) + "\n")
    return out


def fit_tokenizer(photographs: list[Pixels], vocabulary: int) -> Tokenizer:
    """A byte-level BPE over the sentences that the pictures come with: any text can be written, these are short."""
    rng = np.random.default_rng(0)
    examples = [make_example(photographs[rng.integers(len(photographs))], rng) for _ in range(2000)]
    texts = [text for e in examples for text in (e.caption, *(part for pair in e.questions for part in pair))]
    texts += [QUESTION, "query", "caption", "short"] * 100
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=vocabulary,
            special_tokens=[AddedToken(text, special=True) for text in SPECIAL],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    find_answers(tokenizer)  # a vocabulary that is too small for "Yes" is told before the training
    return tokenizer


def templates(tokenizer: Tokenizer) -> dict[str, dict[str, list[int]]]:
    """The official templates, with this tokenizer's words for the tasks."""
    query, caption, short = (tokenizer.encode(word).ids for word in ("query", "caption", "short"))
    return {
        "query": {"prefix": [1, *query, 2], "suffix": [3]},
        "caption": {"short": [1, *caption, 2, *short, 3]},
    }


def encode_some(model: MoondreamModel, images: Images, kept: Tensor) -> Tensor:
    """(n, len(kept), dim) image tokens of n images of one crop each, as if these patches were all there are."""
    vision = getattr(model.vision, "vision_model", model.vision)
    pixels = images["crops"].permute(0, 3, 1, 2).float().div(127.5).sub(1)
    patches = vision.embeddings(pixels)[:, kept]
    features = vision.post_layernorm(vision.encoder(inputs_embeds=patches).last_hidden_state)
    return model.project(features, features)


class Probe(nn.Module):
    """Reads what was done to a picture (`questions.CLASSES`) linearly off its image tokens, averaged over a 3 x 3 grid.
    It is thrown away after training."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.heads = nn.ModuleDict({name: nn.Linear(9 * dim, len(values)) for name, values in CLASSES.items()})

    def loss(self, tokens: Tensor, kept: Tensor, grid: int, examples: list[Example]) -> Tensor:
        """The mean cross-entropy over what is asked; (n, len(kept), dim) image tokens of n examples, and which of the
        grid x grid they are."""
        cells = F.one_hot(kept // grid * 3 // grid * 3 + kept % grid * 3 // grid, 9).float()
        pooled = torch.einsum("ntd,tc->ncd", tokens.float(), cells / cells.sum(0).clamp(min=1)).flatten(1)
        losses = [
            F.cross_entropy(head(pooled).float(), torch.tensor([example.facts[name] for example in examples]))
            for name, head in self.heads.items()
        ]
        return torch.stack(losses).mean()


class Packed:
    """Several prompts with their answers behind one image: ids, targets (-100 where nothing is learnt), positions, all
    (n, t), and what sees what, (n, t, t). Every prompt sees the image and itself only."""

    def __init__(self, segments: list[list[tuple[list[int], list[int]]]]) -> None:
        length = max(sum(len(prompt) + len(answer) - 1 for prompt, answer in row) for row in segments)
        n = len(segments)
        self.ids = torch.zeros(n, length, dtype=torch.long)
        self.targets = torch.full((n, length), -100)
        self.positions = torch.zeros(n, length, dtype=torch.long)
        self.visible = torch.eye(length, dtype=torch.bool).repeat(n, 1, 1)
        for index, row in enumerate(segments):
            start = 0
            for prompt, answer in row:
                ids = [*prompt, *answer]
                end = start + len(ids) - 1  # the last token is only ever predicted
                self.ids[index, start:end] = torch.tensor(ids[:-1])
                self.targets[index, start + len(prompt) - 1 : end] = torch.tensor(answer)
                self.positions[index, start:end] = torch.arange(end - start)
                self.visible[index, start:end, start:end] = torch.ones(end - start, end - start).tril().bool()
                start = end


def pack(examples: list[Example], tokenizer: Tokenizer, settings: MoondreamConfig, recipe: BaseRecipe) -> Packed:
    """The caption and the first questions of every example, in the templates, each answer ended by EOS."""
    template = settings.tokenizer.templates["caption"]
    assert template is not None
    end = [settings.tokenizer.eos_id]
    prefix, suffix = settings.query_template()
    rows = []
    for example in examples:
        row = [(template["short"], tokenizer.encode(example.caption).ids + end)]
        for question, answer in example.questions[: recipe.questions]:
            row.append(([*prefix, *tokenizer.encode(question).ids, *suffix], tokenizer.encode(answer).ids + end))
        rows.append(row)
    return Packed(rows)


@torch.inference_mode()
def answered(
    model: MoondreamModel, photographs: list[Pixels], tokenizer: Tokenizer, recipe: BaseRecipe, count: int = 160
) -> dict[str, float]:
    """The share of right first answers to each question, over `count` pictures of held-out photographs: every token of
    the answer is the likeliest one, given those before it."""
    model.eval()
    rng = np.random.default_rng(recipe.seed + 1)
    examples = [make_example(photographs[index % len(photographs)], rng) for index in range(count)]
    right: dict[str, list[bool]] = {}
    for start in range(0, count, 16):
        some = examples[start : start + 16]
        everything = recipe.model_copy(update={"questions": max(len(e.questions) for e in some)})
        packed = pack(some, tokenizer, model.settings, everything)
        images = model.stack([model.crop(example.pixels) for example in some])
        hits = model(images, packed.ids, packed.visible, packed.positions).argmax(-1) == packed.targets
        for row, example in enumerate(some):
            learnt = (packed.targets[row] != -100).nonzero().flatten().tolist()
            names = ["caption", *(question for question, _ in example.questions)]
            for name, places in zip(names, _runs(learnt, packed.targets[row], model), strict=True):
                right.setdefault(name, []).append(bool(hits[row, places].all()))
    return {name: round(float(np.mean(values)), 3) for name, values in right.items()}


def _runs(places: list[int], targets: Tensor, model: MoondreamModel) -> list[list[int]]:
    """Split the places of answer tokens after every EOS."""
    runs: list[list[int]] = [[]]
    for place in places:
        runs[-1].append(place)
        if targets[place] == model.settings.tokenizer.eos_id:
            runs.append([])
    return runs[:-1]


def _photographs(manifests: list[Manifest], split: str) -> list[Pixels]:
    found = []
    for manifest in manifests:
        rows = manifest.split(split)
        for path in rows["path"][rows["label"] == 0]:
            try:
                pixels = decode(manifest.read(path).data)
            except ImageError:  # real collections hold some that do not decode
                continue
            if min(pixels.shape[:2]) >= 128:
                top, left = (max(0, side - KEPT) // 2 for side in pixels.shape[:2])
                found.append(np.ascontiguousarray(pixels[top : top + KEPT, left : left + KEPT]))
    if not found:
        raise MaibenchError(f"none of the data has real images of at least 128 pixels in split '{split}'")
    return found


def _whiten_patches(model: MoondreamModel, photographs: list[Pixels], seed: int) -> None:
    """Start the patch embedding as a whitening of the pictures' patches (their leading principal components at equal
    variance): what generators and editors leave is fine detail, which a random start drowns in brightness."""
    rng = np.random.default_rng(seed)
    patch = model.settings.vision.enc_patch_size
    crops = [model.crop(make_example(photographs[rng.integers(len(photographs))], rng).pixels)[0] for _ in range(64)]
    pixels = torch.cat(crops).permute(0, 3, 1, 2).double().div(127.5).sub(1)
    patches = F.unfold(pixels, patch, stride=patch).transpose(1, 2).flatten(0, 1)
    mean = patches.mean(0)
    values, vectors = torch.linalg.eigh(torch.cov(patches.T))
    weight = (vectors / (values + 1e-4).sqrt()).T.flip(0)[: model.settings.vision.enc_dim]
    embedding = getattr(model.vision, "vision_model", model.vision).embeddings.patch_embedding
    with torch.no_grad():
        embedding.weight.copy_(weight.unflatten(1, (3, patch, patch)))
        cast(Tensor, embedding.bias).copy_(-weight @ mean)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--data", action="append", required=True, help="a SOURCE; may be repeated")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    recipe = BaseRecipe.model_validate(yaml.safe_load(args.recipe.read_text()))
    train(recipe, [open_data(source) for source in args.data], args.out)


if __name__ == "__main__":
    main()
