"""Augmentation: the same for both sides of a pair, and a function of the seed alone."""

from __future__ import annotations

import numpy as np

from maibench.finetune.augment import augment
from maibench.finetune.recipe import Augmentation
from maibench.finetune.samples import Sample

EVERYTHING = Augmentation(jpeg=1.0, pair_jpeg=1.0, resize=1.0, noise=1.0, rotate=True)


def test_both_sides_of_a_pair_are_treated_alike(texture):
    pixels = texture((90, 70), 1)
    crops = augment([Sample(pixels, 0, 3), Sample(pixels, 1, 3)], 48, EVERYTHING, (0, 1))
    assert np.array_equal(crops[0], crops[1])


def test_singles_and_other_pairs_are_treated_each_in_its_own_way(texture):
    pixels = texture((90, 70), 1)
    crops = augment([Sample(pixels, 0, pair) for pair in (-1, -1, 0, 1)], 48, EVERYTHING, (0, 1))
    assert len({crop.tobytes() for crop in crops}) == 4


def test_the_same_seed_gives_the_same_crops_and_another_step_others(texture):
    samples = [Sample(texture((90, 70), 1), 0, -1)]
    first, again, other = (augment(samples, 48, EVERYTHING, seed)[0] for seed in ((0, 1), (0, 1), (0, 2)))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_without_augmentation_a_crop_is_a_piece_of_the_image(texture):
    pixels = texture((52, 50), 1)
    settings = Augmentation(jpeg=0, pair_jpeg=0, resize=0, flip=False)
    crop = augment([Sample(pixels, 0, -1)], 48, settings, (0, 0))[0]
    assert any(np.array_equal(crop, pixels[y : y + 48, x : x + 48]) for y in range(3) for x in range(5))


def test_an_image_just_as_large_as_the_crop_survives_every_step(texture):
    crop = augment([Sample(texture((48, 48), 1), 0, -1)], 48, EVERYTHING, (0, 0))[0]
    assert crop.shape == (48, 48, 3)
    assert crop.dtype == np.uint8
