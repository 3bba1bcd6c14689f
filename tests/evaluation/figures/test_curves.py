"""ROC curves: their points, their legends, and one panel a generator."""

import numpy as np
import pytest

from maibench.evaluation.figures.drawing import line_style
from maibench.evaluation.statistics.frames import frame


def with_curve(summary, points):
    """The summary with these points (fpr, tpr) as every ROC curve."""
    keys = summary.roc[["detector", "perturbation", "generator"]].drop_duplicates().to_dict("records")
    summary.roc = frame("roc", [key | {"fpr": x, "tpr": y, "threshold": 0.5} for key in keys for x, y in points])
    return summary


def curves(axes):
    """The detectors' curves of a panel, without diagonal and samples."""
    lines = [line for line in axes.lines if line.get_transform() == axes.transData]
    return [line for line in lines if line.get_color() != "#bbbbbb"]


def test_the_points_are_those_of_the_summary_in_the_order_of_the_table(summary, draw):
    figure = draw(with_curve(summary(("zebra", "ant")), [(0, 0), (0.1, 0.8), (1, 1)]), "roc")["roc"]
    (axes,) = figure.axes
    assert [line.get_xydata().tolist() for line in curves(axes)] == [[[0, 0], [0.1, 0.8], [1, 1]]] * 2
    assert [line.get_color() for line in curves(axes)] == [line_style(i)["color"] for i in (0, 1)]
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["zebra   AUC 0.950 [0.92, 0.98]", "ant   AUC 0.910 [0.88, 0.94]"]


def test_a_detector_without_a_curve_stays_in_the_legend(summary, draw):
    full = summary()
    full.roc = full.roc[full.roc["detector"] != "bailu"]
    figure = draw(full, "roc")["roc"]
    assert [text.get_text().split("   ")[1][:3] for text in figure.legends[0].get_texts()] == ["no ", "AUC"]
    full.roc = full.roc[:0]
    assert draw(full, "roc", "roc_low", "generators") == {}


def test_few_false_positives_are_on_a_log_axis_and_lie_on_the_same_curve(summary, draw):
    points = [(0, 0), (0, 0.4), (0.01, 0.4), (0.01, 0.6), (0.5, 1), (1, 1)]
    (axes,) = draw(with_curve(summary(("a",)), points), "roc_low")["roc_low"].axes
    assert axes.get_xscale() == "log" and axes.get_xlim() == (1 / 4000, 1)
    x, y = curves(axes)[0].get_data()
    assert (np.diff(x) >= 0).all() and (np.diff(y) >= 0).all() and x[0] == 1 / 4000
    assert y[x < 0.0099] == pytest.approx(0.4)
    assert {0.4, 0.6} <= set(y[x == 0.01])
    # between two points the rates are linear, so that the curve is bent on this axis
    middle = np.abs(x - 0.1).argmin()
    assert y[middle] == pytest.approx(0.6 + 0.4 * (x[middle] - 0.01) / 0.49)


@pytest.mark.parametrize(("n_real", "drawn"), [(19, False), (20, True)])
def test_too_few_real_images_have_no_low_rates(n_real, drawn, summary, draw):
    full = summary()
    full.metrics["n_real"] = n_real
    assert bool(draw(full, "roc_low")) == drawn


@pytest.mark.parametrize("n", [1, 2, 4, 5, 11, 20])
def test_a_panel_a_generator(n, summary, draw, texts):
    names = [f"g{i}" for i in range(n)]
    figure = draw(summary(generators=names), "generators")["generators"]
    assert [axes.get_title(loc="left") for axes in figure.axes] == names
    assert all(len(curves(axes)) == 2 for axes in figure.axes)
    assert "100 synthetic, 400 real" in texts(figure.axes[0])


def test_panels_say_each_detectors_auc(summary, draw, texts):
    full = summary()
    full.per_generator["auc"] = [0.111, 0.222, 0.333, np.nan]
    panels = draw(full, "generators")["generators"].axes
    assert {"0.111", "0.333"} <= set(texts(panels[0])) and {"0.222", "–"} <= set(texts(panels[1]))


def test_unseen_needs_a_detector_that_declares_and_none_that_saw(summary, draw, texts):
    seen = {("bailu", "sd15"): True, ("mai_cnn", "sd15"): False, ("bailu", "sdxl"): False}
    panels = draw(summary(generators=("sd15", "sdxl", "flux"), seen=seen), "generators")["generators"].axes
    said = [[line for text in texts(axes) for line in text.split("\n") if "unseen" in line] for axes in panels]
    assert said == [[], ["unseen where declared"], []]


def test_long_curves_are_thinned_to_what_can_be_seen(summary, draw):
    full = summary(("bailu",), ("sd15",), points=5000)
    for name, most in (("roc", 400), ("roc_low", 601), ("generators", 120)):
        (line,) = curves(draw(full, name)[name].axes[0])
        assert most / 4 < len(line.get_xdata()) <= most
        x, y = line.get_data()
        rows = full.roc[full.roc["generator"] == ("all" if name != "generators" else "sd15")]
        assert y == pytest.approx(np.interp(x, rows["fpr"], rows["tpr"]), abs=0.02)
