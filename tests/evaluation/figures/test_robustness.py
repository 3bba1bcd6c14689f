"""Robustness: curves with bands, and dots for what has no severity."""

import numpy as np
import pytest

pytestmark = pytest.mark.filterwarnings("error")


def panels(figure):
    """{label of the x axis: (panel of the accuracy, panel of the AUC)}"""
    places = {
        (spec.rowspan.start, spec.colspan.start): axes for axes in figure.axes if (spec := axes.get_subplotspec())
    }
    return {axes.get_xlabel(): (places[i - 1, j], axes) for (i, j), axes in places.items() if axes.get_xlabel()}


def test_a_family_has_two_panels_with_its_points_and_bands(summary, draw):
    full = summary()
    found = panels(draw(full, "robustness")["robustness"])
    assert list(found) == ["JPEG quality", "WebP quality", "scale", "blur, sigma in pixels", "noise, sigma of 255"]
    rows = full.robustness.query("family == 'jpeg' and suite == 'codec' and detector == 'mai_cnn'")
    rows = rows.sort_values("severity")
    for axes, metric in zip(found["JPEG quality"], ("accuracy", "auc"), strict=True):
        assert axes.lines[1].get_xydata() == pytest.approx(rows[["severity", metric]].to_numpy(dtype=float))
        band = axes.collections[1].get_paths()[0].vertices[:, 1]
        assert band.min() == pytest.approx(rows[f"{metric}_lo"].min())
        assert band.max() == pytest.approx(rows[f"{metric}_hi"].max())


def test_pictures_get_worse_to_the_right_where_severity_is_a_quality(summary, draw):
    found = panels(draw(summary(), "robustness")["robustness"])
    (_, jpeg), (_, blur), (_, scale) = (found[name] for name in ("JPEG quality", "blur, sigma in pixels", "scale"))
    assert jpeg.get_xlim()[0] > jpeg.get_xlim()[1] and blur.get_xlim()[0] < blur.get_xlim()[1]
    assert [tick.get_text() for tick in jpeg.get_xticklabels()] == ["50", "75", "100"]
    assert scale.get_xscale() == "log"


def test_panels_share_one_scale(summary, draw):
    figure = draw(summary(), "robustness")["robustness"]
    assert len({axes.get_ylim() for axes in figure.axes}) == 1


def test_without_intervals_there_are_no_bands(summary, draw):
    full = summary()
    for column in ("accuracy_lo", "accuracy_hi", "auc_lo", "auc_hi"):
        full.robustness[column] = np.nan
    assert not any(axes.collections for axes in draw(full, "robustness")["robustness"].axes)


def test_an_unknown_family_is_named_and_one_without_severities_is_among_the_dots(summary, draw):
    full = summary(("bailu",))
    full.robustness["family"] = full.robustness["family"].replace({"blur": "<fog>", "noise": "flip"})
    full.robustness.loc[full.robustness["family"] == "flip", "severity"] = np.nan
    full.robustness["perturbation"] = full.robustness["perturbation"].replace({"noise:5": "flip:h"})
    figures = draw(full, "robustness", "robustness_dots")
    assert "<fog>" in panels(figures["robustness"])
    assert "flip:h" in [label.get_text() for label in figures["robustness_dots"].axes[0].get_yticklabels()]


def dots(axes):
    """Per detector {rounded height: value}."""
    lines = [line for line in axes.lines if line.get_marker() not in ("None", None, "", "|", "_")]
    return [{round(y): x for x, y in line.get_xydata()} for line in lines]


def test_dots_come_in_order_and_of_an_attack_only_those_made_on_the_detector_itself(summary, draw):
    full = summary(("bailu", "mai_cnn", "metadata"))
    accuracy, auc = draw(full, "robustness_dots")["robustness_dots"].axes
    labels = [label.get_text() for label in accuracy.get_yticklabels()]
    chains = ["resize:0.5+jpeg:75", "longest:1080+sharpen:30+jpeg:71"]
    assert labels == ["undisturbed", *chains, "attack:pgd:1", "attack:pgd:2"]
    assert accuracy.get_ylim()[0] > accuracy.get_ylim()[1], "the first is at the top"
    bailu, _, metadata = dots(auc)
    own = full.robustness.query("detector == 'bailu' and perturbation == 'attack:pgd:2@bailu'")
    assert bailu[4] == pytest.approx(own["auc"].item()) and sorted(bailu) == [0, 1, 2, 3, 4]
    assert sorted(metadata) == [0, 1, 2], "it cannot be attacked"
    assert bailu[0] == pytest.approx(0.95)
