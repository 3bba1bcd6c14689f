"""run.json: what it says, and which folder may be gone on with."""

import getpass
import json
import platform
import subprocess
from pathlib import Path

import pytest

import maibench
from maibench.errors import MaibenchError
from maibench.evaluation.run import check_same_request, git_commit, machine, read_run, versions, write_run

IDENTITY = {"models": ["a"], "seed": 0}


def test_round_trip(tmp_path):
    assert read_run(tmp_path) == {}
    write_run(tmp_path, {"a": [1, None]})
    assert read_run(tmp_path) == {"a": [1, None]}


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null"])
def test_what_is_no_run(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(MaibenchError, match=r"run\.json: not .*; move the folder away or choose another --out"):
        read_run(tmp_path)


@pytest.mark.parametrize("fresh", [False, True])
def test_new_empty_or_same_folder(tmp_path, fresh):
    check_same_request(tmp_path / "new", {}, IDENTITY, fresh)
    check_same_request(tmp_path, {}, IDENTITY, fresh)
    check_same_request(tmp_path, {"config": IDENTITY | {"out": "x"}}, IDENTITY, fresh)


def test_another_request_needs_fresh(tmp_path):
    before = {"config": IDENTITY | {"seed": 1}}
    with pytest.raises(MaibenchError, match=r"holds another run \(seed was 1, now 0\); .*--out, or .*--fresh"):
        check_same_request(tmp_path, before, IDENTITY, False)
    check_same_request(tmp_path, before, IDENTITY, True)


@pytest.mark.parametrize("fresh", [False, True])
def test_folder_of_somebody_else(tmp_path, fresh):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(MaibenchError, match="holds files but no run of maibench; choose another folder with --out"):
        check_same_request(tmp_path, {}, IDENTITY, fresh)


def test_what_a_killed_run_left_half_written_is_nobody_elses(tmp_path):
    (tmp_path / ".part-7-run.json").write_text('{"half')
    check_same_request(tmp_path, {}, IDENTITY, False)


def test_machine_names_neither_host_nor_user():
    facts = machine()
    assert {"system", "processor", "cores", "torch_threads"} <= set(facts)
    assert platform.node() not in json.dumps(facts)
    assert getpass.getuser() not in json.dumps(facts).split()


def test_versions():
    found = versions()
    assert found["maibench"] == maibench.__version__
    assert found["python"] == platform.python_version()
    assert {"torch", "numpy", "pillow", "scikit-learn"} <= set(found)


def test_commit():
    here = Path(maibench.__file__).parent
    done = subprocess.run(["git", "-C", here, "rev-parse", "HEAD"], capture_output=True, text=True)
    if done.returncode:
        assert git_commit() is None
    else:
        assert git_commit().removesuffix("+") == done.stdout.strip()
