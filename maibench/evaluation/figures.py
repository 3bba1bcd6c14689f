"""ROC curves as pictures: all detectors in one plot, and one panel a generator.

Written as SVG and PNG, with the same bytes for the same numbers. A detector has the same colour and line in
every picture: those of its place in the table.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maibench.evaluation.drawing import drawable, save_pictures, style
from maibench.evaluation.table_formats import EMPTY
from maibench.evaluation.tables import (
    detectors,
    is_empty,
    per_generator_rows,
    perturbation_suffix,
    rate,
    shown_perturbation,
    was_seen,
    with_interval,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    from maibench.evaluation.summary import Summary

# Okabe and Ito's colour-blind-safe palette (https://jfly.uni-koeln.de/color/), without its yellow, too pale for a
# line on white. Seven colours and five dashes share no factor: 35 detectors before a pair repeats.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9")
_DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)), (0, (9, 2, 3, 2)))

_TICKS = (0, 0.25, 0.5, 0.75, 1)

# A panel has room for so many lines of AUC; with more detectors the table has to say it.
_PANEL_LEGEND = 6


def plot_roc(summary: Summary, folder: str | Path) -> list[Path]:
    """Write roc.svg and roc.png: a curve a detector over all generators, AUC with its interval in the legend.

    One perturbation is drawn: "none", or the first. A detector without a curve (images of one class only) stays
    in the legend, and says so. Returns the paths.
    """
    with style():
        from matplotlib.figure import Figure

        names, curves = detectors(summary), _curves(summary)
        shown = [(name, curves.get((name, "all"))) for name in names]
        if not any(curve for _, curve in shown):
            return save_pictures(_in_words("No ROC curve: it needs scored images of both classes."), folder, "roc")
        auc = {row["detector"]: with_interval(row, "auc") for row in _metrics(summary)}
        # Below the plot, a legend of any length covers no curve.
        figure = Figure(figsize=(4.8, 4.9 + 0.19 * len(names)), layout="constrained")
        axes = figure.subplots()
        lines = [_draw(axes, curve, i) for i, (_, curve) in enumerate(shown)]
        labels = [
            f"{drawable(name, 40)}   " + (f"AUC {auc.get(name, EMPTY)}" if curve else "no curve")
            for name, curve in shown
        ]
        _frame(axes)
        axes.set_xlabel("false positive rate")
        axes.set_ylabel("true positive rate")
        axes.set_title("ROC, all generators" + drawable(perturbation_suffix(summary)), fontsize=10, loc="left")
        figure.legend(lines, labels, loc="outside lower center", fontsize=8.5)
        return save_pictures(figure, folder, "roc")


def plot_generators(summary: Summary, folder: str | Path) -> list[Path]:
    """Write generators.svg and generators.png: a panel a generator with every detector's ROC curve.

    A panel's second line gives its numbers of images, and "unseen" where some compared detector declares its
    training data and none of those has seen the generator ("where declared" if others do not say). Returns the paths.
    """
    with style():
        from matplotlib.figure import Figure

        names, curves, rows = detectors(summary), _curves(summary), per_generator_rows(summary)
        generators = list(dict.fromkeys(row["generator"] for row in rows))
        if not any((name, generator) in curves for name in names for generator in generators):
            message = "No ROC curve per generator: it needs scored images of both classes."
            return save_pictures(_in_words(message), folder, "generators")
        across = _columns(len(generators))
        down = math.ceil(len(generators) / across)
        width = max(2.2 * across, 3.6)
        figure = Figure(figsize=(width, 2.55 * down + 0.9), layout="compressed")
        grid = list(figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).flat)
        for place, (axes, generator) in enumerate(zip(grid, generators, strict=False)):
            _panel(axes, [row for row in rows if row["generator"] == generator], names, curves)
            if place % across == 0:
                axes.set_ylabel("true positive rate", fontsize=8)
            # A panel above a gap of the last row is the lowest of its column too.
            if place + across >= len(generators):
                axes.set_xlabel("false positive rate", fontsize=8)
                axes.tick_params(labelbottom=True)
        for axes in grid[len(generators) :]:
            axes.set_visible(False)
        _legend_in_rows(figure, [drawable(name, 40) for name in names], width)
        return save_pictures(figure, folder, "generators")


def _panel(axes: Axes, rows: list[dict], names: list[str], curves: dict) -> None:
    """One generator's curves; `rows` are its rows of per_generator.csv."""
    generator = rows[0]["generator"]
    lines = [_draw(axes, curves.get((name, generator)), i) for i, name in enumerate(names)]
    _frame(axes)
    axes.tick_params(labelsize=7)
    real, synthetic = (int(max(row[column] for row in rows)) for column in ("n_real", "n_synthetic"))
    states = [was_seen(row.get("seen")) for row in rows]
    unseen = "" if True in states or False not in states else " · unseen"
    if unseen and None in states:
        unseen += " where declared"
    axes.set_title(drawable(generator, 26), fontsize=9, loc="left", pad=14, fontweight="bold")
    axes.annotate(
        f"{synthetic:,} synthetic, {real:,} real{unseen}",
        (0, 1),
        xytext=(0, 4),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=7,
        color="#444444",
    )
    if len(names) <= _PANEL_LEGEND:
        auc = {row["detector"]: rate(row.get("auc")) for row in rows}
        axes.legend(
            lines,
            [auc.get(name, EMPTY) for name in names],
            title="AUC",
            title_fontsize=7,
            fontsize=7,
            loc="lower right",
            labelspacing=0.2,
            borderaxespad=0.2,
        )


def _legend_in_rows(figure: Figure, labels: list[str], width: float) -> None:
    """The detectors below the panels, in the order of the table from left to right."""
    inches = 0.7 + 0.075 * max(len(label) for label in labels)
    across = max(1, min(len(labels), int(width / inches)))
    # matplotlib fills a legend column by column.
    order = [i for column in range(across) for i in range(column, len(labels), across)]
    figure.legend(
        [_line(i) for i in order],
        [labels[i] for i in order],
        loc="outside lower center",
        ncols=across,
        fontsize=8.5,
    )


def _columns(n: int) -> int:
    """The columns of a grid of n panels: near-square, at most five."""
    return n if n <= 3 else min(5, math.ceil(math.sqrt(n)))


def _curves(summary: Summary) -> dict[tuple[str, str], tuple[list[float], list[float]]]:
    """FPR and TPR of every detector and generator ("all" for all) of the shown perturbation."""
    frame = summary.roc[summary.roc["perturbation"] == shown_perturbation(summary)]
    curves: dict[tuple[str, str], tuple[list[float], list[float]]] = {}
    for row in frame.to_dict("records"):
        if not is_empty(row["fpr"]) and not is_empty(row["tpr"]):
            fpr, tpr = curves.setdefault((row["detector"], row["generator"]), ([], []))
            fpr.append(row["fpr"])
            tpr.append(row["tpr"])
    return curves


def _metrics(summary: Summary) -> list[dict]:
    rows = summary.metrics.to_dict("records")
    return [row for row in rows if row["perturbation"] == shown_perturbation(summary)]


def _line(place: int) -> Line2D:
    """The line of the detector in this place of the table."""
    from matplotlib.lines import Line2D

    colour, dash = _COLOURS[place % len(_COLOURS)], _DASHES[place % len(_DASHES)]
    return Line2D([], [], color=colour, linestyle=dash, linewidth=1.5)


def _draw(axes: Axes, curve: tuple[list[float], list[float]] | None, place: int) -> Line2D:
    line = _line(place)
    if curve:
        line.set_data(*curve)
        # Half a line's width lies outside the axes where a curve runs along their edge.
        line.set_clip_on(False)
        axes.add_line(line)
    return line


def _frame(axes: Axes) -> None:
    axes.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=0.8, zorder=1)
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xticks=_TICKS, yticks=_TICKS)
    labels = [f"{tick:g}" for tick in _TICKS]
    axes.set_xticklabels(labels)
    axes.set_yticklabels(labels)
    axes.grid(color="#eeeeee", linewidth=0.6)
    axes.set_axisbelow(True)


def _in_words(message: str) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.8, 1.2), layout="constrained")
    figure.text(0.5, 0.5, message, ha="center", va="center", wrap=True, color="#444444")
    return figure
