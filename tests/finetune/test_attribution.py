"""`maibench finetune configs/finetune/attribution.yaml`: a head on the frozen trunk, and what it takes for unknown."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import load_file
from typer.testing import CliRunner

from maibench.cli import app
from maibench.errors import MaibenchError
from maibench.finetune.attribution_head import (
    calibrate,
    choose_classes,
    train_head,
    try_the_unknown,
    with_strangeness,
)
from maibench.finetune.bundle_attribution import bundle_head
from maibench.finetune.recipe import Head, Recipe, read_recipe
from maibench.finetune.trunk_features import TrunkFeatures
from maibench.models.bailu import FEATURES
from maibench.models.loading import load_detector
from maibench.models.weights import BUNDLED, sha256

SHIPPED = Path(__file__).parents[2] / "configs" / "finetune" / "attribution.yaml"
RECIPE = {
    "detector": "attribution", "lr": 0.01, "steps": 30, "batch_size": 16, "crop": 64, "warmup": 2,
    "head": {"least": 3, "views": 2}, "augmentation": {"jpeg": 0.5},
}  # fmt: skip


def recipe(**changes):
    return Recipe.model_validate({**RECIPE, **changes})


def clusters(names, size=30, views=1, seed=0):
    """Features of generators, each around a place of its own."""
    values, generators = [], []
    for name in names:
        place = np.random.default_rng(sum(map(ord, name))).normal(size=FEATURES) * 2
        drawn = np.random.default_rng([seed, len(values)]).normal(size=(size, views, FEATURES))
        values.append(place + drawn)
        generators += [name] * size
    rows = pd.DataFrame({"generator": generators, "source": [f"s{n}" for n in range(len(generators))], "data": "x"})
    return TrunkFeatures(rows, torch.tensor(np.concatenate(values), dtype=torch.float32))


def test_shipped_recipe_is_one():
    shipped = read_recipe(SHIPPED)
    assert shipped.detector == "attribution"
    assert shipped.head is not None


def test_classes_are_the_generators_with_enough_images():
    names = pd.Series(["real"] * 9 + ["b"] * 5 + ["a"] * 4 + ["c"] * 2 + ["other"] * 7)
    assert choose_classes(names, 4) == (["real", "a", "b", "other"], ["c", "other"])
    assert choose_classes(names[names.isin(["real", "a"])], 4) == (["real", "a"], [])


def test_a_head_learns_and_tells_what_it_never_saw():
    train, validation = clusters(["real", "a", "b"], views=3), clusters(["real", "a", "b"], seed=1)
    network = train_head(recipe(steps=80), Head(), train, ["real", "a", "b"], [])
    calibrate(network, validation, 0.9)
    with torch.no_grad():
        said = network.of_features(validation.values[:, 0])
        strange = network.of_features(clusters(["zz"]).values[:, 0])
    assert [network.classes[i] for i in said.logits.argmax(dim=1)] == list(validation.rows["generator"])
    assert (said.strangeness <= network.threshold).float().mean() == pytest.approx(0.9, abs=0.02)
    assert (strange.strangeness > network.threshold).float().mean() > 0.9  # by Mahalanobis' distance


def test_each_way_to_tell_the_unknown_is_tried_without_each_generator():
    train, validation = clusters(["real", "a", "b", "c"]), clusters(["real", "a", "b", "c"], seed=1)
    worth = try_the_unknown(recipe(), Head(), train, validation, ["real", "a", "b", "c"], [])
    assert list(worth.index) == ["a", "b", "c", "mean"]
    assert list(worth.columns) == ["softmax", "energy", "mahalanobis"]
    assert (worth["mahalanobis"] > 0.95).all()
    np.testing.assert_allclose(worth.loc["mean"], worth.iloc[:3].mean())
    assert try_the_unknown(recipe(), Head(), train, validation, ["real", "a"], []).empty


def test_calibration_makes_validation_images_likeliest():
    train = clusters(["real", "a"], size=10)
    network = with_strangeness(train_head(recipe(), Head(), train, ["real", "a"], []), "softmax")
    noisy = clusters(["real", "a"], size=200, seed=2)
    noisy.values[::3] = noisy.values[::3].flip(0)
    labels = torch.tensor([int(name == "a") for name in noisy.rows["generator"]])

    def loss():
        with torch.no_grad():
            return float(torch.nn.functional.cross_entropy(network.of_features(noisy.values[:, 0]).logits, labels))

    before = loss()
    calibrate(network, noisy, 0.95)
    assert loss() < before


@pytest.fixture(scope="module")
def data(data_set):
    return data_set(
        n_real=4, n_synthetic=8, generators=("gen-a", "gen-b"), splits=("train", "validation"), size=(80, 72)
    )


@pytest.fixture
def finetune(tmp_path, data):
    """finetune(out="out", data=..., **changes of the recipe) -> exit code and what was printed."""

    def run(out="out", data=data, **changes):
        file = tmp_path / "recipe.yaml"
        file.write_text(yaml.safe_dump({**RECIPE, **changes}))
        command = ["finetune", file, "--data", data, "--out", tmp_path / out, "--device", "cpu"]
        return CliRunner().invoke(app, list(map(str, command)))

    return run


def test_the_folder_is_a_detector_and_is_gone_on_with(finetune, data, tmp_path):
    done = finetune()
    assert done.exit_code == 0, done.output
    out = tmp_path / "out"
    network = load_detector(str(out))
    assert network.classes == ("real", "gen-a", "gen-b")
    assert network.threshold.isfinite()
    assert {"gen-a", "gen-b", "sdxl"} <= set(network.card.trained_on)  # the trunk's too
    assert set(network.card.validation) == {"top1", "balanced_accuracy", "kept", "unknown_auroc"}
    assert list(pd.read_csv(out / "unknown.csv")["left_out"]) == ["gen-a", "gen-b", "mean"]
    bailu = load_detector("bailu").state_dict()
    own = network.state_dict()
    assert all(torch.equal(own[name], tensor) for name, tensor in bailu.items() if not name.startswith("head."))

    # one part is missing, as when it was stopped: only that is computed again, to the same head
    parts = sorted((out / "features").glob("*.safetensors"))
    assert [part.name for part in parts] == ["train-000000.safetensors", "validation-000000.safetensors"]
    before, kept = (out / "model.safetensors").read_bytes(), parts[0].stat().st_mtime_ns
    parts[1].unlink()
    assert finetune().exit_code == 0
    assert parts[0].stat().st_mtime_ns == kept
    assert (out / "model.safetensors").read_bytes() == before

    done = finetune(seed=1)
    assert done.exit_code == 2
    assert "of another recipe or other data" in done.stderr

    with pytest.raises(MaibenchError, match="the class of attribution-demo says"):
        bundle_head(out, "attribution-demo", [str(data)], tmp_path)
    assert not list(tmp_path.glob("attribution-demo*"))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"head": None}, "asked for by detector: attribution together with head"),
        ({"detector": "bailu"}, "asked for by detector: attribution together with head"),
        ({"pairs": 0.5, "patience": 3}, "pairs, patience: without effect where only a head is trained"),
        ({"head": {"view": 3}}, "unknown key 'head.view'; did you mean 'views'"),
        ({"options": {"tiles": 3}}, "the classes of attribution follow from the data"),
        ({"exclude": ["gen-a", "gen-b"]}, "needs photographs and at least one generator"),
        ({"start": "nowhere.safetensors"}, "no weights file there"),
    ],
)
def test_a_wrong_request_is_one_line(finetune, changes, reason):
    done = finetune(**changes)
    assert done.exit_code == 2
    assert reason in done.stderr.splitlines()[-1]


def test_bundled_again_the_head_is_the_same(data, tmp_path):
    load_detector("attribution-demo").save_pretrained(tmp_path / "folder")
    file = bundle_head(tmp_path / "folder", "attribution-demo", [str(data)], tmp_path, "a few words")
    before, after = (load_file(where) for where in (BUNDLED / file.name, file))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    card = json.loads(file.with_suffix(".json").read_text())
    assert (card["sha256"], card["training_data"]) == (sha256(file), "a few words")
