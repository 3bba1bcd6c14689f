"""bailu: its size, what it reads of an image of any size, and that its shortcuts change nothing."""

import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn
from torch.nn import functional as F

from maibench.errors import ImageError, MaibenchError
from maibench.models.bailu import TILE, Bailu, ConvNorm, cut_tiles
from maibench.models.weights import save_weights


def used(module):
    """Normalisations as after training: no statistic, scale or shift is at its start."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.uniform_(-0.5, 0.5)
            part.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.uniform_(part.bias, -0.5, 0.5)
    return module


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(3)
    return used(Bailu()).eval()


def logits_of(network, images):
    with torch.inference_mode():
        return network(network.collate([network.preprocess(image) for image in images]))


def test_size(tmp_path):
    network = Bailu()
    assert network.parameter_count() <= 2_000_000
    save_weights(network, tmp_path / "bailu.safetensors")
    assert (tmp_path / "bailu.safetensors").stat().st_size <= 8_000_000


@pytest.mark.parametrize("size", [(64, 64), (65, 200), (200, 200), (256, 256), (255, 64), (257, 64), (500, 300)])
def test_reads_any_size_of_at_least_64(network, texture, size):
    first, second = logits_of(network, [texture(size, 1)]), logits_of(network, [texture(size, 2)])
    assert first.shape == (1,)
    assert torch.isfinite(first).all()
    assert first != second


@pytest.mark.parametrize("size", [(63, 200), (200, 63), (1, 1)])
def test_smaller_images_are_refused(network, texture, size):
    with pytest.raises(ImageError, match=f"{size[0]} x {size[1]}; bailu reads images of at least 64 x 64"):
        network.preprocess(texture(size))


def test_native_resolution(network, texture):
    image = texture((200, 120))
    np.testing.assert_allclose(
        network.preprocess(image).numpy(), (image.transpose(2, 0, 1) / 255 - 0.5) / 0.25, atol=1e-6
    )


@pytest.mark.parametrize(
    "sizes",
    [
        [(100, 90)] * 3,
        [(64, 64), (100, 90), (64, 64), (90, 100)],
        [(500, 300), (256, 256), (64, 70), (500, 300), (600, 600)],
    ],
    ids=["one size", "several sizes", "with tiles"],
)
def test_batch_equals_one_by_one(network, texture, sizes):
    images = [texture(size, seed) for seed, size in enumerate(sizes)]
    alone = torch.cat([logits_of(network, [image]) for image in images])
    torch.testing.assert_close(logits_of(network, images), alone, atol=1e-5, rtol=0)
    assert alone.std() > 1e-4


def test_large_image_is_the_mean_of_its_tiles(network, texture):
    image = texture((700, 400))
    tiles = cut_tiles(image, 5, TILE)
    assert len(tiles) == 5
    torch.testing.assert_close(logits_of(network, [image])[0], logits_of(network, tiles).mean(), atol=1e-5, rtol=0)


def test_tiles_option(network, texture):
    image = texture((700, 400))
    one = Bailu(tiles=1).eval()
    one.load_state_dict(network.state_dict())
    centre = image[72 : 72 + 256, 222 : 222 + 256]
    torch.testing.assert_close(logits_of(one, [image]), logits_of(network, [centre]), atol=1e-6, rtol=0)


def test_crop_option(network, texture):
    image = texture((200, 150))
    small, whole = Bailu(crop=100, tiles=9).eval(), Bailu(crop=4096).eval()
    for other in (small, whole):
        other.load_state_dict(network.state_dict())
    tiles = cut_tiles(image, 9, 100)
    assert {tile.shape for tile in tiles} == {(100, 100, 3)}
    torch.testing.assert_close(logits_of(small, [image])[0], logits_of(network, tiles).mean(), atol=1e-5, rtol=0)
    assert whole.preprocess(texture((700, 400))).shape == (3, 400, 700)
    assert small.facts() == {"changed": "tiles of 100 x 100, at most 9"}
    assert network.facts() == {}


@pytest.mark.parametrize("size", [(700, 400), (90, 64), (300, 300)])
def test_resize_option(texture, size):
    image = texture(size)
    height, width = (int(side * 200 / min(size)) for side in image.shape[:2])
    small = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
    network = Bailu(resize=200, tiles=2)
    torch.testing.assert_close(network.preprocess(image), Bailu(tiles=2).preprocess(small), rtol=0, atol=0)
    pixels = torch.from_numpy(image.copy()).permute(2, 0, 1).float()
    torch.testing.assert_close(network.differentiable(pixels), network.preprocess(image), rtol=0, atol=0)


@given(st.integers(64, 1200), st.integers(64, 1200), st.integers(1, 9))
@settings(max_examples=50, deadline=None)
def test_tiles(height, width, most):
    image = np.stack(np.mgrid[:height, :width], axis=2)  # every pixel says where it lies
    tiles = cut_tiles(image, most, TILE)
    tall, wide = min(height, TILE), min(width, TILE)
    assert 1 <= len(tiles) <= most
    for tile in tiles:
        top, left = tile[0, 0]
        np.testing.assert_array_equal(tile, image[top : top + tall, left : left + wide])
    corners = [tuple(tile[0, 0]) for tile in tiles]
    assert len(set(corners)) == len(corners)
    assert corners[0] == ((height - tall) // 2, (width - wide) // 2)
    covered = np.zeros((height, width), dtype=bool)
    for top, left in (tile[0, 0] for tile in cut_tiles(image, 1000, TILE)):
        covered[top : top + tall, left : left + wide] = True
    assert covered.all()


@pytest.mark.parametrize(("stride", "residual"), [(1, 0), (2, 0), (1, 3), (1, 5)])
def test_folded_convolution_equals_convolution_and_normalisation(stride, residual):
    torch.manual_seed(4)
    block = used(ConvNorm(3, 5, stride=stride, residual=residual)).double().eval()
    plain = nn.Sequential(nn.Conv2d(3, 5, 3, stride, padding=1, bias=False), nn.BatchNorm2d(5)).double().eval()
    plain[1].load_state_dict(block.norm.state_dict())
    with torch.no_grad():
        weight = block.conv.weight.clone()
        weight[:residual] -= weight[:residual].mean(dim=(2, 3), keepdim=True)
        plain[0].weight.copy_(weight)
        x = torch.randn(4, 3, 17, 20, dtype=torch.float64)
        torch.testing.assert_close(block(x), plain(x), atol=1e-12, rtol=0)
        torch.testing.assert_close(block.train()(x), plain.train()(x), atol=1e-12, rtol=0)


@given(st.lists(st.floats(-100, 100), min_size=3, max_size=3), st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_high_pass_filters_ignore_a_constant_offset(offset, seed):
    generator = torch.Generator().manual_seed(seed)
    block = ConvNorm(3, 4, residual=2).double().eval()
    x = torch.randn(1, 3, 9, 9, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        shifted = block(x + torch.tensor(offset, dtype=torch.float64)[:, None, None])
        change = (shifted - block(x))[0, :, 1:-1, 1:-1].abs().amax(dim=(1, 2))  # zeros beyond the border have none
    assert (change[:2] < 1e-9).all()


def test_other_filters_see_the_colour():
    torch.manual_seed(5)
    block = ConvNorm(3, 4, residual=2).eval()
    x = torch.randn(1, 3, 9, 9)
    with torch.no_grad():
        change = (block(x + 1) - block(x))[0, :, 1:-1, 1:-1].abs().amax(dim=(1, 2))
    assert (change[2:] > 1e-3).all()


@pytest.mark.parametrize(("chosen", "high_pass"), [("residual", 12), ("both", 6), ("rgb", 0)])
def test_input_option(chosen, high_pass):
    torch.manual_seed(6)
    stem = Bailu(input=chosen).stem.eval()
    with torch.no_grad():
        response = stem(torch.ones(1, 3, 9, 9))[0, :, 1:-1, 1:-1].abs().amax(dim=(1, 2))
    assert int((response < 1e-6).sum()) == high_pass


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input": "yuv"}, "'yuv'; use residual, rgb or both"),
        ({"tiles": 0}, "tiles is 0; it takes a whole number from 1"),
        ({"tiles": 2.5}, r"tiles is 2\.5; it takes a whole number from 1"),
        ({"crop": 32}, "crop is 32; it takes a whole number from 64"),
        ({"resize": "256"}, "resize is '256'; it takes a whole number from 64"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(MaibenchError, match=message):
        Bailu(**options)


def test_gradients_reach_every_parameter(texture):
    torch.manual_seed(7)
    network = Bailu().train()
    batch = torch.stack([network.preprocess(texture((80, 70), seed)) for seed in range(3)])
    F.binary_cross_entropy_with_logits(network(batch), torch.tensor([0.0, 1.0, 1.0])).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def kept(network):
    """The folded kernels that are kept, of all layers that have some."""
    return [layer._folded for layer in network.modules() if isinstance(layer, ConvNorm) and layer._folded]


class TestKeptKernels:
    """What is folded once and kept is what would be folded now."""

    @pytest.fixture
    def layer(self):
        torch.manual_seed(8)
        return used(ConvNorm(3, 5, residual=2)).eval()

    @pytest.fixture
    def x(self):
        torch.manual_seed(9)
        return torch.rand(2, 3, 12, 12)

    def test_bit_for_bit_with_and_without(self, network, texture):
        x = torch.stack([network.preprocess(texture((80, 70), seed)) for seed in range(3)])
        folded_anew = network(x).detach()  # gradients are wanted: nothing is kept
        with torch.inference_mode():
            first, second = network(x), network(x)
        assert len(kept(network)) == 9
        assert torch.equal(first, second)
        assert torch.equal(first, folded_anew)

    @pytest.mark.parametrize(
        "part", ["conv.weight", "norm.weight", "norm.bias", "norm.running_mean", "norm.running_var"]
    )
    def test_a_change_in_place_is_seen(self, layer, x, part):
        with torch.no_grad():
            before = layer(x)
            layer.get_parameter(part).add_(0.1) if "running" not in part else layer.get_buffer(part).add_(0.1)
            after = layer(x)
        assert not torch.equal(after, before)
        assert torch.equal(after, layer(x).detach())

    def test_other_weights_and_another_type_are_seen(self, layer, x):
        torch.manual_seed(10)
        other = used(ConvNorm(3, 5, residual=2)).eval()
        with torch.no_grad():
            layer(x)
            layer.load_state_dict(other.state_dict())
            assert torch.equal(layer(x), other(x))
            layer.load_state_dict({name: 2 * value for name, value in other.state_dict().items()}, assign=True)
            assert not torch.equal(layer(x), other(x))
            assert layer.double()(x.double()).dtype == torch.float64

    def test_training_goes_on_from_the_weights(self, layer, x):
        with torch.no_grad():
            before = layer(x)
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
        layer.train()(x).square().mean().backward()
        optimizer.step()
        with torch.no_grad():
            after = layer.eval()(x)
        assert not torch.equal(after, before)
        assert torch.equal(after, layer(x).detach())

    def test_kept_nowhere_else(self, layer, x):
        before = {name: value.clone() for name, value in layer.state_dict().items()}
        size = len(pickle.dumps(layer))
        with torch.no_grad():
            layer(x)
        assert layer._folded is not None
        assert list(layer.state_dict()) == list(before)
        assert len(pickle.dumps(layer)) == size
        assert copy.deepcopy(layer)._folded is None

    def test_weights_made_in_inference_mode(self, x):
        with torch.inference_mode():
            layer = used(ConvNorm(3, 5)).eval()
            before = layer(x)
            layer.norm.bias.add_(1)
            torch.testing.assert_close(layer(x), before + 1)
