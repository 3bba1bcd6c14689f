"""ROC curves: of all generators, the same at few false positives, and one panel a generator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from maibench.evaluation.figures.drawing import fitting, text_width
from maibench.evaluation.figures.parts import (
    COLUMN,
    GREY,
    LEGEND,
    SMALL,
    TEXT,
    detector_legend,
    label_outer,
    legend_below,
    legend_height,
    new_figure,
    numbers,
    panels,
    proxy,
    say_perturbation,
    shown_rows,
    with_numbers,
)
from maibench.evaluation.tables.formats import EMPTY
from maibench.evaluation.tables.report_tables import detectors, per_generator_rows, rate, was_seen, with_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    from maibench.evaluation.statistics.frames import Summary

Curve = tuple[np.ndarray, np.ndarray]
"""FPR and TPR, (k,) each, rising."""

_TICKS, _LABELS = (0, 0.25, 0.5, 0.75, 1), ("0", "0.25", "0.5", "0.75", "1")

# Inches that a line and gaps take in a legend.
_LEGEND_LINE = 0.7

# As many points as a curve's picture can show.
_POINTS, _PANEL_POINTS = 400, 120

# A panel has room for so many lines of AUC; with more detectors the table has to say it.
_PANEL_LEGEND = 6

# Inches between panels.
_GAP = 0.2

# Below one false positive in so many real images a rate says nothing; fewer images are too few for the figure.
_FEWEST_REAL = 20
_LOWEST = 1e-4


def roc(summary: Summary) -> Figure | None:
    """A curve a detector over all generators, its AUC with the interval in the legend.

    A detector without a curve (images of one class only) stays in the legend, and says so.
    """
    curves = _curves(summary, _POINTS)
    if not any(generator == "all" for _, generator in curves):
        return None
    figure, axes = _single(summary, curves)
    _frame(axes)
    return figure


def roc_low(summary: Summary) -> Figure | None:
    """`roc` with the false positive rate on a log axis, from one in all real images, 1e-4 at the lowest.

    None with fewer than 20 real images.
    """
    curves = {key: curve for key, curve in _curves(summary, _POINTS, log=True).items() if key[1] == "all"}
    real = numbers(shown_rows(summary.metrics, summary)["n_real"]).max(initial=0)
    if not curves or not real >= _FEWEST_REAL:
        return None
    lowest = max(1 / real, _LOWEST)
    figure, axes = _single(summary, {key: _from(curve, lowest) for key, curve in curves.items()})
    chance = np.geomspace(lowest, 1, 50)
    axes.plot(chance, chance, color="#bbbbbb", linewidth=0.8, zorder=1)
    axes.set_xscale("log")
    axes.set(xlim=(lowest, 1), ylim=(0, 1), box_aspect=1)
    axes.set_yticks(_TICKS, _LABELS)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.grid()
    return figure


def generators(summary: Summary) -> Figure | None:
    """A panel a generator with every detector's ROC curve.

    A panel's second line gives its numbers of images, and "unseen" where some compared detector declares its
    training data and none of those has seen the generator ("where declared" if others do not say).
    """
    curves, rows = _curves(summary, _PANEL_POINTS), per_generator_rows(summary)
    names = list(dict.fromkeys(row["generator"] for row in rows))
    if not any(generator in names for _, generator in curves):
        return None
    known = dict(enumerate(detectors(summary)))
    most = 4 if len(names) <= 12 else 5
    figure, grid, across = panels(len(names), 1.95 if most == 4 else 1.65, most, extra=0.5)
    for axes, generator in zip(grid, names, strict=True):
        _panel(axes, [row for row in rows if row["generator"] == generator], known, curves, TEXT / most - _GAP)
    label_outer(grid, across, "false positive rate", "true positive rate")
    say_perturbation(figure, summary)
    detector_legend(figure, known, marker="")
    return figure


def _single(summary: Summary, curves: dict[tuple[str, str], Curve]) -> tuple[Figure, Axes]:
    """One panel with the curves over all generators, and the legend of every detector."""
    names = detectors(summary)
    metrics = shown_rows(summary.metrics, summary).to_dict("records")
    auc = {row["detector"]: with_interval(row, "auc") for row in metrics}
    labels = [f"AUC {auc.get(name, EMPTY)}" if (name, "all") in curves else "no curve" for name in names]
    room = COLUMN - _LEGEND_LINE - max(text_width(label, LEGEND) for label in labels)
    labels = [f"{fitting(name, room, LEGEND)}   {label}" for name, label in zip(names, labels, strict=True)]
    # Below the plot, a legend of any length covers no curve.
    figure = new_figure(COLUMN, 3.1 + legend_height(labels, COLUMN))
    axes = figure.subplots()
    lines = [_draw(axes, curves.get((name, "all")), place) for place, name in enumerate(names)]
    axes.set(xlabel="false positive rate", ylabel="true positive rate")
    say_perturbation(figure, summary)
    legend_below(figure, lines, labels)
    return figure, axes


def _panel(
    axes: Axes, rows: list[dict], known: dict[int, str], curves: dict[tuple[str, str], Curve], room: float
) -> None:
    """One generator's curves; `rows` are its rows of per_generator.csv, room: inches for its name."""
    generator = rows[0]["generator"]
    for place, name in known.items():
        _draw(axes, curves.get((name, generator)), place)
    _frame(axes, every=2)
    under = _under_title(rows, room)
    title = fitting(generator, room, SMALL, bold=True)
    axes.set_title(title, loc="left", fontsize=SMALL, fontweight="bold", pad=3 + 9 * len(under))
    axes.annotate(
        "\n".join(under),
        (0, 1),
        xytext=(0, 3),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=SMALL,
        color=GREY,
        linespacing=1.05,
    )
    if len(known) <= _PANEL_LEGEND:
        auc = {row["detector"]: rate(row.get("auc")) for row in rows}
        _key(axes, {place: auc.get(name, EMPTY) for place, name in known.items()})


def _key(axes: Axes, values: dict[int, str]) -> None:
    """Each detector's line and AUC in the lower right corner; legends in all panels would take as long as the rest."""
    from matplotlib.transforms import ScaledTranslation

    figure: Any = axes.figure
    panel: Any = axes.transAxes
    corner = figure.dpi_scale_trans + ScaledTranslation(1, 0, panel)  # inches from the corner
    look: dict = {"transform": corner, "ha": "right", "va": "center", "fontsize": SMALL, "in_layout": False}
    for i, (place, text) in enumerate(reversed(values.items())):
        y = 0.08 + 0.115 * i
        axes.text(-0.03, y, text, **look)
        axes.add_line(proxy(place, marker="", xdata=[-0.62, -0.38], ydata=[y, y], transform=corner, in_layout=False))
    axes.text(-0.03, 0.08 + 0.115 * len(values), "AUC", **look)


def _under_title(rows: list[dict], room: float) -> list[str]:
    """Numbers of images, and whether the generator is unseen, in lines of so many inches."""
    real, synthetic = (int(max(row[column] for row in rows)) for column in ("n_real", "n_synthetic"))
    lines = [f"{synthetic:,} synthetic, {real:,} real"]
    if text_width(lines[0], SMALL) > room:
        lines = [f"{synthetic:,} synthetic,", f"{real:,} real"]
    states = [was_seen(row.get("seen")) for row in rows]
    if False in states and True not in states:
        lines.append("unseen where declared" if None in states else "unseen")
    return lines


def _curves(summary: Summary, limit: int, log: bool = False) -> dict[tuple[str, str], Curve]:
    """FPR and TPR of every detector and generator ("all" for all) of the shown perturbation."""
    rows = with_numbers(shown_rows(summary.roc, summary), "fpr", "tpr")
    curves: dict[tuple[str, str], Curve] = {}
    for (detector, generator), points in rows.groupby(["detector", "generator"], sort=False):
        fpr, tpr = points["fpr"].to_numpy(), points["tpr"].to_numpy()
        chosen = _evenly(np.log10(np.maximum(fpr, _LOWEST)) if log else fpr, tpr, limit)
        curves[str(detector), str(generator)] = fpr[chosen], tpr[chosen]
    return curves


def _evenly(x: np.ndarray, y: np.ndarray, limit: int) -> np.ndarray:
    """Indices of at most `limit` points at even steps along a curve, its ends kept."""
    if len(x) <= limit:
        return np.arange(len(x))
    travelled = np.concatenate([[0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
    return np.unique(np.searchsorted(travelled, np.linspace(0, travelled[-1], limit)).clip(0, len(x) - 1))


def _from(curve: Curve, lowest: float) -> Curve:
    """The curve from the FPR `lowest` on, with points between its own where a log axis bends their straight line."""
    fpr, tpr = curve
    between = np.geomspace(lowest, 1, 200)
    x, y = np.append(fpr, between), np.append(tpr, np.interp(between, fpr, tpr))
    order = np.lexsort((y, x))
    order = order[x[order] >= lowest]
    return x[order], y[order]


def _draw(axes: Axes, curve: Curve | None, place: int) -> Line2D:
    line = proxy(place, marker="")
    if curve:
        line.set_data(*curve)
        # Half a line's width lies outside the axes where a curve runs along their edge.
        line.set_clip_on(False)
        line.set_in_layout(False)
        axes.add_line(line)
    return line


def _frame(axes: Axes, every: int = 1) -> None:
    """The diagonal, and every n-th of the ticks."""
    axes.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=0.8, zorder=1)
    axes.set(xlim=(0, 1), ylim=(0, 1), box_aspect=1)
    axes.set_xticks(_TICKS[::every], _LABELS[::every])
    axes.set_yticks(_TICKS[::every], _LABELS[::every])
    axes.grid()
