"""The Python front door."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import maibench
from maibench.errors import MaibenchError

DUMMIES = Path(__file__).parent / "dummy_detectors.py"


def test_compare_returns_the_frames(data_set, tmp_path):
    run = maibench.compare(
        models=[f"{DUMMIES}:Brightness", f"bright={DUMMIES}:Brightness"],
        data=data_set(),
        out=tmp_path / "out",
        resamples=10,
        options={"bright": {"middle": 0}},
        perturb="crop:0.5",
    )
    assert run.clean
    assert run.folder == tmp_path / "out"
    assert list(run.metrics["detector"].unique()) == ["Brightness", "bright"]
    assert list(run.metrics["perturbation"]) == ["none", "crop:0.5"] * 2
    assert set(run.per_generator["generator"]) == {"gen-a", "gen-b"}
    logits = run.predictions.pivot(index=["path", "perturbation"], columns="detector", values="logit")
    np.testing.assert_allclose(logits["bright"] - logits["Brightness"], 12.75)


def test_what_is_wrong_is_raised(data_set, tmp_path):
    with pytest.raises(MaibenchError, match="did you mean 'bailu'"):
        maibench.compare("bailo", data=data_set(), out=tmp_path / "out")
    with pytest.raises(MaibenchError, match="unknown key 'colour'"):
        maibench.compare("bailu", colour="red")
    assert not (tmp_path / "out").exists()


def test_import_is_light():
    loaded = "import sys, maibench; print(sorted({'torch', 'pandas', 'pydantic', 'typer'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", loaded], cwd=DUMMIES.parents[1], capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_names_that_scripts_rely_on():
    assert set(maibench.__all__) == {"Card", "Detector", "__version__", "compare", "load_detector", "register"}
    assert all(hasattr(maibench, name) for name in maibench.__all__)
    with pytest.raises(AttributeError, match="no attribute 'detect'"):
        _ = maibench.detect
