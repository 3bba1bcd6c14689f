"""Several runs as one report: repeats as mean and spread, data sets side by side, and whether the ranks hold."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

import maibench
from maibench.evaluation.merge_parts import RECORD, Part, check_folders, check_perturbations, data_names, read_parts
from maibench.evaluation.run import FILE
from maibench.evaluation.statistics.aggregates import spread
from maibench.evaluation.statistics.frames import Summary, empty, frame, write_csv
from maibench.files import make_folder, write_text

METRICS = ("accuracy", "balanced_accuracy", "auc")
"""What merged.csv has of every detector, data set and perturbation."""

COLUMNS = (
    "detector", "data", "perturbation", "n_runs", "n",
    *(f"{metric}{end}" for metric in METRICS for end in ("", "_sd", "_lo", "_hi")),
)  # fmt: skip
"""Columns of merged.csv. n_runs: runs with a scored image; n: images scored, the fewest of a run. A metric is the mean
over runs, _sd their standard deviation (n_runs - 1 in the denominator), _lo and _hi the 95 % interval of a single run;
empty where there are more, as an interval of images says nothing of runs."""

_RANKED = ("auc", "balanced_accuracy")
_WRITTEN = {"auc": "AUC", "balanced_accuracy": "balanced accuracy"}
_SPREAD = (*METRICS, "tpr")


@dataclass(frozen=True, eq=False)
class Merged:
    """A merged report. frame: merged.csv (`COLUMNS`); spread, ranks, rank_stability: as of a summary. data: its data
    sets, as the frame names them. parts: the folders, in their order."""

    folder: Path
    frame: pd.DataFrame
    spread: pd.DataFrame
    ranks: pd.DataFrame
    rank_stability: pd.DataFrame
    data: list[str]
    parts: list[Part]
    notes: list[str] = field(default_factory=list)

    def as_summary(self) -> Summary:
        """What the figure of ranks is drawn from."""
        summary = Summary(self.frame[["detector", "perturbation"]], empty("per_generator"), empty("roc"))
        summary.ranks, summary.rank_stability = self.ranks, self.rank_stability
        return summary


def merge_reports(folders: Sequence[Path], out: Path, settings: dict[str, Any] | None = None) -> Merged:
    """Merge the reports of several runs into `out`: merged.csv, spread.csv, ranks.csv, rank_stability.csv, table.md,
    table.tex, merged.json, and the figure of the ranks where there are any.

    Runs on the same data (name, fingerprint and split in run.json; without one, the same images) are repeats where they
    have a detector of the same label; one that has the same fingerprint, where known, and the same numbers is the same
    run and counts once. Numbers are those of each folder's metrics.csv, see `read_parts`; a folder without one gets its
    report first, nothing else in the folders is changed. settings: `table` (of RunConfig) for the tables here,
    `resamples` and `interval` for the numbers, which are then made again from predictions.

    Raises MaibenchError for a single folder, one given twice, one without predictions or, where numbers have to be made
    again, without those, runs under different perturbations, and an `out` that holds anything but a merged report.
    """
    from maibench.evaluation.figures import plot_ranks
    from maibench.evaluation.tables.merged_tables import merged_tables, write_tables

    settings = settings or {}
    check_folders(folders, out)
    parts = read_parts(folders, settings)
    check_perturbations(parts)
    names = data_names(parts)
    values, same = _values(parts, names)
    data = list(dict.fromkeys(names.values()))
    means = _merged(values)
    ranks, stability, left_out = ranks_over_data(means, data)
    notes = [*same, *_notes(parts, names), *left_out]
    merged = Merged(out, means, _spread(values, data), ranks, stability, data, parts, notes)
    tables = merged_tables(merged, settings.get("table"))
    make_folder(out)
    write_text(out / RECORD, json.dumps(_record(parts, names), indent=2) + "\n")
    for name in ("spread", "ranks", "rank_stability"):
        write_csv(getattr(merged, name), out / f"{name}.csv")
    write_csv(merged.frame, out / "merged.csv")
    write_tables(tables, out)
    plot_ranks(merged.as_summary(), out)
    return merged


# --- the numbers


def _values(parts: list[Part], names: dict[tuple[str, str, str], str]) -> tuple[pd.DataFrame, list[str]]:
    """Every run's metrics, with its data set and its folder; and a line for each run that is there twice."""
    kept: dict[tuple[str, str], list[tuple[Part, pd.DataFrame]]] = {}
    lines = []
    for part in parts:
        for detector, rows in part.metrics.groupby("detector", sort=False):
            label, data = str(detector), names[part.data]
            before = kept.setdefault((data, label), [])
            if twin := next((p for p, r in before if _are_the_same((p, r), (part, rows), label)), None):
                alike = "the same fingerprint and the same numbers" if label in part.codes else "the same numbers"
                lines.append(f"{label} has {alike} on {data} in {twin.folder} and {part.folder}: one run")
                continue
            before.append((part, rows))
    tables = [
        rows.assign(data=data, run=str(part.folder)).merge(_balanced_bounds(part), "left", ["detector", "perturbation"])
        for (data, _), runs in kept.items()
        for part, rows in runs
    ]
    values = pd.concat(tables, ignore_index=True)
    orders = {
        "detector": list(dict.fromkeys(label for part in parts for label in part.metrics["detector"])),
        "data": list(dict.fromkeys(names.values())),
        "perturbation": list(dict.fromkeys(parts[0].metrics["perturbation"])),
    }
    places = [values[column].map(order.index) for column, order in orders.items()]
    order = pd.concat(places, axis="columns").sort_values(list(orders), kind="stable").index
    return values.loc[order].reset_index(drop=True), lines


def _are_the_same(one: tuple[Part, pd.DataFrame], other: tuple[Part, pd.DataFrame], label: str) -> bool:
    if one[0].codes.get(label) != other[0].codes.get(label):
        return False
    columns = ["n", *METRICS]
    ordered = [rows.set_index("perturbation")[columns].sort_index().astype("float64") for _, rows in (one, other)]
    return ordered[0].equals(ordered[1])


def _balanced_bounds(part: Part) -> pd.DataFrame:
    """Bounds of balanced accuracy, which metrics.csv lacks, of intervals.csv."""
    rows = part.intervals
    rows = rows[(rows["generator"] == "all") & (rows["metric"] == "balanced_accuracy")]
    bounds = rows[["detector", "perturbation", "lo", "hi"]]
    return bounds.rename(columns={"lo": "balanced_accuracy_lo", "hi": "balanced_accuracy_hi"})


def _merged(values: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for (detector, data, perturbation), runs in values.groupby(["detector", "data", "perturbation"], sort=False):
        row: dict[str, Any] = {"detector": detector, "data": data, "perturbation": perturbation}
        scored = runs[runs["n"] > 0]
        row |= {"n_runs": len(scored), "n": int(scored["n"].min()) if len(scored) else 0}
        for metric in METRICS:
            found = scored[metric].astype("float64")
            row |= {metric: found.mean(), f"{metric}_sd": found.std(ddof=1)}
            for end in ("lo", "hi"):
                row[f"{metric}_{end}"] = scored[f"{metric}_{end}"].iloc[0] if len(scored) == 1 else math.nan
        rows.append(row)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _spread(values: pd.DataFrame, data: list[str]) -> pd.DataFrame:
    """Over data sets, where there are several, of the means over runs; else over runs."""
    over, column = ("data sets", "data") if len(data) > 1 else ("runs", "run")
    rows = []
    for (detector, perturbation), group in values.groupby(["detector", "perturbation"], sort=False):
        for metric in _SPREAD:
            found = spread(group.groupby(column, sort=False)[metric].mean())
            if found["n"] > 1:
                name = {"detector": detector, "perturbation": perturbation, "over": over, "metric": metric}
                rows.append(name | found)
    return frame("spread", rows)


def ranks_over_data(means: pd.DataFrame, data: list[str]) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """Ranks and their stability over data sets under the shown perturbation, among the detectors of `means` (rows of
    merged.csv), and which of them have none."""
    if len(data) < 2:
        return empty("ranks"), empty("rank_stability"), []
    from maibench.evaluation.statistics.ranks import friedman_ranks, rank_stability

    shown = means[means["perturbation"] == shown_of(means)]
    names = list(dict.fromkeys(shown["detector"]))

    def blocks(column: str) -> pd.DataFrame:
        return (
            shown.pivot(index="data", columns="detector", values=column).astype("float64").reindex(data, columns=names)
        )

    is_there = blocks("n") > 0
    absent = [name for name in names if not is_there[name].all()]
    notes = [f"not ranked, as not every data set has them: {', '.join(sorted(absent))}"] if absent else []
    ranks, stability = [], []
    for metric in _RANKED:
        values = blocks(metric)
        undefined = values.isna() & is_there
        if undefined.any(axis=None):
            where = ", ".join(undefined.index[undefined.any(axis="columns")])
            which = ", ".join(sorted(undefined.columns[undefined.any()]))
            notes.append(
                f"not ranked by {_WRITTEN[metric]}, which needs both classes and is undefined on {where}: {which}"
            )
        ranks.append(friedman_ranks(values.dropna(axis="columns"), "data sets", metric))
        stability.append(rank_stability(values, metric))
    return _joined("ranks", ranks), _joined("rank_stability", stability), notes


def shown_of(values: pd.DataFrame) -> str:
    """The perturbation of what shows only one: "none", or the first."""
    names = list(dict.fromkeys(values["perturbation"]))
    return "none" if "none" in names else names[0]


def _joined(name: str, frames: Iterable[pd.DataFrame]) -> pd.DataFrame:
    filled = [found for found in frames if len(found)]
    return pd.concat(filled, ignore_index=True) if filled else empty(name)


# --- what is said and written


def _notes(parts: list[Part], names: dict[tuple[str, str, str], str]) -> list[str]:
    lines = [note for part in parts for note in part.notes]
    for part in parts:
        failed = part.metrics["detector"][part.metrics["n"] == 0]
        lines += [f"{part.folder}: no image was scored by {name}" for name in dict.fromkeys(failed)]
    for data in dict.fromkeys(part.data for part in parts):
        counts = {int(part.metrics["n"].max()) for part in parts if part.data == data}
        if len(counts) > 1:
            lines.append(
                f"runs on {names[data]} scored different numbers of images, {min(counts):,} to {max(counts):,}: their "
                "spread is of the images too"
            )
    return lines


def _record(parts: list[Part], names: dict[tuple[str, str, str], str]) -> dict[str, Any]:
    return {
        "maibench": maibench.__version__,
        "folders": [
            {
                "folder": str(part.folder),
                "data": names[part.data],
                "name": part.data[0],
                "fingerprint": part.data[1] or None,
                "split": part.data[2] or None,
                "run": (part.folder / FILE).is_file(),
                "detectors": {
                    label: part.codes.get(label) for label in dict.fromkeys(map(str, part.metrics["detector"]))
                },
            }
            for part in parts
        ],
    }
