"""What the tables of a report say: their columns and the lines under them, one source for every format.

A summary's frames have the columns of DESIGN.md, section 7; `run` is the parsed run.json, `{}` where predictions
were made elsewhere. Rates are written with three decimals, what cannot be computed as an en dash.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from maibench.evaluation.table_formats import (
    EMPTY,
    Cell,
    Table,
    TerminalTable,
    escape_markdown,
    latex_table,
    markdown_table,
    one_line,
)

if TYPE_CHECKING:
    from rich.console import RenderableType

    from maibench.evaluation.summary import Summary

DISCLAIMER = (
    "A score is no evidence by itself that an image is synthetic or real: it is the estimate of a model that errs "
    "as often as this report says on these images, and unknown often on others."
)

# More generators than this, and a generator is a row instead of a column on paper.
_WIDE = 6

GENERATOR_TITLES = {"accuracy": "Accuracy per generator", "auc": "AUC per generator"}


@dataclass(frozen=True)
class Column:
    """A column of the main table: its header, what it says of a row of metrics.csv, the metric whose best is bold."""

    header: str
    text: Callable[[dict], str]
    best: str | None = None
    is_name: bool = False


def terminal(summary: Summary, run: dict) -> RenderableType:
    """The tables and the lines under them, for `rich.console.Console.print`; fits any width from about 60 columns."""
    from rich.console import Group
    from rich.table import Table as Grid
    from rich.text import Text

    def listed(lines: list[str]) -> Grid:
        grid = Grid.grid(padding=(0, 1))
        for line in lines:
            grid.add_row("•", Text(one_line(line)))
        return grid

    parts: list[RenderableType] = [TerminalTable(main_table(summary), headline(summary, run))]
    for metric, table in generator_tables(summary).items():
        parts += [Text(""), TerminalTable(table, GENERATOR_TITLES[metric] + perturbation_suffix(summary))]
    return Group(*parts, Text(""), listed(legend(summary) + remarks(summary, run)))


def markdown(summary: Summary, run: dict) -> str:
    """table.md: the main table, a table per generator for accuracy and for AUC, then the notes as a list."""
    parts = [f"**{escape_markdown(headline(summary, run))}**", markdown_table(main_table(summary))]
    for metric, table in generator_tables(summary).items():
        title = GENERATOR_TITLES[metric] + perturbation_suffix(summary)
        parts += [f"**{escape_markdown(title)}**", markdown_table(on_paper(table))]
    notes = legend(summary) + remarks(summary, run)
    parts.append("\n".join(f"- {escape_markdown(note)}" for note in notes))
    return "\n\n".join(part for part in parts if part) + "\n"


def latex(summary: Summary, run: dict) -> str:
    r"""table.tex: floats to `\input` in a document that has `\usepackage{booktabs}`.

    Labels: `tab:maibench`, `tab:maibench-accuracy`, `tab:maibench-auc`. The main table spans two columns.
    """
    caption = headline(summary, run) + "."
    floats = [latex_table(main_table(summary), caption, "tab:maibench", remarks(summary, run), "table*")]
    for metric, table in generator_tables(summary).items():
        caption = GENERATOR_TITLES[metric] + perturbation_suffix(summary) + "."
        floats.append(latex_table(on_paper(table), caption, f"tab:maibench-{metric}", legend(summary)))
    return "% Needs \\usepackage{booktabs}.\n" + "\n\n".join(floats) + "\n"


# --- the tables


def main_table(summary: Summary) -> Table:
    """One row a detector, or a detector and perturbation; the best accuracy and AUC of a perturbation are marked."""
    rows = summary.metrics.to_dict("records")
    columns = _columns(rows)
    return Table(
        [column.header for column in columns],
        [[_cell(column, row, rows) for column in columns] for row in rows],
        sum(column.is_name for column in columns),
    )


def generator_tables(summary: Summary) -> dict[str, Table]:
    """Per metric ("accuracy", "auc"): a row a detector, a column a generator, `*` after one that it was trained on.

    Of one perturbation, `shown_perturbation`. Empty without rows per generator.
    """
    rows = per_generator_rows(summary)
    generators = list(dict.fromkeys(row["generator"] for row in rows))
    at = {(row["detector"], row["generator"]): row for row in rows}

    def cell(detector: str, generator: str, metric: str) -> Cell:
        row = at.get((detector, generator), {})
        mark = "*" if was_seen(row.get("seen")) else ""
        return Cell(rate(row.get(metric)) + mark, _value(row.get(metric)))

    return {
        metric: Table(
            ["detector", *generators],
            [[Cell(d, is_name=True), *(cell(d, g, metric) for g in generators)] for d in detectors(summary)],
        )
        for metric in (GENERATOR_TITLES if rows else ())
    }


def on_paper(table: Table) -> Table:
    """A table per generator as a page can hold it: a generator is a row when there are many."""
    return table.transposed("generator") if len(table.headers) - 1 > _WIDE else table


def _columns(rows: list[dict]) -> list[Column]:
    """The columns that these rows of metrics.csv need."""
    perturbed = len({row["perturbation"] for row in rows}) > 1
    fitted = any(not is_empty(row.get("accuracy_fitted")) for row in rows)
    failed = any(row.get("n_failed", 0) > 0 for row in rows)
    wanted = [
        (True, Column("detector", lambda row: row["detector"], is_name=True)),
        (perturbed, Column("perturbation", lambda row: row["perturbation"], is_name=True)),
        (failed, Column("failed", lambda row: str(int(row["n_failed"])))),
        (True, Column("accuracy", lambda row: with_interval(row, "accuracy"), best="accuracy")),
        (fitted, Column("fitted (at)", _fitted)),
        (True, Column("bal. acc.", lambda row: rate(row.get("balanced_accuracy")))),
        (True, Column("TPR", lambda row: rate(row.get("tpr")))),
        (True, Column("TNR", lambda row: rate(row.get("tnr")))),
        (True, Column("AUC", lambda row: with_interval(row, "auc"), best="auc")),
        (True, Column("AP", lambda row: rate(row.get("ap")))),
        (True, Column("EER", lambda row: rate(row.get("eer")))),
        (True, Column("params", lambda row: _quantity(row.get("parameters")))),
        (True, Column("img/s", lambda row: _speed(row.get("images_per_second")))),
    ]
    return [column for is_wanted, column in wanted if is_wanted]


def _cell(column: Column, row: dict, rows: list[dict]) -> Cell:
    if column.best is None:
        return Cell(column.text(row), is_name=column.is_name)
    # What looks equal in the table is equally good: compared as printed.
    rivals = [rate(r[column.best]) for r in rows if r["perturbation"] == row["perturbation"]]
    rivals = [r for r in rivals if r != EMPTY]
    value = _value(row[column.best])
    return Cell(column.text(row), value, len(rivals) > 1 and rate(value) == max(rivals))


# --- the lines around them


def headline(summary: Summary, run: dict) -> str:
    """What was compared on what: "2 detectors on demo, test split: 120 images scored (60 real, 60 synthetic)"."""
    data, rows = run.get("data") or {}, summary.metrics.to_dict("records")
    names = detectors(summary)
    text = f"{len(names)} detector" + ("s" if len(names) != 1 else "")
    if name := data.get("name") or data.get("source"):
        text += f" on {name}"
    if data.get("split"):
        text += f", {data['split']} split"
    if rows:
        n, real, synthetic = (int(max(row[c] for row in rows)) for c in ("n", "n_real", "n_synthetic"))
        fewest = int(min(row["n"] for row in rows))
        text += f": {n:,} images scored ({real:,} real, {synthetic:,} synthetic)"
        text += f", by some detectors only {fewest:,}" if fewest < n else ""
    return one_line(text)


def legend(summary: Summary) -> list[str]:
    """What the mark of the tables per generator means, and how their accuracy is to be read, where that is needed."""
    marked = any(was_seen(row.get("seen")) for row in per_generator_rows(summary))
    lines = ["* = the detector was trained on this generator, by its card"] if marked else []
    rows = per_generator_rows(summary)
    if any(row["n_real"] > 2 * row["n_synthetic"] for row in rows):
        lines.append(
            "per generator: its images against the real ones; where those are many more, accuracy is mostly theirs, "
            "and per_generator.csv has TPR and balanced accuracy"
        )
    return lines


def remarks(summary: Summary, run: dict) -> list[str]:
    """The lines under the main table: thresholds, intervals, reported beside measured numbers, the summary's notes."""
    rows = summary.metrics.to_dict("records")
    lines = ["accuracy, balanced accuracy, TPR and TNR at P = 0.5"]
    if any(not is_empty(row.get("accuracy_fitted")) for row in rows):
        lines[0] += (
            "; fitted: accuracy at the threshold in brackets, fitted for balanced accuracy on the undisturbed "
            "validation split alone"
        )
    intervals = dict.fromkeys(row["interval"] for row in rows if not is_empty(row["accuracy_lo"]))
    if intervals:
        lines.append("in square brackets, 95 % intervals: " + "; ".join(intervals))
    for entry in run.get("detectors") or []:
        lines += reported(summary, entry)
    lines += _asked(run)
    return lines + list(summary.notes)


def _asked(run: dict) -> list[str]:
    """Which question the detectors that are asked one were asked."""
    asked: dict[str, list[str]] = {}
    for entry in run.get("detectors") or []:
        if question := (entry.get("facts") or {}).get("question"):
            asked.setdefault(question, []).append(str(entry.get("label")))
    return [f'asked "{question}", yes meaning synthetic: {", ".join(names)}' for question, names in asked.items()]


def reported(summary: Summary, entry: dict) -> list[str]:
    """The numbers that a detector's authors reported, each beside the one measured here; `entry` is of run.json."""
    numbers = (entry.get("card") or {}).get("reported") or {}
    row = {row["detector"]: row for row in _shown_rows(summary.metrics, summary)}.get(entry.get("label"), {})
    where = f" on {numbers['on']}" if numbers.get("on") else ""
    return [
        f"{entry.get('label')}: reported {metric} {value:.4f}{where}; measured {rate(row.get(metric))} here: "
        "not comparable, another test set"
        for metric, value in numbers.items()
        if isinstance(value, int | float)
    ]


# --- what to show, and how a number is written


def detectors(summary: Summary) -> list[str]:
    """The detectors in the order of the table."""
    return list(dict.fromkeys(summary.metrics["detector"]))


def shown_perturbation(summary: Summary) -> str | None:
    """The perturbation of what shows only one: "none", or the first; None without rows."""
    names = list(dict.fromkeys(summary.metrics["perturbation"]))
    return "none" if "none" in names else next(iter(names), None)


def perturbation_suffix(summary: Summary) -> str:
    """ ", perturbation jpeg:75" for titles, empty for undisturbed images."""
    name = shown_perturbation(summary)
    return "" if name in ("none", None) else f", perturbation {name}"


def per_generator_rows(summary: Summary) -> list[dict]:
    """The rows of per_generator.csv of the shown perturbation."""
    return _shown_rows(summary.per_generator, summary)


def was_seen(value: object) -> bool | None:
    """True, False, or None where the card does not say."""
    return None if is_empty(value) else bool(value)


def is_empty(value: Any) -> bool:
    """Whether a value of a frame is None, NaN or pandas' NA."""
    return bool(pd.isna(value))


def rate(value: Any) -> str:
    """A fraction with three decimals; a dash for what `is_empty`."""
    return EMPTY if is_empty(value) else f"{value:.3f}"


def with_interval(row: dict, metric: str) -> str:
    """A metric with its 95 % interval: "0.712 [0.67, 0.75]"; without one, the metric alone."""
    value, low, high = row.get(metric), row.get(f"{metric}_lo"), row.get(f"{metric}_hi")
    if any(is_empty(number) for number in (value, low, high)):
        return rate(value)
    return f"{rate(value)} [{low:.2f}, {high:.2f}]"


def _shown_rows(frame, summary: Summary) -> list[dict]:
    name = shown_perturbation(summary)
    return [row for row in frame.to_dict("records") if row["perturbation"] == name]


def _fitted(row: dict) -> str:
    if is_empty(row.get("accuracy_fitted")):
        return EMPTY
    return f"{rate(row['accuracy_fitted'])} ({row['threshold_fitted']:.2f})"


def _value(value: Any) -> float:
    return math.nan if is_empty(value) else float(value)


def _quantity(value: Any) -> str:
    """A number of parameters: 4827365 is "4.83 M"."""
    if is_empty(value):
        return EMPTY
    for unit, size in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= 0.9995 * size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.0f}"


def _speed(value: Any) -> str:
    return EMPTY if is_empty(value) else f"{value:.0f}" if value >= 100 else f"{value:.3g}"
