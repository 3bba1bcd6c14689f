"""What a detector's quality costs: accuracy and AUC against milliseconds and against parameters."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from maibench.evaluation.figures.drawing import line_style
from maibench.evaluation.figures.parts import (
    COLUMN,
    TEXT,
    by_detector,
    detector_legend,
    error_bars,
    legend_height,
    legend_names,
    new_figure,
    numbers,
    say_perturbation,
    shown_rows,
    with_numbers,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from maibench.evaluation.statistics.frames import Summary


_METRICS = {"accuracy": "accuracy", "auc": "AUC"}
_COSTS = {"milliseconds": "milliseconds an image, one core or GPU", "parameters": "parameters"}

# Inches: a panel of one row, and of two.
_HEIGHTS = (2.2, 1.65)


def cost(summary: Summary) -> Figure | None:
    """Accuracy above AUC with their 95 % intervals, against milliseconds an image and against parameters, on log axes;
    only what is known."""
    rows = shown_rows(summary.metrics, summary)
    speed = numbers(rows["images_per_second"])
    rows = rows.assign(
        milliseconds=np.divide(1000, speed, where=speed > 0, out=np.full(len(rows), np.nan)),
        parameters=numbers(rows["parameters"]),
    )
    points = {
        (metric, column): with_numbers(rows[rows[column] > 0], metric, column)
        for metric in _METRICS
        for column in _COSTS
    }
    points = {key: group for key, group in points.items() if len(group)}
    if not points:
        return None
    metrics, columns = ([name for name in names if any(name in key for key in points)] for names in (_METRICS, _COSTS))
    drawn = pd.concat(points.values())
    named = {place: name for place, name, _ in by_detector(drawn, summary)}
    width = COLUMN if len(columns) == 1 else TEXT
    height = _HEIGHTS[len(metrics) - 1] * len(metrics)
    figure = new_figure(width, height + legend_height(legend_names(named.values()), width))
    grid = figure.subplots(len(metrics), len(columns), sharex="col", sharey="row", squeeze=False)
    for (i, metric), (j, column) in product(enumerate(metrics), enumerate(columns)):
        axes = grid[i, j]
        for place, _, row in by_detector(points.get((metric, column), drawn[:0]), summary):
            look = line_style(place) | {"linestyle": "", "markersize": 6}
            axes.errorbar(row[column], row[metric], yerr=error_bars(row, metric), elinewidth=0.8, **look)
        axes.grid()
        if j == 0:
            axes.set_ylabel(_METRICS[metric])
    for axes, column in zip(grid[-1], columns, strict=True):
        values = np.concatenate([numbers(group[column]) for key, group in points.items() if column in key])
        _log_axis(axes, values, _short if column == "parameters" else "{:g}".format)
        axes.set_xlabel(_COSTS[column])
    say_perturbation(figure, summary)
    detector_legend(figure, named, linestyle="")
    return figure


def _log_axis(axes: Axes, values: np.ndarray, text) -> None:
    """A log axis with a tick at every power of ten, and at 2 and 5 between where there are few of them."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    lowest, highest = values.min() / 2.5, values.max() * 2.5
    decades = np.log10(highest / lowest)
    axes.set_xscale("log")
    axes.set_xlim(lowest, highest)
    axes.xaxis.set_major_locator(LogLocator(subs=(1,) if decades > 2.5 else (1, 2, 5), numticks=12))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: text(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _short(value: float) -> str:
    """A number of parameters: 5000000 is "5 M"."""
    for unit, size in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size * 0.9999:
            return f"{value / size:g} {unit}"
    return f"{value:g}"
