"""Which benchmarks there are, and one of them run; apart from the command, so that another process can import it."""

from __future__ import annotations

import importlib
from pathlib import Path

import benchmarks
from benchmarks.measure import Ratio

BENCHMARK = "\ndef main() -> list[Ratio]:"


def names() -> list[str]:
    """All benchmarks: the modules of this folder that have such a `main`, read without importing them."""
    return sorted(file.stem for file in Path(benchmarks.__path__[0]).glob("*.py") if BENCHMARK in file.read_text())


def run(name: str) -> tuple[str, list[Ratio]]:
    """One benchmark's title and rows."""
    module = importlib.import_module(f"benchmarks.{name}")
    title = (module.__doc__ or name).splitlines()[0]
    print(f"\n== {name}: {title}", flush=True)
    return title, module.main()
