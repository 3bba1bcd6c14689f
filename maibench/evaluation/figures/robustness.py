"""Accuracy and AUC of disturbed images: curves against severity, and dots for what has none, as chains."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from maibench.datasets.attack_names import METHODS, is_attack
from maibench.evaluation.figures.drawing import fitting, line_style
from maibench.evaluation.figures.parts import (
    GREY,
    SMALL,
    TEXT,
    by_detector,
    detector_legend,
    error_bars,
    legend_below,
    legend_height,
    legend_names,
    new_figure,
    numbers,
    proxy,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from maibench.evaluation.statistics.frames import Summary

_METRICS = {"accuracy": "accuracy", "auc": "AUC"}

_CLEAN, _CHAIN, _UNDISTURBED = "none", "chain", "undisturbed"

# Families whose numbers are names: which way, and how many turns.
_CATEGORIES = ("flip", "rot90")

# Families without a value that changes nothing.
_CODECS = ("jpeg", "webp")

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
    **{f"attack:{method}": f"{method.upper()} on the detector\nitself, eps of 255" for method in METHODS},
}

_ACROSS = 4

# Shares of a panel's width: from the undisturbed point to the first severity, where it stands apart, and between ticks.
_APART, _BETWEEN = 0.2, 0.16


def robustness(summary: Summary) -> Figure | None:
    """Two panels a family of perturbations, accuracy above AUC, against severity; bands are 95 % intervals.

    What falls as pictures get worse, as qualities do, falls to the right. Undisturbed images are hollow points: at the
    value that changes nothing, or, where that is none or was measured itself, apart at the left. Attacks of several eps
    are such a family: each detector under those that were made on it.
    """
    rows = _rows(summary)
    families = _ordered(rows)
    rows = rows[rows["family"].isin(families) & (np.isfinite(rows["severity"]) | (rows["perturbation"] == _CLEAN))]
    tested = rows[rows["perturbation"] != _CLEAN].groupby(["detector", "family"]).groups
    rows = rows[np.array([key in tested for key in zip(rows["detector"], rows["family"], strict=True)], bool)]
    metrics = _measured(rows)
    if not metrics:
        return None
    named = {place: name for place, name, _ in by_detector(rows, summary)}
    down = math.ceil(len(families) / _ACROSS)
    across = math.ceil(len(families) / down)
    handles, labels = [proxy(place) for place in named], legend_names(named.values())
    if (rows["perturbation"] == _CLEAN).any():
        handles.append(proxy(0, color=GREY, linestyle="", markerfacecolor="white"))
        labels.append(_UNDISTURBED)
    legend = legend_height(labels, TEXT)
    figure = new_figure(TEXT, 1.4 * down * len(metrics) + 0.3 * down + legend)
    grid = figure.subplots(down * len(metrics), across, sharey=True, squeeze=False)
    for place in range(down * across):
        column = [grid[place // across * len(metrics) + i, place % across] for i in range(len(metrics))]
        if place >= len(families):
            for axes in column:
                axes.remove()
            continue
        group = _placed(rows[rows["family"] == families[place]])
        for axes, metric in zip(column, metrics, strict=True):
            _curves(axes, group, metric, summary)
            axes.tick_params(labelleft=place % across == 0, labelbottom=axes is column[-1])
            if place % across == 0:
                axes.set_ylabel(_METRICS[metric])
        column[-1].set_xlabel(_SEVERITIES.get(families[place]) or fitting(families[place], TEXT / across - 0.5))
    grid[0, 0].set_ylim(_limits(rows, metrics))
    legend_below(figure, handles, labels)
    return figure


def robustness_dots(summary: Summary) -> Figure | None:
    """Chains, mirrors, turns, attacks of one eps and what else has no severity below each other, a dot a detector with
    its 95 % interval, accuracy beside AUC; undisturbed images come first. An attack's dots are of the detector that it
    was made on."""
    rows = _rows(summary)
    rows = rows[~rows["family"].isin(_ordered(rows))]
    rows = rows.assign(shown=rows["perturbation"].map(_request)).drop_duplicates(["detector", "shown"])
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
    labels = [_UNDISTURBED if name == _CLEAN else fitting(name, 2, SMALL) for name in names]
    grid[0].set_yticks(range(len(names)), labels)
    grid[0].set_ylim(len(names) - 0.5, -0.5)
    detector_legend(figure, named)
    return figure


def _rows(summary: Summary) -> pd.DataFrame:
    """Once for each detector, family and perturbation, which may be in several suites. The attacks that a method made
    on each detector are one family, attack:pgd, and rows of a detector under those on others are left out."""
    rows = summary.robustness
    parts = [str(name).partition("@") if is_attack(str(name)) else (str(name), "", "") for name in rows["family"]]
    own = np.array([made_on in ("", name) for (*_, made_on), name in zip(parts, rows["detector"], strict=True)], bool)
    rows = rows.assign(family=[family for family, *_ in parts], severity=numbers(rows["severity"]))
    return rows[own | (rows["perturbation"] == _CLEAN)].drop_duplicates(["detector", "family", "perturbation"])


def _ordered(rows: pd.DataFrame) -> list[str]:
    """The families that make a curve, which have several severities: no chains, no mirrors and turns. The undisturbed
    point is one of them, but for attacks."""
    found = []
    for name, group in rows.groupby("family", sort=False):
        if is_attack(str(name)):
            group = group[group["perturbation"] != _CLEAN]
        if group["severity"].nunique() > 1 and name not in (_CHAIN, *_CATEGORIES):
            found.append(str(name))
    return found


def _request(perturbation: str) -> str:
    """What was asked for: an attack's request stands for one perturbation a detector."""
    return perturbation.partition("@")[0] if is_attack(perturbation) else perturbation


def _measured(rows: pd.DataFrame) -> list[str]:
    """The metrics that have any number on disturbed images."""
    disturbed = rows[rows["perturbation"] != _CLEAN]
    return [metric for metric in _METRICS if np.isfinite(numbers(disturbed[metric])).any()]


def _placed(rows: pd.DataFrame) -> pd.DataFrame:
    """One family's rows with `place` on its axis: their severity or, of undisturbed rows that are `apart`, left."""
    clean = rows["perturbation"] == _CLEAN
    measured = rows.loc[~clean, "severity"].unique()
    known = rows.loc[clean, "severity"].dropna()
    family = rows["family"].iloc[0]
    if family not in _CODECS and len(known) and not known.isin(measured).any():
        return rows.assign(place=rows["severity"], apart=False)
    scale, back = (np.log2, np.exp2) if _is_logarithmic(family, measured) else (np.asarray, np.asarray)
    low, high = scale(measured.min()), scale(measured.max())
    step = (high - low) * _APART / (1 - _APART) or 1
    apart = high + step if family in _FALLING else low - step
    return rows.assign(place=rows["severity"].mask(clean, float(back(apart))), apart=clean)


def _is_logarithmic(family: str, severities: np.ndarray) -> bool:
    return family == "resize" and severities.min() > 0


def _curves(axes: Axes, rows: pd.DataFrame, metric: str, summary: Summary) -> None:
    family = rows["family"].iloc[0]
    for place, _, group in by_detector(rows[np.isfinite(numbers(rows[metric]))], summary):
        style = line_style(place)
        clean = group[group["perturbation"] == _CLEAN]
        axes.plot(clean["place"], clean[metric], **(style | {"linestyle": "", "markerfacecolor": "white", "zorder": 3}))
        # of scales, undisturbed images are no end
        points = group[~group["apart"]] if family == "resize" else group
        points = points.sort_values("place", kind="stable")
        x, hidden = numbers(points["place"]), (points["perturbation"] == _CLEAN).to_numpy()
        axes.plot(x, numbers(points[metric]), markevery=np.flatnonzero(~hidden).tolist(), **style)
        lo, hi = numbers(points[f"{metric}_lo"]), numbers(points[f"{metric}_hi"])
        if np.isfinite(lo).any():
            axes.fill_between(x, lo, hi, color=style["color"], alpha=0.13, linewidth=0)
    _severity_axis(axes, rows, family)
    axes.grid()


def _severity_axis(axes: Axes, rows: pd.DataFrame, family: str) -> None:
    """Every severity that was measured as a tick, as far as there is room; `none` for undisturbed images apart."""
    from matplotlib.ticker import NullLocator

    places = np.unique(rows["place"])
    if _is_logarithmic(family, places):
        axes.set_xscale("log", base=2)
    if family in _FALLING:
        places = places[::-1]
    x = np.log2(places) if axes.get_xscale() == "log" else places
    width, ticks = abs(x[-1] - x[0]), [0]
    for i in range(1, len(x)):
        if abs(x[i] - x[ticks[-1]]) > _BETWEEN * width:
            ticks.append(i)
    if ticks[-1] != len(x) - 1:  # the last one in the place of what is too near
        ticks = [*(ticks[:-1] or ticks), len(x) - 1]
    apart = set(rows["place"][rows["apart"]])
    axes.set_xticks(places[ticks], [_CLEAN if value in apart else f"{value:g}" for value in places[ticks]])
    axes.xaxis.set_minor_locator(NullLocator())
    if family in _FALLING:
        axes.invert_xaxis()


def _limits(rows: pd.DataFrame, metrics: list[str]) -> tuple[float, float]:
    columns = [name for metric in metrics for name in (metric, f"{metric}_lo", f"{metric}_hi")]
    values = np.concatenate([numbers(rows[column]) for column in columns])
    lowest, highest = np.nanmin(values), np.nanmax(values)
    margin = max(0.04 * (highest - lowest), 0.005)
    return lowest - margin, highest + margin
