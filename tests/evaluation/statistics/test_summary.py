"""Predictions in, tables and reasons out."""

import math
import time

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from maibench.errors import MaibenchError
from maibench.evaluation.statistics import metrics
from maibench.evaluation.statistics.bootstrap import SourceBootstrap, percentile_interval
from maibench.evaluation.statistics.summary import DetectorFacts, summarise
from maibench.evaluation.statistics.thresholds import accuracy_at, fit_threshold

# As DESIGN.md section 7 has them; scripts rely on names and order.
METRICS = [
    "detector", "perturbation", "n", "n_real", "n_synthetic", "n_failed", "accuracy", "accuracy_lo", "accuracy_hi",
    "balanced_accuracy", "tpr", "tnr", "auc", "auc_lo", "auc_hi", "ap", "eer", "tpr_at_fpr_1", "tpr_at_fpr_5", "ece",
    "brier", "nll", "threshold_fitted", "accuracy_fitted", "interval", "parameters", "images_per_second",
]  # fmt: skip
PER_GENERATOR = [
    "detector", "perturbation", "generator", "n_real", "n_synthetic", "seen", "accuracy", "balanced_accuracy", "tpr",
    "tnr", "auc", "auc_lo", "auc_hi", "ap",
]  # fmt: skip
ROC = ["detector", "perturbation", "generator", "fpr", "tpr", "threshold"]


def listing(n=60, generators=("sd15", "flux"), split="test", prefix="photo"):
    """n sources, each a real photo and one picture of each generator."""
    rows = [
        (f"{split}/{name}/{prefix}{i:03}.png", int(name != "real"), name, f"{prefix}{i:03}", split)
        for i in range(n)
        for name in ("real", *generators)
    ]
    return pd.DataFrame(rows, columns=["path", "label", "generator", "source", "split"])


def score(images, detectors=("b", "a"), perturbations=("none", "jpeg:75"), seed=0):
    """Predictions of detectors that are right more often than not, the later ones less so."""
    rng = np.random.default_rng(seed)
    frames = []
    for k, detector in enumerate(detectors):
        for perturbation in perturbations:
            logits = rng.normal((images["label"] * 2 - 1) * (2 - k), 1.5)
            frames.append(images.assign(perturbation=perturbation, detector=detector, logit=logits))
    table = pd.concat(frames, ignore_index=True)
    table["score"] = 1 / (1 + np.exp(-table["logit"]))
    return table.assign(image_id=table["path"], status="ok", error="")


def fail(table, rows, reason="cannot decode"):
    table = table.copy()
    table.loc[rows, ["logit", "score"]] = math.nan
    table.loc[rows, "status"] = "failed"
    table.loc[rows, "error"] = reason
    return table


def row(frame, **where):
    for column, value in where.items():
        frame = frame[frame[column] == value]
    assert len(frame) == 1
    return frame.iloc[0]


@pytest.fixture(scope="module")
def predictions():
    return score(pd.concat([listing(), listing(30, split="validation", prefix="val")]))


def test_columns_and_order(predictions):
    summary = summarise(predictions, resamples=50)
    assert list(summary.metrics.columns) == METRICS
    assert list(summary.per_generator.columns) == PER_GENERATOR
    assert list(summary.roc.columns) == ROC
    keys = [("b", "none"), ("b", "jpeg:75"), ("a", "none"), ("a", "jpeg:75")]
    assert list(zip(summary.metrics["detector"], summary.metrics["perturbation"], strict=True)) == keys
    assert summary.per_generator["generator"].tolist() == ["flux", "sd15"] * 4
    assert summary.roc["generator"].unique().tolist() == ["all", "flux", "sd15"]


def test_numbers_are_those_of_the_parts(predictions):
    found = row(summarise(predictions, resamples=200, seed=3).metrics, detector="a", perturbation="jpeg:75")
    own = predictions[predictions["detector"] == "a"]
    test = own[(own["split"] == "test") & (own["perturbation"] == "jpeg:75")]
    validation = own[(own["split"] == "validation") & (own["perturbation"] == "none")]
    labels, logits = test["label"].to_numpy(), test["logit"].to_numpy()
    assert (found["n"], found["n_real"], found["n_synthetic"], found["n_failed"]) == (180, 60, 120, 0)
    expected = metrics.point_metrics(labels, logits)
    pd.testing.assert_series_equal(found[list(expected)].astype(float), pd.Series(expected), check_names=False)
    made = SourceBootstrap(test["source"].to_numpy(), resamples=200, seed=3)
    right = ((logits > 0) == labels).astype(float)[:, None]
    assert (found["auc_lo"], found["auc_hi"]) == percentile_interval(made.aucs(labels, logits), 60)
    assert (found["accuracy_lo"], found["accuracy_hi"]) == percentile_interval(made.means(right)[:, 0], 60)
    assert found["interval"] == "bootstrap of 60 sources, 200 resamples"
    threshold = fit_threshold(validation["label"].to_numpy(), validation["logit"].to_numpy())
    assert found["threshold_fitted"] == threshold
    assert found["accuracy_fitted"] == accuracy_at(labels, logits, threshold)


def test_order_of_rows_and_index_have_no_effect(predictions):
    shuffled = predictions.sample(frac=1, random_state=1)
    order = predictions.drop_duplicates(["detector", "perturbation"])  # keeps the order of first appearance
    shuffled = pd.concat([order, shuffled.drop(order.index)])
    one, other = summarise(predictions, resamples=50), summarise(shuffled, resamples=50)
    pd.testing.assert_frame_equal(one.metrics, other.metrics, check_exact=True)
    pd.testing.assert_frame_equal(one.per_generator, other.per_generator, check_exact=True)
    pd.testing.assert_frame_equal(one.roc, other.roc, check_exact=True)
    assert one.notes == other.notes


def test_generator_is_paired_with_the_real_images_of_its_sources():
    images = listing(40, ("flux",))
    some = images["source"] < "photo015"
    images = images[some | (images["label"] == 0)]  # flux only has 15 of the 40 sources
    table = score(images, ("a",), ("none",))
    found = row(summarise(table, resamples=50).per_generator, generator="flux")
    pairs = table[table["source"] < "photo015"]
    assert (found["n_real"], found["n_synthetic"]) == (15, 15)
    assert found["auc"] == pytest.approx(roc_auc_score(pairs["label"], pairs["logit"]))
    assert found["tnr"] == np.mean(pairs.loc[pairs["label"] == 0, "logit"] <= 0)
    assert found["balanced_accuracy"] == pytest.approx((found["tpr"] + found["tnr"]) / 2)


def test_generator_with_an_unpaired_source_is_set_against_all_real_images():
    images = listing(40, ("flux",))
    alone = (images["generator"] == "flux") & (images["source"] == "photo003")
    images.loc[alone, "source"] = "a prompt"
    found = row(summarise(score(images, ("a",), ("none",)), resamples=50).per_generator, generator="flux")
    assert (found["n_real"], found["n_synthetic"]) == (40, 40)
    images = images[(images["source"] < "photo015") | (images["label"] == 0)]  # sorts "a prompt" in
    found = row(summarise(score(images, ("a",), ("none",)), resamples=50).per_generator, generator="flux")
    assert (found["n_real"], found["n_synthetic"]) == (40, 15)


def test_a_failed_real_image_does_not_unpair_a_generator():
    images = listing(40, ("flux", "sd15"))
    images = images[(images["source"] < "photo015") | (images["generator"] != "flux")]
    table = score(images, ("a", "b"), ("none",))
    lost = (table["detector"] == "a") & (table["path"] == "test/real/photo002.png")
    found = summarise(fail(table, lost), resamples=50).per_generator
    assert row(found, detector="a", generator="flux")["n_real"] == 14
    assert row(found, detector="b", generator="flux")["n_real"] == 15


def test_seen_is_true_false_or_empty(predictions):
    facts = {"a": DetectorFacts(4827365, 120.5, (" SD15 ", "sdxl")), "b": DetectorFacts()}
    summary = summarise(predictions, facts, resamples=50)
    assert row(summary.per_generator, detector="a", perturbation="none", generator="sd15")["seen"]
    assert not row(summary.per_generator, detector="a", perturbation="none", generator="flux")["seen"]
    assert summary.per_generator.loc[summary.per_generator["detector"] == "b", "seen"].isna().all()
    text = summary.metrics.to_csv(index=False).splitlines()
    assert text[1].endswith(",,") and text[3].endswith(",4827365,120.5")
    assert ",sd15,60,60,True," in summary.per_generator.to_csv()
    assert ",sd15,60,60,," in summary.per_generator.to_csv()
    for start in ("seen is empty", "parameters are unknown", "images per second were not measured"):
        assert next(note for note in summary.notes if note.startswith(start)).endswith(" b")


def test_failed_rows_are_counted_and_nothing_else():
    table = score(listing(), ("a",), ("none",))
    lost = table.index[:10]
    summary = summarise(fail(table, lost), resamples=50)
    found, rest = summary.metrics.iloc[0], summarise(table.drop(lost), resamples=50).metrics.iloc[0]
    assert (found["n"], found["n_failed"]) == (170, 10)
    # the images that failed still have sources that are drawn, so that other detectors are drawn alike
    drawn = ["n_failed", "accuracy_lo", "accuracy_hi", "auc_lo", "auc_hi"]
    pd.testing.assert_series_equal(found.drop(drawn), rest.drop(drawn))
    np.testing.assert_allclose(found[drawn[1:]].astype(float), rest[drawn[1:]].astype(float), atol=0.02)
    assert "10 of 180 predictions failed (10 x cannot decode): a" in summary.notes


def test_unsure_rows_count_and_a_row_without_logit_failed():
    table = score(listing(), ("a",), ("none",))
    table.loc[:4, "status"] = "unsure"
    table.loc[5, "logit"] = math.nan
    table.loc[6, "status"] = "failed"  # whatever its logit
    found = summarise(table, resamples=50).metrics.iloc[0]
    assert (found["n"], found["n_failed"]) == (178, 2)


def test_a_detector_that_failed_on_everything_has_a_row(predictions):
    summary = summarise(fail(predictions, predictions["detector"] == "b"), resamples=50)
    found = row(summary.metrics, detector="b", perturbation="none")
    assert (found["n"], found["n_real"], found["n_synthetic"], found["n_failed"]) == (0, 0, 0, 180)
    empty = [name for name in METRICS[6:] if name not in ("interval",)]
    assert found[empty].isna().all()
    assert found["interval"] == "none: 0 sources, fewer than 10"
    assert not any("interval: 0 sources" in note for note in summary.notes)
    assert row(summary.metrics, detector="a", perturbation="none")["n"] == 180
    assert "360 of 360 predictions failed (360 x cannot decode): b" in summary.notes
    assert summary.roc["detector"].unique().tolist() == ["a"]
    assert "threshold not fitted: no scored validation images of both classes for b" in summary.notes


def test_failures_are_told_once_for_detectors_that_share_them():
    table = score(listing(), ("b", "a", "c"), ("none",))
    for rank, reason in enumerate(["truncated", "truncated", "too small", "x", "y"]):
        table = fail(table, (table["path"] == f"test/real/photo00{rank}.png") & (table["detector"] != "c"), reason)
    told = [note for note in summarise(table, resamples=50).notes if "failed" in note]
    assert told == ["5 of 180 predictions failed (2 x truncated; 1 x too small; 1 x x): a, b"]


def test_without_a_test_split_whatever_is_there_is_evaluated():
    table = score(listing(split="validation"), ("a",), ("none",))
    summary = summarise(table, resamples=50)
    assert summary.metrics["n"].tolist() == [180]
    assert summary.metrics[["threshold_fitted", "accuracy_fitted"]].isna().all(axis=None)
    assert "thresholds and calibration not fitted: the validation split is what is evaluated" in summary.notes


def test_a_split_that_is_asked_for(predictions):
    found = summarise(predictions, resamples=50, split="validation").metrics
    assert found["n"].tolist() == [90] * 4
    assert found["threshold_fitted"].isna().all()
    with pytest.raises(MaibenchError, match="no split 'tset': there is test, validation"):
        summarise(predictions, split="tset")


def test_training_rows_are_no_test_rows_and_an_empty_split_is():
    images = pd.concat([listing(), listing(20, split="train", prefix="other")])
    images.loc[images["split"] == "test", "split"] = None
    assert summarise(score(images, ("a",), ("none",)), resamples=50).metrics["n"].tolist() == [180]


def test_disturbed_validation_rows_fit_no_threshold(predictions):
    clean = (predictions["split"] == "validation") & (predictions["perturbation"] == "none")
    summary = summarise(predictions[~clean], resamples=50)
    assert summary.metrics["threshold_fitted"].isna().all()
    assert "thresholds and calibration not fitted: no validation split" in summary.notes


@pytest.mark.parametrize("source", ["absent", None, "", math.nan])
def test_without_sources_each_image_is_its_own(source):
    table = score(listing(), ("a",), ("none",))
    table = table.drop(columns="source") if source == "absent" else table.assign(source=source)
    summary = summarise(table, resamples=50)
    assert summary.metrics["interval"].tolist() == ["bootstrap of 180 sources, 50 resamples"]
    assert "180 of 180 images have no source: each is its own, and the intervals assume so" in summary.notes
    assert summary.per_generator["n_real"].tolist() == [60, 60]


def test_few_sources_have_no_interval_and_the_reason_is_told_once():
    summary = summarise(score(listing(5)), resamples=50)
    assert summary.metrics["interval"].unique().tolist() == ["none: 5 sources, fewer than 10"]
    assert summary.metrics[["accuracy_lo", "auc_hi"]].isna().all(axis=None)
    assert [note for note in summary.notes if "interval" in note] == ["no interval: 5 sources, fewer than 10"]


def test_a_generator_of_few_sources_has_no_interval():
    images = listing(40)
    images = images[(images["generator"] != "flux") | (images["source"] < "photo005")]
    summary = summarise(score(images, ("a",), ("none",)), resamples=50)
    assert summary.per_generator["auc_lo"].isna().tolist() == [True, False]
    assert "no AUC interval, fewer than 10 sources, for flux" in summary.notes


def test_without_synthetic_images():
    summary = summarise(score(listing(generators=()), ("a",), ("none",)), resamples=50)
    assert list(summary.per_generator.columns) == PER_GENERATOR and summary.per_generator.empty
    assert list(summary.roc.columns) == ROC and summary.roc.empty
    assert summary.metrics["auc"].isna().all() and summary.metrics["tnr"].notna().all()
    assert "per-generator results are empty: no synthetic images" in summary.notes
    assert next(note for note in summary.notes if note.startswith("AUC is empty")).endswith(": no synthetic images")


def test_without_real_images(predictions):
    summary = summarise(predictions[predictions["label"] == 1], resamples=50)
    assert summary.per_generator["tpr"].notna().all() and summary.per_generator["auc"].isna().all()
    told = [note for note in summary.notes if note.startswith("AUC is empty")]
    assert len(told) == 1 and told[0].endswith(": no real images")
    assert "the majority class is 100.0 % of the scored images" in summary.notes


def test_notes_on_balance_and_on_low_false_positive_rates(predictions):
    notes = summarise(predictions, resamples=50).notes
    assert "the majority class is 66.7 % of the scored images" in notes
    assert "tpr_at_fpr_1 needs at least 100 real images, there are 60" in notes
    assert not any("tpr_at_fpr_5" in note for note in notes)
    assert len(notes) == len(set(notes))
    lost = (predictions["detector"] == "a") & (predictions["path"] == "test/real/photo000.png")
    notes = summarise(fail(predictions, lost), resamples=50).notes
    assert "tpr_at_fpr_1 needs at least 100 real images, there are 59 to 60" in notes


def test_roc_of_a_generator_is_that_of_its_row(predictions):
    summary = summarise(predictions, resamples=50)
    for _, found in summary.per_generator.iterrows():
        curve = summary.roc
        for column in ("detector", "perturbation", "generator"):
            curve = curve[curve[column] == found[column]]
        assert np.trapezoid(curve["tpr"], curve["fpr"]) == pytest.approx(found["auc"])


def test_no_predictions():
    summary = summarise(score(listing()).iloc[:0])
    assert list(summary.metrics.columns) == METRICS and summary.metrics.empty
    assert list(summary.per_generator.columns) == PER_GENERATOR and summary.roc.empty
    assert summary.notes == ["every table is empty: no predictions"]


def test_a_detector_outside_the_evaluated_split_is_named(predictions):
    gone = (predictions["detector"] == "a") & (predictions["split"] == "test")
    summary = summarise(predictions[~gone], resamples=50)
    assert summary.metrics["detector"].unique().tolist() == ["b"]
    assert "no row: the evaluated split was not scored by a" in summary.notes


def test_wrong_predictions_are_refused(predictions):
    with pytest.raises(MaibenchError, match="lack the columns logit, status"):
        summarise(predictions.drop(columns=["logit", "status"]))
    with pytest.raises(MaibenchError, match="3 rows repeat"):
        summarise(pd.concat([predictions, predictions[:3]]))
    with pytest.raises(MaibenchError, match="must be 0"):
        summarise(predictions.assign(label=2))


def test_types_as_parquet_gives_them(predictions):
    plain = summarise(predictions, resamples=50)
    typed = predictions.astype(
        {"label": "int8", "logit": "float32", "detector": "category", "perturbation": "category"}
        | dict.fromkeys(("generator", "split", "status", "source"), "category")
    )
    found = summarise(typed, resamples=50)
    assert found.metrics["detector"].tolist() == plain.metrics["detector"].tolist()
    np.testing.assert_allclose(found.metrics["auc"], plain.metrics["auc"], atol=1e-6)
    assert found.notes == plain.notes
    missing = fail(predictions.astype({"logit": object}), predictions.index[:1])
    missing.loc[0, "logit"] = None
    assert summarise(missing, resamples=50).metrics["n_failed"].sum() == 1


def test_a_hundred_thousand_rows_take_seconds():
    names = tuple(f"g{k}" for k in range(4))
    table = score(listing(2500, names), ("a", "b", "c", "d"), ("none", "jpeg:75"))
    assert len(table) == 100_000
    start = time.process_time()
    summarise(table, resamples=20)
    assert time.process_time() - start < 6


def test_detectors_that_disagree_on_an_image_are_refused(predictions):
    for column, value in (("label", 0), ("generator", "other"), ("source", "elsewhere")):
        wrong = predictions.copy()
        at = wrong.index[(wrong["detector"] == "a") & (wrong["path"] == "test/flux/photo001.png")]
        wrong.loc[at, column] = value
        with pytest.raises(MaibenchError, match=rf"the (label|{column}) of 'test/flux/photo001.png'"):
            summarise(wrong, resamples=20)


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
def test_a_detector_without_sources_takes_those_of_the_others(order):
    table = score(listing(), order, ("none",))
    table.loc[table["detector"] == "a", "source"] = None
    summary = summarise(table, resamples=20)
    assert summary.metrics["interval"].tolist() == ["bootstrap of 60 sources, 20 resamples"] * 2
    assert not any("no source" in note for note in summary.notes)


@pytest.mark.parametrize("name", ["all", "seen", "unseen"])
def test_a_generator_with_the_name_of_a_group_is_refused(name):
    with pytest.raises(MaibenchError, match=f"the generator '{name}'"):
        summarise(score(listing(generators=(name, "flux")), ("a",), ("none",)), resamples=20)


def test_predictions_as_other_tools_write_them():
    table = score(pd.concat([listing(), listing(20, split="VAL", prefix="v")]), ("a",), ("none",))
    summary = summarise(table, resamples=20)
    assert summary.metrics["n"].tolist() == [180]
    assert summary.metrics["threshold_fitted"].notna().all()
    with pytest.raises(MaibenchError, match="60 synthetic images have no generator"):
        summarise(table.assign(generator=table["generator"].replace("flux", None)).query("split == 'test'"))
    numbers = table.assign(generator=table["generator"].map({"real": 0, "sd15": 1, "flux": 2}))
    assert summarise(numbers, resamples=20).per_generator["generator"].tolist() == ["1", "2"]
    with pytest.raises(MaibenchError, match="'logit' must hold numbers"):
        summarise(table.astype({"logit": str}).assign(logit="high"))


def test_a_generator_of_few_images_has_no_interval_whatever_the_number_of_real_ones():
    """Three synthetic images beside 200 photographs of other sources are three."""
    images = listing(200, ())
    few = pd.DataFrame(
        [(f"test/x/{i}.png", 1, "x", f"prompt{i}", "test") for i in range(3)]
        + [(f"test/y/{i}.png", 1, "y", f"other{i}", "test") for i in range(30)],
        columns=images.columns,
    )
    summary = summarise(score(pd.concat([images, few]), ("a", "b"), ("none",)), resamples=50)
    rows = summary.intervals.set_index(["detector", "generator", "metric"])
    for metric in ("tpr", "auc", "ap", "balanced_accuracy"):
        assert math.isnan(rows.loc[("a", "x", metric), "lo"])
        assert rows.loc[("a", "x", metric), "interval"] == "none: 3 sources of synthetic images, fewer than 10"
        assert rows.loc[("a", "y", metric), "lo"] < rows.loc[("a", "y", metric), "hi"]
    assert rows.loc[("a", "x", "tnr"), "lo"] < rows.loc[("a", "x", "tnr"), "hi"]
    assert row(summary.per_generator[summary.per_generator["detector"] == "a"], generator="x")["auc_hi"] is not None
    assert "no AUC interval, fewer than 10 sources, for x" in summary.notes


def test_thresholds_of_a_very_sure_detector_can_be_used_again(tmp_path):
    """P differs from 1 in its last digits alone; what the table says must come out of the files."""
    from maibench.evaluation.statistics.frames import write_csv

    images = pd.concat([listing(40), listing(40, split="validation", prefix="v")])
    table = score(images, ("a",), ("none",))
    table["logit"] = 30 + table["logit"]
    summary = summarise(table, resamples=20)
    write_csv(summary.metrics, tmp_path / "metrics.csv")
    written = pd.read_csv(tmp_path / "metrics.csv").iloc[0]
    test = table[table["split"] == "test"]
    right = (1 / (1 + np.exp(-test["logit"])) > written["threshold_fitted"]) == test["label"]
    assert right.mean() == pytest.approx(written["accuracy_fitted"], abs=0.01)
    assert written["accuracy_fitted"] > 0.8


def test_analytic_intervals_that_there_cannot_be_are_told(predictions):
    told = "Wilson's and DeLong's intervals need sources of one image each: bootstrap in their place"
    assert told in summarise(predictions, resamples=20, interval="analytic").notes
    alone = predictions.assign(source=predictions["path"])
    summary = summarise(alone, resamples=20, interval="analytic")
    assert told not in summary.notes
    assert summary.metrics["interval"].str.startswith("accuracy: Wilson, 180 images; AUC: DeLong, 180 images").all()
