"""A finished comparison, as a script or a notebook has it in hand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from maibench.evaluation.run import read_run
from maibench.evaluation.statistics.frames import Summary

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(repr=False)
class Run:
    """A finished comparison; in a notebook it shows its main table.

    folder: where everything lies. summary: every frame of the report, of which `metrics`, `per_generator` and
    `comparisons` are three. scored: batches that this call computed, summed over detectors. clean: False where a
    detector failed, or images failed under `strict`.
    """

    folder: Path
    summary: Summary
    scored: int
    clean: bool

    @property
    def metrics(self) -> pd.DataFrame:
        """metrics.csv: a row a detector and perturbation."""
        return self.summary.metrics

    @property
    def per_generator(self) -> pd.DataFrame:
        """per_generator.csv: a row a detector, perturbation and generator."""
        return self.summary.per_generator

    @property
    def comparisons(self) -> pd.DataFrame:
        """comparisons.csv: a row a pair of detectors and perturbation."""
        return self.summary.comparisons

    @property
    def predictions(self) -> pd.DataFrame:
        """A row an image, perturbation and detector, read from the run's folder."""
        from maibench.evaluation.store import read_predictions

        keys = {entry["label"]: entry["key"] for entry in read_run(self.folder)["detectors"]}
        return read_predictions(self.folder, keys)

    def plot_roc(self, path: str | Path | None = None) -> Figure:
        """The ROC curves, a detector each, with AUC and its interval in the legend. path: written there too, as its
        ending says (.svg, .png, .pdf). Raises MaibenchError as `plot` does."""
        return self.plot("roc", path)

    def plot(self, name: str, path: str | Path | None = None) -> Figure:
        """A figure of the report by its name ("roc_low", "heatmap", "robustness", ...), which a notebook shows.

        Raises MaibenchError for a name that there is not, for a figure that these numbers have no data for, and for
        an ending that is none of .svg, .png and .pdf.
        """
        from maibench.evaluation.figures import draw

        return draw(self.summary, name, None if path is None else Path(path))

    def __repr__(self) -> str:
        detectors = ", ".join(self.metrics["detector"].unique())
        return f"<Run of {detectors} in {self.folder}{'' if self.clean else ', not clean'}>"

    def _repr_html_(self) -> str:
        from maibench.evaluation.tables.html_table import html

        return html(self.summary, read_run(self.folder))
