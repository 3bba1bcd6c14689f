"""report.html: one file, offline, with everything escaped."""

import re
from html.parser import HTMLParser

import pandas as pd
import pytest

from maibench.evaluation import figures
from maibench.evaluation.page import heat, inline_svg, write_page
from maibench.evaluation.summary import METRICS_COLUMNS, PER_GENERATOR_COLUMNS, Summary
from maibench.evaluation.table_formats import Cell

SCRIPT = "<script>alert(1)</script>"
RUN = {
    "command": ["compare.py", "--models", "bailu,mai cnn"],
    "data": {"source": "demo", "fingerprint": "f00d", "split": "test"},
    "versions": {"python": "3.11.9", "torch": "2.9.0"},
    "machine": {"cpu": "some cpu"},
    "git_commit": "c0ffee",
    "seconds": 12.34,
    "detectors": [
        {
            "label": "bailu",
            "spec": "bailu",
            "card": {
                "name": "BAILU",
                "reference": "https://example.org/bailu",
                "licence": "MIT",
                "trained_on": ["sd15", "flux1"],
                "reported": {"accuracy": 0.9588, "on": "their own set"},
                "notes": "ours",
            },
            "parameters": 1900000,
            "fingerprint": "ab12",
        }
    ],
}


def make_summary(detector="bailu", generator="sd15", notes=("majority class: 50.0 %",)):
    key = {"detector": detector, "perturbation": "none"}
    rates = {"accuracy": 0.912, "auc": 0.951}
    counts = {"n": 60, "n_real": 40, "n_synthetic": 20, "n_failed": 0}
    metrics = pd.DataFrame([key | counts | rates], columns=METRICS_COLUMNS)
    row = key | {"generator": generator, "n_real": 40, "n_synthetic": 20, "seen": True} | rates
    points = [
        key | {"generator": g, "fpr": x, "tpr": y, "threshold": 0.5}
        for g in ("all", generator)
        for x, y in ((0.0, 0.0), (0.1, 0.8), (1.0, 1.0))
    ]
    per_generator = pd.DataFrame([row], columns=PER_GENERATOR_COLUMNS)
    return Summary(metrics, per_generator, pd.DataFrame(points), list(notes))


class Page(HTMLParser):
    """The elements, the visible text and the style sheets of a page."""

    def __init__(self, path):
        super().__init__()
        self.elements, self.text, self.open, self.source = [], [], [], path.read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "img", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data):
        if not {"style", "title"} & set(self.open) and data.strip():
            self.text.append(data.strip())


@pytest.fixture
def page(tmp_path):
    def write(summary, run):
        figures.plot_roc(summary, tmp_path)
        figures.plot_generators(summary, tmp_path)
        return Page(write_page(summary, run, tmp_path))

    return write


def test_page_says_everything_a_reader_needs(page):
    text = page(make_summary(), RUN).text
    for expected in (
        "compare.py --models 'bailu,mai cnn'",
        "0.912",
        "0.951*",
        "majority class: 50.0 %",
        "sd15, flux1",
        "MIT",
        "https://example.org/bailu",
        "demo",
        "f00d",
        "python 3.11.9, torch 2.9.0",
        "cpu some cpu",
        "c0ffee",
        "12.3",
        "1,900,000",
    ):
        assert expected in text
    assert any("reported accuracy 0.9588 on their own set; measured 0.912" in line for line in text)
    assert any(line.startswith("A score is no evidence by itself") for line in text)


def test_page_is_well_formed_and_loads_nothing(page):
    result = page(make_summary(), RUN)
    assert result.open == []
    tags = {tag for tag, _ in result.elements}
    assert not tags & {"script", "link", "iframe", "object", "embed", "img", "base", "form"}
    for tag, attributes in result.elements:
        assert "src" not in attributes
        for name in ("href", "xlink:href"):
            if name in attributes:
                assert tag == "a" or attributes[name].startswith("#"), "a link, or a shape of the same page"
    assert "@import" not in result.source and not re.search(r"url\((?!#)", result.source)


def test_policy_forbids_scripts_and_requests(page):
    policies = [
        attributes["content"]
        for tag, attributes in page(make_summary(), RUN).elements
        if attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    assert len(policies) == 1
    rules = dict(rule.strip().split(" ", 1) for rule in policies[0].split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["style-src"] == "'unsafe-inline'" and rules["img-src"] == "data:"
    assert "script-src" not in rules


def test_hostile_text_is_only_text(page):
    run = {
        "command": [SCRIPT],
        "data": {"source": SCRIPT, "split": SCRIPT, "fingerprint": SCRIPT},
        "versions": {SCRIPT: SCRIPT},
        "detectors": [
            {
                "label": SCRIPT,
                "spec": SCRIPT,
                "card": {"name": SCRIPT, "trained_on": [SCRIPT], "reported": {"accuracy": 0.9, "on": SCRIPT}},
            }
        ],
    }
    result = page(make_summary(SCRIPT, SCRIPT, [SCRIPT]), run)
    assert SCRIPT not in result.source and "<script" not in result.source.lower()
    assert result.text.count(SCRIPT) >= 6
    assert result.open == []


def test_only_https_references_become_links(page):
    run = {"detectors": [{"label": "x", "card": {"reference": "javascript:alert(1)"}}]}
    result = page(make_summary(), run)
    assert "javascript:alert(1)" in result.text
    assert "a" not in {tag for tag, _ in result.elements}


def test_both_figures_are_inside_with_ids_of_their_own(page):
    elements = page(make_summary(), RUN).elements
    assert [tag for tag, _ in elements].count("svg") == 2
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    used = [a["xlink:href"][1:] for tag, a in elements if tag == "use"]
    clipped = re.findall(r"url\(#(.*?)\)", " ".join(a.get("clip-path") or "" for _, a in elements))
    assert used and set(used) | set(clipped) <= set(ids)


def test_foreign_predictions_without_run_or_figures_have_a_page(tmp_path):
    result = Page(write_page(make_summary(), {}, tmp_path))
    assert "0.912" in result.text
    assert "svg" not in {tag for tag, _ in result.elements}
    assert result.open == []


def test_same_input_same_bytes(page):
    assert page(make_summary(), RUN).source == page(make_summary(), RUN).source


def test_inlined_svg_keeps_its_style_sheet_to_itself():
    svg = '<?xml version="1.0"?><svg id="a"><!-- c --><style type="text/css">*{fill: red}</style></svg>'
    assert inline_svg(svg, "roc") == '<svg id="roc-a"><style type="text/css">.roc *{fill: red}</style></svg>'


def test_heat_tells_better_than_chance_from_worse():
    better, worse = heat(Cell("", 0.9)), heat(Cell("", 0.1))
    assert better.split(",")[:3] != worse.split(",")[:3]
    assert heat(Cell("", float("nan"))) == ""
