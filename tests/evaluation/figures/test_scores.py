"""Histograms, reliability and coverage: what is drawn is what is in the frames."""

import numpy as np
import pytest

from maibench.evaluation.figures.drawing import line_style
from maibench.evaluation.statistics.frames import frame


def histogram(summary, counts):
    """The summary with these counts {(label, generator): [n of each bin]} for its first detector."""
    rows = []
    for (label, generator), values in counts.items():
        edges = np.linspace(0, 1, len(values) + 1)
        for lo, hi, n in zip(edges[:-1], edges[1:], values, strict=True):
            key = {"detector": "bailu", "perturbation": "none", "label": label, "generator": generator}
            rows.append(key | {"lo": lo, "hi": hi, "n": n})
    summary.histograms = frame("histograms", rows)
    return summary


def test_bars_are_shares_of_the_class_over_all_generators(summary, draw):
    counts = {(0, "real"): [2, 1, 1, 1], (1, "sd15"): [1, 0, 0, 1], (1, "sdxl"): [0, 0, 2, 1]}
    (axes,) = draw(histogram(summary(), counts), "histograms")["histograms"].axes
    real, synthetic = [patch.get_data() for patch in axes.patches]
    assert real.values.tolist() == [0.4, 0.2, 0.2, 0.2] and synthetic.values.tolist() == [0.2, 0, 0.4, 0.4]
    assert real.edges.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert axes.get_yscale() == "linear"
    assert list(axes.lines[0].get_xdata()) == [0.5, 0.5]
    # told apart without colours
    assert axes.patches[1].get_hatch() and not axes.patches[0].get_hatch()


def test_where_one_bin_holds_most_the_axis_is_logarithmic(summary, draw):
    counts = {(0, "real"): [998, 1, 0, 1], (1, "sd15"): [0, 5, 5, 990]}
    (axes,) = draw(histogram(summary(), counts), "histograms")["histograms"].axes
    assert axes.get_yscale() == "log"
    low, high = axes.get_ylim()
    assert 0 < low < 0.001 and 0.998 < high < 2


def test_a_detector_that_scored_one_class_has_its_panel(summary, draw):
    (axes,) = draw(histogram(summary(), {(1, "sd15"): [1, 1]}), "histograms")["histograms"].axes
    assert len(axes.patches) == 1
    assert draw(histogram(summary(), {(1, "sd15"): [0, 0]}), "histograms") == {}


def test_reliability_draws_each_method_and_its_ece(summary, draw, texts):
    full = summary()
    full.calibration["ece"] = [0.1, 0.02, 0.03, 0.2, np.nan, 0.04]
    figure = draw(full, "reliability")["reliability"]
    rows = full.reliability.query("detector == 'mai_cnn' and method == 'platt'")
    axes = figure.axes[1]
    lines = [line for line in axes.lines if line.get_color() == line_style(1)["color"]]
    assert len(lines) == 3
    assert lines[2].get_xydata() == pytest.approx(rows[["mean_score", "share_synthetic"]].to_numpy())
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["0.200", "–", "0.040"]
    sizes = axes.collections[2].get_sizes()
    assert (np.argsort(sizes, kind="stable") == np.argsort(rows["n"].to_numpy(), kind="stable")).all()
    assert {"raw", "temperature", "Platt"} <= set(texts(figure))


def test_without_validation_images_raw_scores_stand_alone(summary, draw, texts):
    full = summary()
    full.reliability = full.reliability[full.reliability["method"] == "raw"]
    figure = draw(full, "reliability")["reliability"]
    assert "Platt" not in texts(figure) and all(len(axes.collections) == 1 for axes in figure.axes)


def test_coverage_is_drawn_as_it_is(summary, draw):
    full = summary()
    (axes,) = draw(full, "risk_coverage")["risk_coverage"].axes
    rows = full.coverage[full.coverage["detector"] == "mai_cnn"]
    assert axes.lines[1].get_xydata() == pytest.approx(rows[["coverage", "accuracy"]].to_numpy())
    full.coverage["n"] = np.tile(np.arange(1, 201), 2)
    (axes,) = draw(full, "risk_coverage")["risk_coverage"].axes
    assert len(axes.lines[1].get_xdata()) == 191, "from 10 images on"
    assert axes.get_ylim()[0] < full.coverage["accuracy"].min()
