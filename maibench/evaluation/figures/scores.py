"""What detectors' scores look like: histograms by class, reliability, and accuracy against the share answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from maibench.evaluation.figures.drawing import fitting, line_style
from maibench.evaluation.figures.parts import (
    COLUMN,
    GREY,
    SMALL,
    by_detector,
    detector_legend,
    label_outer,
    legend_below,
    legend_height,
    legend_names,
    new_figure,
    numbers,
    panels,
    say_perturbation,
    shown_rows,
    with_numbers,
)
from maibench.evaluation.tables.report_tables import rate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from maibench.evaluation.statistics.frames import Summary

# Where one bin holds more than this share of its class, the others would be flat on a linear axis.
_LOG_FROM = 0.4

# The accuracy of fewer images jumps.
_FEWEST_ANSWERED = 10

_METHODS = {"raw": ("-", "o"), "temperature": ("--", "^"), "platt": (":", "s")}

_TICKS, _LABELS = (0, 0.5, 1), ("0", "0.5", "1")

# Inches for the name above a panel.
_NAME = 1.5


def histograms(summary: Summary) -> Figure | None:
    """A panel a detector: how P(synthetic) is spread among real (filled) and synthetic images (hatched), as shares of
    the class; the line is P = 0.5. The shares' axis is logarithmic where one bin holds most of its class."""
    rows = with_numbers(shown_rows(summary.histograms, summary), "lo", "hi", "n")
    drawn = [(name, _shares(group)) for _, name, group in by_detector(rows, summary)]
    drawn = [(name, shares) for name, shares in drawn if shares]
    if not drawn:
        return None
    every = np.concatenate([values for _, shares in drawn for values, _ in shares.values()])
    log = every.max() > _LOG_FROM
    floor = every[every > 0].min() / 2 if log else 0.0
    figure, grid, across = panels(len(drawn), 1.45, extra=0.45)
    handles = []
    for axes, (name, shares) in zip(grid, drawn, strict=True):
        handles = _histogram(axes, shares, floor)
        axes.set_title(fitting(name, _NAME), loc="left")
    if log:
        grid[0].set_yscale("log")
        grid[0].yaxis.set_major_formatter("{x:g}")
    grid[0].set(xlim=(0, 1), ylim=(floor, every.max() * (1.4 if log else 1.08)), xticks=_TICKS)
    grid[0].set_xticks(_TICKS, _LABELS)
    label_outer(grid, across, "P(synthetic)", "share of class")
    say_perturbation(figure, summary)
    legend_below(figure, handles, ["real", "synthetic", "P = 0.5"])
    return figure


def reliability(summary: Summary) -> Figure | None:
    """A panel a detector: the share of synthetic images against the mean score of each bin, raw and calibrated on the
    validation split. A marker's area grows with its bin's images; the expected calibration errors are written in."""
    rows = with_numbers(shown_rows(summary.reliability, summary), "n", "mean_score", "share_synthetic")
    rows = rows[rows["method"].isin(list(_METHODS)) & (rows["n"] > 0)]
    drawn = list(by_detector(rows, summary))
    if not drawn:
        return None
    from matplotlib.lines import Line2D

    calibration = shown_rows(summary.calibration, summary)
    errors = {(row["detector"], row["method"]): row["ece"] for row in calibration.to_dict("records")}
    figure, grid, across = panels(len(drawn), 1.9, extra=0.4)
    for axes, (place, name, group) in zip(grid, drawn, strict=True):
        _reliability(axes, place, name, group, errors)
    grid[0].set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
    label_outer(grid, across, "mean score", "share synthetic")
    say_perturbation(figure, summary)
    used = [method for method in _METHODS if (rows["method"] == method).any()]
    handles = []
    for method in used:
        dash, marker = _METHODS[method]
        look: dict = {"color": GREY, "markerfacecolor": _fill(method, GREY), "linestyle": dash, "marker": marker}
        handles.append(Line2D([], [], **look))
    legend_below(figure, handles, [_title(method) for method in used])
    return figure


def risk_coverage(summary: Summary) -> Figure | None:
    """A line a detector: accuracy among the images it is surest of, against their share, from 10 images on."""
    rows = with_numbers(shown_rows(summary.coverage, summary), "coverage", "accuracy")
    rows = rows[numbers(rows["n"]) >= _FEWEST_ANSWERED]
    drawn = list(by_detector(rows, summary))
    if not drawn:
        return None
    named = {place: name for place, name, _ in drawn}
    figure = new_figure(COLUMN, 2.4 + legend_height(legend_names(named.values()), COLUMN))
    axes = figure.subplots()
    for place, _, group in drawn:
        # markers at a few points, each detector's at others
        places = (0.03 + 0.02 * (place % 8), 0.2) if len(group) > 1 else None  # a detector that is always as sure
        axes.plot(group["coverage"], group["accuracy"], **line_style(place), markevery=places, clip_on=len(group) > 1)
    lowest = rows["accuracy"].min()
    axes.set(xlim=(0, 1), ylim=(lowest - 0.05 * (1.02 - lowest), 1.01))
    axes.set(xlabel="share of images answered, surest first", ylabel="accuracy among them")
    axes.grid()
    say_perturbation(figure, summary)
    detector_legend(figure, named)
    return figure


def _shares(rows: pd.DataFrame) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Per label the share of its images in every bin (k,), and the bins' edges (k + 1,)."""
    shares = {}
    for label, group in rows.groupby("label"):
        bins = group.groupby(["lo", "hi"])["n"].sum()
        if bins.sum() > 0:
            lo, hi = (bins.index.get_level_values(level).to_numpy() for level in ("lo", "hi"))
            shares[int(str(label))] = bins.to_numpy() / bins.sum(), np.append(lo, hi[-1])
    return shares


def _histogram(axes: Axes, shares: dict[int, tuple[np.ndarray, np.ndarray]], floor: float) -> list:
    """Draws, and returns what a legend shows: real, synthetic, the threshold."""
    from matplotlib.patches import Patch

    looks: dict[int, dict] = {
        0: {"facecolor": "#b0b0b0", "edgecolor": "#b0b0b0"},
        1: {"facecolor": "none", "edgecolor": "#7a0177", "hatch": "/////"},
    }
    for label, (values, edges) in shares.items():
        axes.stairs(values, edges, baseline=floor, fill=True, linewidth=0.8, **looks[label])
    line = axes.axvline(0.5, color="black", linestyle=(0, (2, 2)), linewidth=0.8)
    return [*(Patch(linewidth=0.8, **looks[label]) for label in (0, 1)), line]


def _reliability(axes: Axes, place: int, name: str, rows: pd.DataFrame, errors: dict) -> None:
    colour = line_style(place)["color"]
    axes.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=0.8, zorder=1)
    shown = []
    for method, (dash, marker) in _METHODS.items():
        bins = rows[rows["method"] == method].sort_values("mean_score")
        if len(bins) == 0:
            continue
        axes.plot(bins["mean_score"], bins["share_synthetic"], color=colour, linestyle=dash, linewidth=1)
        points = axes.scatter(
            bins["mean_score"],
            bins["share_synthetic"],
            s=4 + 30 * np.sqrt(bins["n"] / rows["n"].max()),
            marker=marker,
            facecolors=_fill(method, colour),
            edgecolors=colour,
            linewidths=0.8,
            zorder=3,
            clip_on=False,
        )
        shown.append((points, rate(errors.get((name, method)))))
    handles, labels = zip(*shown, strict=True)
    axes.legend(
        handles,
        labels,
        title="ECE",
        title_fontsize=SMALL,
        fontsize=SMALL,
        loc="lower right",
        handlelength=1,
        handletextpad=0.3,
        labelspacing=0.1,
        borderaxespad=0.1,
    )
    axes.set_title(fitting(name, _NAME), loc="left")
    axes.set_box_aspect(1)
    axes.set_xticks(_TICKS, _LABELS)
    axes.set_yticks(_TICKS, _LABELS)
    axes.grid()


def _fill(method: str, colour: str) -> str:
    """Calibrated scores have hollow markers."""
    return colour if method == "raw" else "white"


def _title(method: str) -> str:
    return "Platt" if method == "platt" else method
