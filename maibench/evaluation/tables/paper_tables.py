"""The tables of a paper beside the main one: each of a frame of the summary, none where the frame has no rows.

All but those of robustness and transfer are of one perturbation, the shown one; the CSV files have the others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import pandas as pd

from maibench.config import TableConfig
from maibench.evaluation.tables.formats import EMPTY, Cell, Table
from maibench.evaluation.tables.generator_tables import GENERATOR_TITLES, generator_notes, generator_tables
from maibench.evaluation.tables.reported import reported_table
from maibench.evaluation.tables.shown import (
    PLAIN,
    detectors,
    difference_with_interval,
    is_empty,
    number,
    p_value,
    perturbation_suffix,
    rate,
    shown_rows,
    with_interval,
)

if TYPE_CHECKING:
    from maibench.evaluation.statistics.frames import Summary

_COVERAGES = (1.0, 0.9, 0.8, 0.5)
_METHODS = {"raw": "as scored", "temperature": "temperature", "platt": "Platt"}
_UNFITTED_RULE = "P = 0.5"
_FITTED = "fitted on the undisturbed validation split alone"
_METRICS = {"accuracy": "accuracy", "balanced_accuracy": "bal. acc.", "tpr": "TPR", "auc": "AUC"}


@dataclass(frozen=True)
class Titled:
    """A table with its title and the lines under it. key: names it, as in LaTeX's label `tab:maibench-<key>`."""

    key: str
    title: str
    table: Table
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class _Field:
    """A column: its header, and what it says of a row of a frame."""

    header: str
    text: Callable[[dict], str]
    is_name: bool = False


def paper_tables(summary: Summary, run: dict, style: TableConfig = PLAIN) -> list[Titled]:
    """Every table beside the main one that has rows, in the order of a report."""
    suffix = perturbation_suffix(summary)
    made = [
        *(
            Titled(metric, GENERATOR_TITLES[metric] + suffix, table, generator_notes(summary))
            for metric, table in generator_tables(summary, style).items()
        ),
        Titled("seen", f"Generators that a detector was and was not trained on{suffix}", _aggregates(summary, style)),
        Titled("spread", f"Spread over generators{suffix}", _spread(summary, style)),
        comparisons_table(summary, style),
        _thresholds(summary, style),
        _calibration(summary, style),
        robustness_table(summary, style),
        *_transfer(summary, style),
        Titled("coverage", f"Accuracy when only the surest images are answered{suffix}", _coverage(summary, style)),
        _ranks(summary),
        Titled("reported", f"Reported by the authors, and measured here{suffix}",
               reported_table(summary, run, style.precision)),
    ]  # fmt: skip
    return [item for item in made if item.table.rows]


def comparisons_table(summary: Summary, style: TableConfig = PLAIN) -> Titled:
    """Differences of every two detectors, with intervals and p-values after Holm's correction."""
    rows = shown_rows(summary.comparisons, summary)
    fields = [
        _Field("a", lambda row: row["detector_a"], is_name=True),
        _Field("b", lambda row: row["detector_b"], is_name=True),
        _Field("images", lambda row: f"{row['n']:.0f}"),
    ]
    for metric, header in (("accuracy", "accuracy"), ("auc", "AUC")):
        fields += [
            _Field(f"{header}: a - b", partial(_delta, metric=f"delta_{metric}", style=style)),
            _Field("p (Holm)", partial(_p, column=f"p_{metric}_holm")),
        ]
    for column, header in (("p_mcnemar", "p (McNemar)"), ("p_delong", "p (DeLong)")):
        if any(not is_empty(row[column]) for row in rows):
            fields.append(_Field(header, partial(_p, column=column)))
    return Titled("comparisons", f"Paired comparisons{perturbation_suffix(summary)}", _table(fields, rows))


def robustness_table(summary: Summary, style: TableConfig = PLAIN) -> Titled:
    """A row a detector and suite: what is left of accuracy and AUC, as a share of the undisturbed ones."""
    rows = summary.robustness_scores.to_dict("records")
    digits, intervals = style.precision, style.intervals
    several = len({row["suite"] for row in rows}) > 1
    fields = [
        _detector(),
        *([_Field("suite", lambda row: row["suite"], is_name=True)] if several else []),
        _Field("disturbed in", lambda row: f"{row['n_perturbations']:.0f}"),
        _Field("accuracy / clean", lambda row: with_interval(row, "accuracy_relative", digits, intervals)),
        _Field("AUC / clean", lambda row: with_interval(row, "auc_relative", digits, intervals)),
        _Field("worst AUC", lambda row: rate(row["worst_auc"], digits)),
        _Field("under", lambda row: _name(row["worst_perturbation"]), is_name=True),
    ]
    suite = "" if several or not rows else f", suite {rows[0]['suite']}"
    note = "mean over the perturbations of a suite, divided by the value on undisturbed images"
    return Titled("robustness", f"Robustness{suite}", _table(fields, rows), [note])


def _aggregates(summary: Summary, style: TableConfig) -> Table:
    digits, intervals = style.precision, style.intervals
    fields = [
        _detector(),
        _Field("generators", lambda row: row["group"], is_name=True),
        _Field("how many", lambda row: f"{row['n_generators']:.0f}"),
        _Field("synthetic images", lambda row: f"{row['n_synthetic']:.0f}"),
        _Field("accuracy", lambda row: with_interval(row, "accuracy", digits, intervals)),
        _Field("bal. acc.", lambda row: rate(row["balanced_accuracy"], digits)),
        _Field("TPR", lambda row: rate(row["tpr"], digits)),
        _Field("TNR", lambda row: rate(row["tnr"], digits)),
        _Field("AUC", lambda row: with_interval(row, "auc", digits, intervals)),
        _Field("AP", lambda row: rate(row["ap"], digits)),
    ]
    return _table(fields, shown_rows(summary.aggregates, summary))


def _spread(summary: Summary, style: TableConfig) -> Table:
    rows = [row for row in shown_rows(summary.spread, summary) if row["over"] == "generators"]
    return spread_table(rows, style, "generators")


def spread_table(rows: list[dict], style: TableConfig, over: str) -> Table:
    """Rows of spread.csv: mean, standard deviation, worst and best, with the name of the worst."""
    digits = style.precision
    fields = [
        _detector(),
        _Field("metric", lambda row: _METRICS.get(row["metric"], row["metric"]), is_name=True),
        _Field(over, lambda row: f"{row['n']:.0f}"),
        _Field("mean", lambda row: rate(row["mean"], digits)),
        _Field("sd", lambda row: rate(row["sd"], digits)),
        _Field("best", lambda row: rate(row["best"], digits)),
        _Field("worst", lambda row: rate(row["worst"], digits)),
        _Field("which", lambda row: _name(row["worst_name"]), is_name=True),
    ]
    return _table(fields, rows)


def _thresholds(summary: Summary, style: TableConfig) -> Titled:
    digits, rows = style.precision, shown_rows(summary.thresholds, summary)
    fields = [
        _detector(),
        _Field("rule", lambda row: row["rule"], is_name=True),
        _Field("threshold", lambda row: rate(row["threshold"], digits)),
        _Field("accuracy", lambda row: rate(row["accuracy"], digits)),
        _Field("bal. acc.", lambda row: rate(row["balanced_accuracy"], digits)),
        _Field("TPR", lambda row: rate(row["tpr"], digits)),
        _Field("TNR", lambda row: rate(row["tnr"], digits)),
    ]
    fitted = any(row["rule"] != _UNFITTED_RULE for row in rows)
    notes = [f"rules other than {_UNFITTED_RULE}: {_FITTED}"] if fitted else []
    return Titled("thresholds", f"Operating points{perturbation_suffix(summary)}", _table(fields, rows), notes)


def _calibration(summary: Summary, style: TableConfig) -> Titled:
    digits, rows = style.precision, shown_rows(summary.calibration, summary)
    fields = [
        _detector(),
        _Field("scores", lambda row: _METHODS.get(row["method"], row["method"]), is_name=True),
        _Field("ECE", lambda row: rate(row["ece"], digits)),
        _Field("Brier", lambda row: rate(row["brier"], digits)),
        _Field("reliability", lambda row: rate(row["reliability"], digits)),
        _Field("resolution", lambda row: rate(row["resolution"], digits)),
        _Field("NLL", lambda row: rate(row["nll"], digits)),
    ]
    notes = ["of ECE (15 equal bins), Brier and NLL, less is better"]
    if fitted := [_METHODS.get(name, name) for name in dict.fromkeys(row["method"] for row in rows) if name != "raw"]:
        notes = [f"{' and '.join(fitted)} scaling: {_FITTED}", *notes]
    return Titled("calibration", f"Calibration{perturbation_suffix(summary)}", _table(fields, rows), notes)


def _transfer(summary: Summary, style: TableConfig) -> list[Titled]:
    """Accuracy and AUC: a row an attack and the detector that it was made on, a column the detector that scored."""
    frame, names = summary.transfer, detectors(summary)
    made = []
    for metric, title in (("accuracy", "Accuracy under attack"), ("auc", "AUC under attack")):
        keys = zip(frame["perturbation"], frame["made_on"], frame["detector"], strict=True)
        values = dict(zip(keys, frame[metric], strict=True))
        rows = [
            [
                Cell(attack, is_name=True),
                Cell("none (undisturbed)" if made_on == "none" else made_on, is_name=True),
                *(_rate_cell(values.get((attack, made_on, name)), style.precision) for name in names),
            ]
            for attack, made_on in dict.fromkeys((p, m) for p, m, _ in values)
        ]
        note = "rows: the detector that the images were made to deceive; columns: the one that scored them"
        made.append(Titled(f"transfer-{metric}", title, Table(["attack", "made on", *names], rows, 2), [note]))
    return made


def _coverage(summary: Summary, style: TableConfig) -> Table:
    if summary.coverage.empty:
        return Table(["detector"], [])
    from maibench.evaluation.statistics.coverage import accuracy_at_coverage

    values: dict[str, list[float]] = {}
    for row in shown_rows(accuracy_at_coverage(summary.coverage, _COVERAGES), summary):
        values.setdefault(row["detector"], []).append(row["accuracy"])
    rows = [
        [Cell(name, is_name=True), *(_rate_cell(value, style.precision) for value in values[name])]
        for name in detectors(summary)
        if name in values
    ]
    return Table(["detector", *(f"{100 * share:.0f} % answered" for share in _COVERAGES)], rows)


def _ranks(summary: Summary) -> Titled:
    table, notes = ranks_table(summary.ranks, summary.rank_stability)
    return Titled("ranks", f"Ranks over generators{perturbation_suffix(summary)}", table, notes)


def ranks_table(ranks: pd.DataFrame, stability: pd.DataFrame) -> tuple[Table, list[str]]:
    """Mean ranks, a column a metric, best first, and what Friedman's test and Nemenyi's difference say of them. Which
    detectors they are among is the frame's business."""
    metrics = list(dict.fromkeys(ranks["metric"]))
    means = {(row["detector"], row["metric"]): row["mean_rank"] for row in ranks.to_dict("records")}
    names = sorted(dict.fromkeys(ranks["detector"]), key=lambda name: means.get((name, metrics[0]), float("inf")))
    rows = [[Cell(name, is_name=True), *(_rate_cell(means.get((name, m)), 2) for m in metrics)] for name in names]
    notes = []
    for metric in metrics:
        row = ranks[ranks["metric"] == metric].iloc[0]
        text = f"{_METRICS.get(metric, metric)}, {row['n_blocks']:.0f} {row['blocks']}"
        if not is_empty(row["p_friedman"]):
            text += f": Friedman's chi-squared {row['friedman']:.2f}, p = {p_value(row['p_friedman'])}"
        if not is_empty(row["critical_difference"]):
            text += f"; mean ranks {row['critical_difference']:.2f} apart differ at 5 % (Nemenyi)"
        rhos = stability[(stability["metric"] == metric) & stability["spearman"].notna()]
        if len(rhos):
            least = rhos.loc[rhos["spearman"].astype(float).idxmin()]
            text += (
                f"; Spearman's rho between two of them: {rhos['spearman'].mean():.2f} on average, "
                f"{least['spearman']:.2f} at least ({least['data_a']}, {least['data_b']})"
            )
        notes.append(text.replace("p = <", "p < "))
    tested = ranks["p_friedman"].notna() | ranks["critical_difference"].notna()
    if (tested & ranks["blocks"].eq("generators")).any():
        notes.append(
            "generators share their real images and are no independent blocks: p and the critical difference are "
            "approximate"
        )
    return Table(["detector", *(f"mean rank, {_METRICS.get(m, m)}" for m in metrics)], rows), notes


def _delta(row: dict, metric: str, style: TableConfig) -> str:
    return difference_with_interval(row, metric, style.precision, style.intervals)


def _p(row: dict, column: str) -> str:
    return p_value(row[column])


def _detector() -> _Field:
    return _Field("detector", lambda row: row["detector"], is_name=True)


def _name(value: object) -> str:
    return EMPTY if is_empty(value) else str(value)


def _rate_cell(value: object, digits: int) -> Cell:
    return Cell(rate(value, digits), number(value))


def _table(fields: list[_Field], rows: list[dict]) -> Table:
    """Names first: those that open the row; a name further on is text."""
    opening = next((i for i, field in enumerate(fields) if not field.is_name), len(fields))
    cells = [[Cell(field.text(row), is_name=field.is_name) for field in fields] for row in rows]
    return Table([field.header for field in fields], cells, opening)
