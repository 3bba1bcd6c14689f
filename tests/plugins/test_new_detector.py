"""What `maibench new-detector` writes works as it is."""

import importlib.util

import pytest
from typer.testing import CliRunner

from maibench import load_detector
from maibench.cli import app
from maibench.evaluation.conformance import harness


def new(*arguments):
    return CliRunner().invoke(app, ["new-detector", *map(str, arguments)])


def test_it_is_written_and_passes_its_own_test(tmp_path, monkeypatch):
    monkeypatch.setattr(harness, "SECONDS", 0)
    done = new("edge-counter", "--out", tmp_path / "mine")
    assert done.exit_code == 0, done.output
    file, test = tmp_path / "mine" / "edge_counter.py", tmp_path / "mine" / "test_edge_counter.py"
    assert done.stdout.split() == [str(file), str(test)]
    assert f"--models {file}:EdgeCounter" in done.stderr
    assert len(file.read_text().splitlines()) <= 40
    module_spec = importlib.util.spec_from_file_location("test_edge_counter", test)
    module = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(module)
    module.test_edge_counter_can_be_compared()
    detector = load_detector(f"{file}:EdgeCounter")
    assert (type(detector).__name__, detector.card.name) == ("EdgeCounter", "edge_counter")
    assert "my_detector" not in (file.read_text() + test.read_text()).lower()


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "test_mine.py").write_text("precious")
    done = new("mine", "--out", tmp_path)
    assert done.exit_code == 2
    assert "test_mine.py: is there already" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["test_mine.py"]
    assert (tmp_path / "test_mine.py").read_text() == "precious"


@pytest.mark.parametrize("name", ["class", "1st", "a/b", "größe", "_", "bailu", ".."])
def test_names_that_cannot_be(tmp_path, name):
    done = new(name, "--out", tmp_path)
    assert done.exit_code == 2
    assert f"'{name}'" in done.stderr
    assert not list(tmp_path.iterdir())
