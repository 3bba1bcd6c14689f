"""What the figures are made of: their widths, panels, legend, and the rows that they show."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from maibench.evaluation.figures.drawing import drawable, fitting, line_style, text_width
from maibench.evaluation.tables.report_tables import detectors, shown_perturbation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    from maibench.evaluation.statistics.frames import Summary

COLUMN, TEXT = 3.3, 7.0
"""Widths of a paper's column and of its text, in inches."""

SMALL = 7
"""The smallest type, in points."""

GREY = "#444444"

LEGEND = 7.5
"""The size of type of a legend, in points."""

# Inches: the widest name in a legend, and what stands around each.
_NAME, _AROUND = 2.6, 0.55


def shown_rows(frame: pd.DataFrame, summary: Summary) -> pd.DataFrame:
    """The rows of the perturbation of figures that show one: "none", or the first."""
    return frame[frame["perturbation"] == shown_perturbation(summary)]


def by_detector(frame: pd.DataFrame, summary: Summary) -> Iterator[tuple[int, str, pd.DataFrame]]:
    """Place in the table, name and rows of every detector that has rows."""
    groups = dict(list(frame.groupby("detector", sort=False)))
    for place, name in enumerate(detectors(summary)):
        if name in groups:
            yield place, name, groups[name]


def numbers(column: pd.Series) -> np.ndarray:
    """A column as (n,) floats; NaN for what is empty."""
    return pd.to_numeric(column).to_numpy(dtype=np.float64, na_value=np.nan)


def with_numbers(frame: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """The rows that have a number in every one of `columns`, which become floats."""
    frame = frame.assign(**{column: numbers(frame[column]) for column in columns})
    return frame[np.isfinite(frame[list(columns)].to_numpy(dtype=np.float64)).all(axis=1)]


def new_figure(width: float, height: float) -> Figure:
    """A figure of so many inches whose parts make room for each other."""
    from maibench.evaluation.figures.shown_figure import ShownFigure

    figure = ShownFigure(figsize=(width, height), layout="constrained")
    engine: Any = figure.get_layout_engine()
    engine.set(w_pad=0.05, h_pad=0.05)
    return figure


def panels(n: int, height: float, across: int = 4, extra: float = 0.0) -> tuple[Figure, list[Axes], int]:
    """A figure with n panels of one scale, so many inches high, and how many stand in a row: at most `across`.

    A panel has its share of the text's width; few of them fill a column. extra: inches for what stands around them.
    """
    width = max(COLUMN, TEXT * min(n, across) / across)
    across = min(n, across)
    down = math.ceil(n / across)
    figure = new_figure(width, (height if n > 1 else 1.6 * height) * down + extra)
    grid = list(figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).flat)
    for axes in grid[n:]:
        axes.remove()
    # A panel above a gap of the last row is the lowest of its column too.
    for place, axes in enumerate(grid[:n]):
        axes.tick_params(labelbottom=place + across >= n, labelleft=place % across == 0)
    return figure, grid[:n], across


def label_outer(axes: list[Axes], across: int, x: str, y: str) -> None:
    """Axis labels on the panels at the left and at the bottom of a grid."""
    for place, panel in enumerate(axes):
        if place % across == 0:
            panel.set_ylabel(y)
        if place + across >= len(axes):
            panel.set_xlabel(x)


def proxy(place: int, **settings: Any) -> Line2D:
    """A detector's line without points, for a legend or to be filled."""
    from matplotlib.lines import Line2D

    return Line2D(**({"xdata": [], "ydata": []} | line_style(place) | settings))


def detector_legend(figure: Figure, named: dict[int, str], **settings: Any) -> None:
    """The detectors, {place in the table: name}, below the panels, from left to right; settings: of their lines."""
    legend_below(figure, [proxy(place, **settings) for place in named], legend_names(named.values()))


def legend_names(names: Iterable[str]) -> list[str]:
    """Names as a legend has room for."""
    return [fitting(name, _NAME, LEGEND) for name in names]


def legend_below(figure: Figure, handles: list, labels: list[str]) -> None:
    """A legend below the panels, in rows from left to right, as many in a row as the figure's width holds."""
    across = _legend_columns(labels, figure.get_figwidth())
    # matplotlib fills a legend column by column
    order = [i for column in range(across) for i in range(column, len(labels), across)]
    figure.legend(
        [handles[i] for i in order],
        [labels[i] for i in order],
        loc="outside lower center",
        ncols=across,
        columnspacing=1.2,
    )


def legend_height(labels: list[str], width: float) -> float:
    """Inches that `legend_below` takes in a figure so wide."""
    return 0.17 * math.ceil(len(labels) / _legend_columns(labels, width)) + 0.1


def _legend_columns(labels: list[str], width: float) -> int:
    """The most columns of a legend, filled from left to right, that are no wider."""
    inches = [text_width(label, LEGEND) for label in labels]
    for across in range(len(labels), 1, -1):
        if sum(max(inches[i::across]) + _AROUND for i in range(across)) <= width:
            return across
    return 1


def say_perturbation(figure: Figure, summary: Summary) -> None:
    """A line above the panels where the images shown are not undisturbed ones."""
    name = shown_perturbation(summary)
    if name not in ("none", None):
        figure.suptitle(f"images after {drawable(name)}", fontsize=8, color=GREY)


def error_bars(rows: pd.DataFrame, metric: str) -> np.ndarray:
    """Lengths of the error bars of a metric below and above it (2, k); 0 where there is no interval."""
    value = numbers(rows[metric])
    ends = np.stack([value - numbers(rows[f"{metric}_lo"]), numbers(rows[f"{metric}_hi"]) - value])
    return np.nan_to_num(ends).clip(min=0)
