"""Figures: the files a report needs, readable, the same for the same numbers, whatever the names."""

import xml.etree.ElementTree as ElementTree

import matplotlib
import pandas as pd
import pytest
from matplotlib.figure import Figure

from maibench.evaluation import figures
from maibench.evaluation.summary import Summary


def make_summary(detectors=("bailu", "mai_cnn"), generators=("sd15", "sdxl"), seen=None, perturbations=("none",)):
    """Two detectors with curves of three points; `seen` maps (detector, generator) to what per_generator.csv says."""
    metrics, per_generator, roc = [], [], []
    for perturbation in perturbations:
        for i, detector in enumerate(detectors):
            key = {"detector": detector, "perturbation": perturbation}
            metrics.append(key | {"auc": 0.9 - 0.1 * i, "auc_lo": 0.8 - 0.1 * i, "auc_hi": 0.95 - 0.1 * i})
            for generator in ("all", *generators):
                for x, y in ((0.0, 0.0), (0.1, 0.8 - 0.1 * i), (1.0, 1.0)):
                    roc.append(key | {"generator": generator, "fpr": x, "tpr": y, "threshold": 1 - x})
            for generator in generators:
                state = (seen or {}).get((detector, generator))
                counts = {"n_real": 40, "n_synthetic": 20, "auc": 0.85, "seen": state}
                per_generator.append(key | {"generator": generator} | counts)
    return Summary(pd.DataFrame(metrics), pd.DataFrame(per_generator), pd.DataFrame(roc))


@pytest.fixture
def drawn(monkeypatch):
    """The figures as they are saved, so that a test can read what is on them."""
    saved = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: (saved.append(self), save(self, *a, **k))[1])
    return saved


def texts(figure):
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text) if text.get_text()]


def curves(axes):
    """The detectors' lines of a panel, without the diagonal."""
    return [line for line in axes.lines if list(line.get_xdata()) != [0, 1]]


@pytest.mark.parametrize("plot", [figures.plot_roc, figures.plot_generators])
def test_both_formats_are_written_and_svg_is_xml(plot, tmp_path):
    paths = plot(make_summary(), tmp_path / "new")
    assert [path.suffix for path in paths] == [".svg", ".png"]
    assert ElementTree.parse(paths[0]).getroot().tag.endswith("svg")
    assert paths[1].read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("plot", [figures.plot_roc, figures.plot_generators])
def test_same_numbers_same_bytes(plot, tmp_path):
    first, second = plot(make_summary(), tmp_path / "a"), plot(make_summary(), tmp_path / "b")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_user_settings_neither_change_the_figure_nor_get_changed(tmp_path):
    plain = figures.plot_roc(make_summary(), tmp_path / "a")[0].read_bytes()
    with matplotlib.rc_context({"font.size": 30, "svg.hashsalt": "mine", "lines.linewidth": 9}):
        styled = figures.plot_roc(make_summary(), tmp_path / "b")[0].read_bytes()
        assert matplotlib.rcParams["font.size"] == 30 and matplotlib.rcParams["svg.hashsalt"] == "mine"
    assert styled == plain


def test_roc_draws_the_points_of_the_summary_in_the_order_of_the_table(tmp_path, drawn):
    figures.plot_roc(make_summary(detectors=("zebra", "ant")), tmp_path)
    axes = drawn[0].axes[0]
    assert [list(line.get_ydata()) for line in curves(axes)] == [[0, 0.8, 1], [0, 0.7000000000000001, 1]]
    labels = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert labels == ["zebra   AUC 0.900 [0.80, 0.95]", "ant   AUC 0.800 [0.70, 0.85]"]
    assert axes.get_aspect() == 1


def test_roc_shows_undisturbed_images_where_there_are_any(tmp_path, drawn):
    figures.plot_roc(make_summary(perturbations=("jpeg:75", "none")), tmp_path)
    assert len(curves(drawn[0].axes[0])) == 2
    assert "jpeg" not in " ".join(texts(drawn[0]))
    drawn.clear()
    figures.plot_roc(make_summary(perturbations=("jpeg:75", "blur:1.0")), tmp_path)
    assert "ROC, all generators, perturbation jpeg:75" in texts(drawn[0])


def test_a_detector_looks_the_same_everywhere_and_unlike_the_others(tmp_path, drawn):
    names = [f"d{i}" for i in range(12)]
    figures.plot_roc(make_summary(detectors=names), tmp_path)
    figures.plot_generators(make_summary(detectors=names), tmp_path)
    looks = [
        [(line.get_color(), str(line._unscaled_dash_pattern)) for line in curves(axes)]
        for axes in (drawn[0].axes[0], *drawn[-1].axes)
    ]
    assert looks[0] == looks[1] == looks[2]
    assert len(set(looks[0])) == 12


@pytest.mark.parametrize("n", [1, 2, 4, 5, 11, 20])
def test_a_panel_a_generator(n, tmp_path, drawn):
    names = [f"g{i}" for i in range(n)]
    figures.plot_generators(make_summary(generators=names), tmp_path)
    visible = [axes for axes in drawn[0].axes if axes.get_visible()]
    assert [axes.get_title(loc="left") for axes in visible] == names
    assert all(len(curves(axes)) == 2 for axes in visible)
    assert "20 synthetic, 40 real" in texts(visible[0])


def test_unseen_needs_a_detector_that_declares_and_none_that_saw(tmp_path, drawn):
    seen = {("bailu", "sd15"): True, ("mai_cnn", "sd15"): False, ("bailu", "sdxl"): False}
    figures.plot_generators(make_summary(generators=("sd15", "sdxl", "flux"), seen=seen), tmp_path)
    unseen = [any("unseen" in text for text in texts(axes)) for axes in drawn[0].axes]
    assert unseen == [False, True, False]


@pytest.mark.parametrize("name", ["$x", r"$\frac$", "_hidden", "x" * 300, "two\nlines", "<script>"])
def test_names_are_drawn_as_they_are(name, tmp_path):
    summary = make_summary(detectors=(name, "b"), generators=(name, "g"))
    for path in (figures.plot_roc(summary, tmp_path)[0], figures.plot_generators(summary, tmp_path)[0]):
        size = ElementTree.parse(path).getroot().get("viewBox").split()
        assert float(size[2]) < 700, "a long name must not stretch the figure"


def test_a_detector_without_a_curve_stays_in_the_legend(tmp_path, drawn):
    summary = make_summary()
    summary.roc = summary.roc[summary.roc["detector"] != "bailu"]
    figures.plot_roc(summary, tmp_path)
    assert drawn[0].legends[0].get_texts()[0].get_text() == "bailu   no curve"


@pytest.mark.parametrize("plot", [figures.plot_roc, figures.plot_generators])
def test_no_curve_at_all_is_said_in_words(plot, tmp_path, drawn):
    summary = make_summary()
    summary.roc = summary.roc[:0]
    paths = plot(summary, tmp_path)
    assert all(path.stat().st_size > 0 for path in paths)
    assert any("needs scored images of both classes" in text for text in texts(drawn[0]))
