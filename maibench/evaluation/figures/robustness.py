"""Accuracy and AUC of disturbed images: curves against severity, and dots for chains and attacks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from maibench.datasets.attack_names import is_attack
from maibench.evaluation.figures.drawing import fitting, line_style
from maibench.evaluation.figures.parts import (
    SMALL,
    TEXT,
    by_detector,
    detector_legend,
    error_bars,
    legend_height,
    legend_names,
    new_figure,
    numbers,
    with_numbers,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from maibench.evaluation.statistics.frames import Summary

_METRICS = {"accuracy": "accuracy", "auc": "AUC"}

_CLEAN, _CHAIN = "none", "chain"

# Families whose pictures get worse from high to low.
_FALLING = ("jpeg", "webp", "crop", "longest")

_SEVERITIES = {
    "jpeg": "JPEG quality",
    "webp": "WebP quality",
    "resize": "scale",
    "blur": "blur, sigma in pixels",
    "noise": "noise, sigma of 255",
    "crop": "share of each side kept",
    "longest": "longest side in pixels",
    "sharpen": "sharpening, percent",
    "rot90": "quarter turns",
}

_ACROSS = 4


def robustness(summary: Summary) -> Figure | None:
    """Two panels a family of perturbations, accuracy above AUC, against severity; bands are 95 % intervals.

    The undisturbed images are among the points. What falls as pictures get worse, as qualities do, falls to the right.
    """
    rows = with_numbers(_rows(summary), "severity")
    families = _ordered(rows)
    rows = rows[rows["family"].isin(families)]
    metrics = _measured(rows)
    if not metrics:
        return None
    named = {place: name for place, name, _ in by_detector(rows, summary)}
    down = math.ceil(len(families) / _ACROSS)
    across = math.ceil(len(families) / down)
    legend = legend_height(legend_names(named.values()), TEXT)
    figure = new_figure(TEXT, 1.4 * down * len(metrics) + 0.3 * down + legend)
    grid = figure.subplots(down * len(metrics), across, sharey=True, squeeze=False)
    for place in range(down * across):
        column = [grid[place // across * len(metrics) + i, place % across] for i in range(len(metrics))]
        if place >= len(families):
            for axes in column:
                axes.remove()
            continue
        group = rows[rows["family"] == families[place]]
        for axes, metric in zip(column, metrics, strict=True):
            _curves(axes, group, metric, summary)
            axes.tick_params(labelleft=place % across == 0, labelbottom=axes is column[-1])
            if place % across == 0:
                axes.set_ylabel(_METRICS[metric])
        column[-1].set_xlabel(_SEVERITIES.get(families[place]) or fitting(families[place], TEXT / across - 0.5))
    grid[0, 0].set_ylim(_limits(rows, metrics))
    detector_legend(figure, named)
    return figure


def robustness_dots(summary: Summary) -> Figure | None:
    """Chains, attacks and what has no severity below each other, a dot a detector with its 95 % interval, accuracy
    beside AUC; undisturbed images come first. An attack's dots are of the detector that it was made on."""
    rows = _rows(summary)
    rows = rows[~rows["family"].isin(_ordered(with_numbers(rows, "severity")))]
    rows = rows.assign(shown=rows["perturbation"].map(_request))
    own = [f"{request}@{name}" for request, name in zip(rows["shown"], rows["detector"], strict=True)]
    is_own = (rows["perturbation"] == own) | (rows["perturbation"] == rows["shown"])
    rows = rows[is_own].drop_duplicates(["detector", "shown"])
    metrics = _measured(rows)
    if not metrics:
        return None
    others = dict.fromkeys(name for name in rows["shown"] if name != _CLEAN)
    names = [_CLEAN, *sorted(others, key=is_attack)]
    drawn = list(by_detector(rows, summary))
    named = {place: name for place, name, _ in drawn}
    step = max(0.22, 0.075 * len(drawn) + 0.06)
    legend = legend_height(legend_names(named.values()), TEXT)
    figure = new_figure(TEXT, step * len(names) + 0.6 + legend)
    grid = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
    for axes, metric in zip(grid, metrics, strict=True):
        for order, (place, _, group) in enumerate(drawn):
            shift = (order - (len(drawn) - 1) / 2) * min(0.12, 0.8 / len(drawn))
            heights = np.array([names.index(name) for name in group["shown"]]) + shift
            look = line_style(place) | {"linestyle": ""}
            values, bars = numbers(group[metric]), error_bars(group, metric)
            axes.errorbar(values, heights, xerr=bars, elinewidth=0.8, **look)
        for border in range(1, len(names)):
            axes.axhline(border - 0.5, color="#eeeeee", linewidth=0.6, zorder=0)
        axes.set_xlabel(_METRICS[metric])
        axes.grid(axis="x")
    labels = ["undisturbed" if name == _CLEAN else fitting(name, 2, SMALL) for name in names]
    grid[0].set_yticks(range(len(names)), labels)
    grid[0].set_ylim(len(names) - 0.5, -0.5)
    detector_legend(figure, named)
    return figure


def _rows(summary: Summary) -> pd.DataFrame:
    """A perturbation may be in several suites: once for each detector and family."""
    return summary.robustness.drop_duplicates(["detector", "family", "perturbation"])


def _ordered(rows: pd.DataFrame) -> list[str]:
    """The families that make a curve: several severities, and neither chains nor attacks."""
    return [
        str(name)
        for name, group in rows.groupby("family", sort=False)
        if group["severity"].nunique() > 1 and name != _CHAIN and not is_attack(str(name))
    ]


def _request(perturbation: str) -> str:
    """What was asked for: an attack's request stands for one perturbation a detector."""
    return perturbation.partition("@")[0] if is_attack(perturbation) else perturbation


def _measured(rows: pd.DataFrame) -> list[str]:
    """The metrics that have any number on disturbed images."""
    disturbed = rows[rows["perturbation"] != _CLEAN]
    return [metric for metric in _METRICS if np.isfinite(numbers(disturbed[metric])).any()]


def _curves(axes: Axes, rows: pd.DataFrame, metric: str, summary: Summary) -> None:
    family = rows["family"].iloc[0]
    for place, _, group in by_detector(with_numbers(rows, metric), summary):
        points = group.sort_values("severity")
        x, style = numbers(points["severity"]), line_style(place)
        axes.plot(x, numbers(points[metric]), **style)
        lo, hi = numbers(points[f"{metric}_lo"]), numbers(points[f"{metric}_hi"])
        if np.isfinite(lo).any():
            axes.fill_between(x, lo, hi, color=style["color"], alpha=0.13, linewidth=0)
    _severity_axis(axes, np.unique(numbers(rows["severity"])), family)
    axes.grid()


def _severity_axis(axes: Axes, severities: np.ndarray, family: str) -> None:
    """Every severity that was measured as a tick, as far as there is room."""
    from matplotlib.ticker import NullLocator

    if family == "resize" and severities.min() > 0:
        axes.set_xscale("log", base=2)
    x = np.log2(severities) if axes.get_xscale() == "log" else severities
    width, ticks = x[-1] - x[0], [0]
    for i in range(1, len(x)):
        if x[i] - x[ticks[-1]] > 0.16 * width:
            ticks.append(i)
    if ticks[-1] != len(x) - 1:  # the last one in the place of what is too near
        ticks = [*(ticks[:-1] or ticks), len(x) - 1]
    axes.set_xticks(severities[ticks], [f"{value:g}" for value in severities[ticks]])
    axes.xaxis.set_minor_locator(NullLocator())
    if family in _FALLING:
        axes.invert_xaxis()


def _limits(rows: pd.DataFrame, metrics: list[str]) -> tuple[float, float]:
    columns = [name for metric in metrics for name in (metric, f"{metric}_lo", f"{metric}_hi")]
    values = np.concatenate([numbers(rows[column]) for column in columns])
    lowest, highest = np.nanmin(values), np.nanmax(values)
    margin = max(0.04 * (highest - lowest), 0.005)
    return lowest - margin, highest + margin
