"""`maibench data pairs`: what it prints, and its exit codes."""

import pytest
from typer.testing import CliRunner

from maibench.cli import app
from maibench.datasets.readers import open_data

NAMES = ("data", "generators", "captioner", "clip", "out", "size", "presets", "device")


@pytest.fixture
def command(request_for, tmp_path):
    """command(**flags) -> what `maibench data pairs` printed and its exit code; its folder is tmp_path/out."""

    def run(*more, **changed):
        flags = vars(request_for(tmp_path / "out", captioner="moondream-nano"))
        flags = {name: flags[name] for name in NAMES} | {"alignment": -1, "photo": 0, "unsafe": 1} | changed
        arguments = [f"--{name}={value}" for name, value in flags.items()]
        done = CliRunner().invoke(app, ["data", "pairs", *arguments, *more])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done

    return run


def test_says_what_it_made(command, tmp_path):
    told = command("--dry-run")
    assert (told.exit_code, "images to generate: 3 to 6" in told.stdout) == (0, True)
    assert not (tmp_path / "out").exists()
    done = command(most=2, store="jpeg:90", shares="own")
    assert done.exit_code == 0, done.stderr
    assert "4 images of 2 photographs; none quarantined; 0 refused beforehand; they are in" in done.stderr
    rows = open_data(str(tmp_path / "out")).rows
    assert (sorted(rows["generator"]), set(rows["format"])) == (["real", "real", "unet", "unet"], {"JPEG"})
    assert "nothing was missing: 4 images" in command(most=2, store="jpeg:90", shares="own").stderr


def test_wrong_requests_are_one_line_and_exit_code_2(command, photographs, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    for changed, reason in (
        ({"generators": "sdlx"}, "did you mean 'sdxl'?"),
        ({"data": tmp_path / "nowhere"}, "no data at"),
        ({"licences": "CC0-1.0"}, "has no column licence"),
        ({"out": tmp_path / "mine"}, "holds files that were not made by this command"),
        ({"out": tmp_path / "mine" / "file"}, "it is a file"),
        ({"out": photographs / "out"}, "choose an --out outside of it"),
        ({"size": 128}, "'unet' makes images of 64 pixels, and nothing is enlarged"),
        ({"size": 32}, "give at least 64"),
        ({"clip": "nowhere"}, "no CLIP-type model at 'nowhere'"),
        ({"store": "webp"}, "no way to store"),
    ):
        done = command(**changed)
        (line,) = done.stderr.splitlines()[-1:]
        assert (done.exit_code, line.startswith("maibench: "), reason in line) == (2, True, True), line
    assert not (tmp_path / "out").exists()
