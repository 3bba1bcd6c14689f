"""my_detector does what every detector has to do: run this with pytest."""

from pathlib import Path

from maibench import load_detector
from maibench.evaluation.conformance import check


def test_my_detector_can_be_compared():
    detector = load_detector(f"{Path(__file__).with_name('my_detector.py')}:MyDetector")
    assert [finding for finding in check(detector) if finding.outcome == "failed"] == []
