"""What every benchmark is made of: ratios held against floors, work in turns, child processes with their memory.

A benchmark is a module of this folder with `def main() -> list[Ratio]`; its docstring's first line is its title.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
_LOOKS, _REST = 0.1, 10
"""Seconds between two looks at a child's memory, and at least so many times what a look takes: it walks the child's
pages, and must not take more than a tenth of a core from it."""


@dataclass(frozen=True)
class Ratio:
    """One row of the table. The larger the ratio, the better: a cost is turned over (floor's cost / measured cost).

    `ratio` None: not measured here, `detail` says why. `floor` None: held against nothing, only reported.
    `detail` holds the figures that the ratio is made of, such as "812 against 403 images/s, 310 against 1,204 MB".
    """

    name: str
    ratio: float | None
    floor: float | None = None
    detail: str = ""

    @property
    def verdict(self) -> str:
        """ok, below, not measured, or nothing where there is no floor."""
        if self.ratio is None:
            return "not measured"
        return "" if self.floor is None else "ok" if self.ratio >= self.floor else "below"


@dataclass(frozen=True)
class Child:
    """What a process said of itself (`facts`), and the most memory that it and its descendants held at once, in MB."""

    facts: dict[str, Any]
    peak_mb: float


def in_turns(ways: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """What each way returned in each round; the ways alternate, so that a noisy machine disturbs all alike."""
    found: dict[str, list[T]] = {name: [] for name in ways}
    for at in range(rounds):
        for name in list(ways) if at % 2 == 0 else list(ways)[::-1]:
            found[name].append(ways[name]())
    return found


def alternating(ways: Mapping[str, Callable[[], object]], rounds: int = 5, warm: int = 1) -> dict[str, list[float]]:
    """Seconds that each way took in each round, after `warm` rounds that do not count; the ways alternate."""
    in_turns(ways, warm)
    return in_turns({name: _timed(work) for name, work in ways.items()}, rounds)


def times_as_fast(seconds: Mapping[str, Sequence[float]], way: str, than: str) -> float:
    """How many times as fast `way` is: the median of the ratios round by round, which a slow spell leaves alone."""
    pairs = zip(seconds[than], seconds[way], strict=True)
    return statistics.median(other / own for other, own in pairs)


def child(
    command: Sequence[object],
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    memory: bool = True,
) -> Child:
    """Run a command in a process of its own; the last line that it prints is a JSON object, its facts.

    Memory is the sum of the proportional set sizes of the process and its descendants: pages that forked
    workers share are counted once. memory: whether it is watched, which costs up to a tenth of a core (`peak_mb` is
    NaN where it is not). Raises RuntimeError with the end of what a failed command printed.
    """
    environment = {**os.environ, **(env or {})}
    words = [str(word) for word in command]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd, env=environment
    ) as process:
        peak = [0.0 if memory else float("nan")]
        if memory:
            threading.Thread(target=_watch, args=(process, peak), daemon=True).start()
        out, err = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{words[:3]} failed with {process.returncode}:\n{(out + err)[-2000:]}")
    return Child(json.loads(out.strip().splitlines()[-1]), peak[0])


def python(code: str, *arguments: object, env: Mapping[str, str] | None = None) -> Child:
    """`child` for a piece of Python, which finds `arguments` in sys.argv[1:]."""
    return child([sys.executable, "-c", code, *arguments], env=env)


def own_peak_mb() -> float:
    """The most memory that this process has held; not ru_maxrss, which begins with the peak of whoever started it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))


def _timed(work: Callable[[], object]) -> Callable[[], float]:
    def seconds() -> float:
        started = time.perf_counter()
        work()
        return time.perf_counter() - started

    return seconds


def _watch(process: subprocess.Popen[str], peak: list[float]) -> None:
    while process.poll() is None:
        started = time.perf_counter()
        peak[0] = max(peak[0], sum(_megabytes(pid) for pid in _family(process.pid)))
        rest = max(_LOOKS, _REST * (time.perf_counter() - started))
        until = time.monotonic() + rest
        while process.poll() is None and time.monotonic() < until:
            time.sleep(_LOOKS)


def _family(pid: int) -> list[int]:
    found = [pid]
    for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [each for word in tasks.read_text().split() for each in _family(int(word))]
        except OSError:  # the task ended while its folder was read
            continue
    return found


def _megabytes(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:  # the process ended
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:")), 0.0)
