"""Data sets with a known leak: the audit finds it, names it, and blames nothing else."""

import json
import zlib

import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from maibench.cli import app
from maibench.datasets.readers import open_data
from maibench.errors import MaibenchError
from maibench.evaluation.audit.audit import Request, judged, parse_parts, run_audit
from maibench.evaluation.audit.parts import Finding, Part

SOURCES = 40


def clean(picture, name, label):
    """What tells nothing: JPEG, its quality drawn without a look at the label."""
    return picture, ".jpg", {"quality": 75 + zlib.crc32(name.encode()) % 21}


def png_where_synthetic(picture, name, label):
    return (picture, ".png", {}) if label else clean(picture, name, label)


def larger_where_real(picture, name, label):
    larger = picture.resize((160, 160), Image.Resampling.BICUBIC)
    return clean(picture if label else larger, name, label)


def quality_95_where_synthetic(picture, name, label):
    return picture, ".jpg", {"quality": 95 if label else 75}


@pytest.fixture(scope="module")
def make(tmp_path_factory, texture):
    """make(store) -> a folder with a manifest: SOURCES photographs and as many synthetic pictures, half of them test;
    the same textures on both sides, so that only how they are stored can tell them apart."""

    def write(store):
        folder = tmp_path_factory.mktemp("audited")
        rows = []
        for index in range(2 * SOURCES):
            label, split = index % 2, ("train", "test")[index // 2 % 2]
            picture, ending, options = store(Image.fromarray(texture((128, 128), index)), str(index), label)
            picture.save(folder / f"{index:03d}{ending}", **options)
            generator = ("gen-a", "gen-b")[index // 2 % 2] if label else "real"
            rows.append((f"{index:03d}{ending}", label, generator, f"source-{index}", split))
        columns = ["path", "label", "generator", "source", "split"]
        pd.DataFrame(rows, columns=columns).to_csv(folder / "manifest.csv", index=False)
        return folder

    return write


def lights(audit, light):
    return {finding.name for finding in audit.findings if finding.light == light}


@pytest.mark.parametrize(
    ("store", "red"),
    [
        (png_where_synthetic, {"format"}),
        (larger_where_real, {"size"}),
        (quality_95_where_synthetic, {"JPEG quality", "JPEG tables"}),
    ],
)
def test_a_leak_is_found_and_nothing_else_is_blamed(make, store, red):
    audit = run_audit(open_data(str(make(store))), Request(("files", "balance")))
    found = {finding.name: finding for finding in audit.findings}
    assert lights(audit, "red") == red | {"together"} | ({"sizes"} if "size" in red else set())
    assert all(found[name].lo > 0.9 and found[name].todo for name in red | {"together"})
    assert not audit.strict.passed and "together" in audit.strict.why[0]


def test_a_clean_data_set_passes(make):
    audit = run_audit(open_data(str(make(clean))), Request())
    assert lights(audit, "red") == set()
    assert audit.strict.passed and audit.strict.unjudged == []
    assert [part.name for part in audit.parts] == ["files", "leaks", "history", "balance"]


def test_a_source_on_two_sides_and_a_copy_are_leaks(make):
    folder = make(clean)
    rows = pd.read_csv(folder / "manifest.csv")
    rows.loc[2, "source"] = rows.loc[0, "source"]  # train and test
    (folder / rows["path"][3]).write_bytes((folder / rows["path"][1]).read_bytes())  # the same
    rows.to_csv(folder / "manifest.csv", index=False)
    audit = run_audit(open_data(str(folder)), Request(("leaks",)))
    assert len(lights(audit, "red")) >= 2 and not audit.strict.passed
    assert audit.strict.unjudged == ["what the files tell of the labels"]
    one_side = run_audit(open_data(str(folder)), Request(("leaks",), split="train"))
    assert one_side.data["images"] == SOURCES


def test_the_joint_bound_is_judged_without_bytes_that_are_content():
    joint = Finding("together", "yellow", "", "", 0.9, 0.8, 0.95)
    assert not judged([Part("files", "", [joint])]).passed
    assert judged([Part("files", "", [joint])], limit=0.85).passed
    without = Finding("together without bytes per pixel", "green", "", "", 0.5, 0.45, 0.55)
    assert judged([Part("files", "", [joint, without])]).passed
    unknown = Finding("together", "grey", "none: only 3 sources")
    assert judged([Part("files", "", [unknown])]).unjudged[0].endswith("(none: only 3 sources)")


def test_wrong_requests_say_what_there_is(make):
    manifest = open_data(str(make(clean)))
    with pytest.raises(MaibenchError, match="has no images of split 'validation'; it has: test, train"):
        run_audit(manifest, Request(split="validation"))
    with pytest.raises(MaibenchError, match="did you mean 'leaks'"):
        parse_parts("files,leeks")
    assert parse_parts("leaks, files") == ("files", "leaks")


def test_the_command_writes_everything_and_strict_decides_the_exit_code(make, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    leaky, out = str(make(png_where_synthetic)), tmp_path / "out"
    audit = ["data", "audit", leaky, "--out", str(out), "--parts", "files"]
    done = CliRunner().invoke(app, audit)
    assert done.exit_code == 0 and "✖ red" in done.stdout and "audit.html" in done.stderr
    before = {file: file.read_bytes() for file in out.iterdir() if file.is_file()}
    assert {file.name for file in before} == {"audit.json", "audit.md", "audit.html"}
    assert CliRunner().invoke(app, audit).exit_code == 0
    assert {file: file.read_bytes() for file in before} == before
    strict = CliRunner().invoke(app, [*audit, "--strict"])
    assert strict.exit_code == 1
    assert json.loads((out / "audit.json").read_text())["strict"]["passed"] is False
    assert CliRunner().invoke(app, [*audit, "--strict", "--limit-auc", "1"]).exit_code == 0
    for wrong in (["data", "audit"], ["data", "audit", leaky, "--data", leaky], [*audit, "--parts", "all"]):
        refused = CliRunner().invoke(app, wrong)
        assert refused.exit_code == 2 and len(refused.stderr.splitlines()) == 1
    assert CliRunner().invoke(app, ["data", "audit", "--data", leaky, "--parts", "balance"]).exit_code == 0
    assert (tmp_path / "results" / f"audit-{leaky.rpartition('/')[2]}" / "audit.html").is_file()
