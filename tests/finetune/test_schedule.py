"""The learning rate over a training."""

from __future__ import annotations

import numpy as np
import pytest

from maibench.finetune.schedule import warm_cosine


def test_it_warms_up_from_a_tenth_and_ends_at_the_floor():
    rates = np.array([warm_cosine(step, 100, 10) for step in range(1, 101)])
    assert rates[0] == pytest.approx(0.19)
    assert rates[9] == rates.max() == pytest.approx(1.0)
    assert rates[-1] == pytest.approx(0.01)
    assert (np.diff(rates[10:]) < 0).all()


def test_half_way_after_the_warm_up_it_is_half_way_down():
    assert warm_cosine(60, 110, 10, floor=0.0) == pytest.approx(0.5)
    assert warm_cosine(5, 110, 10, start=0.0) == pytest.approx(0.5)
