"""clip:MODEL: frozen features of small random networks, and what is learnt on them."""

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from transformers import (
    BertConfig,
    BertModel,
    BitImageProcessorPil,
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    Dinov2Config,
    Dinov2Model,
    SiglipConfig,
    SiglipImageProcessorPil,
    SiglipModel,
)

from maibench import load_detector
from maibench.config import RunConfig
from maibench.errors import DetectorError, MaibenchError
from maibench.evaluation.attacks import pixel_gradient
from maibench.evaluation.detectors import load_detectors
from maibench.models.clip_probe import Neighbours
from maibench.models.loading import fingerprint

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
VISION = {**SMALL, "intermediate_size": 24, "image_size": 32, "patch_size": 8}
TEXT = {**SMALL, "intermediate_size": 16, "vocab_size": 40}
SQUARE = {"height": 32, "width": 32}


def made(kind):
    torch.manual_seed(0)
    if kind == "clip":
        config = CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=12)
        return CLIPModel(config), CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=SQUARE)
    if kind == "siglip":
        return SiglipModel(SiglipConfig(text_config=TEXT, vision_config=VISION)), SiglipImageProcessorPil(size=SQUARE)
    config = Dinov2Config(**SMALL, mlp_ratio=1, image_size=48, patch_size=8)
    return Dinov2Model(config), BitImageProcessorPil(size={"shortest_edge": 36}, crop_size=SQUARE)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The folder of a random model, by its kind."""
    found = {}
    for kind in ("clip", "siglip", "dinov2"):
        found[kind] = tmp_path_factory.mktemp("models") / kind
        for part in made(kind):
            part.save_pretrained(found[kind])
    return found


@pytest.fixture
def probe(folders):
    return lambda **options: load_detector(f"clip:{folders['clip']}", **options)


def features_of(detector, images):
    with torch.inference_mode():
        return detector.fit_features(detector.collate([detector.preprocess(image) for image in images]))


@pytest.fixture(scope="module")
def clusters():
    """Features that tell the classes apart, but not all of them, and their labels."""
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1], [150, 50])
    return (random.normal(size=(200, 12)) + 1.2 * np.eye(12)[labels] + 1).astype(np.float32), labels


@pytest.mark.parametrize("kind", ["clip", "siglip", "dinov2"])
@pytest.mark.parametrize("resize", [False, True])
def test_features_are_those_of_transformers(folders, texture, kind, resize):
    detector = load_detector(f"clip:{folders[kind]}", resize=resize)
    model, processor = made(kind)
    image = texture((70, 60))
    shown = Image.fromarray(image if resize else image[14:46, 19:51])
    inputs = processor(images=shown, return_tensors="pt")
    assert inputs["pixel_values"].shape[2:] == (32, 32)
    if not resize and kind == "dinov2":  # which is made to see reductions, and here does not
        inputs["pixel_values"] = detector.preprocess(image)[None]
    with torch.inference_mode():
        found = getattr(model.eval(), "get_image_features", model)(**inputs)
    expected = found if isinstance(found, torch.Tensor) else found.pooler_output
    torch.testing.assert_close(features_of(detector, [image]), expected, rtol=1e-4, atol=1e-4)
    assert detector.card.input_size == 32


def test_the_text_tower_is_not_kept(probe):
    model, _ = made("clip")
    expected = sum(p.numel() for part in (model.vision_model, model.visual_projection) for p in part.parameters())
    assert probe().parameter_count() == expected + 12 + 1
    assert probe(head="knn").parameter_count() == expected
    assert not any(parameter.requires_grad for parameter in probe().parameters())


def test_linear_equals_scikit_learn(probe, clusters):
    features, labels = clusters
    detector = probe(C=0.5)
    detector.fit(features, labels)
    scaled = (features - features.mean(axis=0)) / features.std(axis=0)
    expected = LogisticRegression(C=0.5, class_weight="balanced").fit(scaled, labels).decision_function(scaled)
    np.testing.assert_allclose(detector.head(torch.from_numpy(features)).numpy(), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("k", [1, 3])
def test_neighbours_decide_by_cosine(probe, clusters, k):
    features, labels = clusters
    detector = probe(head="knn", k=k)
    detector.fit(features[::2], labels[::2])
    found = detector.head(torch.from_numpy(features[1::2])).numpy()
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    cosines = unit[1::2] @ unit[::2].T
    nearest = [np.sort(cosines[:, labels[::2] == label], axis=1)[:, -k:].mean(axis=1) for label in (0, 1)]
    difference = nearest[1] - nearest[0]
    np.testing.assert_allclose(found, difference * detector.head.scale.item(), rtol=1e-4, atol=1e-4)
    assert detector.head.scale > 0


def test_neighbours_are_calibrated_without_themselves(clusters):
    features, labels = clusters
    head = Neighbours(12, 1)
    head.fit(features, labels)
    at_chance = Neighbours(12, 1)
    at_chance.fit(np.random.default_rng(1).normal(size=(200, 12)).astype(np.float32), labels)
    with torch.inference_mode():
        seen = head(torch.from_numpy(features)).sigmoid().numpy()
        chance = at_chance(torch.from_numpy(features)).sigmoid().numpy()
    assert seen[labels == 1].min() > 0.5  # each is its own nearest neighbour
    assert np.abs(chance - 0.5).max() < 0.35
    assert np.abs(seen - 0.5).max() < 0.9999 - 0.5  # else each would be held against itself, and never be wrong


def test_neighbours_that_mislead_keep_their_sign():
    head = Neighbours(2, 1)
    ring = np.linspace(0, 2 * np.pi, 8, endpoint=False)
    points = np.stack([np.cos(ring), np.sin(ring)], axis=1).astype(np.float32)
    head.fit(points, np.arange(8) % 2)
    assert head.scale > 0
    assert torch.equal(head(torch.from_numpy(points)) > 0, torch.arange(8) % 2 == 1)


def test_card_and_facts(probe, folders):
    card = probe(head="knn", k=3).card
    assert "3 nearest neighbours" in card.summary
    assert card.input_policy == "centre crop of 32 x 32; smaller images are padded by reflection; nothing is resized"
    assert str(folders["clip"]) in card.weights
    assert len(card.sha256) == 64
    assert "resized" in probe(resize=True).card.input_policy
    assert probe().facts() == {"features": "12", "head": "a linear probe (logistic regression, C=0.1)"}


def test_the_fingerprint_depends_on_what_is_computed(probe):
    made_of = [fingerprint(probe(**options)) for options in ({}, {"C": 1.0}, {"head": "knn"}, {"resize": True})]
    assert len(set(made_of)) == 4
    assert fingerprint(probe()) == made_of[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"head": "mlp"}, "clip.head is linear or knn; got 'mlp'"),
        ({"C": 0}, "clip.C is a positive number; got 0"),
        ({"C": "strong"}, "clip.C is a positive number; got 'strong'"),
        ({"k": 3}, "clip.k belongs to head=knn"),
        ({"head": "knn", "C": 1.0}, "clip.C belongs to head=linear"),
        ({"head": "knn", "k": 0}, "clip.k is a number of neighbours; got 0"),
        ({"weights": "x.safetensors"}, "leave weights out"),
        ({"dtype": "int8"}, "dtype 'int8'"),
        ({"model": "other"}, "model: said by the SPEC already"),
        ({"depth": 3}, "has no option 'depth'"),
    ],
)
def test_wrong_options(probe, options, message):
    with pytest.raises(MaibenchError, match=message):
        probe(**options)


def test_models_that_give_no_vector(tmp_path, folders):
    BertModel(BertConfig(**TEXT)).save_pretrained(tmp_path / "bert")
    CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=SQUARE).save_pretrained(tmp_path / "bert")
    with pytest.raises(DetectorError, match=r"bert: a Bert\w* sees no images"):
        load_detector(f"clip:{tmp_path / 'bert'}")
    made("clip")[0].save_pretrained(tmp_path / "bare")
    with pytest.raises(DetectorError, match="bare: has no AutoImageProcessor"):
        load_detector(f"clip:{tmp_path / 'bare'}")
    other = tmp_path / "other"
    for part in (
        made("clip")[0],
        CLIPImageProcessorPil(size={"shortest_edge": 40}, crop_size={"height": 40, "width": 40}),
    ):
        part.save_pretrained(other)
    with pytest.raises(DetectorError, match=r"a CLIPVision\w+ gives no vector for an image .*32"):
        load_detector(f"clip:{other}")
    with pytest.raises(MaibenchError, match="none"):
        load_detector(f"clip:{tmp_path}/none")


def test_before_fit_and_with_one_class(probe, texture):
    for detector in (probe(), probe(head="knn")):
        with pytest.raises(MaibenchError, match="clip: not fitted yet"):
            detector(detector.preprocess(texture())[None])
        with pytest.raises(MaibenchError, match="clip: the training split holds one class only"):
            detector.fit(np.zeros((3, 12), dtype=np.float32), np.ones(3, dtype=np.int64))
    with pytest.raises(MaibenchError, match="two training images of each class"):
        probe(head="knn").fit(np.eye(3, 12, dtype=np.float32), np.array([0, 0, 1]))


@pytest.mark.parametrize("head", ["linear", "knn"])
def test_gradients_reach_the_pixels(probe, clusters, texture, head):
    detector = probe(head=head)
    detector.fit(*clusters)
    image = texture((50, 40))
    torch.testing.assert_close(
        detector.differentiable(torch.from_numpy(image).permute(2, 0, 1).float()), detector.preprocess(image)
    )
    gradient = pixel_gradient(detector, image.astype(np.float32).transpose(2, 0, 1), 0)
    assert np.abs(gradient[:, 4:36, 9:41]).max() > 0
    assert np.abs(gradient[:, :4]).max() == 0
    with pytest.raises(MaibenchError, match="leave resize out"):
        probe(resize=True).differentiable(torch.zeros(3, 40, 40))


def test_is_not_saved(probe, tmp_path):
    with pytest.raises(MaibenchError, match="a probe is fitted by every comparison"):
        probe().save_pretrained(tmp_path / "out")


def test_for_the_gpus_of_a_cluster_it_is_fitted_here(folders):
    spec = f"clip:{folders['clip']}"
    config = RunConfig(models=[spec], engine="ray", device="cuda", options={"clip": {"dtype": "auto"}})
    detector = load_detectors(config, {"clip": spec})["clip"].detector
    features = detector.fit_features(torch.stack([detector.preprocess(np.zeros((40, 40, 3), np.uint8))]))
    assert (features.dtype, detector.head.weight.dtype) == (torch.float32, torch.float64)
