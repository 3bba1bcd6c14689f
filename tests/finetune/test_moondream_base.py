"""The base's training: two steps of a tiny network, stopped anywhere; its tokenizer, templates and packed prompts."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from tokenizers import Tokenizer

from maibench import load_detector
from maibench.datasets.questions import make_example
from maibench.datasets.readers import read_manifest
from maibench.errors import MaibenchError
from maibench.finetune import moondream_base as base
from maibench.models.moondream.config import QUESTION, MoondreamConfig
from maibench.models.moondream.model import MoondreamModel

MODEL = {
    "text": {
        "dim": 32, "ff_dim": 48, "n_layers": 1, "vocab_size": 512, "max_context": 1024, "n_heads": 2, "n_kv_heads": 2,
    },
    "vision": {
        "enc_dim": 16, "enc_ff_dim": 24, "enc_n_layers": 1, "enc_n_heads": 2, "proj_inner_dim": 24, "proj_out_dim": 32,
    },
}  # fmt: skip
STAGES = [
    {"steps": 1, "batch_size": 2, "kept": 0.1, "decoder": False},
    {"steps": 1, "batch_size": 2, "kept": 0.3},
]


def recipe(**changes: object) -> base.BaseRecipe:
    values = {
        "model": MODEL, "stages": STAGES, "lr": 3e-3, "warmup": 1, "weight_decay": 0.01, "averaging": 0.5,
        "questions": 3, "validate_every": 1, "seed": 5,
    }  # fmt: skip
    return base.BaseRecipe.model_validate({**values, **changes})


@pytest.fixture(scope="module", autouse=True)
def quick():
    """What comes out alike for every run of this file, and costs seconds, is computed once; few images validate."""
    fit, whiten, fitted, whitened = base.fit_tokenizer, base._whiten_patches, {}, {}

    def fit_once(photographs, vocabulary):
        key = (len(photographs), photographs[0].tobytes(), vocabulary)
        if key not in fitted:
            fitted[key] = fit(photographs, vocabulary).to_str()
        return Tokenizer.from_str(fitted[key])

    def whiten_once(model, photographs, seed):
        vision = getattr(model.vision, "vision_model", model.vision).embeddings.patch_embedding
        key = (len(photographs), photographs[0].tobytes(), seed)
        if key not in whitened:
            whiten(model, photographs, seed)
            whitened[key] = {name: tensor.clone() for name, tensor in vision.state_dict().items()}
        vision.load_state_dict(whitened[key])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base, "fit_tokenizer", fit_once)
        patch.setattr(base, "_whiten_patches", whiten_once)
        patch.setattr(base, "answered", functools.partial(base.answered, count=4))
        yield


@pytest.fixture(scope="module")
def manifest(data_set):
    return read_manifest(data_set(n_real=3, n_synthetic=2, splits=("train", "validation"), size=(140, 132)))


@pytest.fixture(scope="module")
def photographs(manifest):
    return base._photographs([manifest], "train")


@pytest.fixture(scope="module")
def tokenizer(photographs):
    return base.fit_tokenizer(photographs, 512)


@pytest.fixture(scope="module")
def settings(tokenizer):
    return MoondreamConfig.model_validate({**MODEL, "tokenizer": {"templates": base.templates(tokenizer)}})


@pytest.fixture(scope="module")
def finished(manifest, tmp_path_factory):
    """The folder of an undisturbed run."""
    return base.train(recipe(), [manifest], tmp_path_factory.mktemp("runs") / "whole")


@pytest.fixture(scope="module")
def stopped(manifest, tmp_path_factory):
    """The folder of a run that was killed after its first step."""
    out = tmp_path_factory.mktemp("runs") / "stopped"
    write = base.write_text

    def write_and_die(file, text):
        write(file, text)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base, "write_text", write_and_die)
        with pytest.raises(KeyboardInterrupt):
            base.train(recipe(), [manifest], out)
    return out


def test_the_result_is_a_folder_that_loads_and_is_asked(finished, texture):
    detector = load_detector("moondream", weights=finished)
    detector.check_ready()
    found = detector.ask([texture((150, 132)), texture((40, 40))], [QUESTION, "Is this image noisy?"])
    assert found.shape == (2, 2)
    assert torch.isfinite(found).all()
    assert detector.caption([texture((50, 50))], max_tokens=3)
    told = json.loads((finished / "validation.json").read_text())
    assert told.pop("step") == 2
    assert all(0 <= share <= 1 for share in told.values())
    assert {"caption", "Is this image noisy?"} <= told.keys()


def test_the_average_is_what_is_written(finished):
    checkpoint = torch.load(finished / "checkpoint.pt", weights_only=True)
    written = load_file(finished / "model.safetensors")
    for name, own in (
        ("model.text.wte", "text.model.embed_tokens.weight"),
        ("model.text.lm_head.bias", "text.lm_head.bias"),
    ):
        assert torch.equal(written[name], checkpoint["average"][f"module.{own}"])
        assert not torch.equal(written[name], checkpoint["model"][own])


def test_a_killed_run_goes_on_to_the_same_tensors(finished, stopped, manifest):
    assert torch.load(stopped / "checkpoint.pt", weights_only=True)["step"] == 1
    base.train(recipe(), [manifest], stopped)
    whole, gone_on = (torch.load(folder / "checkpoint.pt", weights_only=True) for folder in (finished, stopped))
    assert gone_on["step"] == whole["step"] == 2
    for part in ("model", "average", "probe"):
        for name, tensor in whole[part].items():
            assert torch.equal(tensor, gone_on[part][name]), f"{part} {name}"
    for name in ("model.safetensors", "config.json", "tokenizer.json", "validation.json"):
        assert (stopped / name).read_bytes() == (finished / name).read_bytes(), name


def test_a_finished_run_is_left_as_it_is(finished, manifest):
    before = {file.name: file.read_bytes() for file in finished.iterdir()}
    base.train(recipe(), [manifest], finished)
    assert {file.name: file.read_bytes() for file in finished.iterdir()} == before


def test_another_recipe_does_not_go_on_from_a_checkpoint(finished, manifest):
    with pytest.raises(MaibenchError, match="holds a checkpoint of another recipe"):
        base.train(recipe(lr=1e-4), [manifest], finished)


def test_a_stage_without_a_decoder_leaves_it_alone(manifest, settings, tmp_path):
    base.train(recipe(stages=STAGES[:1]), [manifest], tmp_path)
    trained = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["model"]
    torch.manual_seed(5)
    fresh = MoondreamModel(settings).state_dict()
    moved = {name for name, tensor in trained.items() if not torch.equal(tensor, fresh[name])}
    assert moved >= {"projector.fc1.weight", "projector.fc2.weight"}
    assert any(name.startswith("vision.") for name in moved)
    assert not any(name.startswith("text.") for name in moved)


@pytest.mark.parametrize(("size", "splits"), [((127, 200), ("train", "validation")), ((140, 132), ("train",))])
def test_data_without_photographs_is_refused(data_set, tmp_path, size, splits):
    manifest = read_manifest(data_set(n_real=2, n_synthetic=2, splits=splits, size=size))
    with pytest.raises(MaibenchError, match=r"none of the data has real images of at least 128 pixels in split '\w+'"):
        base.train(recipe(), [manifest], tmp_path)


def test_only_real_images_are_trained_on(manifest, photographs, texture):
    assert len(photographs) == 3
    assert {picture.tobytes() for picture in photographs} == {texture((140, 132), seed).tobytes() for seed in range(3)}


def test_answers_are_single_tokens(tokenizer):
    for word in ("Yes", "No"):
        assert tokenizer.encode(word).tokens == [word]
    assert [tokenizer.token_to_id(text) for text in base.SPECIAL] == [0, 1, 2, 3]
    assert tokenizer.get_vocab_size() <= 512


@given(st.text().filter(lambda text: not any(special in text for special in base.SPECIAL)))
def test_any_text_can_be_written(tokenizer, text):
    ids = tokenizer.encode(text).ids
    assert tokenizer.decode(ids) == text
    assert all(4 <= token < 512 for token in ids)


def test_what_is_said_often_is_short(tokenizer):
    assert len(tokenizer.encode("Is this image sharpened?").ids) <= 5
    assert len(tokenizer.encode(QUESTION).ids) < len(QUESTION) / 2


def test_templates(tokenizer, settings):
    prefix, suffix = settings.query_template()
    assert (prefix[0], prefix[-1], suffix) == (1, 2, [3])
    assert tokenizer.decode(prefix[1:-1]) == "query"
    caption = settings.tokenizer.templates["caption"]["short"]
    middle = caption.index(2)
    assert (caption[0], caption[-1]) == (1, 3)
    assert tokenizer.decode(caption[1:middle]) == "caption"
    assert tokenizer.decode(caption[middle + 1 : -1]) == "short"


def test_a_picture_is_packed_as_its_caption_and_first_questions(tokenizer, settings, photographs):
    examples = [make_example(photographs[0], np.random.default_rng(seed)) for seed in range(4)]
    packed = base.pack(examples, tokenizer, settings, recipe(questions=2))
    for row, example in enumerate(examples):
        learnt = packed.targets[row][packed.targets[row] != -100]
        answers = tokenizer.decode(learnt.tolist(), skip_special_tokens=False).split("<|endoftext|>")
        assert answers == [example.caption, *(answer for _, answer in example.questions[:2]), ""]
        starts = (packed.positions[row] == 0) & (packed.ids[row] == 1)
        assert starts.sum() == 3
        for question, _ in example.questions[:2]:
            assert question in tokenizer.decode(packed.ids[row].tolist())
    # a token sees its own prompt alone, and nothing that follows
    assert not packed.visible.triu(1).any()
    alone = packed.positions == 0
    assert torch.equal(packed.visible.sum(-1)[alone], torch.ones(int(alone.sum()), dtype=torch.long))


def test_all_tokens_kept_is_what_scoring_computes(settings, photographs):
    torch.manual_seed(0)
    model = MoondreamModel(settings).eval()
    images = model.stack([model.crop(picture) for picture in photographs])
    everything, ids = torch.arange(729), torch.tensor([[1, 9, 3]] * 3)
    with torch.no_grad():
        tokens = base.encode_some(model, images, everything)
        torch.testing.assert_close(tokens, model.encode_images(images), rtol=0, atol=1e-5)
        expected = model(images, ids)
        torch.testing.assert_close(model.decode(tokens, ids, kept=everything), expected, rtol=0, atol=1e-5)
        some = torch.arange(0, 729, 7)
        few = base.encode_some(model, images, some)
        assert few.shape == (3, len(some), 32)
        assert model.decode(few, ids, kept=some).shape == expected.shape


def test_the_patch_embedding_starts_as_a_whitening(settings, photographs):
    model = MoondreamModel(settings)
    base._whiten_patches(model, photographs, 5)
    pictures = [make_example(photographs[seed % 3], np.random.default_rng(seed)).pixels for seed in range(40)]
    crops = model.stack([model.crop(picture) for picture in pictures])["crops"]
    vision = getattr(model.vision, "vision_model", model.vision).embeddings.patch_embedding
    with torch.no_grad():
        features = vision(crops.permute(0, 3, 1, 2).float().div(127.5).sub(1)).flatten(2).transpose(0, 1).flatten(1)
    spread = features.var(1)
    assert features.mean(1).abs().max() < 0.5
    assert spread.min() > 0.4
    assert spread.max() < 2.5  # other pictures of the same photographs; unwhitened, brightness leads by far
    assert (torch.corrcoef(features) - torch.eye(16)).abs().max() < 0.5


def test_the_recipe_that_is_shipped_describes_a_network():
    file = Path(__file__).parents[2] / "configs" / "pretraining" / "moondream_nano.yaml"
    shipped = base.BaseRecipe.model_validate(yaml.safe_load(file.read_text()))
    assert shipped.stage(1) == shipped.stages[0]
    assert shipped.stage(shipped.steps) == shipped.stages[-1]
    with torch.device("meta"):
        model = MoondreamModel(MoondreamConfig.model_validate(shipped.model))
    assert sum(parameter.numel() for parameter in model.parameters()) < 5_000_000
