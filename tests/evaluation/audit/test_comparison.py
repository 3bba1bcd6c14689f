"""The audit inside a comparison: quick, once, and told where it is red."""

import json
import time

import pytest

from maibench.config import make_config
from maibench.datasets.manifest import Manifest
from maibench.datasets.readers import open_data
from maibench.evaluation.audit.audit import Request, run_audit
from maibench.evaluation.audit.comparison import audit_comparison
from maibench.evaluation.audit.write import read_audit, write_audit
from maibench.evaluation.compare import run_comparison
from maibench.evaluation.report import write_report
from maibench.progress import Progress


class Heard(Progress):
    def __init__(self):
        self.said = []

    def say(self, text):
        self.said.append(text)


@pytest.fixture
def compare(dummies, tmp_path):
    def run(data, **settings):
        flags = {"models": f"{dummies}:Brightness", "data": str(data), "out": str(tmp_path / "run"), "resamples": 10}
        return run_comparison(make_config(None, flags | {"figures": False, "gallery": 0} | settings, [])).folder

    return run


def test_a_red_audit_stands_on_the_page_and_under_the_table(make, compare):
    folder = compare(make("png"))
    found = json.loads((folder / "audit.json").read_text())
    assert found["data"]["made_by"] == "compare" and found["data"]["images"] == 40  # the scored split
    line = "the audit of the data is red, see audit.json before these numbers are trusted: what the files "
    line += "give away (all facts together, format)"
    assert line in (folder / "table.md").read_text()
    page = (folder / "report.html").read_text()
    assert '<section id="audit">' in page and '<li class="red">' in page and line in page
    assert page.index('<li class="red">') < page.index("more in green") < page.index('<li class="green">')


def test_a_clean_one_costs_no_line_and_none_is_asked_for_by_a_key(make, compare):
    data = make("clean")
    folder = compare(data)
    assert "audit" not in (folder / "table.md").read_text()
    (folder / "audit.json").unlink()
    compare(data, audit=False)
    assert not (folder / "audit.json").exists() and 'id="audit"' not in (folder / "report.html").read_text()


def test_it_is_made_once_and_again_for_other_images(make, tmp_path):
    manifest, other = open_data(str(make("clean"))), open_data(str(make("png")))
    audit_comparison(manifest, "test", tmp_path)
    before = (tmp_path / "audit.json").stat().st_mtime_ns
    audit_comparison(manifest, "test", tmp_path)
    assert (tmp_path / "audit.json").stat().st_mtime_ns == before
    for changed in ((manifest, "train"), (other, "train")):
        audit_comparison(*changed, tmp_path)
        assert read_audit(tmp_path).data["fingerprint"] == changed[0].fingerprint
        assert read_audit(tmp_path).data["split"] == "train"


def test_a_thorough_audit_that_the_user_put_there_stays(make, compare):
    data = make("png")
    folder = compare(data)
    write_audit(run_audit(open_data(str(data)), Request(("balance",))), folder)
    text = (folder / "audit.json").read_text()
    compare(data)
    write_report(folder)
    assert (folder / "audit.json").read_text() == text
    assert "the audit of the data is red" not in (folder / "table.md").read_text()


class Forward:
    """Images that can only be read once, in order."""

    in_order = True

    def read(self, path):
        raise AssertionError(f"{path} is read again")

    def expect(self, paths):
        raise AssertionError(f"{paths} are read again")


def test_data_that_can_only_be_read_forward_is_passed_over_with_a_line(make, tmp_path):
    rows = open_data(str(make("clean"))).rows
    manifest = Manifest.from_frame(rows, tmp_path, "shards", images=Forward())
    audit_comparison(manifest, "test", tmp_path, progress=(heard := Heard()))
    assert heard.said == [
        "no data audit: these images can only be read once, in order; run maibench data audit"
    ] and not list(tmp_path.iterdir())


def test_images_that_cannot_be_read_cost_no_comparison(data_set, tmp_path):
    file = data_set(n_real=2, n_synthetic=2)
    for image in file.parent.rglob("*.png"):
        image.write_bytes(b"")
    audit_comparison(open_data(str(file)), "test", tmp_path, progress=(heard := Heard()))
    assert "no image can be read" in heard.said[0]


@pytest.mark.slow
def test_it_costs_little_on_the_demo(demo_cache, tmp_path):
    from maibench.datasets.demo import demo_manifest

    manifest = demo_manifest(demo_cache)
    audit_comparison(manifest, "train", tmp_path)  # imports are paid
    started = time.perf_counter()
    audit_comparison(manifest, "test", tmp_path)
    assert time.perf_counter() - started < 2
