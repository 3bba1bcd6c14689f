"""Sweeps: options of detectors are rows of one run, keys of the run are runs of their own, and one table has both."""

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from maibench.cli import app
from maibench.config import label_specs, make_config, make_configs
from maibench.errors import MaibenchError
from maibench.evaluation.compare import run_comparison
from maibench.evaluation.detectors import load_detectors
from maibench.evaluation.figures.sweep import plot_sweep
from maibench.evaluation.sweep import folder_name, run_sweep
from maibench.evaluation.tables.sweep_table import write_sweep
from maibench.models.loading import class_of
from maibench.points import option_points

SHIPPED = Path(__file__).parents[2] / "configs/ablations"
PLAIN = {"figures": False, "gallery": 0, "audit": False, "resamples": 10}


PICKY = """
import torch
import maibench
from maibench.errors import DetectorError

class Picky(maibench.Detector):
    card = maibench.Card(name="picky")

    def __init__(self, word: str = "yes"):
        super().__init__()
        if word == "perhaps":
            raise DetectorError(f"'{word}' is no answer")

    def preprocess(self, image):
        return torch.tensor(float(image.mean()))

    def forward(self, batch):
        return batch - 127
"""


@pytest.fixture(scope="module")
def known(greys):
    """Twelve real images from 20 to 130 and twelve synthetic ones from 110 to 220, in two splits."""
    images = [(20 + 10 * i, 0) for i in range(12)] + [(110 + 10 * i, 1) for i in range(12)]
    return greys([(value, label, split) for split in ("validation", "test") for value, label in images])


@pytest.fixture(scope="module")
def swept(known, dummies, tmp_path_factory):
    """Brightness with three middles, beside one that is not swept, as the command has it."""
    out = tmp_path_factory.mktemp("sweep") / "run"
    flags = {
        "models": [f"dim={dummies}:Brightness", f"plain={dummies}:Brightness"],
        "data": str(known),
        "out": str(out),
    }
    config = make_config(None, flags | PLAIN, ["dim.middle=[120, 60, 300]"])
    return run_comparison(config), config


def test_points_of_options_are_rows_of_one_run(swept):
    run, _ = swept
    labels = ["dim middle=120", "dim middle=60", "dim middle=300", "plain"]
    assert run.metrics["detector"].to_list() == labels
    rows = pd.read_csv(run.folder / "sweep.csv", index_col="detector")
    assert rows.index.to_list() == labels
    assert rows["of"].to_list() == ["dim", "dim", "dim", "plain"]
    assert rows["middle"].fillna(0).to_list() == [120, 60, 300, 0]
    expected = run.metrics.set_index("detector")["accuracy"]
    assert rows["accuracy"].to_list() == pytest.approx(expected.to_list())
    assert rows.loc["dim middle=300", "accuracy"] == 0.5
    assert rows.loc["dim middle=60", "accuracy"] == pytest.approx((5 + 12) / 24)


def test_differences_are_from_the_first_point_of_the_same_detector(swept):
    rows = pd.read_csv(swept[0].folder / "sweep.csv", index_col="detector")
    delta = rows["accuracy"] - rows.loc["dim middle=120", "accuracy"]
    for label in ("dim middle=60", "dim middle=300"):
        assert rows.loc[label, "delta_accuracy"] == pytest.approx(delta[label])
        assert rows.loc[label, "delta_accuracy_lo"] <= delta[label] <= rows.loc[label, "delta_accuracy_hi"]
        assert rows.loc[label, "delta_auc"] == 0
    assert rows.loc[["dim middle=120", "plain"], "delta_accuracy"].isna().all()


def test_the_table_and_the_figure(swept, tmp_path):
    folder = swept[0].folder
    table = (folder / "sweep.md").read_text()
    assert table.startswith("**Sweep over middle**")
    assert [line.split("|")[1:3] for line in table.splitlines() if line.startswith("| dim")][1][1].strip() == "60"
    assert "choose on the validation split" in table
    assert (folder / "sweep.tex").is_file()
    rows = pd.read_csv(folder / "sweep.csv", keep_default_na=False, na_values={"auc": "", "accuracy": ""})
    pictures = plot_sweep(rows, "Sweep over middle", tmp_path)
    assert [file.name for file in pictures] == ["sweep.svg", "sweep.png", "sweep.pdf"]
    assert plot_sweep(rows.assign(auc=float("nan"), accuracy=float("nan")), "", tmp_path) == []
    write_sweep(rows[:0], tmp_path)  # of a folder's next run, which is no sweep
    assert not list(tmp_path.iterdir())


def test_the_same_request_scores_nothing_and_the_table_is_the_same(swept):
    run, config = swept
    before = (run.folder / "sweep.csv").read_bytes()
    (run.folder / "sweep.csv").unlink()
    assert run_comparison(config).scored == 0
    assert (run.folder / "sweep.csv").read_bytes() == before


def test_run_json_says_what_makes_a_point(swept):
    entries = json.loads((swept[0].folder / "run.json").read_text())["detectors"]
    assert [(entry.get("of"), entry.get("point")) for entry in entries] == [
        ("dim", {"middle": 120}), ("dim", {"middle": 60}), ("dim", {"middle": 300}), (None, None),
    ]  # fmt: skip


def test_a_point_that_cannot_be_used_is_a_failed_row(known, dummies, tmp_path):
    (tmp_path / "picky.py").write_text(PICKY)
    flags = {"models": f"{tmp_path / 'picky.py'}:Picky", "data": str(known), "out": str(tmp_path / "run"), "limit": 4}
    run = run_comparison(make_config(None, flags | PLAIN, ["Picky.word=[yes it is, perhaps]"]))
    assert not run.clean
    assert run.metrics.set_index("detector")["n_failed"].to_dict() == {
        "Picky word=yes it is": 0,
        "Picky word=perhaps": 4,
    }
    table = (run.folder / "sweep.md").read_text()
    assert "- Picky word=perhaps: 'perhaps' is no answer" in table
    assert [line.split("|")[3].strip() for line in table.splitlines() if line.startswith("| Picky")][1] == "–"


def test_points_share_the_weights_that_are_the_same():
    config = make_config(None, {"models": "bailu,other=bailu"}, ["bailu.tiles=[1, 5]"])
    rows = load_detectors(config, {"bailu": "bailu", "other": "bailu"})
    places = {label: [p.data_ptr() for p in row.detector.parameters()] for label, row in rows.items()}
    assert places["bailu tiles=1"] == places["bailu tiles=5"] != places["other"]
    one, other = rows["bailu tiles=5"].detector, rows["other"].detector
    for name, tensor in other.state_dict().items():
        assert torch.equal(tensor, one.state_dict()[name])


def test_a_mistake_in_one_point_is_a_wrong_request():
    with pytest.raises(MaibenchError, match="tiles is 0; it takes a whole number from 1"):
        load_detectors(make_config(None, {"models": "bailu"}, ["bailu.tiles=[1, 0]"]), {"bailu": "bailu"})
    with pytest.raises(MaibenchError, match="bailu has no option 'tile'"):
        load_detectors(make_config(None, {"models": "bailu"}, ["bailu.tile=[1, 2]"]), {"bailu": "bailu"})


def test_keys_of_the_run_are_runs_of_their_own(known, dummies, tmp_path):
    flags = {"models": f"dim={dummies}:Brightness", "data": str(known), "out": str(tmp_path / "sweep")}
    configs = make_configs(None, flags | PLAIN, ["split=[validation, test]", "dim.middle=[120, 60]"])
    sweep = run_sweep(configs)
    assert list(sweep.runs) == ["split=validation", "split=test"]
    rows = pd.read_csv(tmp_path / "sweep/sweep.csv")
    assert rows[["split", "middle"]].to_numpy().tolist() == [
        ["validation", 120], ["validation", 60], ["test", 120], ["test", 60],
    ]  # fmt: skip
    own = sweep.runs["split=test"]
    assert own.folder == tmp_path / "sweep/split=test"
    assert rows.iloc[-2:]["auc"].to_list() == pytest.approx(own.metrics["auc"].to_list())
    assert rows.iloc[-1]["delta_accuracy"] == pytest.approx(rows.iloc[-1]["accuracy"] - rows.iloc[-2]["accuracy"])
    assert sweep.clean
    assert sweep.scored > 0
    assert run_sweep(configs).scored == 0


def test_what_is_not_there_is_told_before_anything_is_scored(known, dummies, tmp_path):
    flags = {"models": f"dim={dummies}:Brightness", "data": str(known), "out": str(tmp_path / "sweep")}
    with pytest.raises(MaibenchError, match="has no images of split 'train'; it has: test, validation"):
        run_sweep(make_configs(None, flags | PLAIN, ["split=[test, train]"]))
    assert not (tmp_path / "sweep").exists()


def test_one_run_takes_one_value():
    with pytest.raises(MaibenchError, match="this is a sweep: seed=0; seed=1"):
        make_config(None, {"models": "bailu"}, ["seed=[0, 1]"])
    assert make_config(None, {"models": "bailu"}, ["perturb=[jpeg:75, blur:1]"]).perturb == ["jpeg:75", "blur:1"]
    configs = make_configs(None, {"models": "bailu"}, ["perturb=[[jpeg:75], [blur:1]]"])
    assert [config.perturb for config in configs.values()] == [["jpeg:75"], ["blur:1"]]
    with pytest.raises(MaibenchError, match=r"out: .*string"):
        make_configs(None, {"models": "bailu"}, ["out=[a, b]"])
    with pytest.raises(MaibenchError, match=r"seed: .*\(got 'x'\)"):
        make_configs(None, {"models": "bailu"}, ["seed=[0, x]"])


def test_folders_of_points():
    assert folder_name("seed=0 split=test") == "seed=0_split=test"
    assert folder_name("data=a/b") != folder_name("data=a_b")
    assert len(folder_name("data=" + "x" * 300)) < 100


@pytest.mark.parametrize(("name", "count"), [("prompt", 10), ("crops", 24)])
def test_shipped_sweeps(name, count):
    file = SHIPPED / f"{name}.yaml"
    configs = make_configs(file, {}, [])
    assert list(configs) == [""]
    config = configs[""]
    assert config.split == "validation"
    assert set(config.options) <= {model.partition("=")[0] for model in config.models}
    specs = label_specs(config.models)
    points = {label: option_points(class_of(spec), config.options.get(label, {})) for label, spec in specs.items()}
    assert sum(map(len, points.values())) == count


@pytest.mark.slow
@pytest.mark.parametrize(("name", "count"), [("prompt", 10), ("crops", 24)])
def test_shipped_sweeps_load(name, count):
    config = make_configs(SHIPPED / f"{name}.yaml", {"device": "cpu"}, [])[""]
    rows = load_detectors(config, label_specs(config.models))
    assert len(rows) == count
    assert not any(row.failure for row in rows.values())


def test_the_command(known, dummies, tmp_path):
    settings = [f"--set={key}={str(value).lower()}" for key, value in PLAIN.items()]
    line = ["compare", f"--models=dim={dummies}:Brightness", f"--data={known}", f"--out={tmp_path / 'run'}", *settings]
    one = CliRunner().invoke(app, [*line, "--set=dim.middle=[100, 120]"])
    assert one.exit_code == 0
    assert "Sweep over middle" in one.stdout
    wrong = CliRunner().invoke(app, [*line, "--set=seed=[0, 0]"])
    assert wrong.exit_code == 2
    assert "seed: 0 is listed twice" in wrong.stderr
