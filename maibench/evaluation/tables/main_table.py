"""The main table: a row a detector and perturbation, its columns as they are asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from maibench.config import TableConfig
from maibench.evaluation.tables.formats import EMPTY, Cell, Table
from maibench.evaluation.tables.shown import (
    PLAIN,
    SORTED_BY,
    is_empty,
    main_rows,
    number,
    quantity,
    rate,
    speed,
    with_interval,
)

if TYPE_CHECKING:
    from maibench.evaluation.statistics.frames import Summary


@dataclass(frozen=True)
class Column:
    """A column of the main table: its header, what it says of a row of `main_rows`, the metric whose best is bold."""

    header: str
    text: Callable[[dict, TableConfig], str]
    best: str | None = None
    is_name: bool = False


def main_table(summary: Summary, style: TableConfig = PLAIN) -> Table:
    """One row a detector, or a detector and perturbation. Of accuracy and AUC, the best of a perturbation is marked,
    and every one that cannot be told from it at 5 %."""
    rows = main_rows(summary)
    columns = [COLUMNS[name] for name in shown_columns(rows, style)]
    best = {
        (perturbation, metric): _best(summary, rows, perturbation, metric, style)
        for perturbation in dict.fromkeys(row["perturbation"] for row in rows)
        for metric in (column.best for column in columns if column.best)
    }

    def cell(column: Column, row: dict) -> Cell:
        if column.best is None:
            return Cell(column.text(row, style), is_name=column.is_name)
        marked = row["detector"] in best[row["perturbation"], column.best]
        return Cell(column.text(row, style), number(row[column.best]), marked)

    return Table(
        [column.header for column in columns],
        [[cell(column, row) for column in columns] for row in rows],
        sum(column.is_name for column in columns),
    )


def shown_columns(rows: list[dict], style: TableConfig) -> list[str]:
    """The names of the columns: those asked for, names first; else those in which these rows have something to say."""
    several = len({row["perturbation"] for row in rows}) > 1
    if style.columns is not None:
        names = ["detector"] + (["perturbation"] if several or "perturbation" in style.columns else [])
        return names + [name for name in style.columns if name not in names]

    def there(name: str) -> bool:
        return any(not is_empty(row.get(name)) for row in rows)

    wanted = {
        "perturbation": several,
        "failed": any(row.get("n_failed", 0) > 0 for row in rows),
        "unsure": any(row["n_unsure"] > 0 for row in rows),
        "fitted": there("accuracy_fitted"),
        "seen_auc": there("seen_auc") and there("unseen_auc"),
        "unseen_auc": there("seen_auc") and there("unseen_auc"),
    }
    return [name for name in COLUMNS if wanted.get(name, name not in _ON_REQUEST)]


def _best(summary: Summary, rows: list[dict], perturbation: str, metric: str, style: TableConfig) -> frozenset[str]:
    """The detectors of a perturbation to mark: none where there is nobody to be better than."""
    from maibench.evaluation.statistics.comparisons import best_detectors

    rivals = {
        row["detector"]: rate(row[metric], style.precision)
        for row in rows
        if row["perturbation"] == perturbation and not is_empty(row[metric])
    }
    if len(rivals) < 2:
        return frozenset()
    # what looks equal in the table is equally good
    alike = {name for name, text in rivals.items() if text == max(rivals.values())}
    return best_detectors(summary.metrics, summary.comparisons, perturbation, metric) | alike


def _rate(header: str, metric: str) -> Column:
    return Column(header, lambda row, style: rate(row.get(metric), style.precision))


def _bounded(header: str, metric: str, best: str | None = None) -> Column:
    return Column(header, lambda row, style: with_interval(row, metric, style.precision, style.intervals), best)


def _count(header: str, name: str) -> Column:
    return Column(header, lambda row, style: f"{row[name]:.0f}" if not is_empty(row.get(name)) else EMPTY)


def _fitted(row: dict, style: TableConfig) -> str:
    if is_empty(row.get("accuracy_fitted")):
        return EMPTY
    return f"{rate(row['accuracy_fitted'], style.precision)} ({row['threshold_fitted']:.2f})"


COLUMNS: dict[str, Column] = {
    "detector": Column("detector", lambda row, style: row["detector"], is_name=True),
    "perturbation": Column("perturbation", lambda row, style: row["perturbation"], is_name=True),
    "failed": _count("failed", SORTED_BY["failed"]),
    "unsure": _count("unsure", SORTED_BY["unsure"]),
    "accuracy": _bounded("accuracy", "accuracy", best="accuracy"),
    "fitted": Column("fitted (at)", _fitted),
    "balanced_accuracy": _rate("bal. acc.", "balanced_accuracy"),
    "tpr": _rate("TPR", "tpr"),
    "tnr": _rate("TNR", "tnr"),
    "auc": _bounded("AUC", "auc", best="auc"),
    "seen_auc": _rate("AUC seen", "seen_auc"),
    "unseen_auc": _rate("AUC unseen", "unseen_auc"),
    "ap": _rate("AP", "ap"),
    "eer": _rate("EER", "eer"),
    "tpr_at_fpr_1": _rate("TPR at 1 % FPR", "tpr_at_fpr_1"),
    "tpr_at_fpr_5": _rate("TPR at 5 % FPR", "tpr_at_fpr_5"),
    "ece": _rate("ECE", "ece"),
    "brier": _rate("Brier", "brier"),
    "nll": _rate("NLL", "nll"),
    "parameters": Column("params", lambda row, style: quantity(row.get("parameters"))),
    "images_per_second": Column("img/s", lambda row, style: speed(row.get("images_per_second"))),
    "ms": Column("ms/img", lambda row, style: speed(row.get("ms"))),
}
"""Every column of the main table by its name in `TableConfig`, in the order that they have by themselves."""

_ON_REQUEST = frozenset({"tpr_at_fpr_1", "tpr_at_fpr_5", "ece", "brier", "nll", "ms"})
