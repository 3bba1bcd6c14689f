"""Ratios, turns and child processes of the benchmarks."""

from __future__ import annotations

import sys

import pytest

from benchmarks.measure import Ratio, alternating, child, in_turns, own_peak_mb, python, times_as_fast

_FORKS = """
import json, multiprocessing, sys, time
block = bytearray(int(sys.argv[1]) << 20)
workers = [multiprocessing.get_context("fork").Process(target=time.sleep, args=(1.5,)) for _ in range(4)]
for worker in workers: worker.start()
for worker in workers: worker.join()
print("something else")
print(json.dumps({"block": len(block)}))
"""


@pytest.mark.parametrize(
    ("ratio", "floor", "verdict"),
    [(2.0, 2, "ok"), (1.999, 2, "below"), (0.1, None, ""), (None, 2, "not measured"), (None, None, "not measured")],
)
def test_a_verdict(ratio: float | None, floor: float | None, verdict: str) -> None:
    assert Ratio("a", ratio, floor).verdict == verdict


def test_ways_take_turns_and_change_places() -> None:
    order: list[str] = []
    found = in_turns({"a": lambda: order.append("a") or 1, "b": lambda: order.append("b") or 2}, 3)
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert found == {"a": [1, 1, 1], "b": [2, 2, 2]}


def test_warm_rounds_do_not_count() -> None:
    calls: list[int] = []
    seconds = alternating({"a": lambda: calls.append(1)}, rounds=4, warm=2)
    assert len(calls) == 6
    assert len(seconds["a"]) == 4
    assert all(each > 0 for each in seconds["a"])


def test_a_slow_spell_of_both_leaves_the_ratio_alone() -> None:
    assert times_as_fast({"new": [1, 10, 1], "old": [2, 20, 2]}, "new", "old") == 2
    assert times_as_fast({"new": [1, 1, 1], "old": [2, 2, 500]}, "new", "old") == 2


def test_a_childs_memory_counts_shared_pages_once_and_its_facts_are_the_last_line() -> None:
    done = python(_FORKS, 100)
    assert done.facts == {"block": 100 << 20}
    assert 100 < done.peak_mb < 250  # five processes hold the same 100 MB


def test_a_child_that_fails_says_why() -> None:
    with pytest.raises(RuntimeError, match="no such thing"):
        child([sys.executable, "-c", "raise SystemExit('no such thing')"])


def test_the_own_peak_is_not_that_of_the_parent() -> None:
    block = bytearray(150 << 20)
    block[:: 1 << 12] = b"x" * len(block[:: 1 << 12])
    code = "import json; from benchmarks.measure import own_peak_mb; print(json.dumps({'mb': own_peak_mb()}))"
    assert python(code).facts["mb"] < 100
    assert own_peak_mb() > 150
    del block
