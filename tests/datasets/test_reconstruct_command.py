"""`maibench data reconstruct`: what it prints, and its exit codes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from maibench.cli import app
from maibench.datasets import roundtrip
from maibench.datasets.readers import open_data


@pytest.fixture
def command(tiny_vae, data_set, tmp_path):
    """command(**flags) -> what `maibench data reconstruct` printed and its exit code; its folder is tmp_path/out."""
    flags = {
        "vae": tiny_vae(tmp_path / "tiny"),
        "data": data_set(tmp_path / "photos", 3, 1, splits=("train", "validation")),
        "out": tmp_path / "out",
        "device": "cpu",
    }

    def run(*more: str, **changed):
        pairs = {**flags, **changed}.items()
        arguments = [text for name, value in pairs for text in (f"--{name.replace('_', '-')}", str(value))]
        done = CliRunner().invoke(app, ["data", "reconstruct", *arguments, *more])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        assert done.stdout == ""
        return done

    return run


def refused(done, reason):
    """Exit code 2, and one line that says why."""
    assert done.exit_code == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("maibench: ")
    assert reason in line


def test_help_is_quick_to_import():
    code = (
        "import sys; from maibench.cli import main; sys.argv = ['maibench', 'data', 'reconstruct', '--help']\n"
        "try: main()\n"
        "finally: print(sorted({'torch', 'pandas', 'numpy', 'PIL', 'yaml', 'diffusers'} & set(sys.modules)),"
        " file=sys.stderr)"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stderr.strip() == "[]"
    for flag in (
        "vae", "data", "out", "each", "most", "shrink", "size", "split", "batch-size", "device", "store", "fresh",
    ):  # fmt: skip
        assert f"--{flag}" in done.stdout


def test_says_what_it_made_and_what_to_do_next(command, tmp_path):
    done = command()
    assert done.exit_code == 0
    out = tmp_path / "out"
    assert done.stderr.splitlines()[-2:] == [
        f"6 pairs of 6 photographs; no photograph left out; they are in {out}",
        f"train on them: maibench finetune configs/finetune/bailu.yaml --data {out} --out runs/bailu",
    ]
    rows = open_data(str(out)).rows
    assert sorted(rows["generator"]) == ["real"] * 6 + ["tiny"] * 6
    assert set(rows["split"]) == {"train", "validation"}
    again = command()
    assert again.exit_code == 0
    assert "nothing was missing: 6 pairs of 6 photographs" in again.stderr


def test_options_reach_the_data(command, tmp_path):
    done = command("--shrink", each=1, most=2, size=64, split="train", batch_size=1, store="jpeg:75")
    assert done.exit_code == 0
    rows = open_data(str(tmp_path / "out")).rows
    assert (len(rows), set(rows["split"]), set(rows["width"]), set(rows["format"])) == (4, {"train"}, {64}, {"JPEG"})


def test_wrong_requests_are_one_line_and_exit_code_2(command, data_set, tmp_path):
    refused(command(vae="nano-sdlx"), "did you mean 'nano-sdxl'?")
    refused(command(split="test"), "the test split is never read")
    refused(command(data=data_set(tmp_path / "test", 2, 0)), "no real photographs in train or validation (2 in test)")
    (tmp_path / "file").touch()
    refused(command(out=tmp_path / "file"), "cannot be written")
    refused(command(out=tmp_path / "photos"), "holds files that were not made by this command")


def test_another_command_needs_fresh(command):
    assert command().exit_code == 0
    refused(command(size=64), "size was 256, now 64")
    assert command("--fresh", size=64).exit_code == 0


def test_an_interrupted_one_is_exit_code_130_and_goes_on(command, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(roundtrip, "reconstruct", lambda *given: (_ for _ in ()).throw(KeyboardInterrupt))
        done = command()
    assert done.exit_code == 130
    assert "maibench: interrupted; what was written is kept, the same command goes on" in done.stderr
    assert command().exit_code == 0
