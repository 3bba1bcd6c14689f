"""Does a detector age? Its AUC on each generator against the day that the generator came out."""

from __future__ import annotations

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

# Inches between two names above the panel, of the longest name, of the panel, and beside it.
_STEP, _NAME, _HEIGHT, _AROUND = 0.135, 1.5, 2.2, 0.7

# Between panel and names, as a share of the panel's height.
_LEADER = 0.12


def released(summary: Summary) -> Figure | None:
    """AUC against release date, a marker a generator, hollow where the detector was trained on it, and the line of
    least squares; generators are named above. None with fewer than two dated generators."""
    rows = with_numbers(shown_rows(summary.per_generator, summary), "auc")
    dates = pd.to_datetime(pd.Series(summary.released, dtype="object"), format="ISO8601", errors="coerce").dropna()
    dates = dates[dates.index.isin(rows["generator"])].sort_values(kind="stable")
    if len(dates) < 2:
        return None
    rows = rows[rows["generator"].isin(dates.index)]
    rows = rows.assign(date=rows["generator"].map(dates))
    drawn = list(by_detector(rows, summary))
    named = {place: name for place, name, _ in drawn}
    labels = legend_names(named.values())
    width = max(TEXT, _STEP * len(dates) + _AROUND)
    longest = max(text_width(fitting(name, _NAME, SMALL), SMALL) for name in dates.index)
    figure = new_figure(width, _HEIGHT + longest + legend_height(labels, width))
    axes = figure.subplots()
    seen = False
    for place, _, group in drawn:
        look = line_style(place)
        axes.plot(*_trend(group), **(look | {"marker": ""}))
        trained = np.array([was_seen(state) is True for state in group["seen"]])
        seen = seen or bool(trained.any())
        for chosen, fill in ((~trained, look["color"]), (trained, "white")):
            points = group[chosen]
            axes.plot(points["date"], points["auc"], **(look | {"linestyle": "", "markerfacecolor": fill}))
    _name_dates(axes, dates, _STEP / (width - _AROUND))
    axes.set_ylabel("AUC")
    axes.grid(axis="y")
    say_perturbation(figure, summary)
    handles = [proxy(place) for place in named]
    if seen:
        handles.append(proxy(0, color=GREY, linestyle="", markerfacecolor="white"))
        labels.append("trained on")
    handles.append(proxy(0, color=GREY, marker=""))
    labels.append("least squares")
    legend_below(figure, handles, labels)
    return figure


def _trend(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """The ends of the line of least squares: dates and AUC, (2,) each; none with a single date."""
    days = (rows["date"] - rows["date"].min()).dt.days.to_numpy(dtype=np.float64)
    ends = np.array([0, days.max()])
    if ends[1] == 0:
        return np.array([]), np.array([])
    line = np.polynomial.Polynomial.fit(days, rows["auc"].to_numpy(dtype=np.float64), 1)
    return np.array([rows["date"].min(), rows["date"].max()]), line(ends)


def _name_dates(axes: Axes, dates: pd.Series, step: float) -> None:
    """The generators' names above the panel, `step` of its width apart at least, each with a line to its date."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num

    days = date2num(dates.to_numpy())
    margin = max(0.03 * (days[-1] - days[0]), 15)
    lowest, highest = days[0] - margin, days[-1] + margin
    axes.set_xlim(lowest, highest)
    locator = AutoDateLocator(minticks=3, maxticks=9)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, show_offset=False))
    at = (days - lowest) / (highest - lowest)
    for x, place, name in zip(at, spread(at, step), dates.index, strict=True):
        axes.plot(
            [x, x, place],
            [0, 1, 1 + _LEADER],
            transform=axes.transAxes,
            color="#bbbbbb",
            linewidth=0.5,
            clip_on=False,
            zorder=0,
        )
        above: dict = {"ha": "center", "va": "bottom", "rotation": 90, "fontsize": SMALL, "color": GREY}
        axes.text(place, 1.02 + _LEADER, fitting(name, _NAME, SMALL), transform=axes.transAxes, **above)


def spread(at: np.ndarray, step: float) -> np.ndarray:
    """Rising places (n,) in [0, 1], moved as little as possible (least squares) until they are `step` apart.

    By isotonic regression of at - step * i. Where there is no room for that the step shrinks.
    """
    from scipy.optimize import isotonic_regression

    n = len(at)
    steps = np.arange(n) * min(step, 1 / max(n - 1, 1))
    return isotonic_regression(at - steps).x.clip(0, 1 - steps[-1]) + steps
