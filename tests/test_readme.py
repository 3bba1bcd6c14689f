"""What the README shows works as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

import maibench
from maibench.evaluation.run import read_run

README = (Path(__file__).parents[1] / "README.md").read_text()


def test_the_detector_of_the_readme_scores_next_to_a_bundled_one(data_set, tmp_path: Path):
    block = re.search(r"```python\n(# my_detector\.py\n.*?)```", README, re.DOTALL)
    assert block
    (tmp_path / "my_detector.py").write_text(block.group(1))
    data = data_set(n_real=2, n_synthetic=2)
    specs = ["mai_cnn", f"{tmp_path}/my_detector.py:Brightness"]
    run = maibench.compare(models=specs, data=str(data), out=str(tmp_path / "run"))
    assert run.metrics["detector"].tolist() == ["mai_cnn", "Brightness"]
    assert run.metrics["n"].tolist() == [4, 4]
    assert run.clean
    assert read_run(run.folder)["status"] == "done"


def test_the_files_that_the_readme_lists_are_written(data_set, tmp_path: Path):
    dummies = Path(__file__).parent / "dummy_detectors.py"
    run = maibench.compare(
        models=["metadata", f"{dummies}:Attackable", f"{dummies}:Brightness"],
        data=str(data_set(n_real=12, n_synthetic=12, splits=("train", "validation", "test"))),
        out=str(tmp_path / "run"),
        perturb=["jpeg:75", "attack:fgsm:2"],
        resamples=20,
    )
    listed = re.findall(r"`([\w.]+\.(?:csv|md|tex|html|json))`", README.split("In the run's folder:")[1].split("##")[0])
    assert len(listed) >= 20
    assert {path.name for path in run.folder.glob("*.csv")} <= {*listed}
    for name in [*listed, "roc.svg", "roc.png", "roc.pdf", "heatmap.svg", "robustness.svg", "gallery/gallery.json"]:
        assert (run.folder / name).stat().st_size > 0, name
    assert pd.read_parquet(run.folder / "predictions" / "metadata")["status"].eq("ok").all()
