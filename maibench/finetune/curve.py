"""The learning curve, as CSV and as a picture."""

from __future__ import annotations

import csv
import time
from pathlib import Path

from maibench.evaluation.figures.drawing import drawable, style
from maibench.files import write_whole

REDRAWN = 60.0
"""Seconds after which the picture of a running training is drawn anew: it takes longer than a small validation."""


class Curve:
    """The picture of a running training, beside its curve.csv."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._drawn = time.monotonic()

    def draw(self, at_once: bool) -> None:
        """Draw curve.png, at once or where the last one is old."""
        if at_once or time.monotonic() - self._drawn > REDRAWN:
            plot_curve(self._folder / "curve.csv", self._folder / "curve.png")
            self._drawn = time.monotonic()


def append_curve(file: Path, row: dict[str, float]) -> None:
    """Add a row. A row of the same or a later step, of a run that was stopped and gone on with, is replaced."""
    rows = [*(known for known in read_curve(file) if known["step"] < row["step"]), row]
    columns = dict.fromkeys(name for known in rows for name in known)  # a data set may have been renamed meanwhile

    def write(part: Path) -> None:
        with open(part, "w", newline="") as stream:
            writer = csv.DictWriter(stream, list(columns))
            writer.writeheader()
            writer.writerows(rows)

    write_whole(file, write)


def read_curve(file: Path) -> list[dict[str, float]]:
    """The rows of a curve; none where there is no file."""
    if not file.is_file():
        return []
    with open(file, newline="") as stream:
        rows = [{name: float(value or "nan") for name, value in row.items()} for row in csv.DictReader(stream)]
    return [row | {"step": int(row["step"])} for row in rows]


def plot_curve(table: Path, picture: Path) -> None:
    """Loss above, validation AUC below: the mean, and each data set's."""
    rows = read_curve(table)
    steps = [row["step"] for row in rows]
    with style():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6, 4.5), layout="constrained")
        above, below = figure.subplots(2, 1, sharex=True)
        above.plot(steps, [row["loss"] for row in rows], color="#000000", marker=".")
        above.set_ylabel("training loss")
        below.plot(steps, [row["auc"] for row in rows], color="#000000", marker=".", linewidth=2, label="mean")
        for name in [name for name in rows[0] if name.endswith("_auc")]:
            below.plot(steps, [row[name] for row in rows], linewidth=1, label=drawable(name.removesuffix("_auc")))
        below.set_ylabel("validation AUC")
        below.set_xlabel("optimiser steps")
        below.legend(loc="center left", bbox_to_anchor=(1, 0.5))  # beside the curves, not on them
        for axes in (above, below):
            axes.grid(color="#eeeeee", linewidth=0.6)
        write_whole(picture, lambda part: figure.savefig(part, dpi=120, format="png"))
