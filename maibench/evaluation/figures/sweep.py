"""The figure of a sweep: AUC and accuracy of every point with their intervals, and where the first point stands."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd

from maibench.evaluation.figures.drawing import fitting, line_style, save_pictures, style
from maibench.evaluation.figures.parts import GREY, SMALL, TEXT, error_bars, new_figure, numbers

_PANELS = {"auc": "AUC", "accuracy": "accuracy"}
_NAMES = 2.6
"""Inches that the names of the points may take."""


def plot_sweep(rows: pd.DataFrame, title: str, folder: Path) -> list[Path]:
    """Write sweep.svg, sweep.png and sweep.pdf of the undisturbed images, or of the first perturbation that there is.

    rows: of `sweep_rows`. Returns the paths; [] where no point has a number.
    """
    there = set(rows["perturbation"])
    rows = rows[rows["perturbation"].eq("none" if "none" in there else rows["perturbation"].iloc[0])]
    if not np.isfinite(numbers(rows["auc"])).any() and not np.isfinite(numbers(rows["accuracy"])).any():
        return []
    groups = {key: place for place, key in enumerate(dict.fromkeys(zip(rows["run"], rows["of"], strict=True)))}
    looks = {of: place for place, of in enumerate(dict.fromkeys(rows["of"]))}
    places = np.arange(len(rows))[::-1]
    with style():
        figure = new_figure(TEXT, 0.19 * len(rows) + 0.8)
        for axes, (metric, name) in zip(figure.subplots(1, 2, sharey=True), _PANELS.items(), strict=True):
            values, bars = numbers(rows[metric]), error_bars(rows, metric)
            for (run, of), _ in groups.items():
                own = np.flatnonzero(rows["run"].eq(run).to_numpy() & rows["of"].eq(of).to_numpy())
                look = line_style(looks[of]) | {"linestyle": ""}
                axes.errorbar(values[own], places[own], xerr=bars[:, own], elinewidth=0.8, **look)
                if len(own) > 1 and math.isfinite(values[own[0]]):
                    ends = [places[own[-1]] - 0.4, places[own[0]] + 0.4]
                    axes.plot([values[own[0]]] * 2, ends, color=GREY, linewidth=0.6, linestyle=":")
            axes.set_xlabel(name)
            axes.locator_params(axis="x", nbins=5)
            axes.grid(axis="x")
            axes.set_ylim(-0.6, len(rows) - 0.4)
            if metric == "auc":
                texts = [" ".join(filter(None, pair)) for pair in zip(rows["run"], rows["detector"], strict=True)]
                axes.set_yticks(places, [fitting(text, _NAMES) for text in texts])
        figure.suptitle(fitting(title, TEXT), fontsize=8)
        figure.supxlabel("dotted: the first point of the same detector", fontsize=SMALL, color=GREY)
        return save_pictures(figure, folder, "sweep")
