"""A sweep: one table of several points. Points that are options of detectors are rows of one run, whose images are
decoded once; points that are keys of the run (split, seed, data, ...) are runs of their own."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from maibench.config import NOT_SWEPT, RunConfig, label_specs
from maibench.datasets.readers import open_data
from maibench.errors import MaibenchError
from maibench.evaluation.compare import run_comparison
from maibench.evaluation.finished_run import Run
from maibench.evaluation.run import read_run
from maibench.evaluation.tables.sweep_table import failures_of, sweep_rows, write_sweep
from maibench.files import make_folder
from maibench.progress import Progress


@dataclass
class Sweep:
    """Several finished runs. runs: by the names of their points. rows: the frame of sweep.csv. failures: why there is a
    point without numbers."""

    folder: Path
    runs: dict[str, Run]
    rows: pd.DataFrame
    failures: list[str]

    @property
    def scored(self) -> int:
        """Batches that this call computed."""
        return sum(run.scored for run in self.runs.values())

    @property
    def clean(self) -> bool:
        return all(run.clean for run in self.runs.values())


def run_sweep(
    configs: dict[str, RunConfig],
    folder: Path | None = None,
    fresh: bool = False,
    command: list[str] | None = None,
    progress: Callable[[], Progress] = Progress,
) -> Sweep:
    """Do every run of `make_configs`, each in a folder of its own below one, and write sweep.csv, sweep.md, sweep.tex
    and a figure there. What an earlier call did is not done again.

    folder: by default that of the configurations, else results/sweep-<data>-<models>. Raises MaibenchError as
    `run_comparison` does; data or a split that is not there is told before anything is scored.
    """
    first = next(iter(configs.values()))
    folder = folder or _folder(first, [_data_name(config) for config in configs.values()])
    keys = [key for key in RunConfig.model_fields if key not in NOT_SWEPT]
    keys = [key for key in keys if any(getattr(config, key) != getattr(first, key) for config in configs.values())]
    runs: dict[str, Run] = {}
    frames, failures = [], []
    for name, config in configs.items():
        heard = progress()
        heard.say(f"{len(runs) + 1} of {len(configs)}: {name}")
        try:
            runs[name] = run_comparison(
                config.model_copy(update={"out": str(folder / folder_name(name))}), fresh, command, heard
            )
        except MaibenchError as error:
            raise type(error)(f"{name}: {error}") from error
        record = read_run(runs[name].folder)
        frames.append(sweep_rows(runs[name].summary, record, name, {key: getattr(config, key) for key in keys}))
        failures += [f"{name}: {failure}" for failure in failures_of(record)]
    rows = pd.concat(frames, ignore_index=True)
    make_folder(folder)
    write_sweep(rows, folder, failures, any(config.figures for config in configs.values()))
    return Sweep(folder, runs, rows, failures)


def folder_name(point: str) -> str:
    """A point's name as a folder's: with a hash where letters had to go."""
    plain = re.sub(r"[^\w.+=-]+", "_", point)
    if plain == point.replace(" ", "_") and len(plain) <= 100:
        return plain
    return f"{plain[:80]}-{hashlib.sha256(point.encode()).hexdigest()[:8]}"


def _folder(config: RunConfig, names: list[str]) -> Path:
    if config.out:
        return Path(config.out)
    return Path("results") / folder_name("-".join(["sweep", *dict.fromkeys(names), *label_specs(config.models)]))


def _data_name(config: RunConfig) -> str:
    """What the data is called. Raises MaibenchError where it, or the split, is not there."""
    manifest = open_data(config.data, config.columns)
    if config.split not in set(manifest.rows["split"]):
        there = ", ".join(sorted(set(manifest.rows["split"])))
        raise MaibenchError(f"{config.data}: has no images of split '{config.split}'; it has: {there}")
    return manifest.name
