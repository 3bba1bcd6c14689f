"""`differentiable` gives what `preprocess` gives, and gradients reach every pixel that is read."""

import numpy as np
import pytest
import torch

import maibench
from maibench.errors import ImageError, MaibenchError
from maibench.models.bailu import Bailu
from maibench.models.loading import load_detector
from maibench.models.mai_cnn import MaiCnn
from maibench.models.mai_resnet import MaiResnet
from maibench.models.metadata import Metadata
from maibench.models.timm_backbone import TimmDetector

SIZES = [(256, 256), (224, 224), (100, 130), (300, 700), (700, 90)]


@pytest.fixture(scope="module", params=["bailu", "mai_cnn", "mai_resnet", "timm", "moondream"])
def detector(request):
    torch.manual_seed(1)
    if request.param == "moondream":
        return load_detector("moondream")
    made = {
        "bailu": Bailu,
        "mai_cnn": MaiCnn,
        "mai_resnet": MaiResnet,
        "timm": lambda: TimmDetector(backbone="convnext_atto", input_size=160),
    }[request.param]()
    return made.eval()


def both(detector, image):
    """What preprocess gives, what differentiable gives (tensors alone), and the pixels that gradients may reach."""
    pixels = torch.from_numpy(image).permute(2, 0, 1).float().requires_grad_()
    items = detector.preprocess(image), detector.differentiable(pixels)
    if isinstance(items[0], tuple):
        assert items[0][1] == items[1][1]  # the tiling
        items = items[0][0], items[1][0]
    return *items, pixels


@pytest.mark.parametrize("size", SIZES)
def test_equals_preprocess(detector, texture, size):
    expected, item, _ = both(detector, texture(size, 5))
    assert item.shape == expected.shape
    np.testing.assert_allclose(item.detach(), expected.float(), rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_the_logit_is_the_same(detector, texture, size):
    image = texture(size, 6)
    pixels = torch.from_numpy(image).permute(2, 0, 1).float()
    with torch.no_grad():
        logits = [
            detector(detector.collate([item])) for item in (detector.preprocess(image), detector.differentiable(pixels))
        ]
    torch.testing.assert_close(*logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", SIZES)
def test_gradients_reach_the_pixels_that_are_read(detector, texture, size):
    _, _, pixels = both(detector, texture(size, 7))
    logit = detector(detector.collate([detector.differentiable(pixels)])).sum()
    (gradient,) = torch.autograd.grad(logit, pixels)
    assert torch.isfinite(gradient).all()
    middle = gradient[:, size[1] // 2 - 20 : size[1] // 2 + 20, size[0] // 2 - 20 : size[0] // 2 + 20]
    assert (middle != 0).float().mean() > 0.5
    assert all(parameter.grad is None for parameter in detector.parameters())


def test_gradients_are_those_of_small_changes(texture):
    """Against a central difference, in float64, of the detector whose preprocess is linear."""
    torch.manual_seed(2)
    network = MaiCnn().double().eval()
    pixels = torch.from_numpy(texture((120, 210), 1)).permute(2, 0, 1).double().requires_grad_()

    def logit(values):
        return network(network.collate([network.differentiable(values)])).sum()

    (gradient,) = torch.autograd.grad(logit(pixels), pixels)
    direction = torch.sign(gradient)
    with torch.no_grad():
        step = 1e-4
        difference = (logit(pixels + step * direction) - logit(pixels - step * direction)) / (2 * step)
    assert float(difference) == pytest.approx(float(gradient.abs().sum()), rel=1e-3)


def test_what_cannot_be_read_is_refused_alike():
    for network, size in ((Bailu(), 63), (load_detector("moondream"), 13)):
        image = np.zeros((size, 100, 3), np.uint8)
        for read in (network.preprocess, lambda x, n=network: n.differentiable(torch.from_numpy(x).permute(2, 0, 1))):
            with pytest.raises(ImageError, match=f"100 x {size}"):
                read(image)


def test_a_detector_without_it_says_what_to_write():
    class Mine(maibench.Detector):
        card = maibench.Card(name="mine")

    for network in (Mine(), Metadata()):
        with pytest.raises(
            MaibenchError, match=r"has no differentiable\(pixels\): .*\n    def differentiable"
        ) as error:
            network.differentiable(torch.zeros(3, 8, 8))
        assert len(str(error.value).splitlines()) == 6


def test_the_five_lines_are_right(texture):
    """What the message says to write equals a preprocess of a 224 x 224 crop."""
    with pytest.raises(MaibenchError) as error:
        Metadata().differentiable(torch.zeros(3, 8, 8))
    lines = str(error.value).splitlines()[1:]
    found = {}
    exec("import torch\nclass Mine:\n" + "\n".join(lines), found)
    mine = found["Mine"]()
    mine.card = MaiResnet.card
    image = texture((300, 260), 2)
    result = mine.differentiable(torch.from_numpy(image).permute(2, 0, 1).float())
    torch.testing.assert_close(result, MaiResnet().preprocess(image))
