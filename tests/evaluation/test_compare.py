"""A comparison from the request to the report."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import maibench
from maibench.config import make_config
from maibench.datasets.readers import open_data
from maibench.errors import DiskError, MaibenchError
from maibench.evaluation.compare import default_folder, run_comparison
from maibench.models.bailu import Bailu
from maibench.models.weights import save_weights
from maibench.progress import Progress

FILES = {
    "run.json", "metrics.csv", "per_generator.csv", "comparisons.csv", "roc.csv", "intervals.csv", "thresholds.csv",
    "calibration.csv", "robustness.csv", "table.md", "table.tex", "report.html", "gallery", "audit.json",
    *(f"{name}.{kind}" for name in ("roc", "generators", "robustness") for kind in ("svg", "png", "pdf")),
}  # fmt: skip


PLAIN = {"figures": False, "gallery": 0, "audit": False}
"""For what is not about pictures: they take most of a small run's time."""


WHOLE = {"figures": True, "gallery": 1, "audit": True}


class Heard(Progress):
    """What a comparison told."""

    def __init__(self):
        self.said, self.images, self.done = [], 0, 0

    def say(self, text):
        self.said.append(text)

    def start(self, total, done=0):
        self.images = total

    def advance(self, count, note=""):
        self.done += count


def compare(models, data, out, fresh=False, progress=None, **settings):
    flags = {"models": models, "data": str(data), "out": str(out), "resamples": 10, **PLAIN} | settings
    return run_comparison(make_config(None, flags, []), fresh=fresh, progress=progress)


def bytes_of(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def known(greys):
    """Three of four real images are dark, four of four synthetic ones bright; all splits."""
    images = [(20, 0), (40, 0), (60, 0), (160, 0), (140, 1), (180, 1), (200, 1), (220, 1)]
    return greys([(value, label, split) for split in ("train", "validation", "test") for value, label in images])


@pytest.fixture(scope="module")
def finished(known, dummies, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    models = [f"{dummies}:Brightness", "metadata", f"dim={dummies}:Brightness"]
    progress = Heard()
    run = compare(models, known, out, progress=progress, options={"dim": {"middle": 210}}, perturb=["jpeg:75"], **WHOLE)
    return run, progress


def test_numbers_that_are_known(finished):
    metrics = finished[0].metrics.set_index(["detector", "perturbation"])
    bright, dim = metrics.loc[("Brightness", "none")], metrics.loc[("dim", "none")]
    assert (bright["n"], bright["n_real"], bright["n_synthetic"], bright["n_failed"]) == (8, 4, 4, 0)
    assert (bright["accuracy"], bright["tpr"], bright["tnr"]) == (7 / 8, 1, 3 / 4)
    assert (dim["accuracy"], dim["tpr"], dim["tnr"]) == (5 / 8, 1 / 4, 1)
    assert bright["auc"] == dim["auc"] == 15 / 16  # only (160 real, 140 synthetic) is the wrong way round
    assert dim["accuracy_fitted"] == 7 / 8
    assert (bright["parameters"], finished[0].metrics["images_per_second"].gt(0).all()) == (0, True)


def test_rows_keep_the_order_of_the_request(finished):
    rows = list(zip(finished[0].metrics["detector"], finished[0].metrics["perturbation"], strict=True))
    assert rows == [
        ("Brightness", "none"), ("Brightness", "jpeg:75"), ("metadata", "none"), ("dim", "none"), ("dim", "jpeg:75"),
    ]  # fmt: skip


def test_generators_and_whether_they_were_seen(finished):
    frame = finished[0].per_generator.set_index(["detector", "perturbation", "generator"])
    assert frame.loc[("Brightness", "none", "gen-a"), "seen"] is np.True_
    assert frame.loc[("Brightness", "none", "gen-b"), "seen"] is np.False_
    assert frame.loc[("metadata", "none", "gen-a"), "seen"] is np.True_  # it was fitted on the training split


def test_folder_holds_everything(finished):
    run, _ = finished
    assert {path.name for path in run.folder.iterdir()} >= FILES | {"predictions", "fitted"}
    assert {path.name for path in (run.folder / "predictions").iterdir()} == {"Brightness", "metadata", "dim"}
    written = pd.read_csv(run.folder / "metrics.csv")
    assert list(written.columns) == list(run.metrics.columns)
    np.testing.assert_allclose(written["auc"], run.metrics["auc"], rtol=1e-9)


def test_predictions_hold_the_test_and_the_validation_split(finished):
    predictions = finished[0].predictions
    counts = predictions.groupby(["detector", "split", "perturbation"]).size().to_dict()
    assert counts == {
        (detector, split, perturbation): 8
        for detector in ("Brightness", "dim", "metadata")
        for split, perturbation in (("test", "none"), ("test", "jpeg:75"), ("validation", "none"))
        if (detector, perturbation) != ("metadata", "jpeg:75")
    }


def test_run_json(finished, known):
    run = json.loads((finished[0].folder / "run.json").read_text())
    assert run["status"] == "done"
    assert run["config"]["resamples"] == 10
    assert run["data"]["images"] == 24
    assert run["data"]["fingerprint"] == open_data(str(known)).fingerprint
    assert [entry["label"] for entry in run["detectors"]] == ["Brightness", "metadata", "dim"]
    assert all(len(entry["fingerprint"]) == 16 and entry["dtype"] == "float32" for entry in run["detectors"])
    assert len({entry["key"] for entry in run["detectors"]}) == 3
    assert {"python", "torch"} <= set(run["versions"])
    assert {"command", "machine", "git_commit", "seeds", "seconds", "started"} <= set(run)


def test_progress(finished):
    run, progress = finished
    assert (progress.images, progress.done) == (16, 16)
    fitting, drawing = progress.said
    assert fitting == "metadata: fitting on the training split"
    assert drawing.startswith("drawing the gallery")
    assert run.scored == 3 * 2
    assert run.clean


def test_second_run_scores_nothing_and_changes_nothing(finished, known, dummies):
    run, _ = finished
    before, progress = bytes_of(run.folder), Heard()
    models = [f"{dummies}:Brightness", "metadata", f"dim={dummies}:Brightness"]
    settings = {"options": {"dim": {"middle": 210}}, "perturb": ["jpeg:75"], "workers": 1, **WHOLE}
    again = compare(models, known, run.folder, progress=progress, **settings)
    assert (again.scored, again.clean, progress.said, progress.done) == (0, True, [], 16)
    after = bytes_of(run.folder)
    assert {name.name for name in before if after[name] != before[name]} <= {"run.json"}
    assert json.loads(after[Path("run.json")])["seconds"] == json.loads(before[Path("run.json")])["seconds"]


def test_another_request_on_the_same_folder_is_refused(finished, known, dummies):
    run, _ = finished
    before = bytes_of(run.folder)
    with pytest.raises(MaibenchError, match=r"holds another run .*--fresh"):
        compare([f"{dummies}:Brightness"], known, run.folder)
    with pytest.raises(MaibenchError, match=r"holds another run \(options"):
        compare(
            [f"{dummies}:Brightness", "metadata", f"dim={dummies}:Brightness"], known, run.folder, perturb=["jpeg:75"]
        )
    assert bytes_of(run.folder) == before


def test_fresh_replaces_another_request(known, dummies, tmp_path):
    out = tmp_path / "out"
    compare([f"{dummies}:Brightness", f"{dummies}:Slow"], known, out, options={"Slow": {"seconds": 0}})
    run = compare([f"{dummies}:Brightness"], known, out, fresh=True, limit=6)
    assert run.metrics["n"].tolist() == [6]
    assert run.scored == 2
    assert [path.name for path in (out / "predictions").iterdir()] == ["Brightness"]
    again = compare([f"{dummies}:Brightness"], known, out, limit=6)
    assert again.scored == 0
    assert compare([f"{dummies}:Brightness"], known, out, limit=6, fresh=True).scored == 2


@pytest.mark.parametrize("fresh", [False, True])
def test_folder_of_somebody_else_is_left_alone(known, dummies, tmp_path, fresh):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(MaibenchError, match="holds files but no run of maibench"):
        compare([f"{dummies}:Brightness"], known, tmp_path, fresh=fresh)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_weights_of_an_option(data_set, tmp_path):
    torch.manual_seed(11)
    network = Bailu().eval()
    save_weights(network, tmp_path / "mine.safetensors")
    data = data_set(n_real=2, n_synthetic=2, size=(70, 64))
    config = make_config(
        None,
        {"models": "bailu", "data": str(data), "out": str(tmp_path / "out"), "device": "cpu", **PLAIN},
        [f"bailu.weights={tmp_path / 'mine.safetensors'}", "resamples=10"],
    )
    run = run_comparison(config)
    entry = json.loads((tmp_path / "out" / "run.json").read_text())["detectors"][0]
    assert entry["card"]["weights"] == str(tmp_path / "mine.safetensors")
    assert len(entry["card"]["sha256"]) == 64
    assert run.metrics["parameters"].tolist() == [network.parameter_count()]
    from maibench.datasets.image import decode

    for row in run.predictions.itertuples():
        pixels = decode((data.parent / row.path).read_bytes())
        with torch.inference_mode():
            assert row.logit == pytest.approx(network(network.preprocess(pixels)[None]).item(), abs=1e-5)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"models": "bailo"}, "unknown detector 'bailo': did you mean 'bailu'"),
        ({"models": "mai_resnet"}, r"'mai_resnet' has no bundled weights; .*--set mai_resnet\.weights=FILE"),
        ({"split": "train"}, "has no images of split 'train'; it has: test"),
        ({"device": "gpu"}, "unknown device 'gpu': use auto, cpu or cuda"),
        ({"perturb": ["jepg:75"]}, "unknown perturbation 'jepg'"),
        ({"options": {"metadta": {"a": 1}}}, "no detector is called 'metadta' here; there are: metadata"),
        ({"options": {"metadata": {"device": "tpu"}}}, "unknown device 'tpu': use auto, cpu or cuda"),
        ({"backend": "onnks"}, "metadata: unknown backend 'onnks': did you mean onnx"),
        ({"backend": "openvino"}, "metadata: the backend openvino cannot be used: .*--set LABEL.backend=torch"),
        ({"options": {"metadata": {"a": 1}}}, "metadata has no option 'a'; its options: none"),
        ({"data": "nothing/there"}, "no data at 'nothing/there'"),
    ],
)
def test_wrong_requests_touch_nothing(greys, tmp_path, settings, reason):
    settings = {"models": "metadata", "data": greys([(10, 0), (200, 1)])} | settings
    with pytest.raises(MaibenchError, match=reason):
        compare(out=tmp_path / "out", **settings)
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_no_cuda_here(greys, tmp_path):
    with pytest.raises(MaibenchError, match="no CUDA device is available here; use --device cpu"):
        compare("metadata", greys([(10, 0), (200, 1)]), tmp_path / "out", device="cuda")


def test_detectors_that_fail_are_rows_and_the_others_go_on(greys, dummies, tmp_path):
    data, progress = greys([(10, 0), (200, 1)] * 6), Heard()
    models = [f"{dummies}:Broken", "metadata", f"{dummies}:NanDetector", f"{dummies}:Brightness"]
    for scored in (4, 0):  # the second time everything is there, and it is still not clean
        run = compare(models, data, tmp_path / "out", progress=progress)
        assert not run.clean
        assert run.scored == scored
        metrics = run.metrics.set_index("detector")
        assert metrics["n"].to_dict() == {"Broken": 0, "metadata": 0, "NanDetector": 6, "Brightness": 12}
        assert metrics["n_failed"].to_dict() == {"Broken": 12, "metadata": 12, "NanDetector": 6, "Brightness": 0}
        assert metrics.loc["Brightness", "accuracy"] == 1
        assert metrics.loc["Broken"].drop(["n", "n_failed", "perturbation", "n_real", "n_synthetic"]).isna().sum() >= 15
        notes = "\n".join(run.summary.notes)
        assert "12 of 12 predictions failed (12 x RuntimeError: out of order): Broken" in notes
        assert "needs a training split to be fitted on" in notes
    assert any("metadata: needs a training split" in text for text in progress.said)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "out of order" in page


def test_a_fit_that_cannot_be_kept_is_no_failed_detector(known, tmp_path):
    out = tmp_path / "out"
    compare("metadata", known, out)
    for folder in (out / "fitted", out / "predictions"):
        shutil.rmtree(folder)
    (out / "fitted").touch()
    with pytest.raises(DiskError, match="fitted: cannot be written"):
        compare("metadata", known, out)
    (out / "fitted").unlink()
    assert compare("metadata", known, out).clean


def test_failed_images_are_not_clean_under_strict(greys, dummies, tmp_path):
    data = greys([(10, 0), (200, 1)] * 2)
    (data.parent / "000.png").write_text("no image")
    relaxed = compare([f"{dummies}:Brightness"], data, tmp_path / "out")
    strict = compare([f"{dummies}:Brightness"], data, tmp_path / "out", strict=True)
    assert (relaxed.clean, strict.clean, strict.scored) == (True, False, 0)
    assert strict.metrics["n_failed"].tolist() == [1]


def test_images_of_which_none_is_there_are_a_wrong_folder(greys, dummies, tmp_path):
    data = greys([(10, 0), (200, 1)] * 20)
    for image in sorted(data.parent.glob("*.png"))[1:]:
        image.unlink()
    assert compare([f"{dummies}:Brightness"], data, tmp_path / "out").metrics["n_failed"].tolist() == [39]
    (data.parent / "000.png").unlink()
    with pytest.raises(MaibenchError, match=r"none of the first 32 listed images is there .*: is .* the right folder"):
        compare([f"{dummies}:Brightness"], data, tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_only(greys, dummies, tmp_path, label):
    run = compare([f"{dummies}:Brightness"], greys([(10, label), (200, label), (210, label)]), tmp_path / "out")
    (row,) = run.metrics.to_dict("records")
    assert run.clean
    assert (row["n"], row["n_real"], row["n_synthetic"]) == (3, 3 * (1 - label), 3 * label)
    assert row["accuracy"] == (2 / 3 if label else 1 / 3)
    assert np.isnan(row["auc"])
    assert pd.read_csv(tmp_path / "out" / "metrics.csv")["auc"].isna().all()
    assert any("AUC is empty" in note for note in run.summary.notes)


def test_split_and_limit(known, dummies, tmp_path):
    run = compare([f"{dummies}:Brightness"], known, tmp_path / "out", split="validation", limit=5)
    assert run.metrics["n"].tolist() == [5]
    assert set(run.predictions["split"]) == {"validation"}
    assert run.metrics["threshold_fitted"].isna().all()


def test_default_folder(greys, tmp_path):
    manifest = open_data(str(greys([(1, 1)])))
    assert default_folder(manifest, ["bailu", "hf:a/b"]) == Path("results") / f"{manifest.name}-bailu-hf_a_b"
    long = [default_folder(manifest, [f"detector-{i}" for i in range(30)] + [last]).name for last in "xy"]
    assert long[0] != long[1]
    assert all(len(name) <= 100 for name in long)


def test_default_folder_is_used(known, dummies, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = maibench.compare(f"b={dummies}:Brightness", data=known, resamples=10)
    assert run.folder == Path("results") / f"{known.parent.name}-b"
    assert (tmp_path / run.folder / "metrics.csv").is_file()


def test_a_backend_of_its_own_and_the_same_again(data_set, tmp_path):
    data, out = data_set(n_real=3, n_synthetic=3), tmp_path / "run"
    models = ["plain=bailu", "fast=bailu", "metadata"]
    options = {"fast": {"backend": "onnx"}, "metadata": {"device": "cpu"}}
    run = compare(models[:2], data, out, options={"fast": options["fast"]})
    logits = run.predictions.pivot(index="path", columns="detector", values="logit")
    np.testing.assert_allclose(logits["plain"], logits["fast"], rtol=0, atol=1e-3)
    plain, fast = json.loads((out / "run.json").read_text())["detectors"]
    assert (plain["backend"], fast["backend"]) == ("torch", "onnx")
    assert plain["fingerprint"] == fast["fingerprint"]
    assert plain["key"] != fast["key"]
    assert compare(models[:2], data, out, options={"fast": options["fast"]}).scored == 0
    heard = Heard()
    assert compare(models[:2], data, out, progress=heard).scored == 1, "another backend is another computation"
    assert any(text.startswith("fast: its weights, code") for text in heard.said)


def test_auto_takes_what_it_took_before(data_set, tmp_path, monkeypatch):
    data, out, heard = data_set(n_real=3, n_synthetic=3), tmp_path / "run", Heard()
    assert compare("mai_cnn", data, out, backend="auto", progress=heard).scored == 1
    took = json.loads((out / "run.json").read_text())["detectors"][0]["backend"]
    assert any(text.startswith(f"mai_cnn: {took}") for text in heard.said)
    other = {"torch": "onnx"}.get(took, "torch")
    monkeypatch.setattr(
        "maibench.models.backends.choose.times_as_fast", lambda ways, *_: {name: float(name == other) for name in ways}
    )
    assert compare("mai_cnn", data, out, backend="auto").scored == 0
