"""Preprocessing in torch, a batch at once, to the bit as numpy's."""

import numpy as np
import pytest
import torch

import maibench
from maibench.errors import ImageError
from maibench.models.bailu import Bailu
from maibench.models.loading import load_detector
from maibench.models.mai_cnn import MaiCnn
from maibench.models.mai_resnet import MaiResnet
from maibench.models.metadata import Metadata
from maibench.models.on_device import preprocess_on_device, preprocesses_alike
from maibench.models.timm_backbone import TimmDetector

SIZES = [(256, 256), (224, 224), (100, 130), (300, 700), (900, 90), (512, 640)]
MADE = {
    "bailu": Bailu,
    "mai_cnn": MaiCnn,
    "mai_resnet": MaiResnet,
    "timm": lambda: TimmDetector(backbone="mobilenetv4_conv_small"),
    "timm, other means": lambda: TimmDetector(backbone="vit_tiny_patch16_224"),
}
DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")],
    ),
]


@pytest.fixture(scope="module", params=list(MADE))
def detector(request):
    return MADE[request.param]().eval()


def bits(batch):
    parts = batch if isinstance(batch, list) else [batch]
    return [part.cpu().contiguous().view(torch.int32) for part in parts]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("size", SIZES)
def test_a_batch_has_the_bits_of_preprocess(detector, texture, size, device):
    images = [texture(size, seed) for seed in range(3)]
    expected = detector.collate([detector.preprocess(image) for image in images])
    found = preprocess_on_device(detector.to(device), torch.from_numpy(np.stack(images)).to(device))
    assert type(found) is type(expected)
    for one, other in zip(bits(expected), bits(found), strict=True):
        assert torch.equal(one, other)
    assert preprocesses_alike(detector, images)
    detector.to("cpu")


def test_every_level_of_every_colour(detector):
    """All 256 of them, so that no rounding is met by luck."""
    image = np.arange(256, dtype=np.uint8)[None, :, None].repeat(256, 0).repeat(3, 2)
    assert preprocesses_alike(detector, [image, image.transpose(1, 0, 2).copy()])


def test_under_inference_mode(texture):
    image = texture((300, 300), 1)
    with torch.inference_mode():
        found = preprocess_on_device(MaiCnn(), torch.from_numpy(image)[None])
    assert torch.equal(found[0], MaiCnn().preprocess(image))


def test_a_size_that_is_refused(texture):
    with pytest.raises(ImageError, match="bailu reads images of at least 64 x 64"):
        preprocess_on_device(Bailu(), torch.zeros(2, 63, 80, 3, dtype=torch.uint8))


def test_what_is_not_the_same_is_told(texture):
    class Rounded(MaiCnn):
        def differentiable(self, pixels):
            return super().differentiable(pixels) * 1.0000001

    class Plain(maibench.Detector):
        card = maibench.Card(name="plain")

        def preprocess(self, image):
            return torch.zeros(3)

    image = texture((256, 256), 1)
    assert not preprocesses_alike(Rounded(), [image])
    assert not preprocesses_alike(Plain(), [image])
    assert not preprocesses_alike(Metadata(), [image])
    assert not preprocesses_alike(load_detector("moondream"), [image])
