"""The runs that a merged report is made of: what each folder says, and whether they fit together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from maibench.errors import MaibenchError
from maibench.evaluation.run import read_run
from maibench.evaluation.statistics.frames import empty
from maibench.files import PART

RECORD = "merged.json"
"""The file by which a merged report is known."""

NEEDED = ("detector", "perturbation", "n", "accuracy", "balanced_accuracy", "auc", "tpr")


@dataclass(frozen=True, eq=False)
class Part:
    """The report of one folder. data: name, fingerprint and split of what was scored, the folder's name and "" where
    there is no run.json. codes: fingerprint of each detector, where known."""

    folder: Path
    data: tuple[str, str, str]
    metrics: pd.DataFrame
    intervals: pd.DataFrame
    codes: dict[str, str]
    finished: bool


def check_folders(folders: Sequence[Path], out: Path) -> None:
    """Raise MaibenchError for a folder given twice and an `out` that holds anything but a merged report."""
    if not folders:
        raise MaibenchError("no folders were named; give those that 'maibench compare' wrote")
    known: set[Path] = set()
    for folder in folders:
        if folder.resolve() in known:
            raise MaibenchError(f"{folder}: is named twice; a run counts once")
        known.add(folder.resolve())
    if out.resolve() in known:
        raise MaibenchError(f"{out}: is one of the runs; choose another folder with --out")
    holds = [path.name for path in out.iterdir() if not path.name.startswith(PART)] if out.is_dir() else []
    if holds and RECORD not in holds:
        raise MaibenchError(f"{out}: holds files but no merged report; choose another folder with --out")


def read_part(folder: Path, settings: dict[str, Any]) -> Part:
    """What a folder's metrics.csv says; where there is none, its report is made first, with these settings."""
    if not folder.is_dir():
        raise MaibenchError(f"{folder}: no such folder; give one that 'maibench compare' wrote")
    file = folder / "metrics.csv"
    if not file.is_file():
        from maibench.evaluation.report import write_report

        write_report(folder, {name: value for name, value in settings.items() if name != "table"})
    run, metrics = read_run(folder), _read_csv(file)
    if missing := set(NEEDED) - set(metrics):
        raise MaibenchError(
            f"{file}: has no column '{sorted(missing)[0]}'; make it again with 'maibench report {folder}'"
        )
    if metrics.empty:
        raise MaibenchError(f"{folder}: no predictions there; expected predictions/<detector>/*.parquet")
    intervals = folder / "intervals.csv"
    data = run.get("data") or {}
    name = data.get("name") or data.get("source") or folder.resolve().name
    return Part(
        folder,
        (str(name), str(data.get("fingerprint") or ""), str(data.get("split") or "")),
        metrics,
        _read_csv(intervals) if intervals.is_file() else empty("intervals"),
        {str(entry.get("label")): str(entry.get("fingerprint")) for entry in run.get("detectors") or []},
        run.get("status", "done") == "done",
    )


def check_perturbations(parts: list[Part]) -> None:
    """Raise MaibenchError unless all runs are under the same perturbations."""
    first, *others = parts
    known = set(first.metrics["perturbation"])
    for part in others:
        if differing := known ^ set(part.metrics["perturbation"]):
            name = sorted(differing)[0]
            has, lacks = (first, part) if name in known else (part, first)
            raise MaibenchError(
                f"runs under different perturbations cannot be merged: {has.folder} has '{name}', {lacks.folder} does "
                "not; give both the same --perturb"
            )


def data_names(parts: list[Part]) -> dict[tuple[str, str, str], str]:
    """What each data set is called: its name, with split and fingerprint where another has the same."""
    found = list(dict.fromkeys(part.data for part in parts))
    names = {}
    for name, code, split in found:
        alike = [key for key in found if key[0] == name]
        more = [split] if len({key[2] for key in alike}) > 1 else []
        more += [code[:8]] if len({key[1] for key in alike if key[2] == split}) > 1 else []
        names[name, code, split] = f"{name} ({', '.join(part or 'unknown' for part in more)})" if more else name
    return names


def _read_csv(file: Path) -> pd.DataFrame:
    try:
        # a detector may be called "NA"
        return pd.read_csv(file, keep_default_na=False, na_values=[""], dtype={"detector": str, "perturbation": str})
    except (OSError, ValueError) as error:
        raise MaibenchError(f"{file}: cannot be read ({error}); make it again with 'maibench report'") from error
