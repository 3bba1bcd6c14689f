"""Heat maps with their numbers: detectors by generators, and detectors by whom an attack was made on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from maibench.evaluation.figures.drawing import drawable, fitting, text_width
from maibench.evaluation.figures.parts import SMALL, with_numbers
from maibench.evaluation.tables.formats import EMPTY
from maibench.evaluation.tables.report_tables import (
    detectors,
    is_empty,
    per_generator_rows,
    shown_perturbation,
    was_seen,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from maibench.evaluation.statistics.frames import Summary

# More generators than this stand below each other.
_WIDE = 8

# Dark is good: perceptually uniform, and told apart by the colour-blind and in grey.
_COLOURS = "cividis_r"
_MISSING = "#f2f2f2"

# Inches: a cell, the longest name, and the colour bar.
_CELL_WIDTH, _CELL_HEIGHT, _NAME = 0.48, 0.2, 1.6
_BAR_HEIGHT, _BAR_WIDTH = 0.08, 1.6


@dataclass(frozen=True)
class Grid:
    """Numbers in cells: title above, names of rows and columns, values (rows, columns), marks behind them."""

    title: str
    rows: list[str]
    columns: list[str]
    values: np.ndarray
    marks: np.ndarray


def heatmap(summary: Summary) -> Figure | None:
    """AUC of each detector (a row, or a column where there are many generators) on each generator, with `*` behind it
    where the detector was trained on the generator. Colours from 0.5 to 1; below they stay at 0.5's."""
    rows = per_generator_rows(summary)
    names, known = list(dict.fromkeys(row["generator"] for row in rows)), detectors(summary)
    values, marks = np.full((len(known), len(names)), np.nan), np.full((len(known), len(names)), "")
    for row in rows:
        at = known.index(row["detector"]), names.index(row["generator"])
        values[at] = np.nan if is_empty(row["auc"]) else row["auc"]
        marks[at] = "*" if was_seen(row["seen"]) else ""
    if not np.isfinite(values).any():
        return None
    name = shown_perturbation(summary)
    title = "" if name == "none" else f"images after {drawable(str(name))}"
    grid = Grid(title, known, names, values, marks)
    if len(names) > _WIDE:
        grid = Grid(title, names, known, values.T, marks.T)
    below = "* trained on this generator" if (marks == "*").any() else ""
    return draw_grids([grid], (0.5, 1), "AUC", below)


def transfer(summary: Summary) -> Figure | None:
    """Accuracy of each detector (column) on images attacked to deceive each detector (row), one map an attack; its
    first row is of undisturbed images. Colours from 0 to 1."""
    rows = with_numbers(summary.transfer, "accuracy")
    known = detectors(summary)
    rows = rows[rows["detector"].isin(known)]
    grids = []
    for attack, group in rows.groupby("perturbation", sort=False):
        made_on = list(dict.fromkeys(group["made_on"]))
        values = np.full((len(made_on), len(known)), np.nan)
        for row in group.to_dict("records"):
            values[made_on.index(row["made_on"]), known.index(row["detector"])] = row["accuracy"]
        names = ["no attack" if name == "none" else f"on {name}" for name in made_on]
        if set(made_on) != {"none"}:
            grids.append(Grid(drawable(attack), names, known, values, np.full(values.shape, "")))
    return draw_grids(grids, (0, 1), "accuracy", "") if grids else None


def draw_grids(grids: list[Grid], limits: tuple[float, float], measure: str, below: str) -> Figure:
    """The grids below each other with one colour bar; cells have one size, and the figure grows with them."""
    from maibench.evaluation.figures.shown_figure import ShownFigure

    # Names lie outside the axes, and save_pictures() cuts the figure to what is drawn.
    headers = [0.25 + 0.25 * bool(grid.title) + _name_height(grid) for grid in grids]
    heights = [len(grid.rows) * _CELL_HEIGHT for grid in grids]
    width = max(len(grid.columns) for grid in grids) * _CELL_WIDTH
    total = sum(headers) + sum(heights) + 0.7
    figure = ShownFigure(figsize=(width, total))
    top, mesh = total, None
    for grid, header, height in zip(grids, headers, heights, strict=True):
        top -= header + height
        share = len(grid.columns) * _CELL_WIDTH / width
        mesh = _cells(figure.add_axes((0, top / total, share, height / total)), grid, limits)
    bar = figure.add_axes((0, (top - 0.2) / total, _BAR_WIDTH / width, _BAR_HEIGHT / total))
    lowest = "min" if limits[0] > 0 else "neither"
    drawn: Any = mesh
    colours = figure.colorbar(drawn, cax=bar, orientation="horizontal", extend=lowest, ticks=np.linspace(*limits, 6))
    colours.outline.set_visible(False)
    bar.tick_params(length=2, pad=1)
    bar.set_xlabel(measure + (f"\n{below}" if below else ""), fontsize=SMALL, labelpad=1)
    return figure


def _cells(axes, grid: Grid, limits: tuple[float, float]) -> Any:
    from matplotlib import colormaps

    colours = colormaps[_COLOURS].with_extremes(bad=_MISSING)
    mesh = axes.pcolormesh(
        np.ma.masked_invalid(grid.values),
        cmap=colours,
        vmin=limits[0],
        vmax=limits[1],
        edgecolors="white",
        linewidth=0.8,
    )
    axes.invert_yaxis()
    for (i, j), value in np.ndenumerate(grid.values):
        known = bool(np.isfinite(value))
        text = f"{value:.2f}{grid.marks[i, j]}" if known else EMPTY
        shade = "white" if known and _is_dark(mesh.to_rgba(value)) else "black"
        axes.text(j + 0.5, i + 0.52, text, ha="center", va="center", fontsize=SMALL, color=shade)
    turned = {"rotation": 45, "ha": "left", "rotation_mode": "anchor"} if _is_turned(grid) else {}
    axes.set_xticks(
        np.arange(len(grid.columns)) + 0.5, [fitting(name, _NAME, SMALL) for name in grid.columns], **turned
    )
    axes.set_yticks(np.arange(len(grid.rows)) + 0.5, [fitting(name, _NAME, SMALL) for name in grid.rows])
    axes.tick_params(length=0, top=False, bottom=False, labeltop=True, labelbottom=False, pad=3)
    axes.spines[:].set_visible(False)
    if grid.title:
        axes.set_title(grid.title, loc="left", pad=8)
    return mesh


def _is_turned(grid: Grid) -> bool:
    """Whether names of columns are wider than the columns."""
    return _longest(grid) > _CELL_WIDTH


def _name_height(grid: Grid) -> float:
    return _longest(grid) * 0.71 if _is_turned(grid) else 0.1


def _longest(grid: Grid) -> float:
    return max(text_width(fitting(name, _NAME, SMALL), SMALL) for name in grid.columns)


def _is_dark(colour: tuple[float, ...]) -> bool:
    """Whether white contrasts more with an sRGB colour than black does (WCAG 2.2, relative luminance)."""
    parts = np.array(colour[:3])
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722)) < 0.179
