"""MAI's residual network: its shape, and that it computes what the same weights give in a plain function."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from maibench.errors import MaibenchError
from maibench.models.loading import load_detector
from maibench.models.mai_resnet import BasicBlock, MaiResnet


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(2)
    network = MaiResnet()
    for name, buffer in network.named_buffers():  # as after training: no statistic is at its start
        if name.endswith(("running_mean", "running_var")):
            buffer.uniform_(0.5, 1.5)
    return network.eval()


def test_size(network):
    blocks = [module for module in network.modules() if isinstance(module, BasicBlock)]
    channels = [block.body[0].out_channels for block in blocks]
    assert channels == [64] * 3 + [128] * 4 + [256] * 6 + [512] * 3
    assert network.parameter_count() == 21_287_425


def test_equals_a_plain_function_of_the_same_weights(network, texture):
    w = network.state_dict()

    def norm(x, name):
        mean, var, scale, shift = (
            w[f"{name}.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / torch.sqrt(var + 1e-5) * scale + shift

    def conv(x, name, **options):
        return F.conv2d(x, w[f"{name}.weight"], w[f"{name}.bias"], **options)

    batch = torch.stack([network.preprocess(texture((240, 230), seed)) for seed in range(2)])
    with torch.inference_mode():
        x = F.max_pool2d(conv(batch, "stem.0", stride=2, padding=3), 3, 2)
        assert x.shape == (2, 64, 56, 56)
        for index in range(16):
            stride, name = (2 if index in (3, 7, 13) else 1), f"blocks.{index}"
            inner = F.relu(norm(conv(x, f"{name}.body.0", stride=stride, padding=1), f"{name}.body.1"))
            inner = norm(conv(inner, f"{name}.body.3", padding=1), f"{name}.body.4")
            beside = x if stride == 1 else norm(conv(x, f"{name}.shortcut.0", stride=2), f"{name}.shortcut.1")
            x = F.relu(inner + beside)
        assert x.shape == (2, 512, 7, 7)
        expected = F.avg_pool2d(x, 3).flatten(1) @ w["head.2.weight"].T + w["head.2.bias"]
        logits = network(batch)
    assert logits.shape == (2,)
    torch.testing.assert_close(logits, expected[:, 0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [(224, 224), (300, 260), (100, 500), (30, 20)])
def test_sees_224_pixels_a_side(texture, size):
    assert MaiResnet().preprocess(texture(size)).shape == (3, 224, 224)


def test_sees_the_centre(texture):
    image = texture((301, 257))
    np.testing.assert_array_equal(
        MaiResnet().preprocess(image).numpy(), MaiResnet().preprocess(image[16:240, 38:262]).numpy()
    )


def test_without_weights_it_is_refused():
    with pytest.raises(MaibenchError, match=r"'mai_resnet' has no bundled weights.*--set mai_resnet\.weights=FILE"):
        load_detector("mai_resnet")
