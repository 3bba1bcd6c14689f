"""Robustness: curves with bands, and dots for what has no severity."""

import numpy as np
import pandas as pd
import pytest

LABELS = {"resize": "scale", "blur": "blur, sigma in pixels"}
PGD = "PGD on the detector\nitself, eps of 255"


def panels(figure):
    """{label of the x axis: (panel of the accuracy, panel of the AUC)}"""
    places = {
        (spec.rowspan.start, spec.colspan.start): axes for axes in figure.axes if (spec := axes.get_subplotspec())
    }
    return {axes.get_xlabel(): (places[i - 1, j], axes) for (i, j), axes in places.items() if axes.get_xlabel()}


def curves(axes):
    """The points (k, 2) of each detector's curve."""
    return [line.get_xydata() for line in axes.lines if line.get_linestyle() != "None"]


def hollow(axes):
    """(x, y) of each detector's hollow marker."""
    return [line.get_xydata()[0] for line in axes.lines if line.get_markerfacecolor() == "white"]


def test_a_family_has_two_panels_with_its_points_and_bands(summary, draw):
    full = summary()
    found = panels(draw(full, "robustness")["robustness"])
    assert list(found) == ["JPEG quality", "WebP quality", "scale", "blur, sigma in pixels", "noise, sigma of 255", PGD]
    rows = full.robustness.query("family == 'blur' and suite == 'codec' and detector == 'mai_cnn'")
    rows = rows.sort_values("severity")
    for axes, metric in zip(found["blur, sigma in pixels"], ("accuracy", "auc"), strict=True):
        assert curves(axes)[1] == pytest.approx(rows[["severity", metric]].to_numpy(dtype=float))
        band = axes.collections[1].get_paths()[0].vertices[:, 1]
        assert band.min() == pytest.approx(rows[f"{metric}_lo"].min())
        assert band.max() == pytest.approx(rows[f"{metric}_hi"].max())


def test_pictures_get_worse_to_the_right_where_severity_is_a_quality(summary, draw):
    found = panels(draw(summary(), "robustness")["robustness"])
    (_, jpeg), (_, blur), (_, scale) = (found[name] for name in ("JPEG quality", "blur, sigma in pixels", "scale"))
    assert jpeg.get_xlim()[0] > jpeg.get_xlim()[1] and blur.get_xlim()[0] < blur.get_xlim()[1]
    assert [tick.get_text() for tick in jpeg.get_xticklabels()] == ["none", "100", "75", "50"]
    assert scale.get_xscale() == "log"


def test_undisturbed_images_stand_apart_where_quality_100_was_measured_too(summary, draw, texts):
    full = summary(("bailu",))
    figure = draw(full, "robustness")["robustness"]
    jpeg, _ = panels(figure)["JPEG quality"]
    (x, y), (hollow_x, hollow_y) = curves(jpeg)[0].T, hollow(jpeg)[0]
    rows = full.robustness.query("family == 'jpeg' and suite == 'codec'").set_index("perturbation")["accuracy"]
    assert x[:3].tolist() == [50, 75, 95] and x[3] == 100 < x[4] == hollow_x
    assert y[3] == rows["jpeg:100"] != rows["none"] == y[4] == hollow_y
    assert x[4] - x[3] < 50, "one step"
    (line,) = [line for line in jpeg.lines if line.get_linestyle() != "None"]
    assert line.get_markevery() == [0, 1, 2, 3] and "undisturbed" in texts(figure)


def test_the_place_of_undisturbed_images_is_called_none_even_if_it_is_at_100(summary, draw):
    full = summary(("bailu",))
    rows = full.robustness.query("family == 'webp'")
    more = [rows.assign(perturbation=f"webp:{q}", severity=q) for q in (90, 50)]
    full.robustness = pd.concat([rows[rows["perturbation"] == "none"], *more])
    (_, axes) = panels(draw(full, "robustness")["robustness"])["WebP quality"]
    assert hollow(axes)[0][0] == 100
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["none", "90", "50"]


@pytest.mark.parametrize(
    ("family", "severity", "ticks"),
    [("resize", 1, ["none", "0.5", "1", "2"]), ("blur", 0, ["none", "0", "1", "2"])],
)
def test_undisturbed_images_stand_apart_where_their_value_was_measured_too(family, severity, ticks, summary, draw):
    full = summary(("bailu",))
    row = full.robustness.query(f"family == '{family}' and perturbation != 'none'").iloc[[0]]
    row = row.assign(perturbation=f"{family}:{severity}", severity=severity, accuracy=0.123)
    full.robustness = pd.concat([full.robustness, row])
    axes, below = panels(draw(full, "robustness")["robustness"])[LABELS[family]]
    assert [tick.get_text() for tick in below.get_xticklabels()] == ticks
    x, y = curves(axes)[0].T
    assert y[x == severity].tolist() == [0.123]
    assert len(x) == (3 if family == "resize" else 4), "undisturbed images are no end of the scales"
    apart, value = hollow(axes)[0]
    assert value == pytest.approx(0.92) and apart <= x.min() and apart < severity


def test_a_family_without_a_value_that_changes_nothing_has_its_undisturbed_point(summary, draw):
    full = summary(("bailu",))
    full.robustness = full.robustness[full.robustness["family"] == "blur"]
    full.robustness["family"] = "longest"
    full.robustness["severity"] = full.robustness["severity"].replace({0: np.nan, 1: 512, 2: 1024})
    _, axes = panels(draw(full, "robustness")["robustness"])["longest side in pixels"]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["none", "1024", "512"]
    assert hollow(axes)[0][0] > 1024


def test_an_attack_of_several_eps_is_a_curve_of_each_detector_under_those_on_itself(summary, draw):
    full = summary(("bailu", "mai_cnn", "metadata"))
    figures = draw(full, "robustness", "robustness_dots")
    accuracy, auc = panels(figures["robustness"])[PGD]
    for axes, metric in ((accuracy, "accuracy"), (auc, "auc")):
        drawn = curves(axes)
        assert len(drawn) == 2, "metadata cannot be attacked"
        for name, points in zip(("bailu", "mai_cnn"), drawn, strict=True):
            own = full.robustness.query(f"detector == '{name}' and family == 'attack:pgd@{name}'")
            assert points == pytest.approx(own[["severity", metric]].to_numpy(dtype=float))
            assert points[0, 0] == 0 and len(points) == 3
    labels = [label.get_text() for label in figures["robustness_dots"].axes[0].get_yticklabels()]
    assert [label for label in labels if "attack" in label] == ["attack:fgsm:4"], "a single eps is a dot"


def test_mirrors_and_turns_are_dots(summary, draw):
    full = summary(("bailu",))
    full.robustness = full.robustness[full.robustness["family"].isin(["flip", "rot90"])]
    figures = draw(full, "robustness", "robustness_dots")
    assert list(figures) == ["robustness_dots"]
    accuracy, _ = figures["robustness_dots"].axes
    labels = [label.get_text() for label in accuracy.get_yticklabels()]
    assert labels == ["undisturbed", "flip:1", "flip:0", "rot90:1", "rot90:2"]
    assert dots(accuracy)[0] == pytest.approx({0: 0.92, 1: 0.91, 2: 0.89, 3: 0.91, 4: 0.89})


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


TURNS = ("flip:1", "flip:0", "rot90:1", "rot90:2")


def dots(axes):
    """Per detector {rounded height: value}."""
    lines = [line for line in axes.lines if line.get_marker() not in ("None", None, "", "|", "_")]
    return [{round(y): x for x, y in line.get_xydata()} for line in lines]


def test_dots_come_in_order_and_of_an_attack_only_those_made_on_the_detector_itself(summary, draw):
    full = summary(("bailu", "mai_cnn", "metadata"))
    accuracy, auc = draw(full, "robustness_dots")["robustness_dots"].axes
    labels = [label.get_text() for label in accuracy.get_yticklabels()]
    chains = ["resize:0.5+jpeg:75", "longest:1080+sharpen:30+jpeg:71"]
    assert labels == ["undisturbed", *TURNS, *chains, "attack:fgsm:4"]
    assert accuracy.get_ylim()[0] > accuracy.get_ylim()[1], "the first is at the top"
    bailu, _, metadata = dots(auc)
    own = full.robustness.query("detector == 'bailu' and perturbation == 'attack:fgsm:4@bailu'")
    assert bailu[7] == pytest.approx(own["auc"].item()) and sorted(bailu) == list(range(8))
    assert sorted(metadata) == list(range(7)), "it cannot be attacked"
    assert bailu[0] == pytest.approx(0.95)
