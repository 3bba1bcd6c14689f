"""Crops that are averaged and resizing before them."""

import numpy as np
import pytest
import torch
from PIL import Image

from maibench.errors import ImageError, MaibenchError
from maibench.models.tiles import check_whole, mean_logits, resized, resized_tensor


@pytest.mark.parametrize(("size", "shorter"), [((300, 200), 64), ((90, 123), 224), ((100, 100), 33), ((61, 64), 61)])
def test_resized_as_torchvision_does(texture, size, shorter):
    image = texture(size)
    transforms = pytest.importorskip("torchvision.transforms")
    expected = transforms.Resize(shorter)(Image.fromarray(image))
    np.testing.assert_array_equal(resized(image, shorter), np.asarray(expected))


def test_nothing_to_resize(texture):
    image = texture((90, 64))
    assert resized(image, None) is image
    assert resized(image, 64) is image


def test_tensor_has_the_values_of_pillow_and_gradients(texture):
    image = texture((150, 100))
    pixels = torch.from_numpy(image.copy()).permute(2, 0, 1).float().requires_grad_()
    small = resized_tensor(pixels, 40)
    np.testing.assert_array_equal(small.detach().permute(1, 2, 0).numpy(), resized(image, 40))
    small[:, 20, 30].sum().backward()
    assert pixels.grad[:, 48:54, 72:80].abs().sum() > 0
    assert pixels.grad[:, :40].abs().sum() == 0
    assert pixels.grad.sum() == pytest.approx(3, abs=1e-4)


def test_a_strip_does_not_become_gigabytes():
    with pytest.raises(ImageError, match="3000 x 1 pixels are too long a strip to be resized to 256 on its short side"):
        resized(np.zeros((1, 3000, 3), np.uint8), 256)


def test_means_over_tiles_whatever_their_sizes():
    calls = []

    def run(batch):
        calls.append(tuple(batch.shape))
        return batch.mean(dim=(1, 2, 3))

    items = [
        torch.full((3, 4, 4), 1.0),
        torch.stack([torch.full((3, 4, 4), v) for v in (2.0, 4.0)]),
        torch.ones(3, 5, 4),
    ]
    assert mean_logits(run, items).tolist() == [1, 3, 1]
    assert calls == [(3, 3, 4, 4), (1, 3, 5, 4)]


@pytest.mark.parametrize("value", [0, 2.5, True, "3", None])
def test_options_are_whole_numbers(value):
    with pytest.raises(MaibenchError, match=r"x: the option crops is .*; it takes a whole number from 1"):
        check_whole("x", "crops", value, 1)
