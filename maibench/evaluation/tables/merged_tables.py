"""The tables of a merged report: a column a data set, or, of one data set, a column a metric."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from pydantic import ValidationError

from maibench.config import TableConfig
from maibench.errors import MaibenchError
from maibench.evaluation.merge import METRICS, Merged, ranks_over_data, shown_of
from maibench.evaluation.tables.formats import EMPTY, Cell, Table, latex_table
from maibench.evaluation.tables.paper_tables import Titled, ranks_table, spread_table
from maibench.evaluation.tables.report_tables import latex_of, markdown_of
from maibench.evaluation.tables.shown import PLAIN, is_empty, named_rows, number, rate, with_interval
from maibench.evaluation.tables.terminal_tables import TerminalTable
from maibench.files import write_text

if TYPE_CHECKING:
    from rich.console import RenderableType

_TITLES = {"accuracy": "Accuracy", "balanced_accuracy": "Balanced accuracy", "auc": "AUC"}

# With more data sets than this, the table has no room for intervals.
_MOST_WITH_INTERVALS = 4


def write_tables(tables: list[Titled], folder: Path) -> None:
    """Write what `merged_tables` made as table.md and table.tex."""
    write_text(folder / "table.md", markdown_of(tables))
    first, *others = tables
    main = latex_table(first.table, f"{first.title}.", "tab:maibench-merged", first.notes)
    write_text(folder / "table.tex", latex_of(others, "tab:maibench-merged", [main]))


def terminal(merged: Merged, table: TableConfig | dict[str, Any] | None = None) -> RenderableType:
    """The same tables for `rich.console.Console.print`."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = []
    for item in merged_tables(merged, table):
        parts += [TerminalTable(item.table, item.title), *(Text(f"• {note}") for note in item.notes), Text("")]
    return Group(*parts)


def merged_tables(merged: Merged, table: TableConfig | dict[str, Any] | None = None) -> list[Titled]:
    """A table a metric with data sets side by side, or one table of all metrics where there is one data set; then the
    spread over data sets or runs, and the ranks. Raises MaibenchError for rows or an order that are not there."""
    style = _style(table)
    rows = _rows(merged, style)
    metrics = [name for name in style.columns or [] if name in METRICS] or list(METRICS)
    if len(merged.data) > 1:
        tables = [
            Titled(metric, f"{_TITLES[metric]}: {_headline(merged, rows)}", _side_by_side(merged, rows, metric, style))
            for metric in metrics
        ]
    else:
        tables = [Titled("metrics", _headline(merged, rows), _of_one(rows, metrics, style))]
    *others, last = tables
    made = [*others, Titled(last.key, last.title, last.table, _notes(merged, rows, style))]
    over = "data sets" if len(merged.data) > 1 else "runs"
    among, shown = {row["detector"] for row in rows}, shown_of(pd.DataFrame(rows))
    spread = [
        row
        for row in merged.spread.to_dict("records")
        if row["perturbation"] == shown and row["metric"] in metrics and row["detector"] in among
    ]
    ranks, notes = ranks_table(*_ranks(merged, among))
    suffix = "" if shown == "none" else f", perturbation {shown}"
    made += [
        Titled("spread", f"Spread over {over}{suffix}", spread_table(spread, style, over)),
    ]
    if shown == shown_of(merged.frame):
        made.append(Titled("ranks", f"Ranks over data sets{suffix}", ranks, notes))
    return [item for item in made if item.table.rows]


def _ranks(merged: Merged, among: set[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Ranks and their stability among the detectors that are shown."""
    chosen = merged.frame["detector"].isin(among)
    if chosen.all():
        return merged.ranks, merged.rank_stability
    ranks, stability, _ = ranks_over_data(merged.frame[chosen], merged.data)
    return ranks, stability


def _style(table: TableConfig | dict[str, Any] | None) -> TableConfig:
    try:
        return PLAIN if table is None else TableConfig.model_validate(table)
    except ValidationError as error:
        raise MaibenchError(f"table.{error.errors()[0]['loc'][0]}: {error.errors()[0]['msg']}") from error


def _rows(merged: Merged, style: TableConfig) -> list[dict]:
    """The rows of merged.csv that are asked for, in the order asked for."""
    frame = merged.frame
    detectors = named_rows(style.detectors, list(dict.fromkeys(frame["detector"])), "detector")
    perturbations = named_rows(style.perturbations, list(dict.fromkeys(frame["perturbation"])), "perturbation")
    frame = frame[frame["detector"].isin(detectors) & frame["perturbation"].isin(perturbations)]
    if style.order == "request":
        order = detectors
    else:
        if style.order not in METRICS:
            raise MaibenchError(f"table.order: a merged report is ordered by request, {' or '.join(METRICS)}")
        shown = frame[frame["perturbation"] == shown_of(frame)]
        means = shown.groupby("detector")[style.order].mean()
        order = list(means.sort_values(ascending=False, kind="stable").index)
    place = frame["detector"].map({name: i for i, name in enumerate(order)})
    return frame.loc[place.sort_values(kind="stable").index].to_dict("records")


def _headline(merged: Merged, rows: list[dict]) -> str:
    def count(n: int, noun: str) -> str:
        return f"{n} {noun}{'s' * (n != 1)}"

    names = f"on {merged.data[0]}" if len(merged.data) == 1 else f"on {count(len(merged.data), 'data set')}"
    return f"{count(len({row['detector'] for row in rows}), 'detector')} {names}, {count(len(merged.parts), 'run')}"


def _notes(merged: Merged, rows: list[dict], style: TableConfig) -> list[str]:
    lines = ["accuracy and balanced accuracy at P = 0.5", "bold: the highest as printed; no test stands behind it"]
    if counts := sorted({row["n_runs"] for row in rows if row["n_runs"] > 1}):
        numbers = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        lines.append(f"±: standard deviation over {numbers} runs of a detector's label on the same data")
    if any("[" in _text(row, metric, style, len(merged.data)) for row in rows for metric in METRICS):
        lines.append("in square brackets: the 95 % interval of a single run")
    if len(merged.data) > 1:
        lines.append("mean, sd and worst are over data sets, each counting once")
    return lines + merged.notes


def _side_by_side(merged: Merged, rows: list[dict], metric: str, style: TableConfig) -> Table:
    """A row a detector and perturbation, a column a data set, then mean, standard deviation and worst over them."""
    at = {(row["detector"], row["perturbation"], row["data"]): row for row in rows}
    keys = list(dict.fromkeys((row["detector"], row["perturbation"]) for row in rows))
    lines = []
    for key in keys:
        found = [at.get((*key, data), {}) for data in merged.data]
        values = pd.Series([number(row.get(metric)) for row in found]).dropna()
        over = [values.mean(), values.std(ddof=1), values.min()] if len(values) == len(found) else [float("nan")] * 3
        lines.append([(_text(row, metric, style, len(merged.data)), number(row.get(metric))) for row in found])
        lines[-1] += [(rate(value, style.precision), value) for value in over]
    return _marked([*merged.data, "mean", "sd", "worst"], keys, lines, style, unmarked=("sd",))


def _of_one(rows: list[dict], metrics: list[str], style: TableConfig) -> Table:
    """A row a detector and perturbation, a column a metric."""
    keys = [(row["detector"], row["perturbation"]) for row in rows]
    lines = [
        [(f"{row['n_runs']}", float("nan")), *((_text(row, m, style, 1), number(row[m])) for m in metrics)]
        for row in rows
    ]
    return _marked(["runs", *(_TITLES[metric] for metric in metrics)], keys, lines, style, unmarked=("runs",))


def _text(row: dict, metric: str, style: TableConfig, n_data: int) -> str:
    if not row or is_empty(row[metric]):
        return EMPTY
    if row["n_runs"] > 1:
        return f"{rate(row[metric], style.precision)} ± {rate(row[f'{metric}_sd'], style.precision)}"
    return with_interval(row, metric, style.precision, style.intervals and n_data <= _MOST_WITH_INTERVALS)


def _marked(
    headers: list[str],
    keys: list[tuple[str, str]],
    lines: list[list[tuple[str, float]]],
    style: TableConfig,
    unmarked: tuple[str, ...],
) -> Table:
    """Rows of (text, value) behind their names; the highest value of a column and perturbation, as printed, is bold."""
    several = len({perturbation for _, perturbation in keys}) > 1
    rows = []
    for (detector, perturbation), line in zip(keys, lines, strict=True):
        cells = [Cell(name, is_name=True) for name in (detector, perturbation)[: 1 + several]]
        for c, (text, value) in enumerate(line):
            rivals = [
                rate(other[c][1], style.precision)
                for key, other in zip(keys, lines, strict=True)
                if key[1] == perturbation and not is_empty(other[c][1])
            ]
            is_best = len(rivals) > 1 and rate(value, style.precision) == max(rivals)
            cells.append(Cell(text, value, is_best and headers[c] not in unmarked))
        rows.append(cells)
    return Table([*("detector", "perturbation")[: 1 + several], *headers], rows, 1 + several)
