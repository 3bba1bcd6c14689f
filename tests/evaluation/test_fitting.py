"""Detectors that are fitted: once, on the training split, kept under the run's folder."""

import numpy as np
import pandas as pd
import pytest

from maibench.datasets.readers import open_data
from maibench.errors import MaibenchError
from maibench.evaluation.fitting import fit_detector
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
