"""Pad, crop, normalise: against index arithmetic."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from maibench.models.pixels import centre_crop, normalise, normalise_tensor, pad_to, tensor_crop

SIDES = st.integers(1, 40)


def coordinates(height, width):
    """An image of which every pixel says where it lies."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows, columns, rows * 0], axis=2).astype(np.uint8)


def mirrored(side, size):
    """The places of `size` pixels around a side that goes forth and back between its ends."""
    before = max(0, size - side) // 2
    period = max(1, 2 * (side - 1))
    places = (np.arange(max(side, size)) - before) % period
    return np.minimum(places, period - places) if side > 1 else np.zeros(max(side, size), dtype=int)


@given(SIDES, SIDES, SIDES)
@settings(deadline=None)
def test_pad_to_mirrors_the_borders(height, width, size):
    padded = pad_to(coordinates(height, width), size)
    assert padded.shape == (max(height, size), max(width, size), 3)
    np.testing.assert_array_equal(padded[:, 0, 0], mirrored(height, size))
    np.testing.assert_array_equal(padded[0, :, 1], mirrored(width, size))


@given(SIDES, SIDES, SIDES)
@settings(deadline=None)
def test_centre_crop_leaves_as_much_on_both_sides(height, width, size):
    image = pad_to(coordinates(height, width), size)
    cropped = centre_crop(coordinates(*image.shape[:2]), size)
    assert cropped.shape == (size, size, 3)
    for axis in (0, 1):
        before = int(cropped[0, 0, axis])
        after = image.shape[axis] - 1 - int(cropped[-1, -1, axis])
        assert after - before in (0, 1)


def test_normalise():
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    tensor = normalise(image, mean, std)
    assert str(tensor.dtype) == "torch.float32"
    assert tensor.is_contiguous()
    np.testing.assert_allclose(tensor.numpy(), ((image / 255 - mean) / std).transpose(2, 0, 1), atol=1e-6)


@given(SIDES, SIDES, SIDES)
@settings(deadline=None)
def test_tensor_crop_shows_the_same_pixels(height, width, size):
    image = coordinates(height, width)
    expected = centre_crop(pad_to(image, size), size)
    cropped = tensor_crop(torch.from_numpy(image).permute(2, 0, 1), size)
    np.testing.assert_array_equal(cropped.permute(1, 2, 0), expected)


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_normalise_tensor_is_normalise(seed):
    image = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    result = normalise_tensor(torch.from_numpy(image).permute(2, 0, 1).float(), mean, std)
    torch.testing.assert_close(result, normalise(image, mean, std), rtol=1e-6, atol=1e-6)
