"""Probabilities in place of logits are told from logits."""

import numpy as np
import pandas as pd
import pytest

from maibench.evaluation.statistics.summary import summarise

NOTE = (
    "p: every logit lies between 0 and 1; if it returns probabilities, return torch.logit(p) instead: 0.5 counts as "
    "synthetic here"
)


def predictions(logits, n=40, detector="p"):
    """Half of n images are real; `logits` is called with (n,) random numbers in [0, 1]."""
    values = logits(np.random.default_rng(0).random(n))
    return pd.DataFrame(
        {
            "path": [f"{index:03}.png" for index in range(n)],
            "label": np.arange(n) % 2,
            "generator": np.where(np.arange(n) % 2, "gen", "real"),
            "split": "test",
            "perturbation": "none",
            "detector": detector,
            "logit": values,
            "status": np.where(np.isnan(values), "failed", "ok"),
        }
    )


def test_probabilities_are_told_first():
    summary = summarise(predictions(lambda p: p), resamples=10)
    assert summary.suspects == ["p"]
    assert summary.notes[0] == NOTE


@pytest.mark.parametrize(
    ("logits", "n"),
    [
        (lambda p: 4 * p - 2, 40),
        (lambda p: np.where(p < p.max(), p, 1.01), 40),
        (lambda p: p, 31),
        (lambda p: np.where(np.arange(len(p)) < 31, p, np.nan), 40),
        (lambda p: np.full(len(p), 0.3), 40),
    ],
    ids=["logits", "one above 1", "few images", "few scored", "always the same"],
)
def test_what_may_be_logits_is_not(logits, n):
    summary = summarise(predictions(logits, n), resamples=10)
    assert summary.suspects == []
    assert not any("torch.logit" in note for note in summary.notes)


def test_perturbations_do_not_make_more_images():
    one = predictions(lambda p: p, 20)
    assert summarise(pd.concat([one, one.assign(perturbation="jpeg:75")]), resamples=10).suspects == []


def test_only_the_detector_that_it_is():
    table = pd.concat([predictions(lambda p: 4 * p - 2, detector="logits"), predictions(lambda p: p)])
    assert summarise(table, resamples=10).suspects == ["p"]
