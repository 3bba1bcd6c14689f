"""The network computes what the official one does, however it is asked."""

from __future__ import annotations

import pytest
import torch

from maibench import load_detector
from maibench.finetune.moondream_base import Packed

CLOSE = {"rtol": 0, "atol": 1e-4}


@pytest.fixture(scope="module")
def batch(tiny, pictures):
    """The three pictures as one batch of the tiny network."""
    model = tiny()
    return model.stack([model.crop(pixels) for pixels in pictures])


def prompt(*ids, n=1):
    return torch.tensor([ids] * n)


def test_official_image_tokens(official, reference, close):
    batch = official.collate([official.preprocess(reference["images"][0]["pixels"])])
    with torch.no_grad():
        found = official.model.encode_images(batch)[0]
    # every ninth of the 729 tokens is kept here
    torch.testing.assert_close(found[::9], reference["expected"]["image_0.embedding"], **close)


@pytest.mark.parametrize("number", range(3))
def test_official_logits_of_images_of_several_tilings_together(official, reference, close, number):
    pictures = [image["pixels"] for image in reference["images"]]
    expected = [reference["expected"][f"image_{index}.prompt_{number}.logits"] for index in range(len(pictures))]
    found = official.next_token_logits(pictures, reference["prompts"][number])
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, torch.stack(expected), **close)


def test_official_logits_within_bfloat16(official, reference):
    half = load_detector("moondream", weights=official.checkpoint.name, dtype="bfloat16")
    expected = reference["expected"]["image_0.prompt_0.logits"]
    found = half.next_token_logits([reference["images"][0]["pixels"]], reference["prompts"][0])[0]
    assert found.dtype == torch.float32
    assert {parameter.dtype for parameter in half.parameters()} == {torch.bfloat16}
    # eight bits of mantissa through some thirty layers
    assert (found - expected).abs().max() < 0.1 * expected.std()
    assert torch.corrcoef(torch.stack([found, expected]))[0, 1] > 0.99


def test_a_batch_is_its_images_one_by_one(tiny, pictures, batch):
    model = tiny()
    together = model.continue_with(model.prefill(batch), [1, 9, 3])
    for index, pixels in enumerate(pictures):
        alone = model.continue_with(model.prefill(model.stack([model.crop(pixels)])), [1, 9, 3])
        torch.testing.assert_close(together[index : index + 1], alone, **CLOSE)
    assert (together[0] - together[1]).abs().max() > 0.01  # the pictures matter
    assert (together[0] - together[2]).abs().max() > 0.01


def test_many_crops_go_through_the_encoder_in_parts(tiny, pictures):
    model = tiny()
    one = model.crop(pictures[0])
    together = model.encode_images(model.stack([one] * 9))  # more than go at once
    torch.testing.assert_close(together, together[:1].expand_as(together), **CLOSE)


def test_one_pass_is_the_cached_way(tiny, batch):
    model = tiny()
    ids = (1, 9, 2, 30, 3)
    whole = model(batch, prompt(*ids, n=3))
    assert whole.shape == (3, 5, 64)
    cache = model.prefill(batch)
    for end in range(1, len(ids) + 1):
        torch.testing.assert_close(whole[:, end - 1], model.continue_with(cache, ids[:end]), **CLOSE)


def test_a_cache_is_good_for_any_number_of_prompts(tiny, batch):
    model = tiny()
    cache = model.prefill(batch)
    first = model.continue_with(cache, [1, 9, 3])
    other = model.continue_with(cache, [8])
    model.generate(cache, [1, 9, 3], 3)
    assert torch.equal(model.continue_with(cache, [1, 9, 3]), first)
    assert (first - other).abs().max() > 0.01
    assert cache.get_seq_length() == 730


def test_greedy_generation_is_the_argmax_step_by_step(official, reference):
    pictures = [image["pixels"] for image in reference["images"][:2]]
    ids = reference["prompts"][2]
    generated = official.generate(pictures, ids, max_tokens=4)
    for pixels, found in zip(pictures, generated, strict=True):
        expected: list[int] = []
        for _ in range(4):
            expected.append(int(official.next_token_logits([pixels], ids + expected).argmax()))
        assert found == expected
    assert generated[0] != generated[1]
    assert len(set(generated[0])) > 2


def test_generation_ends_at_eos_for_each_image_on_its_own(official, reference):
    pictures = [image["pixels"] for image in reference["images"][:2]]
    ids = reference["prompts"][2]
    plain = official.generate(pictures, ids, max_tokens=5)
    only = next(token for token in plain[0] if token not in plain[1])  # what the first image says, and the other not
    ending = load_detector("moondream", weights=official.checkpoint.name)
    head = ending.model.text.lm_head
    head.weight[0], head.bias[0] = head.weight[only], head.bias[only] + 1e-3  # where it was said there is EOS now
    end = plain[0].index(only)
    assert 0 < end < 4
    assert ending.generate(pictures, ids, max_tokens=5) == [plain[0][:end], plain[1]]
    batch = ending.collate([ending.preprocess(pixels) for pixels in pictures])
    padded = ending.model.generate(ending.model.prefill(batch), ids, 5)
    assert padded[0].tolist() == plain[0][:end] + [0] * (5 - end)


def gradients(model, batch, ids):
    model.requires_grad_(True).train()
    model.zero_grad()
    model(batch, ids)[:, -1].float().logsumexp(-1).sum().backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


@pytest.mark.filterwarnings("ignore::FutureWarning")  # transformers is about to call it activation checkpointing
def test_gradient_checkpointing_changes_no_gradient(tiny, pictures):
    model = tiny()
    batch = model.stack([model.crop(pictures[0])])
    plain = gradients(model, batch, prompt(1, 9, 3))
    model.text.gradient_checkpointing_enable()
    model.vision.gradient_checkpointing_enable()
    assert model.text.is_gradient_checkpointing
    assert model.vision.is_gradient_checkpointing
    saved = gradients(model, batch, prompt(1, 9, 3))
    assert saved.keys() == plain.keys()
    for name, gradient in plain.items():
        torch.testing.assert_close(saved[name], gradient, rtol=1e-4, atol=1e-5, msg=lambda text, name=name: name + text)
    assert plain["projector.fc1.weight"].abs().max() > 0


@pytest.mark.parametrize("tower", ["text", "vision"])
def test_attention_backends_agree(tiny, batch, tower):
    model = tiny()
    assert model.text.config._attn_implementation == model.vision.config._attn_implementation == "sdpa"
    plain = model.continue_with(model.prefill(batch), [1, 9, 2, 3])
    getattr(model, tower).set_attn_implementation("eager")
    torch.testing.assert_close(model.continue_with(model.prefill(batch), [1, 9, 2, 3]), plain, **CLOSE)


def test_prompts_packed_behind_one_image_are_each_prompt_alone(tiny, batch):
    model = tiny()
    rows = [
        [([1, 5, 3], [17, 0]), ([1, 6, 7, 2, 3], [18, 19, 20, 0]), ([4], [0])],
        [([1, 30, 2, 3], [40, 0])],
        [([9], [10, 11, 0]), ([9], [12, 0])],
    ]
    packed = Packed(rows)
    together = model(batch, packed.ids, packed.visible, packed.positions)
    cache = model.prefill(batch)
    for index, row in enumerate(rows):
        learnt = (packed.targets[index] != -100).nonzero().flatten().tolist()
        assert packed.targets[index, learnt].tolist() == [token for _, answer in row for token in answer]
        for start, answer in row:
            for said in range(len(answer)):
                alone = model.continue_with(cache, start + answer[:said])[index]
                torch.testing.assert_close(together[index, learnt.pop(0)], alone, **CLOSE)
        assert not learnt


def test_a_later_token_changes_no_earlier_answer(tiny, batch):
    model = tiny()
    one, other = model(batch, prompt(1, 9, 3, n=3)), model(batch, prompt(1, 9, 60, n=3))
    torch.testing.assert_close(one[:, :2], other[:, :2], **CLOSE)
    assert (one[:, 2] - other[:, 2]).abs().max() > 0.01


def test_the_prefix_sees_itself_both_ways(tiny, batch):
    """BOS comes first, and yet what it becomes depends on the image."""
    keys = tiny().prefill(batch).layers[1].keys[:, :, 0]
    assert (keys[0] - keys[1]).abs().max() > 0.01
    assert (keys[0] - keys[2]).abs().max() > 0.01
