"""A head that tells generators apart: what it answers, how it measures what is strange, what its files hold."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy.spatial.distance import mahalanobis as scipys
from scipy.special import logsumexp, softmax

from maibench.errors import MaibenchError
from maibench.models.attribution import TRUNK, Attribution, mahalanobis
from maibench.models.bailu import FEATURES
from maibench.models.loading import build, load_detector
from maibench.models.weights import BUNDLED, save_weights, sha256

CLASSES = ("real", "gen-a", "gen-b", "other")


def made(strangeness="softmax", hidden=0, classes=CLASSES, pooled=("rare",)):
    """A head with random numbers everywhere."""
    torch.manual_seed(0)
    options = {"classes": list(classes), "pooled": list(pooled), "hidden": hidden, "strangeness": strangeness}
    network = build(Attribution, "attribution", options).eval()
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name in ("mean", "centres"):
                tensor.normal_()
            if name == "scale":
                tensor.uniform_(0.5, 2)
            if name == "precision":
                tensor.copy_(torch.eye(FEATURES) + 0.01)
    network.threshold.fill_(0.5)
    return network


def answers(network, images):
    with torch.inference_mode():
        return network.attribute(network.collate([network.preprocess(image) for image in images]))


@pytest.mark.parametrize("strangeness", ["softmax", "energy", "mahalanobis"])
@pytest.mark.parametrize("hidden", [0, 7])
def test_strangeness_is_what_its_name_says(strangeness, hidden):
    network, features = made(strangeness, hidden), torch.randn(5, FEATURES)
    with torch.no_grad():
        said = network.of_features(features)
    logits, standardised = said.logits.numpy(), ((features - network.mean) / network.scale).numpy()
    assert logits.shape == (5, 4)
    if strangeness == "softmax":
        expected = 1 - softmax(logits, axis=1)[:, :3].max(axis=1)
    elif strangeness == "energy":
        expected = -logsumexp(logits[:, :3], axis=1)
    else:
        centres, precision = network.centres.numpy(), network.precision.numpy()
        expected = [min(scipys(row, centre, precision) ** 2 for centre in centres) for row in standardised]
    np.testing.assert_allclose(said.strangeness, expected, rtol=1e-3)


def test_mahalanobis_of_the_identity_is_the_squared_distance():
    a, b = torch.randn(3, 4), torch.randn(2, 4)
    torch.testing.assert_close(mahalanobis(a, b, torch.eye(4)), torch.cdist(a, b) ** 2)


def test_as_a_detector_it_says_how_likely_any_generator_is(texture):
    network = made()
    image = texture((96, 80), 1)
    with torch.inference_mode():
        logit = network(network.collate([network.preprocess(image)]))
    logits = answers(network, [image]).logits[0].numpy()
    p = softmax(logits)
    assert logit.item() == pytest.approx(np.log(1 - p[0]) - np.log(p[0]), abs=1e-5)


def test_a_batch_of_several_sizes_says_what_single_images_say(texture):
    network = made("energy", hidden=5)
    images = [texture((96, 80), 1), texture((300, 270), 2), texture((96, 80), 3)]
    together, singly = answers(network, images), [answers(network, [image]) for image in images]
    torch.testing.assert_close(together.logits, torch.cat([one.logits for one in singly]), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(
        together.strangeness, torch.cat([one.strangeness for one in singly]), atol=1e-4, rtol=1e-4
    )


def test_which_class_a_generator_belongs_to():
    network = made()
    found = [network.truth_of(name) for name in ("real", "gen-a", "rare", "other", "never-seen")]
    assert found == ["real", "gen-a", "other", "other", "unknown"]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"classes": "real"}, "'real' first and two at least"),
        ({"classes": ["gen-a", "real"]}, "'real' first"),
        ({"classes": ["real", "a", "a"]}, "names that differ"),
        ({"classes": ["real", "unknown"]}, "no class can be called 'unknown'"),
        ({"classes": ["real", "other", "a"]}, "'other' is the last"),
        ({"classes": ["real", "a"], "pooled": ["b"]}, "'other' is the last"),
        ({"hidden": -1}, "hidden is -1"),
        ({"strangeness": "entropy"}, "use softmax, energy, mahalanobis"),
    ],
)
def test_options_that_are_wrong(options, reason):
    with pytest.raises(MaibenchError, match=reason):
        build(Attribution, "attribution", options)


def test_a_folder_comes_back_as_it_was(tmp_path, texture):
    network = made("mahalanobis", hidden=3)
    network.save_pretrained(tmp_path)
    again = load_detector(str(tmp_path))
    assert (again.classes, again.pooled, again.measure) == (CLASSES, ("rare",), "mahalanobis")
    image = texture((96, 80), 4)
    for a, b in zip(vars(answers(network, [image])).values(), vars(answers(again, [image])).values(), strict=True):
        assert torch.equal(a, b)


def test_a_head_alone_is_completed_by_the_bundled_trunk(tmp_path, texture):
    file, options = tmp_path / "head.safetensors", {"classes": list(CLASSES), "pooled": ["rare"]}
    digest = torch.tensor(list(bytes.fromhex(sha256(BUNDLED / "bailu.safetensors"))), dtype=torch.uint8)
    save_file({**made().head_tensors(), TRUNK: digest}, file)
    network, bailu = load_detector("attribution", weights=file, **options), load_detector("bailu")
    batch = network.collate([network.preprocess(texture((96, 80), 5))])
    with torch.inference_mode():
        assert torch.equal(network.features(batch), bailu.features(batch))
    assert torch.equal(network.head[0].weight, made().head[0].weight)

    save_file({**made().head_tensors(), TRUNK: digest.flip(0)}, file)
    with pytest.raises(MaibenchError, match="trained on other weights of bailu"):
        load_detector("attribution", weights=file, **options)


def test_without_weights_it_says_what_to_do():
    with pytest.raises(MaibenchError, match="'attribution' has no bundled weights; finetune it"):
        load_detector("attribution")


@pytest.mark.parametrize("name", ["attribution-demo", "attribution-wild"])
def test_bundled_heads_are_small_and_stand_on_the_bundled_trunk(name, texture):
    tensors = load_file(BUNDLED / f"{name}.safetensors")
    assert sum(tensor.numel() for tensor in tensors.values()) < 15_000
    assert not any(key.startswith(("stem.", "stage")) for key in tensors)
    network, bailu = load_detector(name), load_detector("bailu")
    batch = network.collate([network.preprocess(texture((96, 80), 6))])
    with torch.inference_mode():
        assert torch.equal(network.features(batch), bailu.features(batch))
        assert network(batch).isfinite().all()
    assert network.threshold.isfinite()
    assert network.classes[0] == "real"
    assert set(network.classes) - {"real", "other"} <= set(network.card.trained_on)


def test_a_file_with_a_tensor_left_out_is_refused(tmp_path):
    network = made()
    save_weights(network, tmp_path / "model.safetensors")
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["threshold"]
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(MaibenchError, match="'threshold' is missing"):
        load_detector("attribution", weights=tmp_path / "model.safetensors", classes=list(CLASSES), pooled=["rare"])
