"""Killed at any moment, the same command goes on where it stopped and ends in the same bytes."""

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from maibench.config import make_config
from maibench.evaluation import scoring
from maibench.evaluation.compare import run_comparison
from maibench.evaluation.store import read_note
from maibench.progress import Progress

ROOT = Path(__file__).parents[2]
RUNNER = """
import json, sys
from maibench.evaluation import scoring
from maibench.evaluation.compare import run_comparison
from maibench.config import make_config
scoring.BATCHES_PER_PART = 2
run_comparison(make_config(None, json.loads(sys.argv[1]), []))
"""


class Heard(Progress):
    def __init__(self):
        self.said = []

    def say(self, text):
        self.said.append(text)


def run(settings, progress=None):
    return run_comparison(make_config(None, settings, []), progress=progress)


def kill_after(parts, settings):
    """Run the same in another process, and SIGKILL it when so many parts of Slow are on disk."""
    folder = Path(settings["out"]) / "predictions" / "Slow"
    process = subprocess.Popen([sys.executable, "-c", RUNNER, json.dumps(settings)], cwd=ROOT)
    try:
        deadline = time.monotonic() + 120
        while len(list(folder.glob("part-*"))) < parts and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
    finally:
        process.kill()
    assert process.wait() == -signal.SIGKILL


def without_timing(file):
    with open(file, newline="") as stream:
        rows = list(csv.reader(stream))
    timing = rows[0].index("images_per_second")
    return [row[:timing] + row[timing + 1 :] for row in rows]


@pytest.fixture
def settings(data_set, dummies, tmp_path):
    """A request of 14 batches, 0.15 seconds each."""
    data = data_set(n_real=12, n_synthetic=12, splits=("train", "validation", "test"), size=(48, 40))
    return {
        "models": [f"{dummies}:Slow", "metadata", f"{dummies}:Brightness"],
        "data": str(data),
        "perturb": ["none", "jpeg:75"],
        "batch_size": 4,
        "resamples": 20,
        "figures": False,
        "gallery": 0,
        "options": {"Slow": {"seconds": 0.1}},
        "out": str(tmp_path / "out"),
    }


def test_killed_twice_and_gone_on_with(settings, tmp_path):
    killed, folder = tmp_path / "killed", tmp_path / "killed" / "predictions" / "Slow"
    settings["out"] = str(killed)
    kill_after(1, settings)
    first = {file: file.read_bytes() for file in folder.glob("part-*")}
    kill_after(len(first) + 1, settings)
    assert not (killed / "metrics.csv").exists()
    kept = sum(part.last - part.first + 1 for part in map(read_note, folder.glob("part-*")))
    assert 4 <= kept < 12
    for file, data in first.items():  # what was there was not computed again
        assert file.read_bytes() == data
    half = [folder / ".part-7-part-0000010-0000011.parquet", killed / ".part-7-run.json"]
    for file in half:
        file.write_bytes(b"PAR1 half written")

    done = run(settings)
    assert 0 < done.scored < 3 * 12
    undisturbed = run(settings | {"out": str(tmp_path / "undisturbed")})
    assert undisturbed.scored == 3 * 12
    assert without_timing(killed / "metrics.csv") == without_timing(tmp_path / "undisturbed" / "metrics.csv")
    for name in ("per_generator.csv", "roc.csv"):
        assert (killed / name).read_bytes() == (tmp_path / "undisturbed" / name).read_bytes()
    assert not any(file.exists() for file in half)
    assert run(settings).scored == 0


def test_killed_while_the_first_run_json_was_written(settings, tmp_path):
    out = Path(settings["out"])
    out.mkdir()
    (out / ".part-7-run.json").write_text('{"status": "run')
    assert run(settings | {"options": {"Slow": {"seconds": 0}}}).clean
    assert not list(out.rglob(".part-*"))


PLUG_IN = """
import maibench, torch
class Mine(maibench.Detector):
    card = maibench.Card(name="mine")
    def preprocess(self, image):
        return torch.tensor(float(image.mean()))
    def forward(self, batch):
        return batch - 100
"""


def test_changed_detector_is_computed_afresh_and_it_is_said(settings, dummies, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(PLUG_IN)
    settings |= {"models": [f"{file}:Mine", f"{dummies}:Brightness"], "options": {}, "perturb": ["none"]}
    before = run(settings).predictions
    file.write_text(PLUG_IN.replace("100", "101"))
    heard = Heard()
    after = run(settings, heard)
    assert heard.said[0] == "Mine: its weights, code, device or data changed; scoring it afresh"
    assert after.scored == 12  # those of Mine alone
    changes = after.predictions["logit"] - before["logit"]
    assert (changes[before["detector"] == "Mine"] == -1).all()
    assert (changes[before["detector"] == "Brightness"] == 0).all()
    keys = {read_note(part).key for part in (Path(settings["out"]) / "predictions" / "Mine").iterdir()}
    assert len(keys) == 1  # the old parts are gone
    assert run(settings).scored == 0


def test_changed_data_is_computed_afresh(settings, dummies):
    settings |= {"models": [f"{dummies}:Brightness"], "options": {}}
    run(settings)
    data = Path(settings["data"])
    data.write_text(data.read_text().replace("gen-a,test-0", "gen-c,test-0"))
    heard = Heard()
    again = run(settings, heard)
    assert again.scored == 12
    assert "gen-c" in set(again.per_generator["generator"])
    assert [line for line in heard.said if "changed" in line] == heard.said[:1]


def test_a_part_that_was_damaged_is_computed_again(settings, dummies, monkeypatch):
    monkeypatch.setattr(scoring, "BATCHES_PER_PART", 3)
    settings |= {"models": [f"{dummies}:Brightness"], "options": {}}
    before = run(settings)
    parts = sorted((before.folder / "predictions" / "Brightness").iterdir())
    parts[1].write_bytes(parts[1].read_bytes()[:-9])
    metrics = without_timing(before.folder / "metrics.csv")
    assert run(settings).scored == 3
    assert without_timing(before.folder / "metrics.csv") == metrics
