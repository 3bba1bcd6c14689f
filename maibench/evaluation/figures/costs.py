"""What a detector's quality costs: its AUC against milliseconds and against parameters."""

from __future__ import annotations

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


def cost(summary: Summary) -> Figure | None:
    """AUC, or accuracy where there is none, with its 95 % interval, against milliseconds an image and against
    parameters, on log axes; only what is known."""
    rows = shown_rows(summary.metrics, summary)
    metric = "auc" if np.isfinite(numbers(rows["auc"])).any() else "accuracy"
    rows = with_numbers(rows, metric)
    speed = numbers(rows["images_per_second"])
    rows = rows.assign(
        milliseconds=np.divide(1000, speed, where=speed > 0, out=np.full(len(rows), np.nan)),
        parameters=numbers(rows["parameters"]),
    )
    titles = {"milliseconds": "milliseconds an image", "parameters": "parameters"}
    known = {column: with_numbers(rows[rows[column] > 0], column) for column in titles}
    known = {column: group for column, group in known.items() if len(group)}
    if not known:
        return None
    drawn = pd.concat(known.values())
    named = {place: name for place, name, _ in by_detector(drawn, summary)}
    width = COLUMN if len(known) == 1 else TEXT
    figure = new_figure(width, 2.2 + legend_height(legend_names(named.values()), width))
    grid = figure.subplots(1, len(known), sharey=True, squeeze=False)[0]
    for axes, (column, group) in zip(grid, known.items(), strict=True):
        for place, _, row in by_detector(group, summary):
            look = line_style(place) | {"linestyle": "", "markersize": 6}
            axes.errorbar(row[column], row[metric], yerr=error_bars(row, metric), elinewidth=0.8, **look)
        _log_axis(axes, numbers(group[column]), _short if column == "parameters" else "{:g}".format)
        axes.set_xlabel(titles[column])
        axes.grid()
    grid[0].set_ylabel("AUC" if metric == "auc" else "accuracy")
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
