"""Does a detector age? Its accuracy and AUC on each generator against the day that the generator came out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from maibench.evaluation.figures.drawing import fitting, line_style, text_width
from maibench.evaluation.figures.parts import (
    GREY,
    SMALL,
    TEXT,
    by_detector,
    legend_below,
    legend_height,
    legend_names,
    new_figure,
    proxy,
    say_perturbation,
    shown_rows,
    with_numbers,
)
from maibench.evaluation.tables.report_tables import was_seen

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from maibench.evaluation.statistics.frames import Summary

# Inches between two names above the panels, of the longest name, of the panel where there is one, of each of two, and
# beside them.
_STEP, _NAME, _HEIGHTS, _AROUND = 0.135, 1.5, (2.2, 1.7), 0.7

# Inches between panel and names.
_LEADER = 0.26

_METRICS = {"balanced_accuracy": "balanced accuracy", "auc": "AUC"}


def released(summary: Summary) -> Figure | None:
    """Balanced accuracy above AUC against release date, a marker a generator, hollow where the detector was trained on
    it, and the line of least squares; generators are named above. None with fewer than two dated generators."""
    shown = shown_rows(summary.per_generator, summary)
    known = {metric: with_numbers(shown, metric) for metric in _METRICS}
    rows = pd.concat(known.values())
    dates = pd.to_datetime(pd.Series(summary.released, dtype="object"), format="ISO8601", errors="coerce").dropna()
    dates = dates[dates.index.isin(rows["generator"])].sort_values(kind="stable")
    if len(dates) < 2:
        return None
    known = {metric: _dated(group, dates) for metric, group in known.items()}
    known = {metric: group for metric, group in known.items() if len(group)}
    drawn = pd.concat(known.values())
    named = {place: name for place, name, _ in by_detector(drawn, summary)}
    labels = legend_names(named.values())
    handles = [proxy(place) for place in named]
    if _trained(drawn).any():
        handles.append(proxy(0, color=GREY, linestyle="", markerfacecolor="white"))
        labels.append("trained on")
    handles.append(proxy(0, color=GREY, marker=""))
    labels.append("least squares")
    width = max(TEXT, _STEP * len(dates) + _AROUND)
    longest = max(text_width(fitting(name, _NAME, SMALL), SMALL) for name in dates.index)
    height = _HEIGHTS[len(known) - 1]
    figure = new_figure(width, height * len(known) + longest + legend_height(labels, width))
    grid = figure.subplots(len(known), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (metric, group) in zip(grid, known.items(), strict=True):
        _points(axes, group, metric, summary)
        axes.set_ylabel(_METRICS[metric])
        axes.grid(axis="y")
    _name_dates(grid, dates, _STEP / (width - _AROUND), _LEADER / height)
    say_perturbation(figure, summary)
    legend_below(figure, handles, labels)
    return figure


def _dated(rows: pd.DataFrame, dates: pd.Series) -> pd.DataFrame:
    """The rows of generators that have a date, with it."""
    rows = rows[rows["generator"].isin(dates.index)]
    return rows.assign(date=rows["generator"].map(dates))


def _trained(rows: pd.DataFrame) -> np.ndarray:
    """Whether each row's detector was trained on its generator (n,)."""
    return np.array([was_seen(state) is True for state in rows["seen"]], dtype=bool)


def _points(axes: Axes, rows: pd.DataFrame, metric: str, summary: Summary) -> None:
    for place, _, group in by_detector(rows, summary):
        look = line_style(place)
        axes.plot(*_trend(group, metric), **(look | {"marker": ""}))
        trained = _trained(group)
        for chosen, fill in ((~trained, look["color"]), (trained, "white")):
            points = group[chosen]
            axes.plot(points["date"], points[metric], **(look | {"linestyle": "", "markerfacecolor": fill}))


def _trend(rows: pd.DataFrame, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """The ends of the line of least squares: dates and values, (2,) each; none with a single date."""
    days = (rows["date"] - rows["date"].min()).dt.days.to_numpy(dtype=np.float64)
    ends = np.array([0, days.max()])
    if ends[1] == 0:
        return np.array([]), np.array([])
    line = np.polynomial.Polynomial.fit(days, rows[metric].to_numpy(dtype=np.float64), 1)
    return np.array([rows["date"].min(), rows["date"].max()]), line(ends)


def _name_dates(grid: Iterable[Axes], dates: pd.Series, step: float, leader: float) -> None:
    """The generators' names above the first panel, `step` of its width apart at least and `leader` of its height above
    it, each with a line to its date, which goes down through every panel."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num

    days = date2num(dates.to_numpy())
    margin = max(0.03 * (days[-1] - days[0]), 15)
    lowest, highest = days[0] - margin, days[-1] + margin
    locator = AutoDateLocator(minticks=3, maxticks=9)
    at = (days - lowest) / (highest - lowest)
    line: dict = {"color": "#bbbbbb", "linewidth": 0.5, "clip_on": False, "zorder": 0}
    above: dict = {"ha": "center", "va": "bottom", "rotation": 90, "fontsize": SMALL, "color": GREY}
    for i, axes in enumerate(grid):
        axes.set_xlim(lowest, highest)
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, show_offset=False))
        for x, place, name in zip(at, spread(at, step), dates.index, strict=True):
            if i > 0:
                axes.plot([x, x], [0, 1], transform=axes.transAxes, **line)
                continue
            axes.plot([x, x, place], [0, 1, 1 + leader], transform=axes.transAxes, **line)
            axes.text(place, 1.02 + leader, fitting(name, _NAME, SMALL), transform=axes.transAxes, **above)


def spread(at: np.ndarray, step: float) -> np.ndarray:
    """Rising places (n,) in [0, 1], moved as little as possible (least squares) until they are `step` apart.

    By isotonic regression of at - step * i. Where there is no room for that the step shrinks.
    """
    from scipy.optimize import isotonic_regression

    n = len(at)
    steps = np.arange(n) * min(step, 1 / max(n - 1, 1))
    return isotonic_regression(at - steps).x.clip(0, 1 - steps[-1]) + steps
