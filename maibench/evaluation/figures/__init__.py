"""Figures of a report, each as SVG, PNG and PDF.

They are made for print: as wide as a paper's column (3.3 inches) or its text (7 inches) with type of 7 points or more,
told apart by the colour-blind and in grey. A detector has the same colour, line and marker in every figure: those of
its place in the table.
"""

from maibench.evaluation.figures.catalogue import FIGURES, Picture, draw, plot_all, plot_ranks

__all__ = ["FIGURES", "Picture", "draw", "plot_all", "plot_ranks"]
