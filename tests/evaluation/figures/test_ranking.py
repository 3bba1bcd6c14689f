"""Mean ranks and differences of pairs."""

import numpy as np
import pytest

from maibench.evaluation.figures.ranking import within_critical_difference
from maibench.evaluation.statistics.frames import frame

FOUR = ("a", "b", "c", "d")


@pytest.mark.parametrize(
    ("ranks", "difference", "groups"),
    [
        ([1, 2, 3], 0.5, []),
        ([1, 2, 3], 5, [(0, 2)]),
        ([1, 2, 3], 1, [(0, 1), (1, 2)]),
        ([1.1, 1.3, 1.4, 3.5], 0.3, [(0, 2)]),
        ([1, 1, 4], 0, [(0, 1)]),
        ([1, 1.5, 2.4, 2.5, 4], 1.1, [(0, 1), (1, 3)]),
    ],
)
def test_bars_join_the_largest_groups_within_the_critical_difference(ranks, difference, groups):
    assert within_critical_difference(np.array(ranks), difference) == groups


def diagram(figure):
    """Markers {name's order: x}, bars [(x0, x1)], and the axis's ends, of the first diagram."""
    axes = figure.axes[0]
    markers = [line.get_xdata()[0] for line in axes.lines if line.get_marker() not in ("None", None, "")]
    bars = [tuple(line.get_xdata()) for line in axes.lines if line.get_linewidth() > 2]
    return markers, bars, axes.lines[0].get_xdata()


def test_markers_stand_at_the_mean_ranks_and_bars_reach_over_them(summary, draw, texts):
    full = summary(FOUR)
    full.ranks["mean_rank"] = [1.5, 4.0, 1.0, 3.5]
    full.ranks["critical_difference"] = 0.6
    figure = draw(full, "ranks")["ranks"]
    markers, bars, (left, right) = diagram(figure)
    assert [1 + 3 * (x - left) / (right - left) for x in markers] == pytest.approx([1.0, 1.5, 3.5, 4.0])
    assert len(bars) == 2
    for (start, end), (first, last) in zip(bars, [(0, 1), (2, 3)], strict=True):
        assert start < markers[first] and end > markers[last] and end - start < markers[last] - markers[first] + 0.1
    names = [text.get_text() for text in figure.axes[0].texts if text.get_text() in FOUR]
    assert names == ["c", "a", "d", "b"]
    assert "mean rank by AUC, 2 generators\ncritical difference 0.60, Friedman p = 0.011" in texts(figure)


def test_a_diagram_for_each_kind_of_blocks(summary, draw):
    full = summary(FOUR)
    rows = full.ranks.to_dict("records")
    full.ranks = frame("ranks", rows + [row | {"blocks": "data sets"} for row in rows])
    assert len(draw(full, "ranks")["ranks"].axes) == 2


@pytest.mark.parametrize(("n", "blocks"), [(2, 5), (3, 1)])
def test_two_detectors_or_one_block_have_no_diagram(n, blocks, summary, draw):
    full = summary(FOUR[:n])
    full.ranks["n_blocks"] = blocks
    assert draw(full, "ranks") == {}


def test_unknown_critical_difference_has_no_bars(summary, draw, texts):
    full = summary(FOUR)
    full.ranks[["critical_difference", "p_friedman"]] = np.nan
    figure = draw(full, "ranks")["ranks"]
    assert diagram(figure)[1] == [] and not any("nan" in text for text in texts(figure))


def points(axes):
    """{(difference, row): is filled}, and the ends of the intervals by row."""
    filled = {
        (x, y): line.get_markerfacecolor() == "black"
        for line in axes.lines
        if line.get_marker() == "o"
        for x, y in line.get_xydata()
    }
    ends = {}
    for bars in axes.collections:
        for segment in filter(len, bars.get_segments()):
            ends[round(segment[0][1])] = (segment[0][0], segment[1][0])
    return filled, ends


def test_differences_and_their_intervals_are_drawn_filled_where_clear(summary, draw):
    full = summary(("a", "b", "c"))
    full.comparisons["delta_auc"] = [0.1, -0.05, np.nan]
    full.comparisons["delta_auc_lo"], full.comparisons["delta_auc_hi"] = [0.06, -0.09, np.nan], [0.15, 0.01, np.nan]
    full.comparisons["p_auc_holm"] = [0.049, 0.051, np.nan]
    auc, accuracy = draw(full, "comparisons")["comparisons"].axes
    filled, ends = points(auc)
    known = {key: value for key, value in filled.items() if np.isfinite(key[0])}
    assert known == {(0.1, 0): True, (-0.05, 1): False}
    assert ends[0] == pytest.approx((0.06, 0.15)) and ends[1] == pytest.approx((-0.09, 0.01))
    assert [label.get_text() for label in auc.get_yticklabels()] == ["a − b", "a − c", "b − c"]
    assert len(points(accuracy)[0]) == 3
    assert any(list(line.get_xdata()) == [0, 0] for line in auc.lines)


def test_of_many_pairs_those_of_the_best_detector_are_there(summary, draw, texts):
    names = [f"d{i}" for i in range(8)]
    full = summary(names)
    full.metrics.loc[full.metrics["detector"] == "d7", "auc"] = 0.99
    figure = draw(full, "comparisons")["comparisons"]
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert len(labels) == 20 and sum("d7" in label for label in labels) == 7
    assert any("20 of 28 pairs" in text for text in texts(figure))
