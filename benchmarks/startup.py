"""From a command to its first answer: `--help`, the list of detectors, the first scored images of the default run."""

from __future__ import annotations

import collections
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.measure import Ratio, alternating, child, times_as_fast

HELP_SECONDS = 0.3
FIRST_SECONDS = 5.0
MODELS = ("bailu,mai_cnn,moondream", "bailu")
ROOT = Path(__file__).parents[1]
SHOWN = 6
ROUNDS = 3

FIRST = """
import json, os, sys, time

started, folder, models = float(sys.argv[1]), sys.argv[2], sys.argv[3]
passed = {}

def passing(module, name, title):
    original = getattr(module, name)
    def timed(*given, **options):
        began = time.perf_counter()
        try:
            return original(*given, **options)
        finally:
            passed[title] = passed.get(title, 0.0) + time.perf_counter() - began
    setattr(module, name, timed)

import maibench.cli
from maibench.evaluation import compare, scoring
passed["Python and imports"] = time.time() - started
passing(compare, "load_detectors", "detectors")
passing(compare, "open_data", "data")
score, ask_piece = scoring.Scorer.score, scoring.Scorer._ask_piece

def begin(self, jobs):
    passed["began"] = time.perf_counter()
    return score(self, jobs)

def first(self, label, job, images):
    answers = ask_piece(self, label, job, images)
    passed["first images"] = time.perf_counter() - passed.pop("began")
    print(json.dumps({"seconds": time.time() - started, "images": answers.logits.size, **passed}), flush=True)
    os._exit(0)

scoring.Scorer.score, scoring.Scorer._ask_piece = begin, first
sys.argv = ["compare.py", "--models", models, "--out", folder]
maibench.cli.compare_main()
"""


def main() -> list[Ratio]:
    ways = {
        "help": lambda: _run("-m", "maibench", "--help"),
        "typer": lambda: _run("-c", "import typer"),
        "pass": lambda: _run("-c", "pass"),
    }
    seconds = alternating(ways, ROUNDS)
    taken = {way: f"{min(each) * 1000:.0f}" for way, each in seconds.items()}
    detail = f"{taken['help']} ms; Python alone {taken['pass']}, with typer {taken['typer']}"
    limit = HELP_SECONDS / statistics.median(seconds["help"])
    rows = [
        Ratio(f"--help: {HELP_SECONDS} s, to what it takes", limit, 1, detail),
        Ratio("--help, to importing typer alone", times_as_fast(seconds, "help", than="typer"), 0.5, detail),
        _imports(),
        _listing(),
        *map(_first_image, MODELS),
    ]
    for row in rows:
        print(row)
    return rows


def _imports() -> Ratio:
    ways = {
        "ours": lambda: _run("-c", "import maibench.evaluation.compare"),
        "theirs": lambda: _run("-c", "import torch, pandas, pyarrow.parquet, PIL.Image, pydantic, huggingface_hub"),
    }
    seconds = alternating(ways, ROUNDS)
    detail = f"{min(seconds['ours']):.2f} against {min(seconds['theirs']):.2f} s; of it {_packages()}"
    name = "imports of a comparison, to those of its libraries alone"
    return Ratio(name, times_as_fast(seconds, "ours", than="theirs"), 0.8, detail)


def _listing() -> Ratio:
    ways = {"models": lambda: _run("-m", "maibench", "models"), "torch": lambda: _run("-c", "import torch")}
    seconds = alternating(ways, 3)
    detail = f"{min(seconds['models']):.2f} against {min(seconds['torch']):.2f} s"
    return Ratio(
        "`maibench models`, to importing torch alone", times_as_fast(seconds, "models", than="torch"), 0.5, detail
    )


def _first_image(models: str) -> Ratio:
    """The demo made and the files in the system's cache, as after a first run."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for at in range(1 + ROUNDS):
            command = [sys.executable, "-c", FIRST, time.time(), Path(folder) / str(at), models]
            found.append(child(command, cwd=ROOT).facts)
    best = min(found[1:], key=lambda facts: facts["seconds"])
    median = statistics.median(facts["seconds"] for facts in found[1:])
    stages = ", ".join(f"{name} {taken:.2f}" for name, taken in best.items() if name not in ("seconds", "images"))
    detail = f"{median:.2f} s to the first {best['images']} images; in the best, {best['seconds']:.2f} s: {stages}"
    name = f"first scored images of {models}: {FIRST_SECONDS:g} s, to what they take"
    return Ratio(name, FIRST_SECONDS / median, 1, detail)


def _packages() -> str:
    """Shares of the packages in the imports' own time, as `python -X importtime` tells it."""
    told = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "import maibench.evaluation.compare"],
        capture_output=True, text=True, check=True, cwd=ROOT,
    ).stderr  # fmt: skip
    spent: collections.Counter[str] = collections.Counter()
    for own, package in re.findall(r"^import time:\s+(\d+) \|\s+\d+ \| +([\w]+)", told, re.MULTILINE):
        spent[package] += int(own)
    total = spent.total()
    return ", ".join(f"{package} {own / total:.0%}" for package, own in spent.most_common(SHOWN))


def _run(*arguments: str) -> None:
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True, cwd=ROOT)


if __name__ == "__main__":
    main()
