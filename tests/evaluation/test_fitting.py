"""Detectors that are fitted: once, on the training split, kept under the run's folder."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import CLIPImageProcessorPil, CLIPVisionConfig, CLIPVisionModelWithProjection

import maibench
from maibench.datasets.readers import open_data
from maibench.errors import MaibenchError
from maibench.evaluation.fitting import fit_detector, load_fitted
from maibench.models.loading import fingerprint, load_detector

FIRST = [(10, 0, "train"), (20, 0, "train"), (200, 1, "train"), (210, 1, "train"), (30, 0, "test")]


@pytest.fixture
def fit(tmp_path):
    def run(file, label="metadata", max_pixels=10**8):
        detector = load_detector("metadata")
        fit_detector(label, detector, fingerprint(detector), open_data(str(file)), tmp_path / "run", 2, max_pixels)
        return detector

    return run


def fitted_files(tmp_path):
    return sorted(path.name for path in (tmp_path / "run").rglob("*") if path.is_file())


def test_fitted_to_the_training_split_alone(fit, data_set):
    file = data_set(n_real=6, n_synthetic=6, splits=("train", "test"))
    whole = fit(file)
    expected = load_detector("metadata")
    manifest = open_data(str(file))
    rows = manifest.split("train")
    features = [expected.preprocess(manifest.read(path)).numpy() for path in rows["path"]]
    expected.fit(np.stack(features), rows["label"].to_numpy())
    for name, tensor in expected.state_dict().items():
        np.testing.assert_array_equal(whole.state_dict()[name].numpy(), tensor.numpy())


def test_kept_and_not_fitted_again(fit, data_set, tmp_path):
    file = data_set(n_real=3, n_synthetic=3, splits=("train", "test"))
    first = fit(file)
    kept = fitted_files(tmp_path)
    assert [name.startswith("metadata-") and name.endswith(".safetensors") for name in kept] == [True]
    for image in (file.parent / "train").rglob("*.png"):
        image.unlink()  # nothing is left that it could be fitted to
    second = fit(file)
    for name, tensor in first.state_dict().items():
        np.testing.assert_array_equal(second.state_dict()[name].numpy(), tensor.numpy())
    assert fitted_files(tmp_path) == kept


def test_other_data_is_fitted_afresh(fit, data_set, tmp_path):
    file = data_set(n_real=3, n_synthetic=3, splits=("train", "test"))
    fit(file)
    pd.read_csv(file).iloc[1:].to_csv(file, index=False)
    fit(file)
    assert len(fitted_files(tmp_path)) == 2


def test_label_with_a_slash_stays_in_the_folder(fit, data_set, tmp_path):
    fit(data_set(n_real=2, n_synthetic=2, splits=("train",)), label="../../up")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert len(list((tmp_path / "run" / "fitted").iterdir())) == 1


def test_unreadable_training_images_are_left_out(fit, greys):
    file = greys([*FIRST, (99, 1, "train")])
    (file.parent / "005.png").write_text("no image")
    detector = fit(file)
    assert not np.isnan(detector.intercept.item())


def test_no_training_split(fit, greys):
    with pytest.raises(MaibenchError, match="needs a training split to be fitted on, and this data has none"):
        fit(greys([(10, 0), (200, 1)]))


def test_nothing_in_it_can_be_read(fit, greys):
    with pytest.raises(MaibenchError, match="no image of the training split could be read"):
        fit(greys(FIRST), max_pixels=1)


def test_one_class(fit, greys):
    with pytest.raises(MaibenchError, match="holds one class only"):
        fit(greys([row for row in FIRST if row[1] == 0]))


def test_fit_that_fails(greys, tmp_path):
    detector = load_detector("metadata")
    detector.fit = lambda features, labels: 1 / 0
    with pytest.raises(MaibenchError, match="fitting failed: ZeroDivisionError: division by zero"):
        fit_detector("metadata", detector, "code", open_data(str(greys(FIRST))), tmp_path / "run", 2, 10**8)
    assert fitted_files(tmp_path) == []


def fit_to(detector, file, run, evaluated="", label="own"):
    fit_detector(label, detector, fingerprint(detector), open_data(str(file)), run, 2, 10**8, evaluated)
    return detector


def names_in(file):
    with safe_open(file, "pt") as opened:
        return set(opened.keys())


class Learner(maibench.Detector):
    """Learns the features as they are, on a split of its own; what is darker than `nan_below` is no number."""

    fitted = True
    fit_split = "validation"
    card = maibench.Card(name="learner")

    def __init__(self, nan_below=0.0):
        super().__init__()
        self.nan_below = nan_below
        self.frozen = torch.nn.Linear(2, 2).requires_grad_(False)
        self.learnt = torch.nn.Linear(1, 1)
        self.register_buffer("known", torch.zeros(0, 1))

    def preprocess(self, image):
        return torch.tensor([float(image.mean())])

    def fit_features(self, batch):
        return torch.where(batch < self.nan_below, torch.nan, batch).to(torch.bfloat16)

    def fit(self, features, labels):
        self.known = torch.from_numpy(features.copy())
        with torch.no_grad():
            self.learnt.bias.fill_(float(labels.mean()))


class Shared(Learner):
    concurrent = True
    card = maibench.Card(name="shared")


SPLITS = [(value, label, split) for split in ("train", "validation", "test") for value, label in ((16, 0), (224, 1))]


def test_the_split_that_it_asks_for_and_its_own_features(greys, tmp_path):
    file = greys([*SPLITS, (64, 0, "validation"), (8, 1, "validation")])
    for kind in (Learner, Shared):
        detector = fit_to(kind(nan_below=10.0), file, tmp_path / kind.__name__)
        assert detector.known.flatten().tolist() == [16.0, 224.0, 64.0]  # in bfloat16, without what is no number
        assert detector.learnt.bias.item() == pytest.approx(1 / 3)


def test_only_what_is_learnt_is_kept_and_it_comes_back(greys, tmp_path):
    torch.manual_seed(5)
    first, code, data = Learner(), "the same code", open_data(str(greys(SPLITS)))
    fit_detector("own", first, code, data, tmp_path, 2, 10**8)
    (kept,) = (tmp_path / "fitted").iterdir()
    assert names_in(kept) == {"learnt.weight", "learnt.bias", "known"}
    second = Learner()
    frozen = second.frozen.weight.clone()
    assert not load_fitted("own", second, "other code", data, tmp_path)
    assert not load_fitted("other", second, code, data, tmp_path)
    assert load_fitted("own", second, code, data, tmp_path)
    for name in names_in(kept):
        assert torch.equal(second.state_dict()[name], first.state_dict()[name]), name
    assert torch.equal(second.frozen.weight, frozen)
    assert second.learnt.weight.requires_grad


def test_a_kept_file_that_does_not_fit(greys, tmp_path):
    file = greys(SPLITS)
    detector = Learner()
    code, data = fingerprint(detector), open_data(str(file))
    fit_detector("own", detector, code, data, tmp_path, 2, 10**8)
    (kept,) = (tmp_path / "fitted").iterdir()
    tensors = load_file(kept)
    for wrong, message in (
        ({"known": torch.zeros(3, 2)}, r"not what Learner learns: 'known' is \[3, 2\].*; remove it"),
        ({"learnt.bias": torch.zeros(2)}, r"'learnt.bias' is \[2\], not \[1\]"),
        ({"other": torch.zeros(1)}, "'other' is left over"),
    ):
        save_file(tensors | wrong, kept)
        with pytest.raises(MaibenchError, match=message):
            load_fitted("own", Learner(), code, data, tmp_path)
    kept.write_bytes(kept.read_bytes()[:40])
    with pytest.raises(MaibenchError, match="not a whole safetensors file"):
        load_fitted("own", Learner(), code, data, tmp_path)


def test_nothing_is_fitted_on_what_is_scored(greys, tmp_path):
    file = greys(SPLITS)
    with pytest.raises(MaibenchError, match="is fitted on the validation split, which is what is scored here"):
        fit_to(Learner(), file, tmp_path, evaluated="validation")
    with pytest.raises(MaibenchError, match="a: is fitted on the training split, which is what is scored here"):
        fit_to(load_detector("mean(a=metadata,b=metadata)"), file, tmp_path, evaluated="train")
    assert not (tmp_path / "fitted").exists()


def test_no_validation_split_to_stack_on(greys, dummies, tmp_path):
    stack = load_detector(f"stack(a={dummies}:Brightness,b={dummies}:Slow)", options={"b": {"seconds": 0.0}})
    with pytest.raises(MaibenchError, match="needs a validation split to be fitted on, and this data has none"):
        fit_to(stack, greys(FIRST), tmp_path)


def test_features_that_are_no_numbers(greys, tmp_path):
    with pytest.raises(MaibenchError, match="of no image of the validation split are all features numbers"):
        fit_to(Learner(nan_below=300.0), greys(SPLITS), tmp_path)


def test_members_are_fitted_first_each_on_its_split(data_set, tmp_path):
    file = data_set(n_real=4, n_synthetic=4, splits=("train", "validation", "test"))
    stack = load_detector("stack(one=metadata,both=mean(two=metadata,three=metadata))")
    fit_to(stack, file, tmp_path)
    kept = sorted(file.name.rpartition("-")[0] for file in (tmp_path / "fitted").iterdir())
    assert kept == ["own", "own%2Fboth%2Fthree", "own%2Fboth%2Ftwo", "own%2Fone"]
    alone = fit_to(load_detector("metadata"), file, tmp_path, label="alone")
    for name, value in alone.state_dict().items():
        assert torch.equal(stack.named()["both"].named()["two"].state_dict()[name], value)
    assert names_in(next((tmp_path / "fitted").glob("own-*"))) == {"coefficients", "intercept"}


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A folder with a small random CLIP."""
    folder = tmp_path_factory.mktemp("clip")
    torch.manual_seed(0)
    size = {"height": 32, "width": 32}
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision = CLIPVisionConfig(**sizes, image_size=32, patch_size=8, projection_dim=8)
    CLIPVisionModelWithProjection(vision).save_pretrained(folder)
    CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=size).save_pretrained(folder)
    return folder


def test_a_comparison_fits_once_and_says_what_was_seen(clip, data_set, tmp_path, undrawn):
    file = data_set(n_real=4, n_synthetic=4, splits=("train", "validation", "test"))
    models = [f"knn=clip:{clip}", "ab=mean(mai_cnn,b=mai_cnn)", f"ml=stack(mai_cnn,near=clip:{clip})"]
    settings = {"options": {"knn": {"head": "knn"}}, "audit": False, "gallery": 0, "device": "cpu", "resamples": 10}
    run = maibench.compare(models, file, out=tmp_path / "run", **settings)
    assert run.clean
    assert run.metrics["n_failed"].eq(0).all() and run.metrics["auc"].notna().all()
    record = json.loads((tmp_path / "run" / "run.json").read_text())["detectors"]
    seen = {entry["label"]: entry["card"]["trained_on"] for entry in record}
    assert seen["knn"] == ["gen-a", "gen-b"]
    assert {"gen-a", "gen-b"} < set(seen["ml"])
    assert not {"gen-a", "gen-b"} & set(seen["ab"])
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "run" / "fitted").iterdir()}
    assert len(before) == 3
    first = run.predictions
    for part in (tmp_path / "run" / "predictions").glob("ml*/*.parquet"):
        part.unlink()  # as if it had been stopped
    again = maibench.compare(models, file, out=tmp_path / "run", **settings)
    assert again.scored > 0
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "run" / "fitted").iterdir()} == before
    pd.testing.assert_frame_equal(again.predictions, first)
    assert [entry["parameters"] for entry in record] == [
        entry["parameters"] for entry in json.loads((tmp_path / "run" / "run.json").read_text())["detectors"]
    ]


def test_without_the_split_the_row_fails_and_others_go_on(clip, data_set, tmp_path, undrawn):
    file = data_set(n_real=3, n_synthetic=3)
    models = ["mai_cnn", f"probe=clip:{clip}", f"both=stack(mai_cnn,probe=clip:{clip})"]
    run = maibench.compare(models, file, out=tmp_path / "run", audit=False, gallery=0)
    assert not run.clean
    errors = run.predictions.groupby("detector")["error"].first()
    assert errors["mai_cnn"] == ""
    assert errors["probe"] == "needs a training split to be fitted on, and this data has none"
    assert errors["both"] == "probe: needs a training split to be fitted on, and this data has none"


@pytest.mark.slow
def test_ray_scores_with_what_was_fitted_here(clip, data_set, tmp_path, undrawn):
    pytest.importorskip("ray")
    file = data_set(n_real=6, n_synthetic=6, splits=("train", "validation", "test"))
    models = [f"knn=clip:{clip}", f"ml=stack(mai_cnn,near=clip:{clip})"]
    settings = {"options": {"knn": {"head": "knn"}}, "audit": False, "gallery": 0, "device": "cpu", "workers": 2}
    local, ray = (
        maibench.compare(models, file, out=tmp_path / engine, engine=engine, **settings).predictions
        for engine in ("local", "ray")
    )
    assert local["status"].eq("ok").all()
    pd.testing.assert_frame_equal(local, ray, rtol=1e-4, atol=1e-4)
