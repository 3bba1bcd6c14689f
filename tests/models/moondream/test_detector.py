"""moondream as a detector: what it reads, how it is asked, and what it says of itself."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from maibench import load_detector
from maibench.errors import ImageError, MaibenchError
from maibench.finetune.recipe import Lora
from maibench.models.loading import fingerprint
from maibench.models.weights import sha256

QUESTIONS = ("Is this image AI-generated?", "Is this real?", "a photo?")
GIVEN = {"question": [5, 6], "yes": [17, 18], "no": [21]}


def answer(detector, pictures):
    with torch.inference_mode():
        return detector.answer(detector.collate([detector.preprocess(pixels) for pixels in pictures]))[0]


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((40, 40), np.uint8),
        np.zeros((40, 40, 1), np.uint8),
        np.zeros((40, 40, 4), np.uint8),
        np.zeros((40, 40, 3), np.float32),
        np.zeros((40, 40, 3), np.uint16),
        np.zeros((1, 40, 40, 3), np.uint8),
    ],
)
def test_what_is_no_rgb_image_is_refused(asked, image):
    with pytest.raises(ImageError, match="expected uint8 height x width x 3, got"):
        asked.preprocess(image)
    with pytest.raises(ImageError):
        asked.next_token_logits([image], [5])


@pytest.mark.parametrize("size", [(13, 200), (200, 13), (1, 1), (0, 20)])
def test_images_smaller_than_a_patch_are_refused(asked, size):
    with pytest.raises(ImageError, match=r"smaller than a patch of 14 x 14"):
        asked.preprocess(np.zeros((size[1], size[0], 3), np.uint8))


def test_the_smallest_image_and_one_that_must_not_be_written_to(asked, texture):
    pixels = texture((14, 14))
    pixels.setflags(write=False)
    crops, tiling = asked.preprocess(pixels)
    assert (tuple(crops.shape), tiling) == ((1, 378, 378, 3), (1, 1))
    assert torch.isfinite(answer(asked, [pixels])).all()


def test_several_questions_are_each_question_alone(asked, shared_folder, pictures):
    together = asked.ask(pictures, QUESTIONS)
    assert together.shape == (3, 3)
    for column, question in enumerate(QUESTIONS):
        torch.testing.assert_close(asked.ask(pictures, [question])[:, 0], together[:, column], rtol=0, atol=1e-5)
        detector = load_detector("moondream", weights=shared_folder, question=question)
        torch.testing.assert_close(answer(detector, pictures), together[:, column], rtol=0, atol=1e-5)
    assert (together[:, 0] - together[:, 1]).abs().max() > 0.01


def test_the_question_decides_the_logit_with_gradients_too(shared_folder, asked, pictures):
    """Training goes through the network in one pass, scoring through the cache."""
    detector = load_detector("moondream", weights=shared_folder)
    batch = detector.collate([detector.preprocess(pixels) for pixels in pictures])
    torch.testing.assert_close(detector(batch).detach(), answer(asked, pictures), rtol=0, atol=1e-4)


def test_the_loss_is_that_of_the_answer_among_all_words(shared_folder, pictures):
    detector = load_detector("moondream", weights=shared_folder)
    yes, no = detector.tokenizer.token_to_id("Yes"), detector.tokenizer.token_to_id("No")
    logits = detector.next_token_logits(pictures, detector.prompt_ids)
    expected = F.cross_entropy(logits, torch.tensor([yes, no, yes]))
    batch = detector.collate([detector.preprocess(pixels) for pixels in pictures])
    detector.add_adapter(**Lora(rank=2, dropout=0).model_dump())
    loss = detector.loss(batch, torch.tensor([1.0, 0.0, 1.0]))
    assert loss.item() == pytest.approx(expected.item(), abs=1e-4)
    loss.backward()
    moved = {name for name, p in detector.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
    assert moved
    assert all("lora_B" in name for name in moved)  # A moves once B is not zero any more


def test_facts(asked):
    facts = asked.facts()
    assert facts["question"] == "Is this image AI-generated?"
    assert re.findall(r"\d+", facts["prompt ids"]) == ["1", "2", "4", "5", "6", "7", "3"]
    assert "'Yes' (11)" in facts["yes"]
    assert "'yes' (12)" in facts["yes"]
    assert "'No' (13)" in facts["no"]


def test_facts_of_given_ids(tiny_folder):
    facts = load_detector("moondream", weights=tiny_folder(tokenizer=False), **GIVEN).facts()
    assert re.findall(r"\d+", facts["prompt ids"]) == ["1", "2", "5", "6", "3"]
    assert "17" in facts["yes"]
    assert "21" in facts["no"]


def test_the_card_names_the_weights(asked, shared_folder):
    assert asked.row_name == ""
    assert asked.card.weights == str(shared_folder)
    assert asked.card.sha256 == sha256(shared_folder / "model.safetensors")
    assert asked.card.parameters == sum(parameter.numel() for parameter in asked.model.parameters())
    assert asked.card.trained_on is None
    assert not asked.training


def test_fingerprint_of_a_copy(asked, shared_folder, tmp_path):
    shutil.copytree(shared_folder, tmp_path / "copy")
    assert fingerprint(load_detector("moondream", weights=tmp_path / "copy")) == fingerprint(asked)


@pytest.mark.parametrize(
    "options",
    [
        {"question": "Is this real?"}, {"question": [4, 5, 6, 7]}, {"min_mass": 0.4}, {"prefix": [1]},
        {"suffix": [3, 3]}, {"yes": [11], "no": [13]}, {"dtype": "bfloat16"},
    ],
)  # fmt: skip
def test_fingerprint_changes_with_what_is_asked(asked, shared_folder, options):
    assert fingerprint(load_detector("moondream", weights=shared_folder, **options)) != fingerprint(asked)


def test_fingerprint_changes_with_the_tokenizer(asked, shared_folder, words, tmp_path):
    """The same question in other tokens is another question."""
    words(without=("a",)).save(str(tmp_path / "tokenizer.json"))
    detector = load_detector("moondream", weights=shared_folder, tokenizer=tmp_path / "tokenizer.json")
    assert detector.answers != asked.answers
    assert fingerprint(detector) != fingerprint(asked)


def test_captions_and_replies_are_texts(asked, pictures):
    captions = asked.caption(pictures, max_tokens=4)
    expected = [asked.tokenizer.decode(row).strip() for row in asked.generate(pictures, [1, 5, 2, 3], 4)]
    assert captions == expected
    assert asked.caption(pictures[:1], "normal", 3) == [
        asked.tokenizer.decode(asked.generate(pictures[:1], [1, 6, 2, 3], 3)[0]).strip()
    ]
    replies = asked.reply(pictures[:2], "Is this real?", max_tokens=3)
    assert replies == [
        asked.tokenizer.decode(row).strip() for row in asked.generate(pictures[:2], [1, 2, 4, 5, 8, 3], 3)
    ]


def test_no_template_for_a_caption(asked, pictures):
    with pytest.raises(MaibenchError, match="has no template for a 'long' caption"):
        asked.caption(pictures[:1], "long")


@pytest.mark.parametrize("options", [{}, GIVEN])
def test_texts_need_a_tokenizer(tiny_folder, pictures, options):
    """Given ids are enough to score with, not to read or write other texts."""
    detector = load_detector("moondream", weights=tiny_folder(tokenizer=False), **options)
    for ask in (
        lambda: detector.caption(pictures[:1], max_tokens=2),
        lambda: detector.reply(pictures[:1], "Is this real?", max_tokens=2),
        lambda: detector.ask(pictures[:1], ["Is this real?", "a photo?"]),
    ):
        with pytest.raises(MaibenchError, match="tokenizer"):
            ask()


def test_no_prompt_at_all(asked, pictures):
    for ask in (asked.next_token_logits, asked.generate):
        with pytest.raises(MaibenchError, match="one token at least has to follow the image"):
            ask(pictures[:1], [])


def test_half_precision_on_request(shared_folder, asked, pictures):
    detector = load_detector("moondream", weights=shared_folder, dtype="bfloat16")
    found, expected = answer(detector, pictures), answer(asked, pictures)
    assert found.dtype == torch.float32
    assert (found - expected).abs().max() < 0.25


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_on_a_gpu_it_scores_and_learns_as_on_a_cpu(shared_folder, asked, pictures):
    detector = load_detector("moondream", weights=shared_folder, device="cuda", dtype="float32")
    expected = asked.next_token_logits(pictures, asked.prompt_ids)
    found = detector.next_token_logits(pictures, detector.prompt_ids)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)
    batch = asked.collate([asked.preprocess(pixels) for pixels in pictures])
    labels = torch.tensor([1.0, 0.0, 1.0])
    on_gpu = {"crops": batch["crops"].to("cuda"), "tilings": batch["tilings"]}
    loss = detector.loss(on_gpu, labels.to("cuda"))
    assert loss.item() == pytest.approx(asked.loss(batch, labels).item(), abs=1e-3)


def test_a_text_in_place_of_a_list_is_refused(asked, pictures):
    for questions in ("Is this image real?", [], [" "]):
        with pytest.raises(MaibenchError, match="a list of texts"):
            asked.ask(pictures[:1], questions)
    for images in (pictures[0], []):
        with pytest.raises(MaibenchError, match="a list of uint8 arrays"):
            asked.ask(images, ["Is this image real?"])
    with pytest.raises(MaibenchError, match="max_tokens"):
        asked.generate(pictures[:1], [5], 0)


def test_parts_of_a_batch_hold_their_images(asked, pictures):
    images = [*pictures, *pictures[:2]]
    batch = asked.collate([asked.preprocess(image) for image in images])
    parts = asked.model.split(batch)
    assert [len(part["tilings"]) for part in parts] == [4, 1]
    assert torch.equal(torch.cat([part["crops"] for part in parts]), batch["crops"])
    with torch.no_grad():
        whole = asked.answer(batch)[0]
        each = torch.cat([asked.answer(asked.collate([asked.preprocess(image)]))[0] for image in images])
    torch.testing.assert_close(whole, each, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("crops", "tiling"), [(None, (4, 2)), (4, (2, 2)), (1, (1, 1))])
def test_fewer_tiles(shared_folder, pictures, crops, tiling):
    detector = load_detector("moondream", weights=shared_folder, crops=crops)
    found, rows_and_columns = detector.preprocess(pictures[1])
    assert rows_and_columns == tiling
    assert len(found) == (1 if tiling == (1, 1) else 1 + tiling[0] * tiling[1])
    assert detector.facts()["tiles"] == f"at most {crops or 12}"
    assert torch.isfinite(detector(detector.collate([(found, tiling)]))).all()


def test_crops_are_a_whole_number(shared_folder):
    with pytest.raises(MaibenchError, match="moondream: the option crops is 0; it takes a whole number from 1"):
        load_detector("moondream", weights=shared_folder, crops=0)
