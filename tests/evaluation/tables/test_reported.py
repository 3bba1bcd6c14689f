"""Reported beside measured."""

import math

import pytest

from maibench.evaluation.statistics.frames import Summary, frame
from maibench.evaluation.tables.reported import reported, reported_numbers, reported_table

SUMMARY = Summary(
    frame(
        "metrics",
        [
            {"detector": d, "perturbation": p, "accuracy": a, "auc": None, "n": 9}
            for d, p, a in (("a", "jpeg:75", 0.5), ("a", "none", 0.9), ("b", "none", 0.7))
        ],
    ),
    frame("per_generator", []),
    frame("roc", []),
)


def entry(label, **numbers):
    return {"label": label, "card": {"name": label, "reported": numbers}}


def test_numbers_are_measured_on_undisturbed_images():
    run = {"detectors": [entry("a", accuracy=0.95, auc=0.99, on="their own", source="a paper"), entry("b")]}
    accuracy, auc = reported_numbers(SUMMARY, run)
    assert (accuracy.detector, accuracy.metric, accuracy.value, accuracy.on) == ("a", "accuracy", 0.95, "their own")
    assert accuracy.measured == 0.9 and math.isnan(auc.measured)
    assert [[cell.text for cell in row] for row in reported_table(SUMMARY, run).rows] == [
        ["a", "accuracy", "0.9500", "0.900", "-0.050", "their own", "not comparable, another test set"],
        ["a", "AUC", "0.9900", "–", "–", "their own", "not comparable, another test set"],
    ]


@pytest.mark.parametrize("data", [{"name": "Wild"}, {"source": "wild", "name": None}])
def test_the_data_of_the_report_makes_them_comparable(data):
    run = {"data": data, "detectors": [entry("b", accuracy=0.65, on="wild")]}
    (item,) = reported_numbers(SUMMARY, run)
    assert item.comparable
    assert reported_table(SUMMARY, run, digits=2).rows[0][4].text == "+0.05"
    assert not reported_numbers(SUMMARY, {"detectors": run["detectors"]})[0].comparable


def test_a_line_a_number():
    assert reported(SUMMARY, entry("b", accuracy=0.65, on="two\nlines")) == [
        "b: reported accuracy 0.6500 on two lines; measured 0.700 here: not comparable, another test set"
    ]
    assert reported(SUMMARY, entry("b", accuracy=True, auc="much")) == []


def test_detectors_without_a_row_have_none_in_the_table():
    run = {"detectors": [entry("gone", accuracy=0.5), {"label": "a", "card": None}, {"label": "b"}]}
    assert reported_table(SUMMARY, run).rows == []
    assert reported(SUMMARY, entry("gone", accuracy=0.5)) == [
        "gone: reported accuracy 0.5000; measured – here: not comparable, another test set"
    ]
    assert reported_numbers(SUMMARY, {"detectors": None}) == []
