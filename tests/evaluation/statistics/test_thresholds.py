"""The fitted thresholds against brute force and scikit-learn, and the rules that apply them."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import logit
from sklearn.metrics import roc_curve

from maibench.evaluation.statistics import metrics
from maibench.evaluation.statistics.evaluated import Evaluated
from maibench.evaluation.statistics.frames import COLUMNS
from maibench.evaluation.statistics.metrics import balanced_accuracy
from maibench.evaluation.statistics.thresholds import (
    RULES,
    accuracy_at,
    equal_error_threshold,
    fit_threshold,
    fitted_thresholds,
    fpr_threshold,
    operating_points,
    rates_at,
)


def sigmoid(logit):
    return 1 / (1 + np.exp(-logit))


def balanced_accuracy_at(labels, logits, cut):
    return balanced_accuracy(labels, logits - cut)


def test_midway_between_the_classes():
    assert fit_threshold(np.array([0, 0, 1, 1]), np.array([-3.0, 1.0, 4.0, 9.0])) == pytest.approx(sigmoid(2.5))


def test_among_equally_good_cuts_the_nearest_to_zero():
    # Cuts at -2.5 and at 0.5 both give (1 + 0.5) / 2; so does none nearer to 0.
    labels, logits = np.array([0, 1, 0, 1]), np.array([-3.0, -2.0, 0.0, 1.0])
    assert fit_threshold(labels, logits) == pytest.approx(sigmoid(0.5))
    assert fit_threshold(labels, logits + 2) == pytest.approx(sigmoid(-0.5))


def test_balanced_accuracy_is_what_counts_not_accuracy():
    # Nine real images to one synthetic: accuracy would call everything real.
    labels = np.array([0] * 9 + [1])
    logits = np.array([0.0] * 6 + [2.0] * 3 + [1.0])
    assert fit_threshold(labels, logits) == pytest.approx(sigmoid(0.5))


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(-8, 8)), min_size=1, max_size=25))
def test_no_cut_is_better_and_none_as_good_is_nearer_to_zero(rows):
    labels, logits = np.array([(0, 0), (1, 3), *rows]).T
    fitted = fit_threshold(labels, logits.astype(float))
    cut = math.log(fitted / (1 - fitted))
    distinct = np.unique(logits)
    cuts = [distinct[0] - 1, *((distinct[1:] + distinct[:-1]) / 2), distinct[-1] + 1]
    values = {c: balanced_accuracy_at(labels, logits, c) for c in cuts}
    best = [c for c, value in values.items() if value > max(values.values()) - 1e-9]
    assert min(abs(c) for c in best) == pytest.approx(abs(cut), abs=1e-6)
    assert balanced_accuracy_at(labels, logits, cut) == pytest.approx(max(values.values()))


def test_row_order_has_no_effect():
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 2, 200)
    logits = rng.normal(labels)
    order = rng.permutation(200)
    assert fit_threshold(labels, logits) == fit_threshold(labels[order], logits[order])


@pytest.mark.parametrize("labels", [[], [0, 0], [1, 1]])
def test_nan_where_a_class_is_missing(labels):
    assert math.isnan(fit_threshold(np.array(labels, dtype=int), np.zeros(len(labels))))


@pytest.mark.parametrize(
    "logits",
    [[-np.inf, 3.0], [2.0, np.inf], [-np.inf, np.inf], [-700.0, -30.0], [-39.0, -37.0], [30.0, 34.0], [20.0, 900.0]],
)
def test_separable_classes_stay_separated_at_the_far_ends(logits):
    labels, logits = np.array([0, 1]), np.array(logits)
    expected = 1.0 if logits.max() > -36 else 0.5  # beyond that all are taken for equally certain
    assert accuracy_at(labels, logits, fit_threshold(labels, logits)) == expected


def test_what_no_probability_can_separate_is_not_claimed():
    labels, logits = np.array([0, 1]), np.array([40.0, 50.0])
    assert accuracy_at(labels, logits, fit_threshold(labels, logits)) == 0.5


def test_one_logit_for_all():
    labels, logits = np.array([0, 1]), np.array([5.0, 5.0])
    assert fit_threshold(labels, logits) == pytest.approx(sigmoid(4.0))


def test_accuracy_at_is_strict_and_compares_in_logits():
    labels = np.array([0, 1, 1, 0])
    assert accuracy_at(labels, np.array([0.0, 1.0, 2.0, -1.0]), 0.5) == 1.0
    assert accuracy_at(labels, np.array([0.0, 1.0, 2.0, -1.0]), sigmoid(1.5)) == 0.75
    # All four scores round to the same double; their logits do not.
    assert accuracy_at(labels, np.array([-800.0, -700.0, -700.0, -900.0]), 0.0) == 0.5
    assert accuracy_at(labels, np.array([36.0, 50.0, 60.0, 36.0]), sigmoid(36.5)) == 1.0


def test_accuracy_at_without_threshold_or_images():
    assert math.isnan(accuracy_at(np.array([0, 1]), np.zeros(2), math.nan))
    assert math.isnan(accuracy_at(np.array([], dtype=int), np.array([]), 0.5))


def test_rates_at_one_half_are_the_metrics():
    rng = np.random.default_rng(4)
    labels = rng.integers(0, 2, 300)
    logits = np.round(rng.normal(labels, 1), 1)
    names = ("accuracy", "balanced_accuracy", "tpr", "tnr")
    assert rates_at(labels, logits, 0.5) == {name: getattr(metrics, name)(labels, logits) for name in names}


def test_rates_of_one_class():
    rates = rates_at(np.array([1, 1, 1]), np.array([-1.0, 1.0, np.inf]), 0.5)
    assert rates["accuracy"] == rates["tpr"] == 2 / 3
    assert math.isnan(rates["tnr"]) and math.isnan(rates["balanced_accuracy"])


def rates(labels, logits, threshold):
    """FPR and miss rate of score > threshold."""
    found = rates_at(labels, logits, threshold)
    return 1 - found["tnr"], 1 - found["tpr"]


scored = st.lists(st.tuples(st.integers(0, 1), st.integers(-8, 8)), max_size=40).map(
    lambda rows: np.array([(0, 0), (1, 3), *rows], dtype=np.int64).T
)


@given(scored)
def test_no_cut_is_nearer_to_equal_errors(data):
    labels, logits = data[0], data[1].astype(float)
    fpr, miss = rates(labels, logits, equal_error_threshold(labels, logits))
    distinct = np.unique(logits)
    for cut in [distinct[0] - 1, *((distinct[1:] + distinct[:-1]) / 2), distinct[-1] + 1]:
        other_fpr, other_miss = rates(labels, logits, sigmoid(cut))
        assert abs(fpr - miss) <= abs(other_fpr - other_miss) + 1e-12
        if abs(fpr - miss) == pytest.approx(abs(other_fpr - other_miss), abs=1e-12):
            assert fpr + miss <= other_fpr + other_miss + 1e-12


def test_equal_error_where_the_roc_meets_the_diagonal():
    rng = np.random.default_rng(5)
    labels = np.repeat([0, 1], 2000)
    logits = rng.normal(labels * 2 - 1, 1.0)
    fpr, miss = rates(labels, logits, equal_error_threshold(labels, logits))
    assert fpr == miss == pytest.approx(metrics.eer(labels, logits))
    assert logit(equal_error_threshold(labels, logits)) == pytest.approx(0, abs=0.1)


@given(scored, st.sampled_from([5, 10, 30]))
def test_the_lowest_cut_with_few_enough_false_positives(data, percent):
    labels, logits = np.append(data[0], np.zeros(20, dtype=np.int64)), np.append(data[1], np.arange(20) % 7 - 3.0)
    threshold = fpr_threshold(labels, logits, percent)
    assert rates(labels, logits, threshold)[0] <= percent / 100 + 1e-12
    assert rates(labels, logits, threshold - 1e-12)[0] > percent / 100 + 1e-12


@pytest.mark.parametrize("percent", [1, 5])
def test_on_its_own_data_the_rule_has_the_tpr_at_that_fpr(percent):
    rng = np.random.default_rng(6)
    labels = rng.integers(0, 2, 3000)
    logits = np.round(rng.normal(labels, 1), 2)
    threshold = fpr_threshold(labels, logits, percent)
    assert rates_at(labels, logits, threshold)["tpr"] == metrics.tpr_at_fpr(labels, logits, percent)
    fpr, hit_rate, _ = roc_curve(labels, logits)
    assert rates_at(labels, logits, threshold)["tpr"] == hit_rate[fpr <= percent / 100].max()


@pytest.mark.parametrize("far", [-np.inf, -800.0, -40.0, 30.0, 36.9, 500.0, np.inf])
def test_false_positives_stay_few_at_the_far_ends(far):
    labels, logits = np.zeros(100, dtype=int), np.full(100, far)
    assert rates(labels, logits, fpr_threshold(labels, logits, 1))[0] <= 0.01


def test_too_few_real_images_for_a_rate():
    labels, logits = np.repeat([0, 1], [99, 500]), np.zeros(599)
    assert math.isnan(fpr_threshold(labels, logits, 1))
    assert not math.isnan(fpr_threshold(np.append(labels, 0), np.append(logits, 0.0), 1))
    assert math.isnan(fpr_threshold(np.array([1]), np.zeros(1), 5))


def evaluated(labels, logits, validation):
    images = pd.DataFrame({
        "path": [f"{i:04d}" for i in range(len(labels))], "label": labels, "generator": "g", "source": "s",
        "own_source": False,
    })  # fmt: skip
    return Evaluated(images, logits, validation=validation)


def test_operating_points_are_fitted_on_validation_and_applied_to_every_perturbation():
    rng = np.random.default_rng(7)
    labels, fitting = rng.integers(0, 2, 400), rng.integers(0, 2, 300)
    logits = rng.normal(labels * 2, 1)
    validation = rng.normal(fitting * 2, 1)
    lacking = np.where(rng.random(400) < 0.5, np.nan, logits - 1)
    keys = {("d", "none"): logits, ("d", "blur:1"): lacking, ("bare", "none"): logits}
    here = evaluated(labels, keys, {"d": (fitting, validation)})
    table = operating_points(here)
    assert list(table.columns) == list(COLUMNS["thresholds"])
    assert table["rule"].tolist() == [*RULES, *RULES, "P = 0.5"]
    clean, blurred = (
        table[(table["detector"] == "d") & (table["perturbation"] == name)] for name in ("none", "blur:1")
    )
    assert clean["threshold"].tolist() == blurred["threshold"].tolist()
    assert clean["threshold"].tolist() == [
        0.5, fit_threshold(fitting, validation), equal_error_threshold(fitting, validation),
        fpr_threshold(fitting, validation, 1), fpr_threshold(fitting, validation, 5),
    ]  # fmt: skip
    n_real = int((fitting == 0).sum())
    assert clean["n_validation"].tolist() == [0, 300, 300, n_real, n_real]
    scored = ~np.isnan(lacking)
    for row in blurred.to_dict("records"):
        assert row["accuracy"] == accuracy_at(labels[scored], lacking[scored], row["threshold"])
        assert row["tpr"] == rates_at(labels[scored], lacking[scored], row["threshold"])["tpr"]
    assert fitted_thresholds(here) == {"d": fit_threshold(fitting, validation)}


def test_operating_points_of_little():
    one_class = {"d": (np.zeros(120, dtype=np.int64), np.linspace(-1, 1, 120))}
    table = operating_points(evaluated(np.array([0, 1]), {("d", "none"): np.full(2, np.nan)}, one_class))
    assert table.set_index("rule")["threshold"].isna().tolist() == [False, True, True, False, False]
    assert table[["accuracy", "balanced_accuracy", "tpr", "tnr"]].isna().all(axis=None)
    assert math.isnan(fitted_thresholds(evaluated(np.array([0]), {}, one_class))["d"])
    empty = operating_points(evaluated(np.array([], dtype=np.int64), {}, {}))
    assert empty.empty and list(empty.columns) == list(COLUMNS["thresholds"])
