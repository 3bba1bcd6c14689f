"""MAI's CNN: its size, what it sees of an image, and that it computes what MAI's own order of layers computes."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from maibench.models.card import IMAGENET_MEAN, IMAGENET_STD
from maibench.models.mai_cnn import MaiCnn


def seen(image):
    """The pixels that the network is given, with the normalisation undone: uint8, height x width x 3."""
    tensor = MaiCnn().preprocess(image).double().numpy().transpose(1, 2, 0)
    return np.round((tensor * IMAGENET_STD + IMAGENET_MEAN) * 255).astype(np.uint8)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(1)
    return MaiCnn().eval()


def test_parameters():
    network = MaiCnn()
    assert network.parameter_count() == MaiCnn.card.parameters == 4_827_365
    assert sum(p.numel() for p in network.head.parameters()) == 40_000 * 120 + 120 + 120 * 30 + 30 + 30 + 1


def test_equals_mais_own_order_of_layers(network, texture):
    layers = []
    for before, after in ((3, 16), (16, 32), (32, 64)):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.Flatten(), nn.Linear(40_000, 120), nn.ReLU(), nn.Linear(120, 30), nn.ReLU(), nn.Linear(30, 1)]
    original = nn.Sequential(*layers)
    with torch.no_grad():
        for own, other in zip(original.parameters(), network.parameters(), strict=True):
            own.copy_(other)
    batch = torch.stack([network.preprocess(texture((200 + 40 * seed, 230), seed)) for seed in range(4)])
    with torch.inference_mode():
        logits, expected = network(batch), original(batch)
    assert logits.shape == (4,)
    assert len(set(logits.tolist())) == 4
    torch.testing.assert_close(logits, expected[:, 0], atol=1e-6, rtol=0)


def test_large_image_is_cropped_to_its_centre(texture):
    image = texture((301, 257))
    np.testing.assert_array_equal(seen(image), image[28:228, 50:250])


def test_image_of_the_right_size_is_seen_as_it_is(texture):
    image = texture((200, 200))
    np.testing.assert_array_equal(seen(image), image)


@pytest.mark.parametrize(("width", "height"), [(150, 121), (199, 200), (300, 101), (120, 320)])
def test_small_image_is_padded_by_reflection_not_resized(texture, width, height):
    image = texture((width, height))

    def places(side):
        """Of each of the 200 places the pixel of the image that is seen there, mirrored at the borders."""
        offset = -((200 - side) // 2) if side < 200 else (side - 200) // 2
        return [side - 1 - abs(side - 1 - abs(place)) for place in range(offset, offset + 200)]

    np.testing.assert_array_equal(seen(image), image[np.ix_(places(height), places(width))])


def test_smallest_image_is_scored(network):
    image = np.full((1, 1, 3), 77, dtype=np.uint8)
    assert (seen(image) == 77).all()
    assert torch.isfinite(network(network.preprocess(image)[None])).all()


def test_image_is_left_alone(texture):
    image = texture((210, 150))
    before = image.copy()
    image.setflags(write=False)
    MaiCnn().preprocess(image)
    np.testing.assert_array_equal(image, before)


def test_several_crops_are_averaged(network, texture):
    several = MaiCnn(crops=9).eval()
    several.load_state_dict(network.state_dict())
    images = [texture((420, 300), 1), texture((150, 90), 2), texture((200, 230), 3)]
    items = [several.preprocess(image) for image in images]
    assert [len(item) for item in items] == [7, 1, 3]
    torch.testing.assert_close(items[0][0], network.preprocess(images[0]), rtol=0, atol=0)
    with torch.inference_mode():
        logits = several(several.collate(items))
        expected = torch.stack([network(item).mean() for item in items])
    torch.testing.assert_close(logits, expected, atol=1e-6, rtol=0)
    assert several.facts() == {"changed": "at most 9 crops, their logits averaged"}


def test_resized_first(texture):
    image = texture((500, 400))
    small = np.asarray(Image.fromarray(image).resize((250, 200), Image.Resampling.BILINEAR))
    torch.testing.assert_close(MaiCnn(resize=200).preprocess(image), MaiCnn().preprocess(small), rtol=0, atol=0)
    assert MaiCnn(resize=200).facts() == {"changed": "resized first, the shorter side to 200"}
    assert MaiCnn().facts() == {}


@pytest.mark.parametrize("options", [{"crops": 4}, {"resize": 230}, {"crops": 9, "resize": 333}])
@pytest.mark.parametrize("size", [(420, 300), (150, 90), (200, 200)])
def test_options_are_differentiable_alike(texture, options, size):
    network, image = MaiCnn(**options), texture(size)
    pixels = torch.from_numpy(image.copy()).permute(2, 0, 1).float()
    torch.testing.assert_close(network.differentiable(pixels), network.preprocess(image), rtol=0, atol=0)
