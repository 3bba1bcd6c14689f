"""Which detectors can be told apart: mean ranks with the critical difference, and differences of every pair."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from maibench.evaluation.figures.drawing import drawable, fitting, line_style, text_width
from maibench.evaluation.figures.parts import (
    COLUMN,
    GREY,
    SMALL,
    TEXT,
    error_bars,
    new_figure,
    numbers,
    say_perturbation,
    shown_rows,
    with_numbers,
)
from maibench.evaluation.tables.report_tables import detectors, is_empty

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from maibench.evaluation.statistics.frames import Summary

_METRICS = {"auc": "AUC", "balanced_accuracy": "balanced accuracy", "tpr": "TPR"}

# Inches of the diagram of ranks: a line of names, between two bars, above the axis, the longest name.
_LINE, _BAR, _TOP, _NAME = 0.17, 0.09, 0.55, 1.8

_MOST_PAIRS = 20


def ranks(summary: Summary) -> Figure | None:
    """Demsar's critical difference diagram (JMLR 7, 2006), one a kind of blocks and metric: mean ranks, best at the
    left, and bars that join the detectors within Nemenyi's critical difference. None below 3 detectors or 2 blocks."""
    rows = with_numbers(summary.ranks, "mean_rank", "n_blocks")
    known = detectors(summary)
    rows = rows[rows["detector"].isin(known) & (rows["n_blocks"] >= 2)]
    drawn = [group for _, group in rows.groupby(["blocks", "metric"], sort=False) if len(group) >= 3]
    if not drawn:
        return None
    from maibench.evaluation.figures.shown_figure import ShownFigure

    longest = max(text_width(fitting(name, _NAME, SMALL), SMALL) for group in drawn for name in group["detector"])
    width = COLUMN if longest <= 0.8 else TEXT
    heights = [_TOP + 0.3 + _BAR * len(_bars(group)) + _LINE * -(-len(group) // 2) for group in drawn]
    figure = ShownFigure(figsize=(width, sum(heights)))
    bottom = sum(heights)
    for group, height in zip(drawn, heights, strict=True):
        bottom -= height
        axes = figure.add_axes((0, bottom / sum(heights), 1, height / sum(heights)))
        axes.set(xlim=(0, width), ylim=(height, 0))
        axes.axis("off")
        _diagram(axes, group.sort_values("mean_rank", kind="stable"), known, longest + 0.15)
    return figure


def comparisons(summary: Summary) -> Figure | None:
    """Differences of AUC and of accuracy of every two detectors with their 95 % intervals; a filled marker: p < 0.05
    after Holm. With more than 20 pairs those of the detector with the best AUC, then others, in the table's order."""
    rows = shown_rows(summary.comparisons, summary)
    titles = {"delta_auc": "difference of AUC", "delta_accuracy": "difference of accuracy"}
    metrics = [metric for metric in titles if np.isfinite(numbers(rows[metric])).any()]
    if not metrics:
        return None
    known = np.isfinite(np.stack([numbers(rows[metric]) for metric in metrics])).any(axis=0)
    rows = rows.iloc[np.flatnonzero(known)]
    total = len(rows)
    rows = _first_pairs(rows, summary)
    places = np.arange(len(rows))
    names = [_pair(row["detector_a"], row["detector_b"]) for row in rows.to_dict("records")]
    step = 0.3 if any("\n" in name for name in names) else 0.19
    figure = new_figure(TEXT, step * len(rows) + 0.75 + 0.2 * (len(rows) < total))
    grid = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
    for axes, metric in zip(grid, metrics, strict=True):
        clear = numbers(rows[f"p_{metric.removeprefix('delta_')}_holm"]) < 0.05
        values, bars = numbers(rows[metric]), error_bars(rows, metric)
        for chosen, fill in ((clear, "black"), (~clear, "white")):
            look = {"color": "black", "marker": "o", "linestyle": "", "markerfacecolor": fill, "elinewidth": 0.9}
            axes.errorbar(values[chosen], places[chosen], xerr=bars[:, chosen], **look)
        axes.axvline(0, color=GREY, linewidth=0.8, linestyle=(0, (3, 2)))
        axes.set_xlabel(titles[metric])
        axes.locator_params(axis="x", nbins=6)
        axes.grid(axis="x")
    grid[0].set_yticks(places, names)
    grid[0].set_ylim(len(rows) - 0.5, -0.5)
    tested = rows[["p_accuracy_holm", "p_auc_holm"]].notna().any(axis=None)
    note = "filled: p < 0.05 after Holm's correction" if tested else "not tested: too few sources"
    if len(rows) < total:
        note += f"; {len(rows)} of {total} pairs, all are in comparisons.csv"
    figure.supxlabel(note, fontsize=SMALL, color=GREY)
    say_perturbation(figure, summary)
    return figure


def within_critical_difference(mean_ranks: np.ndarray, difference: float) -> list[tuple[int, int]]:
    """First and last index of every largest group of two or more rising ranks that differ by at most `difference`."""
    ends = np.searchsorted(mean_ranks, mean_ranks + difference + 1e-9, side="right") - 1
    groups = [(i, int(end)) for i, end in enumerate(ends) if end > i]
    return [group for i, group in enumerate(groups) if i == 0 or group[1] > groups[i - 1][1]]


def _bars(rows: pd.DataFrame) -> list[tuple[int, int]]:
    difference = rows["critical_difference"].iloc[0]
    if is_empty(difference):
        return []
    return within_critical_difference(np.sort(numbers(rows["mean_rank"])), float(difference))


def _diagram(axes: Axes, rows: pd.DataFrame, known: list[str], names_width: float) -> None:
    """In inches from the top left; rows by rising rank."""
    width = axes.get_xlim()[1]
    values, n = numbers(rows["mean_rank"]), len(rows)
    left, right = names_width, width - names_width

    def x(rank: float) -> float:
        return left + (rank - 1) / (n - 1) * (right - left)

    black: dict = {"color": "black", "linewidth": 0.8}
    axes.text(0, 0, _rank_title(rows), fontsize=SMALL, color=GREY, va="top")
    axes.plot([left, right], [_TOP, _TOP], **black)
    for rank in range(1, n + 1, 1 if n <= 12 else 2):
        axes.plot([x(rank)] * 2, [_TOP - 0.05, _TOP], **black)
        axes.text(x(rank), _TOP - 0.07, str(rank), ha="center", va="bottom", fontsize=SMALL)
    bars = _bars(rows)
    below = _TOP + 0.12
    for level, (first, last) in enumerate(bars):
        ends = [x(values[first]) - 0.03, x(values[last]) + 0.03]
        axes.plot(ends, [below + level * _BAR] * 2, color="black", linewidth=2.5, solid_capstyle="butt")
    below += _BAR * len(bars) + 0.08
    for i, name in enumerate(rows["detector"]):
        at_left = i < (n + 1) // 2
        y = below + _LINE * (i if at_left else n - 1 - i)
        look = line_style(known.index(name))
        end = left - 0.06 if at_left else right + 0.06
        axes.plot([x(values[i]), x(values[i]), end], [_TOP, y, y], color=GREY, linewidth=0.7)
        axes.plot(x(values[i]), _TOP, **(look | {"markersize": 5, "clip_on": False, "zorder": 3}))
        axes.text(
            end - 0.04 if at_left else end + 0.04,
            y,
            fitting(name, _NAME, SMALL),
            ha="right" if at_left else "left",
            va="center",
            fontsize=SMALL,
        )


def _rank_title(rows: pd.DataFrame) -> str:
    first = rows.iloc[0]
    metric = _METRICS.get(first["metric"], drawable(first["metric"]))
    title = f"mean rank by {metric}, {first['n_blocks']:.0f} {drawable(first['blocks'])}"
    parts = []
    if not is_empty(first["critical_difference"]):
        parts.append(f"critical difference {first['critical_difference']:.2f}")
    if not is_empty(first["p_friedman"]):
        p = first["p_friedman"]
        parts.append("Friedman p < 0.001" if p < 0.001 else f"Friedman p = {p:.3f}")
    return title + "\n" + ", ".join(parts)


def _first_pairs(rows: pd.DataFrame, summary: Summary) -> pd.DataFrame:
    if len(rows) <= _MOST_PAIRS:
        return rows
    metrics = with_numbers(shown_rows(summary.metrics, summary), "auc").sort_values("auc", kind="stable")
    best = metrics["detector"].iloc[-1] if len(metrics) else rows["detector_a"].iloc[0]
    has_best = (rows["detector_a"] == best) | (rows["detector_b"] == best)
    chosen = pd.concat([rows[has_best], rows[~has_best]])[:_MOST_PAIRS]
    return chosen.sort_index()


def _pair(a: str, b: str) -> str:
    one, other = fitting(a, _NAME, SMALL), fitting(b, _NAME, SMALL)
    line = f"{one} − {other}"
    return line if text_width(line, SMALL) <= _NAME else f"{one}\n− {other}"
