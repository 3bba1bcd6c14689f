"""Every figure of a report, and how they are all written."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from maibench.errors import MaibenchError
from maibench.evaluation.figures.ageing import released
from maibench.evaluation.figures.costs import cost
from maibench.evaluation.figures.curves import generators, roc, roc_low
from maibench.evaluation.figures.drawing import FORMATS, picture_paths, save_picture, save_pictures, style
from maibench.evaluation.figures.heatmaps import heatmap, transfer
from maibench.evaluation.figures.ranking import comparisons, ranks
from maibench.evaluation.figures.robustness import robustness, robustness_dots
from maibench.evaluation.figures.scores import histograms, reliability, risk_coverage

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from maibench.evaluation.statistics.frames import Summary


@dataclass(frozen=True)
class Picture:
    """A figure of a report: its files' name, its heading, what a screen reader says, and what draws it.

    draw: the figure, drawn within `drawing.style()`; None where the summary has no data for it.
    """

    name: str
    title: str
    alt: str
    draw: Callable[[Summary], Figure | None]


FIGURES = (
    Picture("roc", "ROC", "ROC curves of all detectors over all generators", roc),
    Picture(
        "roc_low",
        "ROC at few false positives",
        "The same ROC curves with the false positive rate on a logarithmic axis",
        roc_low,
    ),
    Picture("generators", "ROC per generator", "ROC curves of all detectors, one panel a generator", generators),
    Picture(
        "heatmap", "AUC per generator", "Heat map: the AUC of each detector on each generator, as numbers", heatmap
    ),
    Picture(
        "histograms",
        "Scores by class",
        "Histograms of P(synthetic) of real and of synthetic images, one panel a detector",
        histograms,
    ),
    Picture(
        "reliability",
        "Reliability",
        "Reliability diagrams, one panel a detector: share of synthetic images against the mean score, raw and "
        "calibrated",
        reliability,
    ),
    Picture(
        "risk_coverage",
        "Accuracy against the share answered",
        "Accuracy of each detector among the images it is surest of, against their share",
        risk_coverage,
    ),
    Picture(
        "robustness",
        "Robustness",
        "Accuracy and AUC of each detector against the severity of perturbations and attacks, a column a kind",
        robustness,
    ),
    Picture(
        "robustness_dots",
        "Robustness to what has no severity",
        "Accuracy and AUC of each detector under perturbations that have no scale, as chains, turns and attacks of one "
        "strength, as dots with intervals",
        robustness_dots,
    ),
    Picture(
        "transfer",
        "Transfer of attacks",
        "Heat map: the accuracy of each detector on images attacked to deceive each detector, as numbers",
        transfer,
    ),
    Picture(
        "comparisons",
        "Differences between detectors",
        "Differences of AUC and accuracy of every two detectors with their intervals and the line of no difference",
        comparisons,
    ),
    Picture(
        "ranks",
        "Mean ranks",
        "Critical difference diagram: mean ranks of the detectors, with bars that join those not told apart",
        ranks,
    ),
    Picture(
        "released",
        "Accuracy and AUC against release dates",
        "Balanced accuracy and AUC of each detector on each generator against the date that the generator came out",
        released,
    ),
    Picture(
        "cost",
        "Quality against cost",
        "Accuracy and AUC of each detector against milliseconds an image and against its number of parameters",
        cost,
    ),
)
"""In the order of a report."""


def plot_all(summary: Summary, folder: str | Path) -> dict[str, list[Path]]:
    """Write every figure that the summary has data for as NAME.svg, NAME.png and NAME.pdf; {name: those paths}.

    Pictures of an earlier report in the folder that have no data now are removed. Same numbers, same bytes.
    """
    return _plot(FIGURES, summary, folder)


def plot_ranks(summary: Summary, folder: str | Path) -> dict[str, list[Path]]:
    """The same with the figure of the ranks alone, for reports that have no other."""
    return _plot([picture for picture in FIGURES if picture.name == "ranks"], summary, folder)


def draw(summary: Summary, name: str, path: Path | None = None) -> Figure:
    """The figure of this name of `FIGURES`; written to `path` too where one is given.

    Raises MaibenchError for an unknown name or ending, and where the summary has no data for it.
    """
    known = {picture.name: picture for picture in FIGURES}
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise MaibenchError(f"there is no figure '{name}': {hint}there are {', '.join(known)}")
    if path is not None and path.suffix[1:] not in FORMATS:
        raise MaibenchError(f"{path}: a figure is written as one of {', '.join(f'.{ending}' for ending in FORMATS)}")
    with style():
        figure = known[name].draw(summary)
        if figure is None:
            raise MaibenchError(f"these predictions have no data for the figure '{name}'")
        if path is not None:
            save_picture(figure, path)
    return figure


def _plot(pictures: Iterable[Picture], summary: Summary, folder: str | Path) -> dict[str, list[Path]]:
    written = {}
    with style():
        for picture in pictures:
            figure = picture.draw(summary)
            if figure is None:
                for path in picture_paths(folder, picture.name):
                    path.unlink(missing_ok=True)
            else:
                written[picture.name] = save_pictures(figure, folder, picture.name)
    return written
