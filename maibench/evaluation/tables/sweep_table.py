"""The table of a sweep: a row for every point, with what makes it that point. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from maibench.evaluation.figures.drawing import FORMATS
from maibench.evaluation.statistics.frames import write_csv
from maibench.evaluation.tables.formats import (
    EMPTY,
    LATEX_NEEDS,
    Cell,
    Table,
    escape_markdown,
    latex_table,
    markdown_table,
    one_line,
)
from maibench.evaluation.tables.shown import difference_with_interval, is_empty, rate, speed, with_interval
from maibench.evaluation.tables.terminal_tables import TerminalTable
from maibench.files import write_text
from maibench.points import shown

if TYPE_CHECKING:
    from rich.console import RenderableType

    from maibench.evaluation.statistics.frames import Summary

METRICS = (
    "n", "n_failed", "accuracy", "accuracy_lo", "accuracy_hi", "balanced_accuracy", "tpr", "tnr", "auc", "auc_lo",
    "auc_hi", "ap", "ece", "parameters", "images_per_second",
)  # fmt: skip
DELTAS = (
    "delta_accuracy", "delta_accuracy_lo", "delta_accuracy_hi", "p_accuracy_holm", "delta_auc", "delta_auc_lo",
    "delta_auc_hi", "p_auc_holm",
)  # fmt: skip
NOTES = (
    "difference: from the first point of the same detector, paired on the images of one run, with a 95 % interval",
    "the best of many points on the images that it was chosen on looks better than it is: choose on the validation "
    "split, report on the test split",
)


def sweep_rows(
    summary: Summary, run: Mapping[str, Any], name: str = "", values: Mapping[str, Any] | None = None
) -> pd.DataFrame:
    """sweep.csv: a row for every row of metrics.csv of a run that has points of a sweep; empty for one that has none.

    run: the parsed run.json. name, values: of the run among several, and what makes it this one. Columns: `run`,
    `detector` (as metrics.csv has it), `of` (what it is a point of), `perturbation`, one for each key that is varied,
    `METRICS`, n_unsure, and `DELTAS`: the point less the first of the same detector, from comparisons.csv.
    """
    entries = {entry["label"]: entry for entry in run.get("detectors") or [] if "label" in entry}
    points = {label: {**(values or {}), **entry.get("point", {})} for label, entry in entries.items()}
    keys = list(dict.fromkeys(key for point in points.values() for key in point))
    if not keys:
        return pd.DataFrame()
    unsure = {(row["detector"], row["perturbation"]): row["n_unsure"] for row in summary.unsure.to_dict("records")}
    firsts: dict[str, str] = {}
    for label, entry in entries.items():
        firsts.setdefault(entry.get("of", label), label)
    rows = []
    for row in summary.metrics.to_dict("records"):
        label, perturbation = row["detector"], row["perturbation"]
        of = entries.get(label, {}).get("of", label)
        rows.append(
            {"run": name, "detector": label, "of": of, "perturbation": perturbation}
            | {column_of(key): _text(points.get(label, {}).get(key, "")) for key in keys}
            | {metric: row[metric] for metric in METRICS}
            | {"n_unsure": unsure.get((label, perturbation), 0)}
            | _difference(summary, firsts.get(of, label), label, perturbation)
        )
    return pd.DataFrame(rows)


def column_of(key: str) -> str:
    """The column of sweep.csv for what is varied; not that of anything else."""
    taken = {"run", "detector", "of", "perturbation", "n_unsure", *METRICS, *DELTAS}
    return f"{key} (varied)" if key in taken else key


def varied(rows: pd.DataFrame) -> list[str]:
    """The columns of what is varied."""
    fixed = {"run", "detector", "of", "perturbation", "n_unsure", *METRICS, *DELTAS}
    return [str(column) for column in rows.columns if column not in fixed]


def sweep_table(rows: pd.DataFrame) -> Table:
    """The columns of `sweep_rows` that are read; perturbation, unsure and failed where there is something to say."""
    keys, several = varied(rows), rows["perturbation"].nunique() > 1
    more = [name for name in ("unsure", "failed") if rows[f"n_{name}"].gt(0).any()]
    headers = ["detector", *keys, *(["perturbation"] if several else [])]
    n_names = len(headers)
    headers += ["accuracy", "AUC", "difference of AUC", *more, "images/s"]
    cells = []
    for row in rows.to_dict("records"):
        names = [row["of"], *(row[key] for key in keys), *([row["perturbation"]] if several else [])]
        values = [
            with_interval(row, "accuracy"),
            with_interval(row, "auc"),
            difference_with_interval(row, "delta_auc"),
            *(rate(row[f"n_{name}"], 0) for name in more),
            speed(row["images_per_second"]),
        ]
        named = [Cell(EMPTY if is_empty(text) or text == "" else str(text), is_name=True) for text in names]
        cells.append([*named, *(Cell(text) for text in values)])
    return Table(headers, cells, n_names)


def sweep_title(rows: pd.DataFrame) -> str:
    """ "Sweep over tiles, crop"."""
    return f"Sweep over {', '.join(varied(rows))}"


def terminal(rows: pd.DataFrame, failures: Sequence[str] = ()) -> RenderableType:
    """The table and its notes, for `rich.console.Console.print`."""
    from rich.console import Group
    from rich.text import Text

    notes = [Text(f"• {one_line(note)}") for note in (*NOTES, *failures)]
    return Group(TerminalTable(sweep_table(rows), sweep_title(rows)), Text(""), *notes)


def write_sweep(rows: pd.DataFrame, folder: Path, failures: Sequence[str] = (), figures: bool = True) -> None:
    """Write sweep.csv, sweep.md, sweep.tex and the figure; for no rows, remove what an earlier run had of them.

    failures: why a point has no numbers.
    """
    if rows.empty:
        for ending in ("csv", "md", "tex", *FORMATS):
            (folder / f"sweep.{ending}").unlink(missing_ok=True)
        return
    title, table, notes = sweep_title(rows), sweep_table(rows), [*NOTES, *failures]
    write_csv(rows, folder / "sweep.csv")
    lines = [
        f"**{escape_markdown(title)}**",
        "",
        markdown_table(table),
        "",
        *(f"- {escape_markdown(note)}" for note in notes),
    ]
    write_text(folder / "sweep.md", "\n".join(lines) + "\n")
    write_text(folder / "sweep.tex", LATEX_NEEDS + latex_table(table, title, "tab:sweep", notes))
    if figures:
        from maibench.evaluation.figures.sweep import plot_sweep

        plot_sweep(rows, title, folder)


def failures_of(run: Mapping[str, Any]) -> list[str]:
    """Why points of a run have no numbers."""
    return [f"{entry['label']}: {entry['failure']}" for entry in run.get("detectors") or [] if entry.get("failure")]


def _text(value: Any) -> Any:
    """A number as it is, so that sweep.csv can be plotted; anything else as text."""
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else _words(value)


def _words(value: Any) -> str:
    return shown(value) if value is None or isinstance(value, bool) else str(value)


def _difference(summary: Summary, first: str, label: str, perturbation: str) -> dict[str, Any]:
    """`DELTAS` of a point against the first; comparisons.csv has the first less the point."""
    frame = summary.comparisons
    found = frame[
        frame["detector_a"].eq(first) & frame["detector_b"].eq(label) & frame["perturbation"].eq(perturbation)
    ].to_dict("records")
    if not found:
        return dict.fromkeys(DELTAS)
    pair = found[0]
    turned: dict[str, Any] = {}
    for metric in ("accuracy", "auc"):
        name = f"delta_{metric}"
        turned |= {
            name: 0.0 - pair[name],
            f"{name}_lo": 0.0 - pair[f"{name}_hi"],
            f"{name}_hi": 0.0 - pair[f"{name}_lo"],
        }
        turned[f"p_{metric}_holm"] = pair[f"p_{metric}_holm"]
    return turned
