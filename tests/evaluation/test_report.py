"""Everything that is made of predictions can be made again, without torch, whoever made the predictions."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from maibench.config import make_config
from maibench.errors import MaibenchError
from maibench.evaluation.compare import run_comparison
from maibench.evaluation.report import write_report

ROOT = Path(__file__).parents[2]
TABLES = ("metrics.csv", "per_generator.csv", "comparisons.csv", "roc.csv", "table.md", "table.tex", "report.html")
PICTURES = tuple(f"{name}.{kind}" for name in ("roc", "generators", "histograms") for kind in ("svg", "png", "pdf"))


@pytest.fixture
def theirs(tmp_path):
    """A folder that holds nothing but predictions, written by pandas."""
    rng = np.random.default_rng(0)
    for detector, strength in (("strong", 3.0), ("weak", 0.5)):
        labels = np.tile([0, 1, 1], 12)
        logits = rng.normal((labels * 2 - 1) * strength, 1)
        frame = pd.DataFrame(
            {
                "image_id": "", "path": [f"{i}.png" for i in range(36)], "label": labels,
                "generator": np.tile(["real", "sd15", "flux"], 12),
                "source": np.repeat([f"s{i}" for i in range(12)], 3),
                "split": "test", "perturbation": "none", "detector": detector, "logit": logits,
                "score": 1 / (1 + np.exp(-logits)), "status": "ok", "error": "",
            }
        )  # fmt: skip
        folder = tmp_path / "predictions" / detector
        folder.mkdir(parents=True)
        frame.iloc[:20].to_parquet(folder / "one.parquet")
        frame.iloc[20:].to_parquet(folder / "two.parquet")
    return tmp_path


def test_predictions_of_somebody_else_are_enough_and_torch_is_not_needed(theirs):
    code = (
        "import sys; from maibench.cli import app; "
        f"app(['report', {str(theirs)!r}, '--resamples', '20'], standalone_mode=False); "
        "print('torch' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "False"
    assert "strong" in done.stdout
    assert {path.name for path in theirs.iterdir()} >= {*TABLES, *PICTURES, "predictions"}
    assert all(path.stat().st_size > 0 for path in theirs.iterdir())
    metrics = pd.read_csv(theirs / "metrics.csv").set_index("detector")
    assert list(metrics.index) == ["strong", "weak"]
    assert metrics["n"].tolist() == [36, 36]
    for detector in metrics.index:
        frame = pd.read_parquet(theirs / "predictions" / detector)
        assert metrics.loc[detector, "accuracy"] == pytest.approx(((frame["logit"] > 0) == frame["label"]).mean())
    assert metrics["interval"].str.contains("bootstrap of 12 sources, 20 resamples").all()


def test_report_makes_again_what_compare_made(data_set, dummies, tmp_path):
    settings = {
        "models": [f"{dummies}:Brightness", "metadata"],
        "data": str(data_set(n_real=10, n_synthetic=10, splits=("train", "test"))),
        "out": str(tmp_path / "run"),
        "resamples": 20,
        "seed": 3,
    }
    run = run_comparison(make_config(None, settings, []))
    before = {name: (run.folder / name).read_bytes() for name in TABLES}
    for name in (*TABLES, *PICTURES):
        (run.folder / name).unlink()
    write_report(run.folder)
    assert {name: (run.folder / name).read_bytes() for name in TABLES} == before
    assert all((run.folder / name).stat().st_size > 1000 for name in PICTURES)
    write_report(run.folder, {"resamples": 30})
    assert "30 resamples" in (run.folder / "metrics.csv").read_text()


@pytest.mark.usefixtures("undrawn")
def test_only_the_predictions_of_the_run_count(data_set, dummies, tmp_path):
    settings = {"models": [f"{dummies}:Brightness"], "data": str(data_set()), "out": str(tmp_path), "resamples": 10}
    run = run_comparison(make_config(None, settings, []))
    stale = next((run.folder / "predictions" / "Brightness").iterdir())
    other = run.folder / "predictions" / "Other"
    other.mkdir()
    (other / stale.name).write_bytes(stale.read_bytes())
    assert write_report(run.folder).metrics["detector"].tolist() == ["Brightness"]


@pytest.mark.parametrize("name", ["nowhere", "file", "empty"])
def test_folders_without_predictions(tmp_path, name):
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    with pytest.raises(MaibenchError, match=r"no such folder|no predictions there"):
        write_report(tmp_path / name)
    assert not list((tmp_path / "empty").iterdir())


@pytest.mark.usefixtures("undrawn")
def test_an_image_twice(theirs):
    folder = theirs / "predictions" / "weak"
    (folder / "three.parquet").write_bytes((folder / "two.parquet").read_bytes())
    with pytest.raises(MaibenchError, match="16 rows repeat a path"):
        write_report(theirs)


@pytest.mark.usefixtures("undrawn")
def test_same_text_whoever_rounds(theirs):
    write_report(theirs, {"resamples": 10})
    cells = (theirs / "metrics.csv").read_text().replace("\n", ",").split(",")
    digits = [cell.lstrip("0.").replace(".", "") for cell in cells if re.fullmatch(r"[0-9.]+", cell)]
    assert max(map(len, digits)) == 10
    assert b"\r" not in (theirs / "metrics.csv").read_bytes()


@pytest.mark.slow
def test_what_has_nothing_to_say_any_more_is_removed(theirs):
    """Validation rows that are gone take their calibration, thresholds and pictures with them."""
    for detector in ("strong", "weak"):
        frame = pd.read_parquet(theirs / "predictions" / detector)
        frame["split"], frame["path"] = "validation", "val/" + frame["path"]
        frame.to_parquet(theirs / "predictions" / detector / "validation.parquet")
    write_report(theirs, {"resamples": 10})
    methods = pd.read_csv(theirs / "calibration.csv").groupby("detector")["method"].agg(list)
    assert methods["strong"] == ["raw", "temperature", "platt"]
    assert len(pd.read_csv(theirs / "thresholds.csv")) == 10
    (theirs / "robustness.svg").touch()
    for detector in ("strong", "weak"):
        (theirs / "predictions" / detector / "validation.parquet").unlink()
    write_report(theirs, {"resamples": 10})
    assert set(pd.read_csv(theirs / "calibration.csv")["method"]) == {"raw"}
    assert not (theirs / "robustness.svg").exists()


@pytest.mark.usefixtures("undrawn")
def test_every_frame_agrees_with_the_main_table(theirs):
    """The numbers of one report come from different modules: they are the same numbers."""
    write_report(theirs, {"resamples": 50})
    metrics = pd.read_csv(theirs / "metrics.csv").set_index("detector")
    intervals = pd.read_csv(theirs / "intervals.csv")
    whole = intervals[intervals["generator"] == "all"].pivot(index="detector", columns="metric", values="value")
    for metric in ("accuracy", "auc", "ap", "eer", "ece", "brier", "nll", "balanced_accuracy", "tpr", "tnr"):
        np.testing.assert_allclose(whole[metric], metrics.loc[whole.index, metric])
    pair = pd.read_csv(theirs / "comparisons.csv").iloc[0]
    assert pair["delta_auc"] == pytest.approx(metrics.loc["strong", "auc"] - metrics.loc["weak", "auc"])
    assert pair["delta_accuracy"] == pytest.approx(metrics.loc["strong", "accuracy"] - metrics.loc["weak", "accuracy"])
    confusion = pd.read_csv(theirs / "confusion.csv")
    half = confusion[confusion["threshold"] == 0.5].set_index("detector")
    np.testing.assert_allclose((half["tp"] + half["tn"]) / 36, metrics["accuracy"])
    coverage = pd.read_csv(theirs / "coverage.csv")
    np.testing.assert_allclose(
        coverage[coverage["coverage"] == 1].set_index("detector")["accuracy"], metrics["accuracy"]
    )
    histograms = pd.read_csv(theirs / "histograms.csv")
    assert histograms.groupby("detector")["n"].sum().tolist() == [36, 36]
