"""The Python front door."""

import re
import subprocess
import sys
import types
from pathlib import Path

import matplotlib.figure
import numpy as np
import pytest

import maibench
from maibench.api import Settings
from maibench.config import RunConfig
from maibench.errors import MaibenchError
from maibench.evaluation.run import read_run
from tests.dummy_detectors import Brightness

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


def test_detectors_that_are_there_already(data_set, tmp_path):
    data, quick = data_set(), {"resamples": 10, "figures": False, "gallery": 0, "audit": False}
    models = {"file": f"{DUMMIES}:Brightness", "mine": Brightness(middle=0).train()}
    run = maibench.compare(models, data, out=tmp_path / "out", **quick)
    assert list(run.metrics["detector"]) == ["file", "mine"]
    assert not models["mine"].training
    logits = run.predictions.pivot(index="path", columns="detector", values="logit")
    np.testing.assert_allclose(logits["mine"] - logits["file"], 12.75)
    assert [entry["spec"] for entry in read_run(run.folder)["detectors"]] == [models["file"], "Brightness"]
    assert maibench.compare(models, data, out=tmp_path / "out", **quick).scored == 0
    models["mine"].middle += 1  # what it is made of counts, not what it is called
    assert maibench.compare(models, data, out=tmp_path / "out", **quick).scored == 1


def test_a_class_of_a_notebook_is_scored_afresh_when_its_code_changes(data_set, tmp_path, monkeypatch):
    data, quick = data_set(), {"resamples": 10, "figures": False, "gallery": 0, "audit": False}

    def run_cell(factor):
        monkeypatch.setitem(sys.modules, "__main__", cell := types.ModuleType("__main__"))
        exec(compile(CELL.format(factor=factor), "<cell>", "exec"), vars(cell))
        return maibench.compare({"typed": cell.Typed()}, data, out=tmp_path / "out", **quick)

    logits = run_cell(1).predictions["logit"].to_numpy()
    assert run_cell(1).scored == 0
    np.testing.assert_allclose(run_cell(2).predictions["logit"], 2 * logits)


CELL = """
import torch
from maibench import Card, Detector

class Typed(Detector):
    card = Card(name="typed")

    def preprocess(self, image):
        return torch.tensor(float(image.mean()))

    def forward(self, batch):
        return {factor} * batch
"""


def test_a_run_is_shown_and_drawn(data_set, tmp_path):
    quick = {"resamples": 10, "gallery": 0, "audit": False, "figures": False}
    run = maibench.compare({"a<b": Brightness(), "other": Brightness(middle=0)}, data_set(), out=tmp_path, **quick)
    shown = run._repr_html_()
    assert "<td" in shown and "a&lt;b" in shown and "a<b" not in shown
    assert f"{run.metrics['auc'][0]:.3f}" in shown
    assert run.comparisons[["detector_a", "detector_b"]].to_numpy().tolist() == [["a<b", "other"]]
    for name in ("heatmap", "comparisons"):  # of two other makings
        assert run.plot(name)._repr_png_()
    figure = run.plot_roc(tmp_path / "pictures" / "roc.svg")
    assert isinstance(figure, matplotlib.figure.Figure)
    drawn = [line for line in figure.axes[0].lines if len(line.get_xdata()) > 2]
    expected = run.summary.roc.query("generator == 'all' and detector == 'other'")
    np.testing.assert_allclose(drawn[-1].get_xydata(), expected[["fpr", "tpr"]])
    assert figure._repr_png_().startswith(b"\x89PNG")
    assert (tmp_path / "pictures" / "roc.svg").read_text().startswith("<?xml")
    for name, path, told in [
        ("rock", None, "did you mean 'roc'"),
        ("robustness", None, "no data for the figure 'robustness'"),
        ("roc", "roc.txt", "roc.txt: a figure is written as one of .svg, .png, .pdf"),
    ]:
        with pytest.raises(MaibenchError, match=re.escape(told)):
            run.plot(name, path)


@pytest.mark.parametrize(
    ("models", "told"),
    [
        ([Brightness], "the class Brightness; give an object, Brightness()"),
        ({"a": 5}, "neither a SPEC nor a maibench.Detector with a card: 5"),
        ({"a": maibench.Detector()}, "neither a SPEC nor a maibench.Detector with a card"),
        ({"a=b": Brightness()}, "a label has no '='"),
        ([Brightness(), Brightness()], "two detectors are called 'brightness'"),
        ([], "no detectors were named"),
    ],
)
def test_models_that_are_none(models, told, tmp_path):
    with pytest.raises(MaibenchError, match=re.escape(told)):
        maibench.compare(models, out=tmp_path / "out")


def test_options_of_a_detector_that_is_there_already_are_refused(data_set, tmp_path):
    with pytest.raises(MaibenchError, match="mine: 'middle': a detector that is made already takes no options"):
        maibench.compare({"mine": Brightness()}, data_set(), out=tmp_path / "out", options={"mine": {"middle": 0}})


def test_the_settings_are_typed():
    assert {*Settings.__annotations__} | {"models", "data", "out"} == {*RunConfig.model_fields}
    assert Path(maibench.__file__).with_name("py.typed").is_file()


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
