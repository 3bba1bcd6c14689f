"""Heat maps: the number in each cell."""

import numpy as np
import pytest

from maibench.evaluation.figures.drawing import fitting


def cells(axes):
    """{(row, column): text}"""
    return {(int(text.get_position()[1]), int(text.get_position()[0])): text.get_text() for text in axes.texts}


def names(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def test_each_cell_has_its_auc_with_a_star_where_it_was_trained_on(summary, draw, texts):
    full = summary(generators=("sd15", "sdxl", "flux"), seen={("bailu", "sdxl"): True})
    full.per_generator["auc"] = [0.911, 0.922, 0.5, 0.3, np.nan, 1.0]
    figure = draw(full, "heatmap")["heatmap"]
    axes = figure.axes[0]
    assert names(axes.yaxis) == ["bailu", "mai_cnn"] and names(axes.xaxis) == ["sd15", "sdxl", "flux"]
    assert cells(axes) == {
        (0, 0): "0.91",
        (0, 1): "0.92*",
        (0, 2): "0.50",
        (1, 0): "0.30",
        (1, 1): "–",
        (1, 2): "1.00",
    }
    drawn = axes.collections[0].get_array()
    assert drawn[0, 0] == 0.911 and drawn.mask.sum() == 1
    assert any("* trained on this generator" in text for text in texts(figure))


@pytest.mark.parametrize(("n", "turned"), [(8, False), (9, True), (60, True)])
def test_many_generators_stand_below_each_other(n, turned, summary, draw):
    full = summary(generators=[f"generator-{i}" for i in range(n)], seen={("mai_cnn", "generator-3"): True})
    axes = draw(full, "heatmap")["heatmap"].axes[0]
    rows, columns = axes.collections[0].get_array().shape
    assert (rows, columns) == ((n, 2) if turned else (2, n))
    value = full.per_generator.query("detector == 'mai_cnn' and generator == 'generator-3'")["auc"].item()
    assert cells(axes)[(3, 1) if turned else (1, 3)] == f"{value:.2f}*"
    assert sum("*" in text for text in cells(axes).values()) == 1


def test_numbers_can_be_read_on_every_shade(summary, draw):
    """Contrast of 4.5 to 1 as WCAG asks for."""
    full = summary(("a", "b", "c"), [f"g{i}" for i in range(20)])
    full.per_generator["auc"] = np.linspace(0.4, 1, 60)
    axes = draw(full, "heatmap")["heatmap"].axes[0]
    mesh = axes.collections[0]

    def luminance(colour):
        linear = np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
        return linear @ (0.2126, 0.7152, 0.0722)

    for text in axes.texts:
        x, y = text.get_position()
        ground = luminance(np.array(mesh.to_rgba(mesh.get_array()[int(y), int(x)])[:3]))
        ink = 1.0 if text.get_color() == "white" else 0.0
        assert (max(ink, ground) + 0.05) / (min(ink, ground) + 0.05) >= 4.5


def test_transfer_has_a_map_an_attack_and_who_was_attacked_as_rows(summary, draw):
    full = summary(("bailu", "mai_cnn", "<b>"))
    figure = draw(full, "transfer")["transfer"]
    first, second = figure.axes[:2]
    assert [axes.get_title(loc="left") for axes in (first, second)] == ["attack:pgd:1", "attack:pgd:2"]
    assert names(second.yaxis) == ["no attack", "on bailu", "on mai_cnn"]
    assert names(second.xaxis) == ["bailu", "mai_cnn", "<b>"]
    row = full.transfer.query("perturbation == 'attack:pgd:2' and made_on == 'bailu' and detector == 'bailu'")
    assert cells(second)[1, 0] == f"{row['accuracy'].item():.2f}"
    assert second.collections[0].get_array()[1, 0] == row["accuracy"].item()


def test_without_attacks_there_is_no_transfer(summary, draw):
    full = summary()
    full.transfer = full.transfer[full.transfer["made_on"] == "none"]
    assert draw(full, "transfer") == {}


def test_names_that_are_too_long_lose_their_middle(summary, draw):
    long = "generator-" * 7 + "v2"
    axes = draw(summary(generators=(long, "b")), "heatmap")["heatmap"].axes[0]
    assert names(axes.xaxis)[0] == fitting(long, 1.6, 7) and names(axes.xaxis)[0].endswith("v2")
