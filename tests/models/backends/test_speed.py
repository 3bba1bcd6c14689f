"""How many times as fast one way is as another."""

import time

import pytest
import torch

from maibench.models.backends import speed
from maibench.models.backends.speed import times_as_fast


def waits(seconds):
    def way(x):
        time.sleep(seconds)
        return x

    return way


def test_ratios():
    ways = {"slow": waits(0.03), "fast": waits(0.01), "same": waits(0.03)}
    found = times_as_fast(ways, "slow", torch.zeros(1))
    assert found["slow"] == 1
    assert found["fast"] == pytest.approx(3, rel=0.3)
    assert found["same"] == pytest.approx(1, rel=0.3)


def test_a_slow_network_is_not_run_for_ever(monkeypatch):
    monkeypatch.setattr(speed, "SECONDS", 0.05)
    calls = []

    def way(x):
        calls.append(len(x))
        time.sleep(0.03)

    times_as_fast({"a": way, "b": way}, "a", torch.zeros(1))
    assert len(calls) <= 2 + 2 * 2
