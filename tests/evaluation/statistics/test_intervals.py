"""intervals.csv: its values, its bounds by every method, and what it says of how they were made."""

import math

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.proportion import proportion_confint

from maibench.errors import MaibenchError
from maibench.evaluation.statistics import metrics
from maibench.evaluation.statistics.bootstrap import SourceBootstrap, bca_interval, percentile_interval
from maibench.evaluation.statistics.delong import delong_interval
from maibench.evaluation.statistics.evaluated import Evaluated, groups
from maibench.evaluation.statistics.frames import COLUMNS
from maibench.evaluation.statistics.intervals import METRICS, interval_rows
from maibench.evaluation.statistics.thresholds import accuracy_at


def evaluated(n=240, per_source=3, seed=0, shift=1.0):
    """Two detectors, "a" under two perturbations, one without some images; generators "x" (seen by "a") and "y"."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    generator = np.where(labels == 0, "real", rng.choice(["x", "y"], n))
    source = [f"photo {i // per_source:04d}" for i in range(n)]
    images = pd.DataFrame({"path": [f"{i:04d}" for i in range(n)], "label": labels, "generator": generator})
    shared = rng.normal(shift * (2 * labels - 1))
    logits = {key: np.round(shared + rng.normal(size=n), 2) for key in (("a", "none"), ("a", "blur"), ("b", "none"))}
    logits["b", "none"][:30] = np.nan
    return Evaluated(images.assign(source=source, own_source=False), logits, seen={"a": frozenset({"x"}), "b": None})


def bootstrap_of(data, resamples=200):
    return SourceBootstrap(data.images["source"].to_numpy(), resamples, seed=3)


def row_of(frame, detector="a", perturbation="none", generator="all", metric="accuracy"):
    names = {"detector": detector, "perturbation": perturbation, "generator": generator, "metric": metric}
    (row,) = frame[np.logical_and.reduce([frame[name] == value for name, value in names.items()])].to_dict("records")
    return row


def repeated(data, key, mask, bootstrap, metric):
    """A metric on the images of each resample, repeated as often as drawn."""
    chosen = mask & ~np.isnan(data.logits[key])
    source_of = np.unique(data.images["source"], return_inverse=True)[1][chosen]
    labels, logits = data.labels[chosen], data.logits[key][chosen]
    weights = [row[source_of] for row in bootstrap._drawn]
    return np.array([metric(np.repeat(labels, w), np.repeat(logits, w)) for w in weights])


def test_a_row_for_every_detector_perturbation_group_and_metric():
    data = evaluated()
    frame = interval_rows(data, bootstrap_of(data), {"a": 0.6})
    assert list(frame.columns) == list(COLUMNS["intervals"])
    assert list(frame["metric"][:13]) == list(METRICS)
    assert list(dict.fromkeys(frame["generator"][frame["detector"] == "a"])) == ["all", "seen", "unseen", "x", "y"]
    assert list(dict.fromkeys(frame["generator"][frame["detector"] == "b"])) == ["all", "x", "y"]
    assert "accuracy_fitted" not in set(frame["metric"][frame["detector"] == "b"])
    assert len(frame) == 2 * 5 * 13 + 3 * 12


def test_values_are_those_of_metrics():
    data = evaluated()
    frame = interval_rows(data, bootstrap_of(data), {"a": 0.6, "b": math.nan})
    for key in data.logits:
        for name, mask in groups(data, key[0]).items():
            scored = data.scored(key, mask)
            expected = metrics.point_metrics(*scored)
            if key[0] == "a":
                expected["accuracy_fitted"] = accuracy_at(*scored, 0.6)
            for metric, value in expected.items():
                assert row_of(frame, *key, name, metric)["value"] == pytest.approx(value, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("key", [("a", "none"), ("b", "none")])
def test_bounds_are_percentiles_of_the_metric_on_resampled_images(key):
    data = evaluated()
    made = bootstrap_of(data, resamples=40)
    frame = interval_rows(data, made, {"a": 0.6})
    functions = {
        name: getattr(metrics, name)
        for name in ("accuracy", "balanced_accuracy", "tpr", "tnr", "auc", "ap", "eer", "ece", "brier", "nll")
    }
    functions["tpr_at_fpr_5"] = lambda *given: metrics.tpr_at_fpr(*given, 5)
    if key[0] == "a":
        functions["accuracy_fitted"] = lambda *given: accuracy_at(*given, 0.6)
    for name, mask in groups(data, key[0]).items():
        for metric, function in functions.items():
            chosen = mask & ~np.isnan(data.logits[key])
            n_sources = made.n_sources_of(chosen)
            real, synthetic = (made.n_sources_of(chosen & (data.labels == label)) for label in (0, 1))
            ranked = ("balanced_accuracy", "auc", "ap", "eer", "tpr_at_fpr_5")
            rests_on = {"tpr": synthetic, "tnr": real} | dict.fromkeys(ranked, min(real, synthetic))
            draws = repeated(data, key, mask, made, function)
            expected = percentile_interval(draws, rests_on.get(metric, n_sources))
            row = row_of(frame, *key, name, metric)
            assert (row["lo"], row["hi"]) == pytest.approx(expected, abs=1e-9)
            assert row["interval"] == f"bootstrap of {n_sources} sources, 40 resamples"


def test_bca_is_made_of_the_draws_and_the_jackknife():
    data = evaluated(n=90)
    made = bootstrap_of(data)
    frame = interval_rows(data, made, {}, method="bca")
    mask = groups(data, "b")["x"] & ~np.isnan(data.logits["b", "none"])
    sources = data.images["source"].to_numpy()
    for metric in ("accuracy", "auc", "brier", "eer"):
        function = getattr(metrics, metric)
        left_out = [
            function(*data.scored(("b", "none"), mask & (sources != source))) for source in np.unique(sources[mask])
        ]
        value = function(*data.scored(("b", "none"), mask))
        draws = repeated(data, ("b", "none"), mask, made, function)
        row = row_of(frame, "b", generator="x", metric=metric)
        assert (row["lo"], row["hi"]) == pytest.approx(bca_interval(draws, value, np.array(left_out)), abs=1e-9)
        assert row["interval"] == f"BCa bootstrap of {len(left_out)} sources, 200 resamples"


def test_bca_of_too_many_sources_is_percentiles_and_says_so(monkeypatch):
    data = evaluated()
    monkeypatch.setattr("maibench.evaluation.statistics.intervals.MAX_BCA_SOURCES", 79)
    bca, plain = (row_of(interval_rows(data, bootstrap_of(data), {}, how)) for how in ("bca", "bootstrap"))
    assert (bca["lo"], bca["hi"]) == (plain["lo"], plain["hi"])
    assert bca["interval"] == "bootstrap of 80 sources, 200 resamples; BCa takes 79 sources at most"


def test_analytic_intervals_are_wilson_and_delong_where_sources_are_single_images():
    data = evaluated(per_source=1)
    frame = interval_rows(data, bootstrap_of(data), {"b": 0.4}, method="analytic")
    mask = groups(data, "b")["y"]
    labels, logits = data.scored(("b", "none"), mask)
    right = (logits > 0) == labels
    fitted = (logits > math.log(0.4 / 0.6)) == labels
    hits = {"accuracy": right, "tpr": right[labels == 1], "tnr": right[labels == 0], "accuracy_fitted": fitted}
    for metric, of in hits.items():
        row = row_of(frame, "b", generator="y", metric=metric)
        # Wilson 1927: the roots of (p - share)^2 = z^2 p (1 - p) / n.
        z, n, share = 1.959963984540054, len(of), of.mean()
        middle, half = share + z**2 / (2 * n), z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
        expected = (middle - half) / (1 + z**2 / n), (middle + half) / (1 + z**2 / n)
        assert (row["lo"], row["hi"]) == pytest.approx(expected, abs=1e-9)
        assert (row["lo"], row["hi"]) == pytest.approx(proportion_confint(of.sum(), n, method="wilson"))
        assert row["interval"] == f"Wilson, {n} images"
    row = row_of(frame, "b", generator="y", metric="auc")
    assert (row["lo"], row["hi"]) == delong_interval(labels, logits)
    assert row["interval"] == f"DeLong, {len(labels)} images"
    assert row_of(frame, metric="brier")["interval"] == "bootstrap of 240 sources, 200 resamples"


def test_analytic_intervals_of_shared_sources_are_percentiles():
    data = evaluated()
    frames = [interval_rows(data, bootstrap_of(data), {}, method) for method in ("analytic", "bootstrap")]
    pd.testing.assert_frame_equal(*frames)


def test_fewer_than_ten_sources_have_values_and_a_reason():
    data = evaluated(n=27, shift=0.5)
    frame = interval_rows(data, bootstrap_of(data), {})
    for method in ("bootstrap", "bca", "analytic"):
        frame = interval_rows(data, bootstrap_of(data), {}, method)
        row = row_of(frame)
        assert not math.isnan(row["value"]) and math.isnan(row["lo"]) and math.isnan(row["hi"])
        assert row["interval"] == "none: 9 sources, fewer than 10"
    assert row_of(frame, "b")["interval"] == "none: 0 sources, fewer than 10"


@pytest.mark.parametrize("method", ["bootstrap", "bca", "analytic"])
def test_one_class_has_rates_and_no_ranks(method):
    n = 40
    images = pd.DataFrame({"path": range(n), "label": 1, "generator": "x", "source": range(n), "own_source": False})
    data = Evaluated(images, {("a", "none"): np.append(np.full(20, np.inf), np.linspace(-2, 2, 20))}, seen={"a": None})
    frame = interval_rows(data, bootstrap_of(data), {}, method)
    for metric in ("balanced_accuracy", "tnr", "auc", "ap", "eer", "tpr_at_fpr_1"):
        row = row_of(frame, metric=metric)
        assert math.isnan(row["value"]) and math.isnan(row["lo"]) and row["interval"] == "none: there is no value"
    row = row_of(frame, metric="tpr")
    assert row["lo"] < row["value"] == 0.75 < row["hi"]


def test_tpr_at_fpr_needs_as_many_real_images_as_the_metric_does():
    # 98 real images: some resamples draw more than 99, but the metric has no value.
    labels = np.repeat([0, 1], [98, 50])
    images = pd.DataFrame({"path": range(148), "label": labels, "generator": np.where(labels, "x", "real")})
    data = Evaluated(
        images.assign(source=range(148), own_source=False),
        {("a", "none"): np.random.default_rng(0).normal(labels)},
        seen={"a": None},
    )
    row = row_of(interval_rows(data, bootstrap_of(data), {}), metric="tpr_at_fpr_1")
    assert math.isnan(row["value"]) and math.isnan(row["lo"]) and row["interval"] == "none: there is no value"


@pytest.mark.parametrize("method", ["bootstrap", "bca"])
def test_an_interval_without_width_is_said_to_be_one(method):
    data = evaluated(shift=50)
    row = row_of(interval_rows(data, bootstrap_of(data), {}, method), metric="auc")
    assert (row["value"], row["lo"], row["hi"]) == (1.0, 1.0, 1.0)
    assert row["interval"] == "bootstrap of 80 sources, 200 resamples; no resample differs"


def test_wilson_leaves_room_where_no_resample_differs():
    data = evaluated(shift=50, per_source=1)
    frame = interval_rows(data, bootstrap_of(data), {}, "analytic")
    assert row_of(frame)["lo"] == pytest.approx(240 / (240 + 1.959964**2))
    assert row_of(frame, metric="auc")["interval"].endswith("no resample differs")


def test_infinite_logits_on_the_wrong_side_have_an_infinite_log_loss():
    data = evaluated()
    data.logits["a", "none"][np.flatnonzero(data.labels == 0)[:30]] = np.inf
    row = row_of(interval_rows(data, bootstrap_of(data), {}), metric="nll")
    assert row["value"] == row["hi"] == math.inf


def test_nothing_to_judge_and_an_unknown_method():
    data = evaluated(n=0)
    assert interval_rows(Evaluated(data.images, {}), bootstrap_of(data), {}).empty
    with pytest.raises(MaibenchError, match="'student': there are bootstrap, bca, analytic"):
        interval_rows(data, bootstrap_of(data), {}, "student")
