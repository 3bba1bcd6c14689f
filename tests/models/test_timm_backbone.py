"""timm's backbones as detectors: what they see, what is known of them, and that nothing is downloaded unasked."""

import json
import socket
import sys

import huggingface_hub
import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from maibench import Detector, load_detector
from maibench.errors import DetectorError, MaibenchError
from maibench.finetune.recipe import Recipe
from maibench.finetune.trainer import make_detector
from maibench.models.loading import build, fingerprint
from maibench.models.pixels import normalise
from maibench.models.timm_backbone import TimmDetector
from maibench.models.weights import save_weights, sha256


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    """A fresh machine without a network."""

    def refuse(*arguments, **options):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))


def logits_of(detector, images):
    with torch.inference_mode():
        return detector(detector.collate([detector.preprocess(image) for image in images]))


@pytest.mark.parametrize(
    ("backbone", "size"),
    [("mobilenetv4_conv_small", 224), ("test_resnet", 160), ("test_vit", 160), ("test_efficientnet", 160)],
)
def test_one_logit_of_any_image(backbone, size, texture):
    detector = TimmDetector(backbone=backbone).eval()
    assert detector.preprocess(texture((300, 260))).shape == (3, size, size)
    logits = logits_of(detector, [texture((300, 260)), texture((40, 30), 1)])
    assert logits.shape == (2,)
    assert torch.isfinite(logits).all()
    assert logits[0] != logits[1]


def test_equals_timm_with_the_same_weights(texture):
    detector = TimmDetector(backbone="test_resnet").eval()
    plain = timm.create_model("test_resnet", num_classes=1).eval()
    plain.load_state_dict(detector.network.state_dict())
    image = texture((160, 160))
    cfg = plain.pretrained_cfg
    batch = normalise(image, cfg["mean"], cfg["std"])[None]
    with torch.inference_mode():
        torch.testing.assert_close(logits_of(detector, [image]), plain(batch)[:, 0], rtol=1e-4, atol=1e-5)


def test_it_sees_the_centre_at_native_resolution(texture):
    detector = TimmDetector(backbone="test_resnet", input_size=100)
    image = texture((301, 257))
    np.testing.assert_array_equal(detector.preprocess(image).numpy(), detector.preprocess(image[78:178, 100:200]))


def test_the_default_is_small():
    detector = TimmDetector()
    assert detector.parameter_count() == 2_494_305
    assert detector.card.name == TimmDetector.card.name == "timm"


@pytest.mark.parametrize("backbone", ["test_resnet", "test_vit", "test_vit.r160_in1k"])
def test_the_card_says_what_timm_says(backbone):
    card, config = TimmDetector(backbone=backbone).card, timm.get_pretrained_cfg(backbone)
    assert card.input_size == config.input_size[-1]
    assert (card.mean, card.std) == (tuple(config.mean), tuple(config.std))
    assert "160 x 160" in card.input_policy
    assert backbone in card.summary
    assert config.license in card.licence


@pytest.mark.parametrize("backbone", ["test_resnet", "test_vit"])
def test_input_size(backbone, texture):
    detector = TimmDetector(backbone=backbone, input_size=64).eval()
    assert detector.card.input_size == 64
    assert "64 x 64" in detector.card.input_policy
    assert logits_of(detector, [texture((90, 80))]).shape == (1,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backbone": "resnt18"}, r"timm has no backbone 'resnt18': did you mean resnet18, .*timm\.list_models\(\)"),
        ({"backbone": "zzzz"}, r"timm has no backbone 'zzzz': timm\.list_models\(\)"),
        ({"backbone": 3}, "timm has no backbone '3'"),
        ({"backbone": "hf-hub:owner/name"}, "timm has no backbone"),
        ({"backbone": "resnet18.best"}, r"Invalid pretrained tag \(best\).*There are .*resnet18\.a1_in1k"),
        ({"backbone": "test_resnet", "input_size": 0}, "a whole number of pixels a side; got 0"),
        ({"backbone": "test_resnet", "input_size": "64"}, "a whole number of pixels a side; got '64'"),
        (
            {"backbone": "test_resnet", "pretrained": True},
            "test_resnet of 160 x 160 pixels cannot be built .*; where there is no network, leave 'pretrained' out",
        ),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(MaibenchError, match=message):
        TimmDetector(**options)


def test_without_timm(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MaibenchError, match=r"timm is not installed .*pip install 'maibench\[timm\]'"):
        TimmDetector()


def test_without_weights_it_is_refused():
    for options in ({}, {"pretrained": True}):
        with pytest.raises(
            MaibenchError, match=r"'timm' has no bundled weights; finetune it.*--set timm\.weights=FILE"
        ):
            load_detector("timm", **options)


def test_what_a_file_fills_is_never_downloaded(tmp_path, texture):
    torch.manual_seed(1)
    trained = build(TimmDetector, "timm", {"backbone": "test_resnet", "input_size": 64}).eval()
    save_weights(trained, tmp_path / "model.safetensors")
    options = {"backbone": "test_resnet", "input_size": 64, "pretrained": True}
    (tmp_path / "config.json").write_text(json.dumps({"detector": "timm", "options": options}))
    images = [texture((90, 80), seed) for seed in range(2)]
    for loaded in (
        load_detector(str(tmp_path)),
        load_detector(str(tmp_path), pretrained=True),
        load_detector("timm", weights=tmp_path / "model.safetensors", **options),
    ):
        torch.testing.assert_close(logits_of(loaded, images), logits_of(trained, images), rtol=0, atol=0)
        assert fingerprint(loaded) == fingerprint(trained)


def test_weights_of_another_backbone_are_refused(tmp_path):
    save_weights(TimmDetector(backbone="test_resnet"), tmp_path / "model.safetensors")
    with pytest.raises(MaibenchError, match="not the weights of TimmDetector"):
        load_detector("timm", weights=tmp_path / "model.safetensors", backbone="test_efficientnet")


def test_the_fingerprint_depends_on_backbone_and_size():
    def of(**options):
        detector = build(TimmDetector, "timm", options)
        with torch.no_grad():
            for tensor in detector.state_dict().values():
                tensor.zero_()
        return fingerprint(detector)

    named = of(backbone="test_resnet"), of(backbone="test_efficientnet"), of(backbone="test_resnet", input_size=64)
    assert len(set(named)) == 3
    assert of(backbone="test_resnet") == named[0]


@pytest.mark.parametrize("backbone", ["test_resnet", "test_vit"])
def test_gradients_are_the_same_with_less_memory(backbone, texture):
    images, labels = [texture((160, 160), seed) for seed in range(4)], torch.tensor([0.0, 1.0, 0.0, 1.0])
    torch.manual_seed(2)
    plain = TimmDetector(backbone=backbone).train()
    saving = TimmDetector(backbone=backbone).train()
    saving.load_state_dict(plain.state_dict())
    saving.save_memory()
    assert any("heckpoint" in name and value for name, value in vars(saving.network).items() if value is True)
    for detector in (plain, saving):
        batch = detector.collate([detector.preprocess(image) for image in images])
        loss = detector.loss(batch, labels)
        torch.testing.assert_close(loss, F.binary_cross_entropy_with_logits(detector(batch), labels))
        loss.backward()
    for (name, one), two in zip(plain.named_parameters(), saving.parameters(), strict=True):
        assert one.grad is not None, name
        torch.testing.assert_close(one.grad, two.grad, rtol=1e-3, atol=1e-5)


def test_a_backbone_that_cannot_save_memory():
    with pytest.raises(MaibenchError, match="timm: convit_tiny cannot recompute its activations"):
        TimmDetector(backbone="convit_tiny").save_memory()


def plain_weights(file, classes, seed=4):
    """A network of timm's own, and a file of its weights under timm's names."""
    torch.manual_seed(seed)
    network = timm.create_model("test_vit", num_classes=classes, img_size=160).eval()
    save_file(network.state_dict(), file)
    return network


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_a_spec_names_arch_and_checkpoint(tmp_path, texture, suffix):
    file = tmp_path / f"mine@2.{suffix}"
    network = plain_weights(tmp_path / "mine@2.safetensors", 1)
    if suffix == "pth":
        torch.save({"state_dict": network.state_dict()}, file)
    detector = load_detector(f"timm:test_vit@{file}")
    assert (detector.card.weights, detector.card.sha256) == (str(file), sha256(file))
    image = texture((200, 180))
    batch = detector.preprocess(image)[None]
    with torch.inference_mode():
        torch.testing.assert_close(detector(batch), network(batch)[:, 0])
    again = load_detector("timm:test_vit", weights=file)
    torch.testing.assert_close(logits_of(again, [image]), logits_of(detector, [image]), rtol=0, atol=0)


@pytest.mark.parametrize("synthetic", [0, 1])
def test_of_two_classes_one_is_synthetic(tmp_path, texture, synthetic):
    network = plain_weights(tmp_path / "two.safetensors", 2)
    detector = load_detector(f"timm:test_vit@{tmp_path / 'two.safetensors'}", synthetic=synthetic)
    batch = detector.preprocess(texture((200, 180)))[None]
    with torch.inference_mode():
        shares = network(batch).softmax(dim=1)
        torch.testing.assert_close(detector(batch).sigmoid(), shares[:, synthetic])
    assert f"two classes, of which {synthetic} is the synthetic one" in detector.card.summary


@pytest.mark.parametrize(
    ("classes", "options", "message"),
    [
        (2, {}, r"the weights have two classes; say which .* LABEL\.synthetic=0 or LABEL\.synthetic=1"),
        (1, {"synthetic": 1}, "the weights have 1 outputs, not 2; leave 'synthetic' out"),
        (7, {}, "the weights have 7 outputs, not 1; a detector has one logit or two classes"),
    ],
)
def test_another_number_of_classes(tmp_path, classes, options, message):
    plain_weights(tmp_path / "some.safetensors", classes)
    with pytest.raises(DetectorError, match=message):
        load_detector(f"timm:test_vit@{tmp_path / 'some.safetensors'}", **options)


@pytest.mark.parametrize(
    ("spec", "options", "error", "message"),
    [
        (
            "timm:test_resnet",
            {},
            DetectorError,
            r"'timm:test_resnet' has no weights: finetune it .*'timm:test_resnet@FILE'",
        ),
        ("timm:test_resnet", {"pretrained": True}, DetectorError, "has no weights"),
        ("timm:", {}, MaibenchError, "write timm:ARCH@FILE"),
        ("timm:test_resnet@", {}, MaibenchError, "write timm:ARCH@FILE"),
        ("timm:test_rsnet@x", {}, MaibenchError, "timm has no backbone 'test_rsnet'"),
        ("timm:test_resnet@none.safetensors", {}, MaibenchError, "none.safetensors: no weights file there"),
        ("timm:test_resnet@a", {"weights": "b"}, MaibenchError, "weights: said by the SPEC already"),
        ("timm:test_resnet@a", {"backbone": "resnet18"}, MaibenchError, "backbone: said by the SPEC already"),
        ("timm:test_resnet@a", {"synthetic": True}, MaibenchError, "the number of a class, 0 or 1; got True"),
        ("timm:test_resnet@a", {"synthetic": 2}, MaibenchError, "the number of a class, 0 or 1; got 2"),
    ],
)
def test_wrong_specs(spec, options, error, message):
    with pytest.raises(error, match=message):
        load_detector(spec, **options)


def test_training_begins_with_what_a_spec_names(tmp_path, texture):
    network = plain_weights(tmp_path / "start.safetensors", 1)
    values = {"lr": 1e-4, "steps": 1, "crop": 160}
    fresh = make_detector(Recipe(detector="timm:test_vit", options={"input_size": 64}, **values), "cpu")
    assert (fresh.backbone, fresh.input_size) == ("test_vit", 64)
    begun = make_detector(Recipe(detector=f"timm:test_vit@{tmp_path / 'start.safetensors'}", **values), "cpu").eval()
    batch = begun.preprocess(texture((160, 160)))[None]
    with torch.inference_mode():
        torch.testing.assert_close(begun(batch), network(batch)[:, 0])
    begun.save_pretrained(tmp_path / "out")  # a folder that says nothing of where the file lay
    assert json.loads((tmp_path / "out" / "config.json").read_text())["detector"] == "timm"
    loaded = load_detector(str(tmp_path / "out"))
    torch.testing.assert_close(logits_of(loaded, [texture()]), logits_of(begun, [texture()]), rtol=0, atol=0)
    with pytest.raises(MaibenchError, match="backbone: said by the SPEC already"):
        make_detector(Recipe(detector="timm:test_vit", options={"backbone": "test_resnet"}, **values), "cpu")


def test_it_is_saved_and_loaded_as_any_other(tmp_path, texture):
    torch.manual_seed(3)
    trained = TimmDetector(backbone="test_vit", input_size=64).eval()
    trained.save_pretrained(tmp_path)
    loaded = Detector.from_pretrained(tmp_path)
    assert isinstance(loaded, TimmDetector)
    assert loaded.card.updated(weights="", sha256="") == trained.card.updated(parameters=trained.parameter_count())
    images = [texture((90, 80))]
    torch.testing.assert_close(logits_of(loaded, images), logits_of(trained, images), rtol=0, atol=0)
