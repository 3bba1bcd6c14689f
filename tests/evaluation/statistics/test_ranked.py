"""Ranked metrics of every resample: each equals that of metrics.py on the images, repeated as often as drawn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from maibench.evaluation.statistics import metrics
from maibench.evaluation.statistics.ranked import rank_draws


def repeated(labels, logits, weights):
    """All five metrics of images repeated `weights` times."""
    labels, logits = np.repeat(labels, weights), np.repeat(logits, weights)
    plain = [metric(labels, logits) for metric in (metrics.auc, metrics.ap, metrics.eer)]
    return [*plain, *(metrics.tpr_at_fpr(labels, logits, percent) for percent in (1, 5))]


def example(seed, n):
    """Images with ties, infinite and missing logits, of sources that are drawn at random."""
    rng = np.random.default_rng(seed)
    n_sources = int(rng.integers(1, n + 1))
    labels = (rng.random(n) < rng.choice([0.1, 0.5, 0.9])).astype(np.int64)
    logits = np.round(rng.normal(labels), int(rng.integers(0, 4)))
    for odd in (np.inf, -np.inf, np.nan):
        logits[rng.random(n) < rng.choice([0, 0.1])] = odd
    source_of = rng.integers(0, n_sources, n)
    drawn = np.stack([np.bincount(rng.integers(n_sources, size=n_sources), minlength=n_sources) for _ in range(4)])
    return rng, source_of, labels, logits, drawn.astype(np.uint8)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 260))
def test_each_draw_is_the_metric_of_the_images_repeated(seed, n):
    rng, source_of, labels, logits, drawn = example(seed, n)
    real = labels == 0
    groups = {"all": np.ones(n, dtype=bool), "none": np.zeros(n, dtype=bool), "any": rng.random(n) < 0.5}
    groups |= {f"all real, {share}": real | (rng.random(n) < share) for share in (0.05, 0.3)}
    found = rank_draws(drawn, source_of, labels, logits, groups)
    assert list(found) == list(groups)
    for name, mask in groups.items():
        chosen = mask & ~np.isnan(logits)
        draws = np.stack(list(vars(found[name]).values()), axis=1)
        expected = [repeated(labels[chosen], logits[chosen], row[source_of][chosen]) for row in drawn]
        np.testing.assert_allclose(draws, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("decimals", [1, 12])
def test_many_images_agree_with_weighted_scikit_learn(decimals):
    rng = np.random.default_rng(0)
    n = 20_000
    labels = rng.integers(0, 2, n)
    logits = np.round(rng.normal(labels), decimals)
    source_of, groups = np.arange(n) // 3, {"all": np.ones(n, dtype=bool), "few": (labels == 0) | (rng.random(n) < 0.1)}
    drawn = np.stack([np.bincount(rng.integers(6667, size=6667), minlength=6667) for _ in range(30)]).astype(np.uint8)
    found = rank_draws(drawn, source_of, labels, logits, groups)
    for name, mask in groups.items():
        for row in (0, 13, 29):
            given = labels[mask], logits[mask]
            weights = drawn[row][source_of][mask]
            assert found[name].auc[row] == pytest.approx(roc_auc_score(*given, sample_weight=weights), abs=1e-9)
            assert found[name].ap[row] == pytest.approx(
                average_precision_score(*given, sample_weight=weights), abs=1e-9
            )
            expected = repeated(*given, weights)
            assert [draws[row] for draws in vars(found[name]).values()] == pytest.approx(expected, abs=1e-9)


def test_more_groups_do_not_change_one():
    rng, source_of, labels, logits, drawn = example(3, 200)
    groups = {str(at): rng.random(200) < 0.7 for at in range(5)}
    together = rank_draws(drawn, source_of, labels, logits, groups)
    for name, mask in groups.items():
        alone = rank_draws(drawn, source_of, labels, logits, {name: mask})[name]
        for metric, draws in vars(alone).items():
            np.testing.assert_allclose(draws, getattr(together[name], metric), atol=1e-12)
