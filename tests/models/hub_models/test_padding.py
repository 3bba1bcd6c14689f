"""Batches of inputs of different sizes."""

import torch

from maibench.models.hub_models.padding import pad_together, positions


def item(tokens, *shape):
    return {
        "input_ids": torch.arange(1, tokens + 1)[None],
        "attention_mask": torch.ones(1, tokens, dtype=torch.long),
        "pixel_values": torch.ones(shape),
    }


def test_texts_are_padded_on_the_left_and_images_at_their_end():
    batch = pad_together([item(2, 1, 1, 3, 2), item(4, 1, 2, 3, 3)], pad_token=9)
    assert batch["input_ids"].tolist() == [[9, 9, 1, 2], [1, 2, 3, 4]]
    assert batch["attention_mask"].tolist() == [[0, 0, 1, 1], [1, 1, 1, 1]]
    assert batch["pixel_values"].shape == (2, 2, 3, 3)
    assert batch["pixel_values"][0, 0].tolist() == [[1, 1, 0]] * 3
    assert batch["pixel_values"][0, 1].sum() == 0 and batch["pixel_values"][1].min() == 1
    assert positions(batch["attention_mask"]).tolist() == [[0, 0, 0, 1], [0, 1, 2, 3]]


def test_patches_are_counted_by_the_first_dimension():
    batch = pad_together([item(3, 5, 4), item(3, 2, 4)], pad_token=0)
    assert batch["pixel_values"].shape == (7, 4)
    assert positions(batch["attention_mask"]) is None
