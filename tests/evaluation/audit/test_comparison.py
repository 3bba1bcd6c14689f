"""The audit inside a comparison: quick, once, and told where it is red."""

import json
import shutil
import time

import pytest

from maibench.config import make_config
from maibench.datasets.folders import list_images
from maibench.datasets.manifest import Manifest
from maibench.datasets.readers import open_data
from maibench.errors import MaibenchError
from maibench.evaluation.audit.audit import Request, run_audit
from maibench.evaluation.audit.command import audit_source
from maibench.evaluation.audit.comparison import audit_comparison, red_findings
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


def test_data_that_would_be_fetched_again_is_passed_over_with_a_line(make, tmp_path):
    rows = open_data(str(make("clean"))).rows
    manifest = Manifest.from_frame(rows, tmp_path, "shards", images=Forward())
    audit_comparison(manifest, "test", tmp_path, progress=(heard := Heard()), source="wds:https://a/b.tar")
    (said,) = heard.said
    assert said.startswith("no data audit, ") and "'maibench data audit wds:https://a/b.tar'" in said
    assert not list(tmp_path.iterdir())


def test_parquet_that_lies_here_is_audited_though_it_is_read_forward(make, tmp_path):
    pytest.importorskip("datasets")
    data = open_data(str(make("png")))
    images = [{"bytes": data.read(path).data, "path": path} for path in data.rows["path"]]
    columns = data.rows[["generator", "source", "split"]]
    (tmp_path / "data").mkdir()
    columns.assign(image=images).to_parquet(tmp_path / "data" / "all.parquet", row_group_size=30)
    manifest = open_data(f"hf:{tmp_path / 'data'}", "real=real")
    assert manifest.images.in_order
    list(map(manifest.read, manifest.rows["path"]))  # as scoring does
    audit_comparison(manifest, "test", tmp_path / "run", progress=(heard := Heard()))
    assert read_audit(tmp_path / "run").data["images"] == 40 and "format" in str(red_findings(tmp_path / "run"))
    assert not any("no data audit" in text for text in heard.said)


def test_results_do_not_go_among_the_images(image_folder, compare):
    folder = image_folder(["real/a.png", "sdxl/b.png"])
    before = sorted(folder.rglob("*"))
    for out in (folder, folder / "sdxl" / "run"):
        with pytest.raises(MaibenchError, match=r"lies in the folder of the images.* --out"):
            compare(folder, out=str(out))
        with pytest.raises(MaibenchError, match=r"lies in the folder of the images.* --out"):
            audit_source(str(folder), None, Request(("balance",)), out)
    assert sorted(folder.rglob("*")) == before


def test_results_among_the_images_of_an_earlier_version_are_no_data(image_folder, compare, tmp_path):
    folder = image_folder(["real/a.png", "sdxl/b.png", "sdxl/run/c.png"])
    (folder / "sdxl" / "run" / "run.json").write_text('{"seed": 3}')  # somebody else's
    run = compare(folder, gallery=1)
    audit_source(str(folder), None, Request(("files", "history")), tmp_path / "audit")
    (tmp_path / "audit" / "audit").mkdir(exist_ok=True)
    shutil.copy(folder / "real" / "a.png", tmp_path / "audit" / "audit" / "history-1.png")  # a mean image
    assert list_images(run)
    shutil.copytree(run, folder / "run")
    for place in (folder, folder / "sdxl" / "audit"):
        shutil.copytree(tmp_path / "audit", place, dirs_exist_ok=True)
    (folder / "sdxl" / "audit" / "audit.json").unlink()  # one that was stopped
    assert open_data(str(folder)).rows["path"].tolist() == ["real/a.png", "sdxl/b.png", "sdxl/run/c.png"]


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
