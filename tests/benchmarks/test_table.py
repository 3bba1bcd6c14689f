"""Where ratios are kept, and the command that runs benchmarks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks import table
from benchmarks.measure import Ratio


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "README.md").write_text(f"before\n{table.BEGIN}\n\nold\n{table.END}\nafter\n")
    return tmp_path


def test_rows_are_kept_and_only_those_of_one_benchmark_replaced(folder: Path) -> None:
    table.keep("one", "title", [Ratio("a", 1.23456, 1, "x|y")], 3.21, folder)
    table.keep("two", "other", [Ratio("b", None, 2, "no GPU here")], 1, folder)
    table.keep("one", "title", [Ratio("a", 0.5, 1, "x|y"), Ratio("c", 1234.5)], 3, folder)
    stored = json.loads((folder / "results.json").read_text())
    assert [row["verdict"] for row in stored["one"]["rows"]] == ["below", ""]
    assert stored["two"]["rows"] == [
        {"name": "b", "ratio": None, "floor": 2, "detail": "no GPU here", "verdict": "not measured"}
    ]
    lines = (folder / "README.md").read_text().splitlines()
    assert lines[0] == "before"
    assert lines[-1] == "after"
    assert "old" not in lines
    assert [line for line in lines if line.startswith(("| one", "| two"))] == [
        "| one | a | 0.5 | 1 | below | x\\|y |",
        "| one | c | 1,234 |  |  |  |",
        "| two | b |  | 2 | not measured | no GPU here |",
    ]


def test_each_machine_is_named_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table.keep("one", "", [Ratio("a", 1)], 0, folder)
    table.keep("two", "", [Ratio("a", 1)], 0, folder)
    here = table.machine()
    monkeypatch.setattr(table, "machine", lambda: here | {"processor": "another"})
    table.keep("gpu", "", [Ratio("a", 1)], 0, folder)
    text = (folder / "README.md").read_text()
    assert text.count("Python") == 2
    marks = {line.split("|")[1].strip() for line in text.splitlines() if line.endswith("| a | 1 |  |  |  |")}
    assert marks in ({"one", "two", "gpu (1)"}, {"gpu", "one (1)", "two (1)"})


def test_the_machine_has_no_name() -> None:
    import platform

    facts = table.machine()
    assert facts["cores"] >= 1
    assert facts["torch"]
    assert platform.node() not in json.dumps(facts).split('"')


def test_every_benchmark_is_found_and_nothing_else() -> None:
    found = command.names()
    assert {"detectors", "peers", "report", "training"} <= set(found)
    assert not {"measure", "table", "each", "__main__", "peer_loops"} & set(found)


def test_an_unknown_name_gets_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        command.main(["pears"])
    assert caught.value.code == 2
    assert "did you mean 'peers'?" in capsys.readouterr().err


def test_a_benchmark_that_fails_stops_no_other(tmp_path: Path) -> None:
    package = tmp_path / "benchmarks"
    package.mkdir()
    here = Path(command.__file__).parent
    for name in ("__init__.py", "__main__.py", "each.py", "measure.py", "table.py"):
        (package / name).write_text((here / name).read_text())
    (package / "README.md").write_text(f"{table.BEGIN}\n{table.END}\n")
    body = '"""Title."""\nfrom benchmarks.measure import Ratio\n\n\ndef main() -> list[Ratio]:\n    '
    (package / "broken.py").write_text(body + "raise OSError('no disk')\n")
    (package / "good.py").write_text(body + "return [Ratio('a thing', 3.0, 2)]\n")
    done = subprocess.run([sys.executable, "-m", "benchmarks"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert "no disk" in done.stderr
    assert "failed: broken" in done.stderr
    assert "a thing" in done.stdout.splitlines()[-1]
    assert list(json.loads((package / "results.json").read_text())) == ["good"]
