"""What a detector's authors reported, beside what was measured here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from maibench.evaluation.tables.formats import Cell, Table, one_line
from maibench.evaluation.tables.shown import difference, number, rate, shown_main_rows

if TYPE_CHECKING:
    from maibench.evaluation.statistics.frames import Summary

COMPARABLE, NOT_COMPARABLE = "data of this name", "not comparable, another test set"

_WRITTEN = {"auc": "AUC"}


@dataclass(frozen=True)
class Reported:
    """One number of a detector's card. value, measured: in [0, 1], measured is NaN where it could not be computed.
    on: the authors' words for their test set. comparable: whether that is the name of the data measured on."""

    detector: str
    metric: str
    value: float
    on: str
    measured: float
    comparable: bool

    @property
    def verdict(self) -> str:
        """Whether the two numbers may be compared, in words."""
        return COMPARABLE if self.comparable else NOT_COMPARABLE


def reported_numbers(summary: Summary, run: dict) -> list[Reported]:
    """Every number that the cards of a run's detectors report; measured: under the shown perturbation."""
    return [item for entry in run.get("detectors") or [] for item in _of_entry(summary, run, entry)]


def reported(summary: Summary, entry: dict, run: dict | None = None) -> list[str]:
    """The same of one detector, a line a number; `entry` is of run.json's `detectors`."""
    lines = []
    for item in _of_entry(summary, run or {}, entry):
        where = f" on {item.on}" if item.on else ""
        metric = _WRITTEN.get(item.metric, item.metric)
        lines.append(
            f"{item.detector}: reported {metric} {item.value:.4f}{where}; measured {rate(item.measured)} here: "
            f"{item.verdict}"
        )
    return lines


def reported_table(summary: Summary, run: dict, digits: int = 3) -> Table:
    """Detector, metric, reported, measured, difference (measured minus reported), on what, and whether that can be
    compared; no rows where no card of a row's detector reports a number."""
    shown = set(summary.metrics["detector"])
    rows = [
        [
            Cell(item.detector, is_name=True),
            Cell(_WRITTEN.get(item.metric, item.metric), is_name=True),
            Cell(f"{item.value:.4f}", item.value),
            Cell(rate(item.measured, digits), item.measured),
            Cell(difference(item.measured - item.value, digits), item.measured - item.value),
            Cell(item.on, is_name=True),
            Cell(item.verdict, is_name=True),
        ]
        for item in reported_numbers(summary, run)
        if item.detector in shown
    ]
    return Table(
        ["detector", "metric", "reported", "measured here", "difference", "reported on", "comparable"], rows, 2
    )


def _of_entry(summary: Summary, run: dict, entry: dict) -> list[Reported]:
    numbers = (entry.get("card") or {}).get("reported") or {}
    label, on = str(entry.get("label")), one_line(numbers.get("on") or "")
    row = next((row for row in shown_main_rows(summary) if row["detector"] == label), {})
    data = run.get("data") or {}
    here = {str(data[key]).casefold() for key in ("name", "source") if data.get(key)}
    return [
        Reported(label, metric, float(value), on, number(row.get(metric)), on.casefold() in here)
        for metric, value in numbers.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    ]
