"""Augmentation: the same for both sides of a pair, a function of the seed alone, and nothing that was not asked for."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from maibench.finetune.augment import augment
from maibench.finetune.recipe import Augmentation
from maibench.finetune.samples import Sample

EVERYTHING = Augmentation(jpeg=1.0, pair_jpeg=1.0, resize=1.0, colour=1.0, noise=1.0, rotate=True)
NOTHING = {"jpeg": 0.0, "pair_jpeg": 0.0, "resize": 0.0, "colour": 0.0, "noise": 0.0, "flip": False, "rotate": False}
STEPS = {"jpeg": 1.0, "resize": 1.0, "colour": 1.0, "noise": 1.0, "flip": True, "rotate": True}


def crops_of(pixels: np.ndarray, settings: Augmentation, crop: int = 48, count: int = 40, pair: int = -1):
    """What becomes of an image at `count` places of a training."""
    return [augment([Sample(pixels, 0, pair)], crop, settings, (0, step))[0] for step in range(count)]


@pytest.mark.parametrize("name", [*STEPS, "pair_jpeg", "everything"])
def test_both_sides_of_a_pair_are_treated_alike(texture, name: str):
    settings = EVERYTHING if name == "everything" else Augmentation(**{**NOTHING, name: STEPS.get(name, 1.0)})
    pixels = texture((90, 70), 1)
    for step in range(10):
        crops = augment([Sample(pixels, 0, 3), Sample(pixels, 1, 3)], 48, settings, (0, step))
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


def test_the_label_of_an_image_changes_nothing(texture):
    pixels = texture((90, 70), 1)
    real, synthetic = (augment([Sample(pixels, label, -1)], 48, EVERYTHING, (0, 1))[0] for label in (0, 1))
    assert np.array_equal(real, synthetic)


def test_without_augmentation_a_crop_is_a_piece_of_the_image(texture):
    pixels = texture((52, 50), 1)
    places = [(y, x) for y in range(3) for x in range(5)]
    pieces = {pixels[y : y + 48, x : x + 48].tobytes(): (y, x) for y, x in places}
    found = [pieces[crop.tobytes()] for crop in crops_of(pixels, Augmentation(**NOTHING), count=200)]
    assert set(found) == set(places)


@pytest.mark.parametrize("name", STEPS)
def test_each_step_works_by_itself_and_only_where_it_is_asked_for(texture, name: str):
    pixels = texture((48, 48), 1)  # just as large as the crop: there is one piece
    without = crops_of(pixels, Augmentation(**NOTHING))
    assert all(np.array_equal(crop, pixels) for crop in without)
    if name == "resize":
        pixels = texture((96, 96), 1)
    changed = crops_of(pixels, Augmentation(**{**NOTHING, name: STEPS[name]}))
    assert len({crop.tobytes() for crop in changed}) > 1
    assert all(crop.shape == (48, 48, 3) and crop.dtype == np.uint8 and crop.flags["C_CONTIGUOUS"] for crop in changed)


def test_flips_and_turns_move_pixels_and_change_none(texture):
    pixels = texture((48, 48), 1)
    turned = [np.rot90(side, k).tobytes() for side in (pixels, pixels[:, ::-1]) for k in range(4)]
    for settings, expected in (({"flip": True}, {turned[0], turned[4]}), ({"flip": True, "rotate": True}, set(turned))):
        crops = crops_of(pixels, Augmentation(**{**NOTHING, **settings}), count=99)
        assert {crop.tobytes() for crop in crops} == expected


def test_pairs_and_singles_are_compressed_by_their_own_probabilities(texture):
    pixels = texture((48, 48), 1)
    for pair, name, other in ((-1, "jpeg", "pair_jpeg"), (0, "pair_jpeg", "jpeg")):
        never = crops_of(pixels, Augmentation(**{**NOTHING, other: 1.0}), pair=pair)
        half = crops_of(pixels, Augmentation(**{**NOTHING, name: 0.5}), pair=pair, count=200)
        assert all(np.array_equal(crop, pixels) for crop in never)
        assert 70 < sum(not np.array_equal(crop, pixels) for crop in half) < 130


def test_compression_is_that_of_pillow_at_a_quality_of_the_range(texture, tmp_path):
    pixels = texture((48, 48), 1)
    expected = set()
    for options in (*({"format": "JPEG", "subsampling": s} for s in (0, 2)), {"format": "WEBP", "method": 2}):
        Image.fromarray(pixels).save(tmp_path / "it", quality=70, **options)
        expected.add(np.asarray(Image.open(tmp_path / "it").convert("RGB")).tobytes())
    crops = crops_of(pixels, Augmentation(**{**NOTHING, "jpeg": 1.0, "quality": (70, 70)}))
    assert {crop.tobytes() for crop in crops} == expected


def test_a_resized_crop_is_a_piece_of_the_resized_image(texture):
    pixels = texture((160, 160), 1)
    half = [np.asarray(Image.fromarray(pixels).resize((80, 80), kernel)) for kernel in (2, 3, 1)]
    for crop in crops_of(pixels, Augmentation(**{**NOTHING, "resize": 1.0, "scale": (0.5, 0.5)}), count=10):
        inner = crop[8:40, 8:40].astype(int)  # at the rim, a kernel sees what is outside of the crop
        differences = [
            np.abs(inner - small[y + 8 : y + 40, x + 8 : x + 40]).max()
            for small in half
            for y in range(33)
            for x in range(33)
        ]
        assert min(differences) <= 1


def test_colours_change_and_grey_stays_grey(texture):
    pixels = texture((48, 48), 1)
    settings = Augmentation(**{**NOTHING, "colour": 1.0})
    crops = crops_of(pixels, settings)
    means = np.array([crop.mean() for crop in crops]) / pixels.mean()
    assert means.min() > 0.7
    assert means.max() < 1.3
    assert means.std() > 0.05
    grey = np.repeat(pixels[:, :, :1], 3, axis=2)
    for crop in crops_of(grey, settings):
        assert (np.ptp(crop, axis=2) == 0).all()
        assert crop.dtype == np.uint8


def test_noise_is_of_at_most_five_levels(texture):
    pixels = np.full((48, 48, 3), 128, dtype=np.uint8)
    spreads = [crop.std() for crop in crops_of(pixels, Augmentation(**{**NOTHING, "noise": 1.0}))]
    assert 0.9 < min(spreads) < 2
    assert 4 < max(spreads) < 5.2
    white = np.full((48, 48, 3), 255, dtype=np.uint8)
    assert min(crop.min() for crop in crops_of(white, Augmentation(**{**NOTHING, "noise": 1.0}))) > 200


@pytest.mark.parametrize("size", [(48, 48), (48, 200), (20, 30), (200, 47)])
def test_an_image_that_is_hardly_large_enough_or_smaller_survives_every_step(texture, size):
    side = min(48, *size)
    for scale in ((0.5, 1.0), (0.5, 1.4), (1.0, 2.0)):
        settings = EVERYTHING.model_copy(update={"scale": scale})
        for crop in crops_of(texture(size, 1), settings, count=20):
            assert crop.shape == (side, side, 3)
            assert crop.dtype == np.uint8


def test_the_image_itself_is_left_as_it_is(texture):
    pixels = texture((64, 64), 1)
    before = pixels.copy()
    crops_of(pixels, EVERYTHING)
    assert np.array_equal(pixels, before)
