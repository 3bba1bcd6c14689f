"""comparisons.csv: paired differences and their tests, each against its reference; who is printed in bold."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from scipy.stats import t as student
from sklearn.metrics import roc_auc_score
from statsmodels.stats.multitest import multipletests

from maibench.evaluation.statistics.bootstrap import SourceBootstrap, tails
from maibench.evaluation.statistics.comparisons import best_detectors, bootstrap_p, compare_pairs, holm, notes
from maibench.evaluation.statistics.delong import delong_test
from maibench.evaluation.statistics.evaluated import Evaluated
from maibench.evaluation.statistics.frames import COLUMNS


def evaluated(shifts, n=300, per_source=1, seed=0):
    """Detectors "a", "b", ... that tell the classes apart by `shifts`."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    images = pd.DataFrame({"path": range(n), "label": labels, "generator": np.where(labels, "x", "real")})
    shared = rng.normal(size=n)
    logits = {
        (name, "none"): np.round(shift * (labels - 0.5) + shared + 0.5 * rng.normal(size=n), 2)
        for name, shift in zip("abcdef", shifts, strict=False)
    }
    return Evaluated(images.assign(source=np.arange(n) // per_source, own_source=False), logits)


def compare(data, resamples=200, seed=3):
    return compare_pairs(data, SourceBootstrap(data.images["source"].to_numpy(), resamples, seed))


def test_every_pair_once_in_the_order_of_the_tables():
    data = evaluated([1, 2, 3])
    data.logits["b", "blur"], data.logits["a", "blur"] = data.logits["b", "none"], data.logits["a", "none"]
    frame = compare(data, 20)
    assert list(frame.columns) == list(COLUMNS["comparisons"])
    pairs = frame[["detector_a", "detector_b", "perturbation"]].to_numpy().tolist()
    assert pairs == [["a", "b", "none"], ["a", "c", "none"], ["b", "c", "none"], ["a", "b", "blur"]]


@pytest.mark.parametrize("per_source", [1, 4])
def test_differences_and_p_are_those_of_the_paired_resamples(per_source):
    data = evaluated([1, 1.2], per_source=per_source)
    a, b = data.logits.values()
    a[:10], b[5:20] = np.nan, np.nan
    made = SourceBootstrap(data.images["source"].to_numpy(), 150, seed=1)
    (row,) = compare_pairs(data, made).to_dict("records")
    both = ~np.isnan(a + b)
    labels, a, b = data.labels[both], a[both], b[both]
    assert row["n"] == 280 and row["n_sources"] == 280 // per_source
    weights = [drawn[data.images["source"].to_numpy()[both]].astype(float) for drawn in made._drawn]
    accuracy = (a > 0) == labels, (b > 0) == labels
    draws = {
        "accuracy": [np.average(accuracy[0], weights=w) - np.average(accuracy[1], weights=w) for w in weights],
        "auc": [roc_auc_score(labels, a, sample_weight=w) - roc_auc_score(labels, b, sample_weight=w) for w in weights],
    }
    deltas = {
        "accuracy": accuracy[0].mean() - accuracy[1].mean(),
        "auc": roc_auc_score(labels, a) - roc_auc_score(labels, b),
    }
    for metric, delta in deltas.items():
        assert row[f"delta_{metric}"] == pytest.approx(delta, abs=1e-12)
        classes = [made.n_sources_of(both & (data.labels == label)) for label in (0, 1)]
        rests_on = row["n_sources"] if metric == "accuracy" else min(classes)
        lo, hi = np.quantile(draws[metric], tails(rests_on))
        assert (row[f"delta_{metric}_lo"], row[f"delta_{metric}_hi"]) == pytest.approx((lo, hi), abs=1e-9)
        sources = rests_on
        error = np.std(draws[metric], ddof=1) * math.sqrt(sources / (sources - 1))
        p = 2 * student.sf(abs(delta) / error, min(sources, 150) - 1)
        assert row[f"p_{metric}"] == pytest.approx(p, rel=1e-6)


def test_mcnemar_and_delong_stand_where_sources_are_single_images():
    data = evaluated([1, 1.5])
    (row,) = compare(data).to_dict("records")
    a, b = data.logits.values()
    right_a, right_b = (a > 0) == data.labels, (b > 0) == data.labels
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    assert only_a + only_b > 10
    assert row["p_mcnemar"] == pytest.approx(binomtest(only_a, only_a + only_b).pvalue)
    assert row["p_delong"] == pytest.approx(delong_test(data.labels, a, b)[1])
    # Large and independent samples: the tests agree.
    assert row["p_auc"] == pytest.approx(row["p_delong"], rel=0.6)
    (shared,) = compare(evaluated([1, 1.5], per_source=2)).to_dict("records")
    assert math.isnan(shared["p_mcnemar"]) and math.isnan(shared["p_delong"]) and shared["p_auc"] > 0


def test_holm_is_over_both_metrics_of_all_pairs_under_one_perturbation():
    data = evaluated([1, 1.2, 1.5])
    frame = compare(data)
    plain = frame[["p_accuracy", "p_auc"]].to_numpy().ravel()
    adjusted = multipletests(plain, method="holm")[1]
    found = frame[["p_accuracy_holm", "p_auc_holm"]].to_numpy()
    np.testing.assert_allclose(found.ravel(), adjusted, atol=1e-15)
    assert len(set(found.ravel())) > 2
    np.testing.assert_array_equal(frame["p_holm"], found.min(axis=1))
    again = evaluated([1, 1.2, 1.5])
    again.logits.update({(name, "blur"): logits for (name, _), logits in again.logits.items()})
    np.testing.assert_array_equal(compare(again)["p_holm"], np.tile(frame["p_holm"], 2))


def test_holm_is_that_of_statsmodels():
    p = np.array([0.04, 0.01, 0.01, 0.9, 0.5, 1.0, 0.0])
    np.testing.assert_allclose(holm(p), multipletests(p, method="holm")[1], atol=1e-15)
    assert len(holm(np.array([]))) == 0


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 3]))
def test_swapping_two_detectors_turns_the_signs(seed, per_source):
    data = evaluated([1, 1.3], n=60, per_source=per_source, seed=seed)
    (row,) = compare(data, 50).to_dict("records")
    swapped = Evaluated(data.images, dict(reversed(data.logits.items())))
    (other,) = compare(swapped, 50).to_dict("records")
    for metric in ("accuracy", "auc"):
        delta = f"delta_{metric}"
        assert other[delta] == -row[delta]
        assert other[f"{delta}_lo"] == pytest.approx(-row[f"{delta}_hi"], abs=1e-12)
    for name in ("p_accuracy", "p_auc", "p_holm", "p_mcnemar", "p_delong"):
        assert other[name] == pytest.approx(row[name], abs=1e-12, nan_ok=True)


def test_equal_detectors_differ_by_nothing():
    data = evaluated([1])
    data.logits["b", "none"] = 2 * data.logits["a", "none"]
    (row,) = compare(data).to_dict("records")
    assert [row[name] for name in ("delta_accuracy", "delta_auc", "delta_auc_lo", "delta_auc_hi")] == [0, 0, 0, 0]
    assert [row[name] for name in ("p_accuracy", "p_auc", "p_mcnemar", "p_delong", "p_holm")] == [1, 1, 1, 1, 1]


def test_a_difference_in_every_resample_is_as_sure_as_a_sign_test_of_the_sources():
    data = evaluated([1], n=96, per_source=4)
    data.logits.update({("a", "none"): data.labels - 0.5, ("b", "none"): 0.5 - data.labels})
    (row,) = compare(data).to_dict("records")
    assert row["delta_accuracy"] == row["delta_accuracy_lo"] == 1
    assert row["p_accuracy"] == pytest.approx(binomtest(24, 24).pvalue) == 2.0**-23
    assert 2.0**-23 <= row["p_auc"] <= 2.0**-9  # a source may lack one of the classes
    assert math.isnan(bootstrap_p(0.3, np.array([0.3]), 30))
    assert bootstrap_p(0.3, np.random.default_rng(0).normal(0.3, 1e-3, 99), 10) == 2.0**-9


def test_few_sources_and_no_common_images_have_no_test():
    data = evaluated([1, 2], n=36, per_source=4)
    frame = compare(data)
    (row,) = frame.to_dict("records")
    assert row["n_sources"] == 9 and row["delta_accuracy"] != 0 and not math.isnan(row["delta_auc"])
    empty = [name for name in row if name.startswith("p_") or name.endswith(("_lo", "_hi"))]
    assert len(empty) == 11 and all(math.isnan(row[name]) for name in empty)
    assert notes(frame) == [
        "no test where the images that two detectors both scored are of fewer than 10 sources",
        "bold: the best of a column",
    ]
    data.logits["a", "none"][:20], data.logits["b", "none"][20:] = np.nan, np.nan
    (row,) = compare(data).to_dict("records")
    assert row["n"] == 0 and math.isnan(row["delta_accuracy"]) and math.isnan(row["delta_auc"])


def test_one_class_is_compared_by_accuracy_alone():
    data = evaluated([1, 2])
    for logits in data.logits.values():
        logits[data.labels == 0] = np.nan
    (row,) = compare(data).to_dict("records")
    assert math.isnan(row["p_auc"]) and math.isnan(row["p_delong"]) and math.isnan(row["p_auc_holm"])
    assert row["p_accuracy_holm"] == row["p_holm"] == row["p_accuracy"] < 1


def test_infinite_logits_are_compared():
    data = evaluated([1, 2])
    data.logits["a", "none"][data.logits["a", "none"] > 1] = np.inf
    data.logits["b", "none"][data.logits["b", "none"] < -1] = -np.inf
    (row,) = compare(data).to_dict("records")
    assert 0 < row["p_auc"] < 1


def test_one_detector_or_none_is_compared_with_nobody():
    one = evaluated([1])
    assert compare(one).empty and list(compare(one).columns) == list(COLUMNS["comparisons"])
    assert notes(compare(one)) == []
    metrics = pd.DataFrame({"detector": ["a"], "perturbation": ["none"], "accuracy": [0.9]})
    assert best_detectors(metrics, compare(one), "none", "accuracy") == frozenset()


def tables(values, p):
    """metrics.csv and comparisons.csv, as far as bold type looks at them; p by pair."""
    metrics = pd.DataFrame({"detector": list(values), "perturbation": "none", "auc": list(values.values())})
    rows = [{"detector_a": a, "detector_b": b, "perturbation": "none", "p_auc_holm": at} for (a, b), at in p.items()]
    return metrics, pd.DataFrame(rows, columns=COLUMNS["comparisons"])


def test_bold_is_the_best_and_what_cannot_be_told_from_it():
    values = {"a": 0.9, "b": 0.95, "c": 0.94, "d": 0.93}
    p = {("a", "b"): 0.001, ("b", "c"): 0.2, ("b", "d"): 0.049, ("a", "c"): 0.5, ("c", "d"): 1.0, ("a", "d"): 1.0}
    assert best_detectors(*tables(values, p), "none", "auc") == {"b", "c"}
    assert best_detectors(*tables(values, p), "blur", "auc") == frozenset()


def test_bold_without_a_test_is_what_prints_as_the_best():
    values = {"a": 0.9501, "b": 0.9504, "c": 0.94, "d": math.nan}
    p = dict.fromkeys([("a", "b"), ("a", "c"), ("b", "c"), ("a", "d")], math.nan)
    assert best_detectors(*tables(values, p), "none", "auc") == {"a", "b"}
    assert best_detectors(*tables(dict.fromkeys("ab", math.nan), {}), "none", "auc") == frozenset()


def test_notes_say_what_bold_means():
    (line,) = notes(compare(evaluated([1, 2])))
    assert line.startswith("bold: ") and "5 %" in line and "Holm" in line
