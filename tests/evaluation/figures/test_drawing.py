"""Text from data as pictures can show it, and the looks of detectors."""

import pytest

from maibench.evaluation.figures.drawing import COLOURS, drawable, fitting, line_style, text_width


def look(place):
    style = line_style(place)
    return style["color"], style["linestyle"], style["marker"]


def test_no_two_of_35_detectors_look_the_same_and_neighbours_differ_in_all():
    assert len({look(place)[:2] for place in range(35)}) == 35
    for place in range(34):
        assert all(a != b for a, b in zip(look(place), look(place + 1), strict=True))
    assert line_style(0)["color"] == COLOURS[0]


@pytest.mark.parametrize(
    ("text", "drawn"),
    [
        ("sd15", "sd15"),
        ("$x$", r"\$x\$"),
        ("two\nlines\x00", "two lines"),
        ("探", "U+63A2"),
        ("x" * 59 + "ab", "x" * 39 + "…" + "x" * 18 + "ab"),
    ],
)
def test_text_is_drawn_as_it_is_on_one_line_and_not_too_long(text, drawn):
    assert drawable(text) == drawn


@pytest.mark.parametrize("text", ["W" * 200, "detector-" * 10 + "seed1", "$" * 80])
def test_text_fits_and_fills_its_room(text):
    short = fitting(text, 1.5, 7)
    assert 1.3 < text_width(short, 7) <= 1.5
    assert short.replace(r"\$", "$")[-2:] == text[-2:]
    assert fitting("sdxl", 1.5, 7) == "sdxl"
    assert fitting("", 1.5) == "" and len(fitting("abcdef", 0)) == 3


def test_text_is_as_wide_as_matplotlib_draws_it():
    from matplotlib.figure import Figure

    figure = Figure(dpi=200)
    for bold in (False, True):
        text = figure.text(0, 0, "stable-diffusion-xl", fontsize=8, fontweight="bold" if bold else "normal")
        drawn = text.get_window_extent(figure._get_renderer()).width / 200
        assert text_width("stable-diffusion-xl", 8, bold) == pytest.approx(drawn, rel=0.04)
