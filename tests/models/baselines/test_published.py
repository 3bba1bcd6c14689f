"""The detectors of the literature: their size, what they read, and logits of the official code."""

import hashlib

import numpy as np
import pytest
import torch
from PIL import Image

from maibench.errors import ImageError, MaibenchError
from maibench.models.card import IMAGENET_MEAN, IMAGENET_STD
from maibench.models.loading import build, load_detector
from maibench.models.registry import detector_class
from maibench.models.weights import save_weights
from tests.models.baselines.formula import fill, images

PARAMETERS = {  # published: 23.5 M; 1.44 M; 0.126 M (the official file) and 1.06 M; 13.6 M; 1,297; 1.44 M; 1.85 M
    "cnndetection": 23_510_081,
    "npr": 1_437_761,
    "ferretnet": 126_289,
    "ladeda": 13_641_793,
    "tiny_ladeda": 1_297,
    "safe": 1_438_274,
    "freqnet": 1_850_433,
}
RESIZED = ["npr", "ladeda", "tiny_ladeda", "freqnet"]
CROPPED = {"cnndetection": 224, "ferretnet": 256, "safe": 256}
OFFICIAL = {
    "cnndetection": [23.8249378204, 23.8285274506],
    "npr": [6.6014437675, 6.5100011826],
    "ferretnet": [-0.0897911042, -0.0943079665],
    "ladeda": [-8514.2900390625, -8514.5205078125],
    "tiny_ladeda": [0.6265323162, 0.6235724688],
    "safe": [-11.6959075928, -11.4912090302],
}
"""Logits of `formula.images(64)` by the official code (commits: the docstrings) with the weights of `formula.fill`; of
SAFE, with PyWavelets in the place of pytorch_wavelets."""
NAMES = {
    "cnndetection": "8cd081385fc6",
    "npr": "e517d42ebd7f",
    "ferretnet": "1924ebe1d21f",
    "ladeda": "5c6a34f65a9b",
    "tiny_ladeda": "7bae462a0679",
    "safe": "ce79018b5b71",
}
"""What the sha256 of the official networks' (name, shape) pairs, sorted, begins with."""
SMALL = ["npr", "ferretnet", "tiny_ladeda", "safe"]


def made(name, **options):
    torch.manual_seed(3)
    return build(detector_class(name), name, options).eval()


def reader(name):
    """One whose `preprocess` works, without weights."""
    with torch.device("meta"):
        return detector_class(name)()


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters(name):
    network = reader(name)
    assert network.parameter_count() == network.card.parameters == PARAMETERS[name]


@pytest.mark.parametrize("name", NAMES)
def test_tensors_have_the_official_names_and_shapes(name):
    pairs = sorted((key, list(value.shape)) for key, value in reader(name).network.state_dict().items())
    assert hashlib.sha256(repr(pairs).encode()).hexdigest().startswith(NAMES[name])


def test_the_larger_ferretnet_has_the_paper_s_size():
    with torch.device("meta"):
        assert round(detector_class("ferretnet")(dim=96).parameter_count() / 1e6, 2) == 1.06


@pytest.mark.parametrize("name", OFFICIAL)
def test_logits_are_those_of_the_official_code(name):
    network = fill(detector_class(name)())
    with torch.inference_mode():
        logits = network(images(64))
    np.testing.assert_allclose(logits, OFFICIAL[name], rtol=1e-5)


@pytest.mark.parametrize("name", SMALL)
def test_a_checkpoint_as_the_authors_save_it_is_loaded(name, tmp_path):
    network = made(name)
    tensors = {key.replace("network.", "module."): value for key, value in network.state_dict().items()}
    torch.save({"model": tensors, "epoch": 3}, tmp_path / "official.pth")
    loaded = load_detector(name, weights=tmp_path / "official.pth")
    for key, tensor in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], tensor), key
    assert loaded.card.weights.endswith("official.pth")
    assert len(loaded.card.sha256) == 64
    save_weights(network, tmp_path / "own.safetensors")
    assert torch.equal(
        load_detector(name, weights=tmp_path / "own.safetensors").network.state_dict()[
            next(iter(network.network.state_dict()))
        ],
        next(iter(network.network.state_dict().values())),
    )


def test_weights_of_another_network_are_refused(tmp_path):
    save_weights(made("npr"), tmp_path / "npr.safetensors")
    with pytest.raises(MaibenchError, match=r"not the weights of TinyLadeda: 'network\.conv2\.weight' is missing"):
        load_detector("tiny_ladeda", weights=tmp_path / "npr.safetensors")


@pytest.mark.parametrize("name", PARAMETERS)
def test_no_weights_are_bundled_and_the_message_says_what_to_do(name):
    with pytest.raises(MaibenchError, match=f"'{name}' has no bundled weights; finetune it.*--set {name}.weights=FILE"):
        load_detector(name)


@pytest.mark.parametrize("size", [(256, 256), (640, 200), (31, 300), (1, 1)])
@pytest.mark.parametrize("name", RESIZED)
def test_resized_as_torchvision_does(name, size, texture):
    image = texture(size, 4)
    seen = np.asarray(Image.fromarray(image).resize((256, 256), Image.Resampling.BILINEAR), dtype=np.float32)
    expected = (seen / 255 - IMAGENET_MEAN) / IMAGENET_STD
    np.testing.assert_allclose(reader(name).preprocess(image).permute(1, 2, 0), expected, atol=1e-5)


@pytest.mark.parametrize("size", [(224, 224), (300, 257), (255, 256), (100, 501), (1, 1)])
@pytest.mark.parametrize("name", CROPPED)
def test_cropped_as_torchvision_does(name, size, texture):
    transforms = pytest.importorskip("torchvision.transforms")
    image, network = texture(size, 5), reader(name)
    steps = [transforms.CenterCrop(CROPPED[name]), transforms.ToTensor()]
    steps.append(transforms.Normalize(network.card.mean, network.card.std))
    expected = transforms.Compose(steps)(Image.fromarray(image))
    torch.testing.assert_close(network.preprocess(image), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["npr", "ferretnet"])
def test_small_images_in_the_middle_of_black_or_stretched(name, texture):
    network = reader(name)
    item = network.preprocess(texture((40, 50), 1))
    corner = item[:, 0, 0] * torch.tensor(network.card.std) + torch.tensor(network.card.mean)
    assert bool((corner.abs() < 1e-6).all()) is (name == "ferretnet")
    assert item.shape == (3, 256, 256)


@pytest.mark.parametrize(("name", "option"), [("npr", "resize"), ("safe", "pad")])
def test_native_resolution(name, option, texture):
    network = made(name, **{option: False})
    sizes = [(101, 64), (64, 101), (101, 64)]
    items = [network.preprocess(texture(size, seed)) for seed, size in enumerate(sizes)]
    assert items[0].shape[1:] == ((64, 100) if name == "npr" else (64, 101))
    with torch.inference_mode():
        together = network(network.collate(items))
        alone = torch.cat([network(network.collate([item])) for item in items])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
    assert len(set(together.tolist())) == 3
    assert "native" in network.card.input_policy or "as they are" in network.card.input_policy
    assert network.card.input_size is None
    pixels = torch.from_numpy(texture(sizes[0], 0)).permute(2, 0, 1).float()
    torch.testing.assert_close(network.differentiable(pixels), items[0], atol=1e-5, rtol=0)
    for read, image in ((network.preprocess, texture((31, 80))), (network.differentiable, pixels[:, :31])):
        with pytest.raises(ImageError, match="at native resolution it needs 32 x 32"):
            read(image)


@pytest.mark.parametrize("size", [(256, 256), (300, 200), (90, 260)])
@pytest.mark.parametrize("name", SMALL)
def test_differentiable_equals_preprocess_and_gradients_reach_the_pixels(name, size, texture):
    network = made(name)
    image = texture(size, 6)
    pixels = torch.from_numpy(image).permute(2, 0, 1).float().requires_grad_()
    item = network.differentiable(pixels)
    torch.testing.assert_close(item.detach(), network.preprocess(image), atol=1e-5, rtol=1e-6)
    (gradient,) = torch.autograd.grad(network(network.collate([item])).sum(), pixels)
    assert torch.isfinite(gradient).all()
    assert (gradient != 0).float().mean() > 0.2


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.slow
def test_training_lowers_the_loss(name):
    torch.manual_seed(5)
    network = detector_class(name)().train()
    noise = torch.rand(8, 3, 32, 32)
    noise[4:] = noise[4:, :, ::2, ::2].repeat_interleave(2, 2).repeat_interleave(2, 3)
    labels = torch.arange(8) // 4
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-2)
    losses = []
    for _ in range(8):
        loss = network.loss(noise, labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("npr", {"resize": "no"}, "the option resize is 'no'; use true or false"),
        ("safe", {"pad": 1}, "the option pad is 1; use true or false"),
        ("ferretnet", {"dim": 33}, "the option dim is 33; it takes an even number"),
        ("tiny_ladeda", {"pad": True}, "has no option 'pad'; its options: resize"),
    ],
)
def test_wrong_options(name, options, told):
    with pytest.raises(MaibenchError, match=told):
        made(name, **options)
