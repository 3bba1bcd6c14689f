"""report.html: one file, offline, with everything escaped; test_page_browser.py opens it."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from maibench.config import TableConfig
from maibench.errors import MaibenchError
from maibench.evaluation.figures.drawing import save_pictures, style
from maibench.evaluation.page.curves import counts_table, curves, thinned
from maibench.evaluation.page.gallery import gallery
from maibench.evaluation.page.page import heat, sort_key, write_page
from maibench.evaluation.page.pictures import inline_svg
from maibench.evaluation.statistics.frames import Summary, frame
from maibench.evaluation.tables.formats import Cell

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


def make_summary(detector="bailu", generator="sd15", notes=("majority class: 50.0 %",), **frames):
    key = {"detector": detector, "perturbation": "none"}
    rates = {"accuracy": 0.912, "auc": 0.951}
    counts = {"n": 60, "n_real": 40, "n_synthetic": 20, "n_failed": 0}
    metrics = frame("metrics", [key | counts | rates])
    row = key | {"generator": generator, "n_real": 40, "n_synthetic": 20, "seen": True} | rates
    points = [
        key | {"generator": g, "fpr": x, "tpr": y, "threshold": cut}
        for g in ("all", generator)
        for x, y, cut in ((0.0, 0.0, np.inf), (0.1, 0.8, 0.5), (1.0, 1.0, 0.01))
    ]
    return Summary(metrics, frame("per_generator", [row]), frame("roc", points), list(notes), **frames)


def make_confusion(detector="bailu"):
    rows = [
        {"detector": detector, "threshold": cut, "tp": tp, "fp": fp, "tn": 40 - fp, "fn": 20 - tp}
        for cut, tp, fp in ((0.0, 20, 40), (0.5, 16, 4), (1.0, 0, 0))
    ]
    return frame("confusion", rows)


class Page(HTMLParser):
    """The elements, the visible text, the scripts and the source of a page."""

    def __init__(self, path):
        super().__init__()
        self.elements, self.text, self.scripts, self.open = [], [], [], []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "img", "br", "input"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data):
        if "script" in self.open:
            self.scripts.append(data)
        elif not {"style", "title"} & set(self.open) and data.strip():
            self.text.append(data.strip())

    def headings(self):
        return re.findall(r"<h2>(.*?)</h2>", self.source)

    def policy(self):
        policies = [a["content"] for tag, a in self.elements if a.get("http-equiv") == "Content-Security-Policy"]
        assert len(policies) == 1
        return dict(rule.strip().split(" ", 1) for rule in policies[0].split(";"))


def draw(folder, name):
    from matplotlib.figure import Figure

    with style():
        figure = Figure(figsize=(2, 2))
        figure.subplots().plot([0, 1, 3], [0, 1, 2], marker="o")
        save_pictures(figure, folder, name)


def make_gallery(folder, path="real/1.jpg", generator="real", label=0, detector="bailu", **more):
    (folder / "gallery").mkdir(exist_ok=True)
    for name in ("a.jpg", "a-0.jpg"):
        Image.new("RGB", (8, 8), (200, 100, 50)).save(folder / "gallery" / name)
    item = {
        "path": path,
        "label": label,
        "generator": generator,
        "why": [
            {"kind": "mistake", "detector": detector, "text": "sure, and wrong"},
            {"kind": "disagreement", "detector": None, "text": "far apart"},
        ],
        "thumbnail": "gallery/a.jpg",
        "scores": {detector: 0.93, "other": 0.2, "third": None},
        "evidence": {detector: "gallery/a-0.jpg"},
        "strongest": {detector: 1.25},
    }
    content = {"items": [item | more], "method": "occlusion", "caution": "no proof"}
    (folder / "gallery" / "gallery.json").write_text(json.dumps(content), encoding="utf-8")


@pytest.fixture
def page(tmp_path):
    def write(summary, run, *figures):
        for name in figures:
            draw(tmp_path, name)
        return Page(write_page(summary, run, tmp_path))

    return write


# --- what it says


def test_page_says_everything_a_reader_needs(page):
    text = page(make_summary(), RUN).text
    for expected in (
        "compare.py --models 'bailu,mai cnn'",
        "0.912",
        "0.951",
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
        "0.9588",
        "their own set",
    ):
        assert expected in text
    assert any(line.startswith("A score is no evidence by itself") for line in text)


def test_sections_are_those_that_have_something_to_show(page):
    result = page(make_summary(), RUN, "roc", "risk_coverage")
    headings = result.headings()
    assert headings[:2] == ["Results", "ROC and thresholds"]
    assert "Risk and coverage" in headings and "Detectors" in headings
    assert not {"Gallery", "Robustness", "Comparisons", "Cost"} & set(headings)
    anchors = [a["href"] for tag, a in result.elements if tag == "a" and a["href"].startswith("#")]
    assert anchors == ["#" + a["id"] for tag, a in result.elements if tag == "section"]
    assert len(anchors) == len(headings)


def test_foreign_predictions_without_run_or_figures_have_a_page(tmp_path):
    result = Page(write_page(make_summary(), {}, tmp_path))
    assert "0.912" in result.text
    assert "svg" not in {tag for tag, _ in result.elements}
    assert result.open == []


def test_one_detector_of_one_class_has_a_page(tmp_path):
    """No curve, no generator, no threshold: what is left is the main table."""
    row = {"detector": "bailu", "perturbation": "none", "n": 3, "n_real": 3, "n_synthetic": 0, "n_failed": 0}
    summary = Summary(frame("metrics", [row | {"accuracy": 1.0}]), frame("per_generator", []), frame("roc", []))
    result = Page(write_page(summary, {}, tmp_path))
    assert result.headings() == ["Results"]
    assert "nav" not in {tag for tag, _ in result.elements}
    assert json.loads(result.scripts[0]) == {}


def test_counts_at_one_half_stand_there_without_the_script(page):
    result = page(make_summary(confusion=make_confusion()), RUN)
    place = result.text.index("TP")
    assert result.text[place : place + 7] == ["TP", "FP", "TN", "FN", "accuracy", "TPR", "TNR"]
    assert result.text[place + 7 : place + 15] == ["bailu", "16", "4", "36", "4", "0.867", "0.800", "0.900"]


def test_tables_follow_the_style_asked_for(tmp_path):
    summary = make_summary()
    assert "0.91" in Page(write_page(summary, {}, tmp_path, TableConfig(precision=2))).text
    run = RUN | {"config": {"table": {"precision": 1}}}
    assert "0.9" in Page(write_page(summary, run, tmp_path)).text


def test_same_input_same_bytes(page):
    assert page(make_summary(), RUN, "roc").source == page(make_summary(), RUN, "roc").source


# --- one file, nothing of the data runs


def test_page_is_well_formed_and_loads_nothing(page, tmp_path):
    make_gallery(tmp_path)
    result = page(make_summary(confusion=make_confusion()), RUN, "roc", "generators")
    assert result.open == []
    tags = {tag for tag, _ in result.elements}
    assert not tags & {"link", "iframe", "object", "embed", "base", "form"}
    for tag, attributes in result.elements:
        assert not any(name.startswith("on") for name in attributes)
        if "src" in attributes:
            assert tag == "img" and attributes["src"].startswith("data:image/")
        for name in ("href", "xlink:href"):
            if name in attributes:
                assert tag == "a" or attributes[name].startswith("#"), "a link, or a shape of the same page"
    assert "@import" not in result.source and not re.search(r"url\((?!#)", result.source)


def test_policy_allows_this_one_script_and_no_request(page):
    result = page(make_summary(), RUN)
    rules = result.policy()
    assert rules["default-src"] == "'none'"
    assert rules["style-src"] == "'unsafe-inline'" and rules["img-src"] == "data:"
    data, script = result.scripts
    assert rules["script-src"] == f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
    assert json.loads(data)["detectors"][0]["name"] == "bailu"
    types = [attributes.get("type") for tag, attributes in result.elements if tag == "script"]
    assert types == ["application/json", None]


@pytest.mark.parametrize("text", [SCRIPT, "</script><img src=x onerror=alert(1)>", "<!--<script>", "\"\u2028'&"])
def test_hostile_text_is_only_text(page, tmp_path, text):
    run = {
        "command": [text],
        "data": {"source": text, "split": text, "fingerprint": text},
        "versions": {text: text},
        "detectors": [
            {
                "label": text,
                "spec": text,
                "card": {"name": text, "trained_on": [text], "reported": {"accuracy": 0.9, "on": text}},
            }
        ],
    }
    make_gallery(tmp_path, path=text, generator=text, label=1, detector=text, error=text)
    result = page(make_summary(text, text, [text], confusion=make_confusion(text)), run)
    if "<" in text:
        assert text not in result.source
        assert sum(text in line for line in result.text) >= 8
    tags = [tag for tag, _ in result.elements]
    assert tags.count("script") == 2 and len(result.scripts) == 2
    assert not any(name.startswith("on") for _, attributes in result.elements for name in attributes)
    assert all(a.get("src", "data:").startswith("data:") for _, a in result.elements)
    assert json.loads(result.scripts[0])["detectors"][0]["name"] == text
    assert result.open == []


def test_names_that_utf8_has_not_do_not_stop_the_page(page, tmp_path):
    make_gallery(tmp_path, path="real/\udc80.jpg")
    text = page(make_summary(), {"command": ["compare.py", "\udc80"]}).text
    assert "real/ .jpg" in text and "compare.py '?'" in text


def test_only_https_references_become_links(page):
    run = {"detectors": [{"label": "x", "card": {"reference": "javascript:alert(1)"}}]}
    result = page(make_summary(), run)
    assert "javascript:alert(1)" in result.text
    assert all(a["href"].startswith("#") for tag, a in result.elements if tag == "a")


# --- figures


def test_figures_are_inside_with_ids_of_their_own(page):
    elements = page(make_summary(), RUN, "roc", "generators", "cost").elements
    assert [tag for tag, _ in elements].count("svg") == 3
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    used = [a["href"][1:] for tag, a in elements if tag == "use"]
    clipped = re.findall(r"url\(#(.*?)\)", " ".join(a.get("clip-path") or "" for _, a in elements))
    assert used and set(used) | set(clipped) <= set(ids)


def test_a_large_figure_is_shown_as_its_png(page, tmp_path, monkeypatch):
    monkeypatch.setattr("maibench.evaluation.page.sections._LARGEST_SVG", 100)
    elements = page(make_summary(), RUN, "cost").elements
    assert "svg" not in {tag for tag, _ in elements}
    assert any(a.get("src", "").startswith("data:image/png;base64,") for tag, a in elements if tag == "img")


def test_inlined_svg_keeps_its_style_sheet_to_itself():
    svg = '<?xml version="1.0"?><svg id="a"><!-- c --><style type="text/css">*{fill: red}</style></svg>'
    assert inline_svg(svg, "roc") == '<svg><style type="text/css">.roc *{fill: red}</style></svg>'


def test_inlined_svg_keeps_what_can_be_seen():
    svg = """<svg><metadata>m</metadata>
      <g id="unused"><path id="m" d="M 1.23456 2.5 \nL -3 4 z" clip-path="url(#p)"></path></g>
      <use x="1.239" href="#m" /></svg>"""
    kept = '<g><path id="roc-m" d="M1.23 2.5L-3 4z" clip-path="url(#roc-p)" /></g><use x="1.23" href="#roc-m" />'
    assert inline_svg(svg, "roc") == f"<svg>{kept}</svg>"


@pytest.mark.parametrize(
    "inside",
    [
        "<script>alert(1)</script>",
        '<path onload="alert(1)"/>',
        '<image href="https://example.org/x.png"/>',
        '<use href="data:image/svg+xml,x"/>',
        "<foreignObject/>",
        '<a href="#x"/>',
        "<style>@import 'x';</style>",
        '<rect style="fill: url(https://example.org)"/>',
        "<g>",
    ],
)
def test_what_matplotlib_does_not_draw_is_refused(page, tmp_path, inside):
    (tmp_path / "roc.svg").write_text(f'<svg xmlns="http://www.w3.org/2000/svg">{inside}</svg>')
    with pytest.raises(MaibenchError, match=r"roc\.svg: not a figure that maibench drew"):
        page(make_summary(), RUN)


# --- what the script draws


def test_curves_carry_thresholds_counts_and_the_look_of_the_figures():
    data = curves(make_summary(confusion=make_confusion()))
    assert [g["name"] for g in data["generators"]] == ["all", "sd15"]
    curve = data["generators"][0]["curves"][0]
    assert curve == {"fpr": [0.0, 0.1, 1.0], "tpr": [0.0, 0.8, 1.0], "cut": [None, 0.5, 0.01]}
    assert data["generators"][0] | {"curves": 0} == {"name": "all", "n_real": 40, "auc": [0.951], "curves": 0}
    assert data["counts"] == [{"tp": [20, 16, 0], "fp": [40, 4, 0], "n_real": 40, "n_synthetic": 20}]
    assert data["detectors"] == [{"name": "bailu", "colour": "#0072B2", "dash": ""}]


def test_a_detector_without_counts_or_curve_keeps_its_place():
    summary = make_summary(confusion=make_confusion())
    other = summary.metrics.assign(detector="other")
    summary.metrics = pd.concat([summary.metrics, other], ignore_index=True)
    data = curves(summary)
    assert data["counts"][1] is None and data["generators"][0]["curves"][1] is None
    assert [cell.text for cell in counts_table(data).rows[1]] == ["other", *["–"] * 7]


@pytest.mark.parametrize("limit", [2, 50, 300])
def test_thinned_curves_keep_their_ends_and_shape(limit):
    random = np.random.default_rng(0)
    fpr, tpr = (np.concatenate([[0], np.sort(random.random(5000) ** power), [1]]) for power in (3, 0.3))
    kept = thinned(fpr, tpr, limit)
    assert len(kept) <= limit and kept[0] == 0 and kept[-1] == len(fpr) - 1
    assert np.all(np.diff(kept) > 0)
    if limit == 300:
        assert np.abs(np.interp(fpr, fpr[kept], tpr[kept]) - tpr).max() < 0.02
        low = (fpr[kept] > 1e-4) & (fpr[kept] < 1e-2)
        assert low.sum() > 50, "enough for the log axis"


def test_a_short_curve_is_whole():
    assert list(thinned(np.array([0, 0.5, 1]), np.array([0, 0.5, 1]), 3)) == [0, 1, 2]


# --- the gallery


def test_gallery_is_grouped_by_reason_and_carries_each_picture_once(page, tmp_path):
    make_gallery(tmp_path)
    result = page(make_summary(), RUN)
    assert "Gallery" in result.headings()
    for expected in (
        "Most confident mistakes of bailu",
        "Largest disagreements",
        "occlusion",
        "no proof",
        "real/1.jpg",
    ):
        assert expected in result.text
    pictures = [a for tag, a in result.elements if tag == "img"]
    assert [a.get("src", "")[:22] for a in pictures] == ["data:image/jpeg;base64"] * 2 + [""] * 2
    assert ["data-same" in a for a in pictures] == [False, False, True, True]


def test_a_wrong_score_is_told_in_words(page, tmp_path):
    make_gallery(tmp_path)
    (_, shots), _ = gallery(tmp_path, ["bailu"])["groups"]
    assert [(s["name"], s["wrong"], s["text"]) for s in shots[0]["scores"]] == [
        ("bailu", True, "0.930"),
        ("other", False, "0.200"),
        ("third", False, "not scored"),
    ]
    assert page(make_summary(), RUN).text.count("wrong") == 2


def test_a_missing_picture_is_told(page, tmp_path):
    make_gallery(tmp_path, thumbnail=None, evidence={}, error="cannot be decoded")
    assert "cannot be decoded" in page(make_summary(), RUN).text


@pytest.mark.parametrize("name", ["../secret.jpg", "gallery/../secret.jpg", "/etc/hostname", "gallery/link.jpg"])
def test_no_file_outside_the_gallery_gets_into_the_page(page, tmp_path, name):
    Image.new("RGB", (8, 8)).save(tmp_path / "secret.jpg")
    make_gallery(tmp_path, thumbnail=name)
    (tmp_path / "gallery" / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    with pytest.raises(MaibenchError, match="outside the gallery"):
        page(make_summary(), RUN)


def test_what_is_no_picture_is_refused(page, tmp_path):
    make_gallery(tmp_path, thumbnail="gallery/x.jpg")
    (tmp_path / "gallery" / "x.jpg").write_text("<svg onload='alert(1)'/>")
    with pytest.raises(MaibenchError, match="no JPEG"):
        page(make_summary(), RUN)


@pytest.mark.parametrize("content", ["", "[]", '{"items": [{}]}', '{"items": [1]}'])
def test_a_gallery_that_cannot_be_read_is_an_error(page, tmp_path, content):
    (tmp_path / "gallery").mkdir()
    (tmp_path / "gallery" / "gallery.json").write_text(content)
    with pytest.raises(MaibenchError, match=r"gallery\.json: not a gallery that maibench wrote"):
        page(make_summary(), RUN)


# --- cells


def test_heat_tells_better_than_chance_from_worse():
    better, worse = heat(Cell("", 0.9)), heat(Cell("", 0.1))
    assert better.split(",")[:3] != worse.split(",")[:3]
    assert heat(Cell("", float("nan"))) == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.912 [0.88, 0.94]", 0.912),
        ("0.951*", 0.951),
        ("4.83 M", 4.83e6),
        ("386 k", 386e3),
        ("1,234", 1234),
        ("+0.042 [+0.01, +0.07]", 0.042),
        ("-0.110", -0.11),
        ("−0.110", -0.11),
        ("<0.001", 0.001),
        ("0.890 (0.47)", 0.89),
        ("–", None),
        ("not comparable", None),
    ],
)
def test_cells_are_sorted_by_the_number_they_begin_with(text, expected):
    assert sort_key(Cell(text)) == expected
    assert sort_key(Cell(text, is_name=True)) is None
    assert sort_key(Cell(text, 7.0)) == 7.0
