"""`maibench data pairs`: what it prints, and its exit codes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from maibench.cli import app
from maibench.datasets.readers import open_data


@pytest.fixture
def command(tiny_pipeline, tiny_clip, photographs, presets, tmp_path):
    """command(**flags) -> what `maibench data pairs` printed and its exit code; its folder is tmp_path/out."""
    flags = {
        "data": photographs, "generators": "unet", "captioner": "moondream-nano", "clip": tiny_clip, "size": 64,
        "alignment": -1, "photo": 0, "unsafe": 1, "out": tmp_path / "out", "device": "cpu",
        "presets": presets(unet=tiny_pipeline("sd1.5")),
    }  # fmt: skip

    def run(*more: str, **changed):
        arguments = [f"--{name.replace('_', '-')}={value}" for name, value in {**flags, **changed}.items()]
        done = CliRunner().invoke(app, ["data", "pairs", *arguments, *more])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done

    return run


def test_help_is_quick_to_import():
    code = (
        "import sys; from maibench.cli import main; sys.argv = ['maibench', 'data', 'pairs', '--help']\n"
        "try: main()\n"
        "finally: print(sorted({'torch', 'pandas', 'numpy', 'PIL', 'yaml', 'diffusers'} & set(sys.modules)),"
        " file=sys.stderr)"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert (done.returncode, done.stderr.strip()) == (0, "[]")
    assert "--dry-run" in done.stdout


def test_says_what_it_made(command, tmp_path):
    told = command("--dry-run")
    assert (told.exit_code, "images to generate: 2 to 4" in told.stdout) == (0, False)
    assert "images to generate: 3 to 6" in told.stdout
    assert not (tmp_path / "out").exists()
    done = command(most=2, store="jpeg:90", shares="own")
    assert done.exit_code == 0, done.stderr
    assert "4 images of 2 photographs; none quarantined; 0 refused beforehand; they are in" in done.stderr
    rows = open_data(str(tmp_path / "out")).rows
    assert (sorted(rows["generator"]), set(rows["format"])) == (["real", "real", "unet", "unet"], {"JPEG"})
    again = command(most=2, store="jpeg:90", shares="own")
    assert "nothing was missing: 4 images" in again.stderr


def test_wrong_requests_are_one_line_and_exit_code_2(command, tmp_path):
    for changed, reason in (
        ({"generators": "sdlx"}, "did you mean 'sdxl'?"),
        ({"data": tmp_path / "nowhere"}, "no data at"),
        ({"licences": "CC0-1.0"}, "has no column licence"),
    ):
        done = command(**changed)
        (line,) = done.stderr.splitlines()[-1:]
        assert done.exit_code == 2
        assert line.startswith("maibench: ") and reason in line
