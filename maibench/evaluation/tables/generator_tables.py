"""Accuracy and AUC of every detector on every generator."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maibench.config import TableConfig
from maibench.evaluation.tables.formats import Cell, Table
from maibench.evaluation.tables.shown import PLAIN, detectors, number, per_generator_rows, rate, was_seen

if TYPE_CHECKING:
    from maibench.evaluation.statistics.frames import Summary

# More generators than this, and a generator is a row instead of a column on paper.
_WIDE = 6

GENERATOR_TITLES = {"accuracy": "Accuracy per generator", "auc": "AUC per generator"}


def generator_tables(summary: Summary, style: TableConfig = PLAIN) -> dict[str, Table]:
    """Per metric ("accuracy", "auc"): a row a detector, a column a generator, `*` after one that it was trained on.

    Of one perturbation, `shown_perturbation`. Empty without rows per generator.
    """
    rows = per_generator_rows(summary)
    generators = list(dict.fromkeys(row["generator"] for row in rows))
    at = {(row["detector"], row["generator"]): row for row in rows}

    def cell(detector: str, generator: str, metric: str) -> Cell:
        row = at.get((detector, generator), {})
        mark = "*" if was_seen(row.get("seen")) else ""
        return Cell(rate(row.get(metric), style.precision) + mark, number(row.get(metric)))

    return {
        metric: Table(
            ["detector", *generators],
            [[Cell(d, is_name=True), *(cell(d, g, metric) for g in generators)] for d in detectors(summary)],
        )
        for metric in (GENERATOR_TITLES if rows else ())
    }


def generator_notes(summary: Summary) -> list[str]:
    """What the mark of the tables per generator means, and how their accuracy is to be read, where that is needed."""
    rows = per_generator_rows(summary)
    marked = any(was_seen(row.get("seen")) for row in rows)
    lines = ["* = the detector was trained on this generator, by its card"] if marked else []
    if any(row["n_real"] > 2 * row["n_synthetic"] for row in rows):
        lines.append(
            "per generator: its images against the real ones of their sources where each has one, else against all "
            "real ones; where those are many more, accuracy is mostly theirs, and per_generator.csv has TPR and "
            "balanced accuracy"
        )
    return lines


def on_paper(table: Table) -> Table:
    """A table per generator as a page can hold it: a generator is a row when there are many."""
    return table.transposed("generator") if len(table.headers) - 1 > _WIDE else table
