"""Data sets with a known leak: the audit finds it, names it, and blames nothing else."""

import json
import shutil

import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from maibench.cli import app
from maibench.datasets.readers import open_data
from maibench.errors import MaibenchError
from maibench.evaluation.audit.audit import Request, parse_parts, run_audit
from maibench.evaluation.audit.parts import Finding, Part
from maibench.evaluation.audit.verdict import TOGETHER, WITHOUT_BYTES, judged


def lights(audit, light):
    return {finding.name for finding in audit.findings if finding.light == light}


@pytest.mark.parametrize(
    ("store", "red"),
    [
        ("png", {"format"}),
        ("larger", {"size"}),
        ("quality", {"JPEG quality", "JPEG tables"}),
    ],
)
def test_a_leak_is_found_and_nothing_else_is_blamed(make, store, red):
    audit = run_audit(open_data(str(make(store))), Request(("files", "balance")))
    found = {finding.name: finding for finding in audit.findings}
    assert lights(audit, "red") == red | {TOGETHER}
    assert all(found[name].lo > 0.9 and found[name].todo for name in red | {TOGETHER})
    assert not audit.strict.passed and TOGETHER in audit.strict.why[0]


def test_a_clean_data_set_passes(make):
    audit = run_audit(open_data(str(make("clean"))), Request())
    assert lights(audit, "red") == set()
    assert lights(audit, "yellow") == set()
    assert audit.strict.passed
    [unjudged] = audit.strict.unjudged
    assert unjudged.startswith(f"what the files tell of the labels ({TOGETHER}: cannot be told with 40 sources: AUC 0.")
    assert [part.name for part in audit.parts] == ["files", "leaks", "history", "balance"]
    names = [finding.name for finding in audit.findings]
    assert len(set(names)) == len(names), "a name says which finding is meant"


def test_a_source_on_two_sides_and_a_copy_are_leaks(make, tmp_path):
    folder = shutil.copytree(make("clean"), tmp_path / "leaky")
    rows = pd.read_csv(folder / "manifest.csv")
    rows.loc[2, "source"] = rows.loc[0, "source"]  # train and test
    (folder / rows["path"][3]).write_bytes((folder / rows["path"][1]).read_bytes())  # the same
    rows.to_csv(folder / "manifest.csv", index=False)
    audit = run_audit(open_data(str(folder)), Request(("leaks",)))
    assert len(lights(audit, "red")) >= 2 and not audit.strict.passed
    assert audit.strict.unjudged == ["what the files tell of the labels"]
    one_side = run_audit(open_data(str(folder)), Request(("leaks",), split="train"))
    assert one_side.data["images"] == 40
    # the list alone says of sources; of what was not read, nothing is said to be clean
    assert lights(one_side, "red") == {"sources in two splits"}
    assert lights(one_side, "grey") == {"exact copies", "near-duplicates"}
    assert [text.partition(" (")[0] for text in one_side.strict.unjudged[1:]] == ["exact copies", "near-duplicates"]


def test_one_generator_that_gives_itself_away_among_many_is_named(make, tmp_path):
    folder = shutil.copytree(make("clean"), tmp_path / "many")
    rows = pd.read_csv(folder / "manifest.csv")
    synthetic = rows.index[rows["label"] == 1]
    rows.loc[synthetic, "generator"] = [f"gen-{i % 4}" for i in range(len(synthetic))]
    for path in rows.loc[rows["generator"] == "gen-2", "path"]:
        Image.open(folder / path).save(folder / path, "PNG")
    rows.to_csv(folder / "manifest.csv", index=False)
    audit = run_audit(open_data(str(folder)), Request(("files",)))
    found = {finding.name: finding for finding in audit.findings}
    assert found[TOGETHER].light != "red" and audit.strict.passed
    assert found["single generators"].light == "red" and "gen-2, AUC" in found["single generators"].says


def test_an_image_that_cannot_be_read_is_not_clean_and_a_mended_one_is_read_again(make, tmp_path):
    folder = shutil.copytree(make("png"), tmp_path / "mended")
    rows = pd.read_csv(folder / "manifest.csv")
    whole = (folder / rows["path"][0]).read_bytes()
    (folder / rows["path"][0]).write_bytes(whole[:20])
    request = Request(("balance",))
    before = run_audit(open_data(str(folder)), request, tmp_path / "facts")
    assert before.data["failed"] == 1 and before.strict.why == ["unreadable images: 1 cannot be read"]
    (folder / rows["path"][0]).write_bytes(whole)
    after = run_audit(open_data(str(folder)), request, tmp_path / "facts")
    assert after.data["failed"] == 0 and after.strict.passed


def test_the_joint_bound_is_judged_without_bytes_that_are_content():
    joint = Finding(TOGETHER, "yellow", "", "", 0.9, 0.8, 0.95)
    assert not judged([Part("files", "", [joint])]).passed
    assert judged([Part("files", "", [joint])], limit=0.85).passed
    without = Finding(WITHOUT_BYTES, "green", "", "", 0.5, 0.45, 0.55)
    assert judged([Part("files", "", [joint, without])]).passed
    wide = Finding(TOGETHER, "grey", "cannot be told", "", 0.6, 0.4, 0.8)
    assert judged([Part("files", "", [wide])]).unjudged[0].endswith("(all facts together: cannot be told)")
    unknown = Finding(TOGETHER, "grey", "none: only 3 sources")
    assert judged([Part("files", "", [unknown])]).unjudged[0].endswith(": none: only 3 sources)")


def test_wrong_requests_say_what_there_is(make):
    manifest = open_data(str(make("clean")))
    with pytest.raises(MaibenchError, match="has no images of split 'validation'; it has: test, train"):
        run_audit(manifest, Request(split="validation"))
    with pytest.raises(MaibenchError, match="embeddings are for the parts leaks and balance"):
        run_audit(manifest, Request(("files",), embed="timm:resnet18"))
    with pytest.raises(MaibenchError, match="did you mean 'leaks'"):
        parse_parts("files,leeks")
    assert parse_parts("leaks, files") == ("files", "leaks")


def test_the_command_writes_everything_and_strict_decides_the_exit_code(make, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    leaky, out = str(make("png")), tmp_path / "out"
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
