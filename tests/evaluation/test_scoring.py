"""Scoring: the plan, one decoding for all, and what happens to an image or a detector that fails."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from maibench.datasets.perturb import parse_perturbation
from maibench.datasets.readers import open_data
from maibench.evaluation import pipeline
from maibench.evaluation.scoring import Entry, make_plan, score
from maibench.evaluation.store import PredictionStore, read_predictions
from maibench.models.loading import load_detector

NONE = parse_perturbation("none")


@pytest.fixture
def scored(dummies, tmp_path):
    """scored(manifest, labels, ...) -> the predictions."""

    def run(manifest, labels, perturb=("none",), batch_size=4, workers=2, max_pixels=10**8, out="run", seed=0):
        manifest = open_data(str(manifest))
        entries = [
            Entry(label, load_detector(f"{dummies}:{label}"), PredictionStore(tmp_path / out, label, "key"))
            for label in labels
        ]
        plan = make_plan(manifest, "test", [parse_perturbation(text) for text in perturb], batch_size, None, seed)
        score(plan, entries, workers, max_pixels)
        return read_predictions(tmp_path / out, dict.fromkeys(labels, "key"))

    return run


def test_plan_is_cut_at_fixed_places(greys):
    images = [(value, value % 2, "test") for value in range(10)] + [(9, 1, "validation"), (9, 1, "train")]
    manifest = open_data(str(greys(images)))
    jpeg = parse_perturbation("jpeg:75")
    plan = make_plan(manifest, "test", [NONE, jpeg], 4, None, 0)
    assert plan.batches == [
        ([0, 1, 2, 3], [NONE, jpeg]),
        ([4, 5, 6, 7], [NONE, jpeg]),
        ([8, 9], [NONE, jpeg]),
        ([10], [NONE]),  # for thresholds
    ]
    assert plan.images == 11
    assert make_plan(manifest, "validation", [NONE, jpeg], 4, None, 0).batches == [([10], [NONE, jpeg])]


def test_limit_draws_at_random_in_the_order_of_the_list(greys):
    manifest = open_data(str(greys([(value, 1) for value in range(100)])))
    draws = [make_plan(manifest, "test", [NONE], 32, 10, seed).batches[0][0] for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]
    assert [len(set(draw)) for draw in draws] == [10, 10, 10]
    assert all(draw == sorted(draw) for draw in draws)
    assert draws[0] != list(range(10))
    assert make_plan(manifest, "test", [NONE], 32, 200, 0).images == 100


def test_logits_and_scores(scored, greys):
    values = [0, 50, 127, 128, 255]
    predictions = scored(greys([(value, int(value > 100)) for value in values]), ["Brightness"], batch_size=2)
    logits = (np.array(values) - 127.5) / 10
    np.testing.assert_allclose(predictions["logit"], logits, rtol=1e-12)
    np.testing.assert_allclose(predictions["score"], 1 / (1 + np.exp(-logits)), rtol=1e-12)
    assert predictions["status"].tolist() == ["ok"] * 5
    assert predictions["error"].tolist() == [""] * 5
    assert predictions["generator"].tolist() == ["real", "real", "gen-a", "gen-b", "gen-a"]
    assert predictions["source"].tolist() == [f"source-{i}" for i in range(5)]
    assert predictions["image_id"].str.fullmatch("[0-9a-f]{64}").all()


def test_an_image_is_decoded_once_for_all(scored, greys, monkeypatch):
    decoded = []
    decode = pipeline.decode_file
    monkeypatch.setattr(pipeline, "decode_file", lambda file: decoded.append(file.path) or decode(file))
    predictions = scored(greys([(10, 0), (200, 1)] * 5), ["Brightness", "Slow"], perturb=("none", "jpeg:75"))
    assert len(predictions) == 10 * 2 * 2
    assert len(decoded) == 10


def test_number_of_workers_and_size_of_batches_change_nothing(scored, data_set):
    manifest = data_set(n_real=7, n_synthetic=7)
    few = scored(manifest, ["Brightness"], ("none", "noise:5"), batch_size=3, workers=1, out="few")
    many = scored(manifest, ["Brightness"], ("none", "noise:5"), batch_size=3, workers=8, out="many")
    large = scored(manifest, ["Brightness"], ("none", "noise:5"), batch_size=32, workers=8, out="large")
    pd.testing.assert_frame_equal(few, many)
    by = ["path", "perturbation"]
    pd.testing.assert_frame_equal(
        few.sort_values(by, ignore_index=True), large.sort_values(by, ignore_index=True), rtol=1e-12
    )


def test_all_detectors_see_the_same_disturbed_pixels(scored, data_set, dummies):
    manifest = data_set(n_real=3, n_synthetic=3)
    predictions = scored(manifest, ["Brightness", "Slow"], ("none", "noise:20", "resize:0.5+jpeg:30"))
    by_detector = predictions.pivot(index=["path", "perturbation"], columns="detector", values="logit")
    np.testing.assert_array_equal(by_detector["Brightness"], by_detector["Slow"])
    by_name = predictions[predictions["detector"] == "Slow"].pivot(index="path", columns="perturbation", values="logit")
    assert (by_name["noise:20"] != by_name["none"]).all()
    root = manifest.parent
    for path, logit in by_name["resize:0.5+jpeg:30"].items():
        pixels = parse_perturbation("resize:0.5+jpeg:30")(np.array(Image.open(root / path)), "")
        assert logit == pytest.approx((pixels.mean() - 127.5) / 10)


@pytest.mark.parametrize(
    ("label", "reason"),
    [
        ("Broken", "RuntimeError: out of order"),
        ("WrongShape", r"returned logits of shape \[2, 2\] for 2 images; expected \[2\]"),
        ("RaisesInPreprocess", "preprocess raised ValueError: no such colour"),
    ],
)
def test_a_detector_that_fails_does_not_stop_the_others(scored, greys, label, reason):
    predictions = scored(greys([(10, 0), (200, 1)] * 2), [label, "Brightness"], batch_size=2)
    failed, fine = (predictions[predictions["detector"] == name] for name in (label, "Brightness"))
    assert failed["status"].tolist() == ["failed"] * 4
    assert failed["logit"].isna().all()
    assert failed["score"].isna().all()
    assert failed["error"].str.fullmatch(reason).all()
    assert fine["status"].tolist() == ["ok"] * 4


def test_nan_fails_its_own_images_only(scored, greys):
    predictions = scored(greys([(10, 0), (200, 1), (20, 0), (210, 1)]), ["NanDetector"])
    assert predictions["status"].tolist() == ["failed", "ok", "failed", "ok"]
    assert predictions["error"].tolist() == ["the detector returned NaN", ""] * 2


def spoil(folder):
    """Turn the images 1 to 6 of `greys` into what cannot be scored; returns the reasons that are to be given."""
    Image.effect_noise((80, 70), 50).convert("RGB").save(folder / "whole.jpg", quality=95)
    (folder / "001.png").write_bytes((folder / "whole.jpg").read_bytes()[:1500])
    (folder / "002.png").write_text("this is a text")
    (folder / "003.png").write_bytes(b"")
    Image.new("1", (10_001, 10_000)).save(folder / "004.png")
    (folder / "005.png").unlink()
    (folder / "006.png").unlink()
    (folder / "006.png").mkdir()
    return {
        "001.png": "cannot be decoded: .*truncated",
        "002.png": "not an image in a format that is read here",
        "003.png": r"the file is empty \(0 bytes\)",
        "004.png": "10001 x 10000 pixels are more than the limit of 100,000,000",
        "005.png": "cannot be read: No such file",
        "006.png": "cannot be read: Is a directory",
    }


def test_images_that_cannot_be_read_become_failed_rows(scored, greys):
    manifest = greys([(200, 1)] * 8)
    reasons = spoil(manifest.parent)
    predictions = scored(manifest, ["Brightness", "Slow"], ("none", "jpeg:75"), batch_size=3).set_index("path")
    assert len(predictions) == 8 * 2 * 2
    for path, reason in reasons.items():
        failed = predictions.loc[path]
        assert failed["status"].tolist() == ["failed"] * 4
        assert failed["error"].str.match(reason).all()
        assert failed["logit"].isna().all()
    assert (predictions.drop(index=list(reasons))["status"] == "ok").all()


def test_limit_of_pixels_can_be_moved(scored, greys):
    manifest = greys([(200, 1)])
    assert scored(manifest, ["Brightness"], max_pixels=5600)["status"].tolist() == ["ok"]
    assert scored(manifest, ["Brightness"], max_pixels=5599, out="less")["status"].tolist() == ["failed"]


def test_a_perturbation_that_fails_is_a_failed_row(scored, greys):
    manifest = greys([(200, 1), (10, 0)])
    Image.new("RGB", (16_400, 1)).save(manifest.parent / "000.png")  # more than WebP can hold
    predictions = scored(manifest, ["Brightness"], ("none", "webp:80")).set_index(["path", "perturbation"])
    assert predictions["status"].to_dict() == {
        ("000.png", "none"): "ok",
        ("000.png", "webp:80"): "failed",
        ("001.png", "none"): "ok",
        ("001.png", "webp:80"): "ok",
    }
    assert "webp:80" in predictions.loc[("000.png", "webp:80"), "error"]


def test_listed_id_of_an_image_that_is_missing(scored, greys):
    manifest = greys([(200, 1), (200, 1), (200, 1)])
    pd.read_csv(manifest).assign(image_id=["abc", None, None]).to_csv(manifest, index=False)
    for name in ("000.png", "001.png"):
        (manifest.parent / name).unlink()
    ids = scored(manifest, ["Brightness"])["image_id"].tolist()
    assert ids[:2] == ["abc", ""]
    assert len(ids[2]) == 64


def test_a_detector_that_reads_files_is_not_disturbed(greys, tmp_path):
    manifest = open_data(str(greys([(200, 1), (10, 0)])))
    detector = load_detector("metadata")
    detector.fit(np.array([[0.0] * 17, [1.0] * 17]), np.array([0, 1]))
    plan = make_plan(manifest, "test", [NONE, parse_perturbation("jpeg:75")], 4, None, 0)
    score(plan, [Entry("metadata", detector, PredictionStore(tmp_path, "metadata", "key"))], 2, 10**8)
    predictions = read_predictions(tmp_path)
    assert predictions["perturbation"].tolist() == ["none", "none"]
    assert predictions["status"].tolist() == ["ok", "ok"]


def test_only_what_is_missing_is_scored(scored, greys, tmp_path):
    manifest = greys([(value, 1) for value in range(8)])
    before = scored(manifest, ["Brightness"], batch_size=2)
    folder = tmp_path / "run" / "predictions" / "Brightness"
    (file,) = folder.iterdir()
    store = PredictionStore(tmp_path / "run", "Brightness", "key")
    store.write(before.iloc[2:6].assign(logit=-1.0), 1, 2, 0.1)  # batches 0 and 3 are missing
    file.unlink()
    after = scored(manifest, ["Brightness"], batch_size=2)
    expected = before["logit"].tolist()
    assert after["logit"].tolist() == [*expected[:2], *[-1.0] * 4, *expected[6:]]
    assert sorted(store.done()) == [0, 1, 2, 3]


@pytest.mark.parametrize("stop_after", [0, 2, 6])
def test_what_was_scored_before_an_interruption_is_kept(greys, dummies, tmp_path, stop_after):
    manifest = open_data(str(greys([(value, 1) for value in range(16)])))
    entry = Entry("Brightness", load_detector(f"{dummies}:Brightness"), PredictionStore(tmp_path, "Brightness", "key"))
    plan = make_plan(manifest, "test", [NONE], 2, None, 0)
    done = []

    def advance(images):
        done.append(images)
        if len(done) > stop_after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score(plan, [entry], 2, 10**8, advance)
    assert sorted(entry.store.done()) == list(range(stop_after + 1))
    score(plan, [entry], 2, 10**8)
    assert sorted(entry.store.done()) == list(range(8))
    assert read_predictions(tmp_path)["path"].tolist() == manifest.rows["path"].tolist()


def test_a_limit_keeps_the_shares_of_the_classes(data_set):
    manifest = open_data(str(data_set(n_real=9, n_synthetic=3)))
    labels = manifest.rows["label"]
    for seed in range(5):
        plan = make_plan(manifest, "test", [parse_perturbation("none")], 32, 4, seed)
        chosen = [row for rows, _ in plan.batches for row in rows]
        assert chosen == sorted(chosen)
        assert labels[chosen].tolist() == [0, 0, 0, 1]
