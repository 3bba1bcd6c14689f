"""mean(A,B) and stack(A,B): what members say is combined as it is written, and nothing of them is lost on the way."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from maibench import load_detector
from maibench.errors import DetectorError, ImageError, MaibenchError
from maibench.evaluation.attacks import pixel_gradient
from maibench.models.ensemble import Mean, Stack
from maibench.models.loading import fingerprint
from maibench.models.registry import detector_class

PAIR = "bailu,mai_cnn"


def logits_of(detector, images):
    with torch.inference_mode():
        return detector.answer(detector.collate([detector.preprocess(image) for image in images]))[0].double()


@pytest.fixture(scope="module")
def images(texture):
    return [texture((300, 260), seed) for seed in range(4)]


@pytest.fixture(scope="module")
def mean():
    return load_detector(f"mean({PAIR})")


@pytest.fixture(scope="module")
def dummies():
    return str(Path(__file__).parents[1] / "dummy_detectors.py")


@pytest.fixture
def grey(dummies):
    """The SPEC of an ensemble of dummies, each called as its class is."""

    def make(way, *names):
        return f"{way}({','.join(f'{name}={dummies}:{name}' for name in names)})"

    return make


def flat(*values):
    return [np.full((40, 50, 3), value, dtype=np.uint8) for value in values]


def test_the_mean_of_the_logits(mean, images):
    members = [logits_of(load_detector(name), images) for name in PAIR.split(",")]
    torch.testing.assert_close(logits_of(mean, images), torch.stack(members).mean(dim=0))


def test_one_image_at_a_time_is_the_same(mean, images):
    one_by_one = torch.cat([logits_of(mean, [image]) for image in images])
    torch.testing.assert_close(logits_of(mean, images), one_by_one, rtol=1e-4, atol=1e-4)


def test_the_card_speaks_for_all_members(mean):
    bailu, mai_cnn = (load_detector(name) for name in PAIR.split(","))
    assert mean.card.summary == "the mean of the logits of bailu and mai_cnn"
    assert set(mean.card.trained_on) == {*bailu.card.trained_on, *mai_cnn.card.trained_on}
    assert mean.card.parameters == bailu.parameter_count() + mai_cnn.parameter_count()
    assert bailu.card.input_policy in mean.card.input_policy
    assert mai_cnn.card.input_policy in mean.card.input_policy
    assert bailu.card.sha256 in mean.facts()["bailu"]
    assert not mean.fitted and mean.reads == "pixels" and mean.concurrent


def test_what_one_member_was_trained_on_is_unknown(grey):
    assert load_detector(grey("mean", "Brightness", "Broken")).card.trained_on is None


def test_ensembles_within_ensembles(grey, dummies):
    nested = load_detector(f"mean(inner=mean(a={dummies}:Brightness,b={dummies}:Slow),c={dummies}:Attackable)")
    torch.testing.assert_close(logits_of(nested, flat(100, 200)), torch.tensor([-2.75, 7.25], dtype=torch.float64))
    assert list(nested.named()) == ["inner", "c"]


def test_options_of_members(dummies):
    spec = f"mean(a={dummies}:Brightness,b={dummies}:Slow)"
    moved = load_detector(spec, options={"a": {"middle": 107.5}})
    torch.testing.assert_close(logits_of(moved, flat(117)), torch.tensor([-0.05], dtype=torch.float64))
    assert fingerprint(moved) != fingerprint(load_detector(spec))
    assert fingerprint(load_detector(spec)) == fingerprint(load_detector(spec))


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        ("mean(bailu)", {}, r"mean: name two detectors or more, as in mean\(bailu,mai_cnn\)"),
        ("stack()", {}, "stack: name two detectors or more"),
        ("mean(bailu,bailu)", {}, "two detectors are called 'bailu'"),
        ("mean(bailu,bailo)", {}, "mean: bailo: unknown detector 'bailo': did you mean 'bailu'"),
        (f"mean({PAIR})", {"options": {"bilau": {}}}, "no member is called 'bilau'; there are bailu, mai_cnn"),
        (f"mean({PAIR})", {"options": {"bailu": 3}}, r"mean.options is \{member: \{option: value\}\}"),
        (f"mean({PAIR})", {"options": {"bailu": {"depth": 3}}}, "mean: bailu: bailu has no option 'depth'"),
        (f"mean({PAIR})", {"members": ["bailu"]}, "members: said by the SPEC already"),
        (f"mean({PAIR})", {"weights": "x"}, "mean: weights are its members'"),
    ],
)
def test_wrong_requests(spec, options, message):
    with pytest.raises(MaibenchError, match=message) as told:
        load_detector(spec, **options)
    assert not isinstance(told.value, DetectorError)


def test_members_that_read_other_things():
    with pytest.raises(DetectorError, match="mean: metadata reads files, others read pixels"):
        load_detector("mean(metadata,bailu)")


def test_a_member_that_cannot_be_used(grey):
    with pytest.raises(DetectorError, match=r"mean: Brightness: .*:Brightness cannot be built: ValueError"):
        load_detector(grey("mean", "Brightness", "Slow"), options={"Brightness": {"middle": "bright"}})


def test_an_image_that_one_member_cannot_read(mean, grey, texture):
    with pytest.raises(ImageError, match=r"bailu: .* at least"):
        mean.preprocess(texture((3, 3)))
    with pytest.raises(ImageError, match="RaisesInPreprocess: ValueError: no such colour"):
        load_detector(grey("mean", "Brightness", "RaisesInPreprocess")).preprocess(texture())


def test_unsure_where_a_member_is(dummies, monkeypatch):
    unsure = load_detector(f"mean(a={dummies}:Brightness,b={dummies}:Slow)")
    member = unsure.named()["b"]
    answer = member.answer
    monkeypatch.setattr(member, "answer", lambda batch: (answer(batch)[0], batch > 150))
    batch = unsure.collate([unsure.preprocess(image) for image in flat(100, 200)])
    assert unsure.answer(batch)[1].tolist() == [False, True]


def test_gradients_reach_the_pixels_through_all_members(mean, texture):
    pixels = texture((230, 220)).astype(np.float32).transpose(2, 0, 1)
    found = pixel_gradient(mean, pixels, 0)
    each = [pixel_gradient(member, pixels, 0) for member in mean.named().values()]
    np.testing.assert_allclose(found, sum(each) / 2, rtol=1e-3, atol=1e-7)


def test_survives_a_pickle(mean, images):
    again = pickle.loads(pickle.dumps(mean))
    torch.testing.assert_close(logits_of(again, images), logits_of(mean, images), rtol=0, atol=0)
    assert list(again.named()) == ["bailu", "mai_cnn"]


def test_is_not_saved(mean, tmp_path):
    with pytest.raises(MaibenchError, match=r"mean.* has no weights of its own to be saved"):
        mean.save_pretrained(tmp_path / "out")


def test_stack_equals_scikit_learn(grey):
    stack = load_detector(grey("stack", "Brightness", "Slow"), options={"Slow": {"seconds": 0.0}})
    assert stack.fitted and stack.fit_split == "validation" and not stack.named()["Slow"].fitted
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 300)
    features = random.normal(size=(300, 2)) * [1, 20] + np.outer(labels, [1.0, 8.0])
    stack.fit(features, labels)
    scale = features.std(axis=0)
    expected = LogisticRegression(class_weight="balanced").fit(features / scale, labels)
    with torch.inference_mode():
        found = stack.combined(torch.from_numpy(features))
    np.testing.assert_allclose(found, expected.decision_function(features / scale), rtol=1e-3, atol=1e-4)
    assert np.abs(stack.coefficients.numpy() - expected.coef_[0] / scale).max() < 1e-3
    assert stack.parameter_count() == 3  # the dummies have none


def test_stack_features_are_the_members_logits(grey):
    stack = load_detector(grey("stack", "Brightness", "Attackable"))
    batch = stack.collate([stack.preprocess(image) for image in flat(100, 200)])
    expected = torch.tensor([[-2.75, -2.75], [7.25, 7.25]], dtype=torch.float64)
    torch.testing.assert_close(stack.fit_features(batch), expected)
    with pytest.raises(MaibenchError, match="stack: not fitted yet"):
        stack(batch)
    with pytest.raises(MaibenchError, match="stack: the validation split holds one class only"):
        stack.fit(np.zeros((3, 2)), np.zeros(3, dtype=np.int64))


def test_what_has_been_seen(grey):
    generators = {"train": {"t"}, "validation": {"v"}}
    known = grey("stack", "Brightness", "Brightness").replace("Brightness=", "other=", 1)
    assert load_detector(known).generators_seen(generators) == ["gen-a", "v"]
    assert load_detector(grey("stack", "Brightness", "Slow")).generators_seen(generators) is None
    assert load_detector("mean(metadata,again=metadata)").generators_seen(generators) == ["t"]


def test_members_that_are_fitted_make_the_mean_one():
    files = load_detector("mean(metadata,again=metadata)")
    assert isinstance(files, Mean) and files.reads == "file" and files.fitted
    assert list(files.fitted_parts()) == ["metadata", "again"]
    assert detector_class("stack(a,b)") is Stack
