"""Balanced accuracy and AUC against release dates."""

from itertools import pairwise

import numpy as np
import pytest
from matplotlib.dates import date2num, num2date

from maibench.evaluation.figures.ageing import spread


def dated(summary, dates, auc, **settings):
    full = summary(("bailu",), tuple(dates), **settings)
    full.per_generator["balanced_accuracy"] = np.nan
    full.released, full.per_generator["auc"] = dates, auc
    return full


def markers(axes):
    """{date: AUC} of each line of markers, and whether these are hollow."""
    lines = [line for line in axes.lines if line.get_marker() == "o" and len(line.get_xdata())]
    found = []
    for line in lines:
        days = date2num(line.get_xdata())
        values = {f"{num2date(x):%Y-%m-%d}": y for x, y in zip(days, line.get_ydata(), strict=True)}
        found.append((values, line.get_markerfacecolor() == "white"))
    return found


def test_markers_stand_at_the_dates_hollow_where_trained_on(summary, draw, texts):
    dates = {"new": "2024-03-15", "old": "2022-08", "nonsense": "soon", "other": "2023-01"}
    full = dated(summary, dates, [0.7, 0.9, 0.5, 0.8], seen={("bailu", "old"): True})
    figure = draw(full, "released")["released"]
    (axes,) = figure.axes
    assert markers(axes) == [({"2024-03-15": 0.7, "2023-01-01": 0.8}, False), ({"2022-08-01": 0.9}, True)]
    shown = texts(figure)
    assert {"new", "old", "other", "trained on"} <= set(shown) and "nonsense" not in shown


def test_the_line_is_that_of_least_squares(summary, draw):
    days = {"a": "2022-01-01", "b": "2022-01-11", "c": "2022-01-31"}
    (axes,) = draw(dated(summary, days, [0.9, 0.7, 0.6]), "released")["released"].axes
    slope, start = np.polyfit([0, 10, 30], [0.9, 0.7, 0.6], 1)
    assert list(axes.lines[0].get_ydata()) == pytest.approx([start, start + 30 * slope])


def test_balanced_accuracy_stands_above_the_auc(summary, draw, texts):
    days = {"a": "2022-01-01", "b": "2022-01-11", "c": "2022-01-31"}
    full = dated(summary, days, [0.9, 0.7, 0.6])
    full.per_generator["balanced_accuracy"] = [0.8, np.nan, 0.5]
    figure = draw(full, "released")["released"]
    above, below = figure.axes
    assert [axes.get_ylabel() for axes in figure.axes] == ["balanced accuracy", "AUC"]
    assert markers(above) == [({"2022-01-01": 0.8, "2022-01-31": 0.5}, False)]
    assert markers(below) == [({"2022-01-01": 0.9, "2022-01-11": 0.7, "2022-01-31": 0.6}, False)]
    assert list(above.lines[0].get_ydata()) == pytest.approx([0.8, 0.5])
    assert above.get_xlim() == below.get_xlim() and above.get_position().y0 > below.get_position().y1
    assert sorted(text for text in texts(figure) if text in days) == ["a", "b", "c"], "named once"


def test_names_stand_above_in_the_order_of_their_dates_and_apart(summary, draw):
    dates = {f"generator-{i}": f"2023-0{1 + i // 20}" for i in range(40)}
    figure = draw(dated(summary, dates, 0.8), "released")["released"]
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.texts] == list(dates)
    boxes = [text.get_window_extent(figure._get_renderer()) for text in axes.texts]
    assert all(a.x1 < b.x0 + 1 for a, b in pairwise(boxes))
    assert boxes[-1].x1 <= figure.bbox.width


@pytest.mark.parametrize("dates", [{}, {"a": "2022-08"}, {"a": "2022-08", "elsewhere": "2023-01"}])
def test_fewer_than_two_dated_generators_have_no_figure(dates, summary, draw):
    full = summary(generators=("a", "b"))
    full.released = dates
    assert draw(full, "released") == {}


def test_two_generators_of_one_day_have_markers_but_no_line(summary, draw):
    (axes,) = draw(dated(summary, {"a": "2022-08", "b": "2022-08"}, [0.7, 0.8]), "released")["released"].axes
    assert len(axes.lines[0].get_xdata()) == 0 and markers(axes)


def test_places_are_spread_as_little_as_needed():
    assert spread(np.array([0.1, 0.5, 0.9]), 0.2) == pytest.approx([0.1, 0.5, 0.9])
    assert spread(np.array([0.5, 0.5]), 0.2) == pytest.approx([0.4, 0.6])
    assert spread(np.array([0.0, 0.0, 0.9]), 0.2) == pytest.approx([0.0, 0.2, 0.9])
    crowded = spread(np.full(30, 0.99), 0.05)
    assert np.diff(crowded) == pytest.approx(1 / 29) and crowded[[0, -1]] == pytest.approx([0, 1])
