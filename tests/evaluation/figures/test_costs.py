"""Quality against milliseconds and parameters."""

import numpy as np
import pytest


def markers(axes):
    lines = [line for line in axes.lines if line.get_marker() not in ("None", None, "", "|", "_")]
    return [tuple(line.get_xydata()[0]) for line in lines]


def test_points_are_accuracy_above_auc_against_milliseconds_and_parameters(summary, draw):
    full = summary()
    full.metrics["images_per_second"] = [200.0, 0.5]
    full.metrics["parameters"] = [5_000_000, 7_000_000_000]
    above_speed, above_size, speed, size = draw(full, "cost")["cost"].axes
    assert [axes.get_ylabel() for axes in (above_speed, speed)] == ["accuracy", "AUC"]
    assert markers(above_speed) == [pytest.approx((5, 0.9)), pytest.approx((2000, 0.86))]
    assert markers(above_size) == [pytest.approx((5e6, 0.9)), pytest.approx((7e9, 0.86))]
    assert markers(speed) == [pytest.approx((5, 0.95)), pytest.approx((2000, 0.91))]
    assert markers(size) == [pytest.approx((5e6, 0.95)), pytest.approx((7e9, 0.91))]
    assert speed.get_xscale() == size.get_xscale() == "log"
    shown = [label.get_text() for label in size.get_xticklabels()]
    assert {"10 M", "100 M", "1 B"} <= set(shown)


@pytest.mark.parametrize("milliseconds", [0.004, 0.9, 3, 40, 1e5])
def test_a_single_detector_has_two_ticks_at_least(milliseconds, summary, draw):
    full = summary(("bailu",))
    full.metrics["images_per_second"] = 1000 / milliseconds
    axes = draw(full, "cost")["cost"].axes[0]
    low, high = axes.get_xlim()
    assert sum(low <= tick <= high for tick in axes.get_xticks()) >= 2


def test_what_is_unknown_has_no_panel(summary, draw):
    full = summary()
    full.metrics["parameters"], full.metrics["auc"] = np.nan, np.nan
    full.metrics["images_per_second"] = [100.0, 0.0]
    (axes,) = draw(full, "cost")["cost"].axes
    assert axes.get_ylabel() == "accuracy" and markers(axes) == [pytest.approx((10, 0.9))]
    full.metrics["auc"] = [np.nan, 0.8]
    full.metrics["images_per_second"] = [100.0, 10.0]
    above, below = draw(full, "cost")["cost"].axes
    assert markers(above) == [pytest.approx((10, 0.9)), pytest.approx((100, 0.86))]
    assert markers(below) == [pytest.approx((100, 0.8))]
    full.metrics["images_per_second"] = np.nan
    assert draw(full, "cost") == {}
