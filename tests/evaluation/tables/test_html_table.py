"""The main table in a notebook: what the other formats say, with names escaped."""

from __future__ import annotations

from maibench.evaluation.statistics.frames import Summary, frame
from maibench.evaluation.tables.html_table import html


def summary(*names: str) -> Summary:
    counts = {"perturbation": "none", "n": 8, "n_real": 4, "n_synthetic": 4, "n_failed": 0}
    rows = [{"detector": name, "accuracy": 0.5, "auc": 0.75 - place / 10} | counts for place, name in enumerate(names)]
    return Summary(frame("metrics", rows), frame("per_generator", []), frame("roc", []), notes=["a <note>"])


def test_it_holds_the_main_table():
    text = html(summary("one", "<two>"), {"data": {"name": "some & more"}})
    assert "2 detectors on some &amp; more" in text
    assert "<strong>0.750</strong>" in text and "<strong>0.650</strong>" not in text
    assert '<td style="text-align: left">&lt;two&gt;</td>' in text
    assert "<li>a &lt;note&gt;</li>" in text
