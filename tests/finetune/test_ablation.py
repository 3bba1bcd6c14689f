"""An ablation: every point with every seed, once; one table, one figure, differences paired by seed."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image
from scipy import stats
from sklearn.metrics import roc_auc_score

from maibench.config import read_yaml
from maibench.errors import MaibenchError
from maibench.finetune import ablation
from maibench.finetune.ablation import Measure, parse_part, read_ablation, run_ablation
from maibench.finetune.ablation_report import COLUMNS, summarise_ablation, write_ablation
from maibench.finetune.recipe import make_recipe

SHIPPED = Path(__file__).parents[2] / "configs/ablations"
RECIPE = {
    "detector": "bailu", "lr": 3e-3, "steps": 2, "warmup": 0, "batch_size": 4, "crop": 64, "validate_every": 2,
    "augmentation": {"jpeg": 0.0, "resize": 0.0},
}  # fmt: skip


@pytest.fixture
def written(tmp_path: Path):
    """written(**keys) -> an ablation's file beside its recipe."""

    def write(**keys: object) -> Path:
        (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
        file = tmp_path / "grid.yaml"
        values = {
            "title": "a title",
            "recipe": "recipe.yaml",
            "grid": {"options.input": ["both", "rgb"]},
            "seeds": [0, 1],
        }
        file.write_text(yaml.safe_dump({k: v for k, v in {**values, **keys}.items() if v is not None}))
        return file

    return write


@pytest.fixture(scope="module")
def source(data_set) -> str:
    return str(data_set(n_real=4, n_synthetic=4, splits=("train", "validation", "test")))


@pytest.mark.parametrize(
    "file",
    sorted(file for file in SHIPPED.glob("*.yaml") if "models" not in read_yaml(file)),
    ids=lambda file: file.stem,
)
def test_every_shipped_ablation_can_be_read_with_all_its_recipes(file: Path):
    if file.stem.startswith("quick_"):
        make_recipe(read_yaml(file), {}, str(file))
        return
    config = read_ablation(file)
    values = read_yaml(file.parent / config.recipe)
    for name, point in config.all_points().items():
        make_recipe(values, config.set | point.set | {"seed": 0}, name)
    assert len(config.seeds) >= 3


def test_every_point_is_trained_with_every_seed_and_compared_once(written, source, tmp_path: Path, monkeypatch):
    out = tmp_path / "out"
    assert run_ablation(written(), out, [source], device="cpu")
    values = pd.read_csv(out / "ablation.csv", keep_default_na=False)
    assert list(values.columns) == list(COLUMNS)
    trained = {(point, seed) for point, seed in zip(values["point"], values["seed"], strict=True)}
    assert trained == {("input both", 0), ("input both", 1), ("input rgb", 0), ("input rgb", 1)}
    own = pd.read_csv(out / "input_rgb/seed1/compare/metrics.csv")
    shown = values[(values["point"] == "input rgb") & (values["seed"] == 1)].set_index("measure")["value"]
    assert shown["accuracy"] == pytest.approx(own["accuracy"].item())
    assert Image.open(out / "ablation.png").format == "PNG"
    assert r"\toprule" in (out / "table.tex").read_text()
    assert not list(out.rglob("checkpoint.pt"))

    monkeypatch.setattr(ablation, "train", lambda *arguments: pytest.fail("trained twice"))
    before = (out / "ablation.csv").read_bytes()
    run_ablation(written(), out, [source], device="cpu")
    assert (out / "ablation.csv").read_bytes() == before


@pytest.mark.slow
def test_a_seed_can_be_added_and_another_request_under_the_same_name_is_refused(written, source, tmp_path: Path):
    out = tmp_path / "out"
    grid = {"options.input": ["both"]}
    run_ablation(written(grid=grid, seeds=[0]), out, [source], device="cpu")
    run_ablation(written(grid=grid, seeds=[0, 1]), out, [source], device="cpu")
    assert set(pd.read_csv(out / "ablation.csv")["seed"]) == {0, 1}
    with pytest.raises(MaibenchError, match="another training of that name"):
        run_ablation(written(grid=grid, seeds=[0, 1], set={"lr": 1e-4}), out, [source], device="cpu")


def test_parts_share_the_work_and_the_table_says_what_is_missing(written, source, tmp_path: Path):
    out = tmp_path / "out"
    run_ablation(written(seeds=[0]), out, [source], device="cpu", part=(1, 2))
    assert "input rgb, seed 0: not yet run" in (out / "table.md").read_text()
    run_ablation(written(seeds=[0]), out, [source], device="cpu", part=(2, 2))
    assert "not yet run" not in (out / "table.md").read_text()
    assert set(pd.read_csv(out / "ablation.csv")["point"]) == {"input both", "input rgb"}


def test_a_training_that_fails_stops_no_other_and_is_told(written, source, tmp_path: Path):
    out = tmp_path / "out"
    points = {"too wild": {"set": {"lr": 1e30, "steps": 6, "clip": 1e30}}, "sane": {}}
    assert not run_ablation(written(grid=None, points=points, seeds=[0]), out, [source], device="cpu")
    table = (out / "table.md").read_text()
    assert re.search(r"too wild, seed 0: the loss is \S+ at step", table)
    assert set(pd.read_csv(out / "ablation.csv")["point"]) == {"sane"}


def test_measures_are_confined_to_generators_and_collections():
    frame = pd.DataFrame(
        {
            "label": [0, 0, 1, 1, 1], "generator": ["real", "real", "a", "b", "b"], "status": ["ok"] * 4 + ["failed"],
            "source": ["x/one:1", "x/two:1", "p1", "p2", "p3"], "logit": [-1.0, 2.0, 1.0, 3.0, np.nan],
            "perturbation": "none",
        }
    )  # fmt: skip
    assert Measure(name="m", metric="auc").of(frame, "d") == pytest.approx(roc_auc_score([0, 0, 1, 1], [-1, 2, 1, 3]))
    assert Measure(name="m", metric="tpr", generators=["b"]).of(frame, "d") == 1.0
    assert Measure(name="m", metric="tnr", collections=["x/two"]).of(frame, "d") == 0.0
    assert Measure(name="m", metric="auc", generators=["a"], collections=["x/one"]).of(frame, "d") == 1.0
    assert np.isnan(Measure(name="m", metric="auc", perturbation="jpeg:75").of(frame, "d"))


def test_means_intervals_and_paired_differences_are_those_of_the_textbook():
    rng = np.random.default_rng(0)
    first, second = rng.normal(0.8, 0.02, 4), rng.normal(0.7, 0.05, 4)
    values = pd.DataFrame(
        [("one", seed, "AUC", "", first[seed]) for seed in range(4)]
        + [("two", seed, "AUC", "", second[seed]) for seed in range(4)],
        columns=list(COLUMNS),
    )
    two = summarise_ablation(values).set_index("point").loc["two"]
    assert two["mean"] == pytest.approx(second.mean())
    assert two["sd"] == pytest.approx(second.std(ddof=1))
    assert two["baseline"] == pytest.approx(first.mean())
    paired = stats.ttest_rel(second, first).confidence_interval(0.95)
    assert (two["difference_lo"], two["difference_hi"]) == pytest.approx((paired.low, paired.high))


def test_one_seed_has_no_interval(tmp_path: Path):
    values = pd.DataFrame([("one", 0, "AUC", "", 0.8), ("two", 0, "AUC", "", 0.7)], columns=list(COLUMNS))
    two = summarise_ablation(values).set_index("point").loc["two"]
    assert np.isnan(two["lo"]) and np.isnan(two["difference_lo"])
    assert two["difference"] == pytest.approx(-0.1)
    write_ablation("t", values, {}, tmp_path)
    assert "-0.100" in (tmp_path / "table.md").read_text()


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"gird": {}}, "unknown key 'gird'; did you mean 'grid'"),
        ({"points": {"a": {}}}, "either points or grid"),
        ({"grid": {"augmentation.jpg": [0]}}, "unknown key 'augmentation.jpg'; did you mean 'jpeg'"),
        ({"measures": [{"name": "x", "metric": "f1"}]}, "unknown metric 'f1'"),
        ({"compare": {"splt": "test"}}, "compare: unknown key 'splt'"),
        ({"recipe": "none.yaml"}, "none.yaml: No such file"),
    ],
)
def test_a_wrong_configuration_is_refused_before_anything_is_trained(written, source, tmp_path, keys, message):
    with pytest.raises(MaibenchError, match=re.escape(message)):
        run_ablation(written(**keys), tmp_path / "out", [source])
    assert not (tmp_path / "out").exists()


def test_no_data_is_refused(written, tmp_path: Path):
    with pytest.raises(MaibenchError, match="give --data SOURCE"):
        run_ablation(written(), tmp_path / "out")


@pytest.mark.parametrize("text", ["", "0/2", "3/2", "1", "a/b", "1/2/3"])
def test_a_part_is_one_of_so_many(text: str):
    assert parse_part("2/4") == (2, 4)
    with pytest.raises(MaibenchError, match="write I/N"):
        parse_part(text)


def test_a_measure_of_one_point_stands_once_beside_the_first_points_value(tmp_path: Path):
    rows = [("all", 0, "AUC", "", 0.8), ("all", 0, "AUC left out", "a", 0.9)]
    rows += [("no a", 0, "AUC", "", 0.7), ("no a", 0, "AUC left out", "a", 0.5)]
    write_ablation("t", pd.DataFrame(rows, columns=list(COLUMNS)), {}, tmp_path)
    table = (tmp_path / "table.md").read_text()
    assert table.count("AUC left out: a") == 1
    assert re.search(r"no a +\| AUC left out: a \| +0\.500 \| +– \| +0\.900 \| +-0\.400", table)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"set": {"detector": "bialu"}}, "unknown detector 'bialu'"),
        ({"compare": {"split": "train", "data": "nowhere"}}, "no data at 'nowhere'"),
        ({"measures": [{"name": "m", "metric": "auc", "generators": ["gen-z"]}]}, "no image of 'gen-z'"),
        (
            {"measures": [{"name": "m", "metric": "auc", "perturbation": "jpeg:75"}]},
            "'jpeg:75' is not in the comparison's perturb",
        ),
    ],
)
def test_what_only_the_comparison_would_notice_is_refused_before_the_training(written, source, tmp_path, keys, message):
    with pytest.raises(MaibenchError, match=re.escape(message)):
        run_ablation(written(**keys), tmp_path / "out", [source], device="cpu")
    assert not (tmp_path / "out").exists()


def test_changed_data_is_another_request(written, data_set, tmp_path: Path):
    file = data_set(tmp_path / "data", splits=("train", "validation"))
    out = tmp_path / "out"
    run_ablation(written(grid={"options.input": ["both"]}, seeds=[0]), out, [str(file)], device="cpu")
    pd.read_csv(file).iloc[1:].to_csv(file, index=False)
    with pytest.raises(MaibenchError, match="another training of that name"):
        run_ablation(written(grid={"options.input": ["both"]}, seeds=[0]), out, [str(file)], device="cpu")
