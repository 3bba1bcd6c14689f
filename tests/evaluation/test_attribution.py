"""`maibench attribute`: metrics against scikit-learn's, the confusion matrix, and the folder that it writes."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from typer.testing import CliRunner

from maibench.cli import app
from maibench.errors import MaibenchError
from maibench.evaluation.attribution import attribute
from maibench.evaluation.attribution_report import attribution_metrics, confusion_of
from maibench.models.attribution import Attribution
from maibench.models.loading import build

CLASSES = ("real", "a", "b", "other")


@pytest.fixture
def scored():
    """200 images of 40 sources: three named classes, "other", and generators c and d that were never trained on."""
    rng = np.random.default_rng(0)
    generator = rng.choice(["real", "a", "b", "rare", "c", "d"], 200)
    truth = pd.Series(generator).replace({"rare": "other", "c": "unknown", "d": "unknown"})
    attributed = np.where(rng.random(200) < 0.6, truth.replace("unknown", "a"), rng.choice(CLASSES, 200))
    strangeness = rng.normal(size=200) + (truth == "unknown")
    return pd.DataFrame(
        {
            "generator": generator, "truth": truth, "label": (generator != "real").astype(int),
            "source": rng.integers(0, 40, 200).astype(str), "attributed": attributed, "strangeness": strangeness,
            "answer": np.where(strangeness > 1, "unknown", attributed),
        }
    )  # fmt: skip


def test_metrics_are_scikit_learns(scored):
    found = attribution_metrics(scored, resamples=300).set_index("metric")
    known = scored[scored["truth"] != "unknown"]
    assert found.loc["top1", "value"] == pytest.approx((known["attributed"] == known["truth"]).mean())
    expected = balanced_accuracy_score(known["truth"], known["attributed"])
    assert found.loc["balanced_accuracy", "value"] == pytest.approx(expected)
    named = scored[scored["truth"] != "other"]
    unseen = named["truth"] == "unknown"
    assert found.loc["unknown_auroc", "value"] == pytest.approx(roc_auc_score(unseen, named["strangeness"]))
    synthetic = named[named["label"] == 1]
    expected = roc_auc_score(synthetic["truth"] == "unknown", synthetic["strangeness"])
    assert found.loc["unknown_auroc_synthetic", "value"] == pytest.approx(expected)
    assert found.loc["unknown_found", "value"] == pytest.approx((named["answer"] == "unknown")[unseen].mean())
    assert found.loc["unknown_false", "value"] == pytest.approx((named["answer"] == "unknown")[~unseen].mean())
    assert found.loc["open_top1", "value"] == pytest.approx((named["answer"] == named["truth"]).mean())
    assert found.loc["majority", "value"] == pytest.approx(known["truth"].value_counts(normalize=True).iloc[0])
    inside = found.drop("majority")
    assert ((inside["lo"] < inside["value"]) & (inside["value"] < inside["hi"])).all()
    assert found.loc["top1", "interval"] == "bootstrap of 40 sources, 300 resamples"


def test_the_interval_of_top1_is_as_wide_as_its_sources_make_it(scored):
    """One answer a source, right or wrong for all of its images: the binomial's width for 40 draws, not for 200."""
    scored = scored.assign(truth="a", attributed=np.where(scored["source"].astype(int) % 2, "a", "b"))
    row = attribution_metrics(scored, resamples=2000).set_index("metric").loc["top1"]
    assert (row["hi"] - row["lo"]) / 2 == pytest.approx(2.02 * np.sqrt(0.25 / 40), rel=0.2)


def test_no_interval_with_few_sources_and_nothing_unseen(scored):
    few = scored[scored["truth"].isin(["real", "a"])].assign(source="one")
    found = attribution_metrics(few, resamples=20).set_index("metric")
    assert found.loc["top1", "interval"] == "none: 1 source, fewer than 10"
    assert found["lo"].isna().all()
    assert found.loc[["unknown_auroc", "unknown_found"], "value"].isna().all()


def test_no_image_at_all(scored):
    found = attribution_metrics(scored.iloc[:0])
    assert found["value"].isna().all()
    assert confusion_of(scored.iloc[:0], CLASSES).empty


def test_confusion_counts_every_image_once(scored):
    found = confusion_of(scored, CLASSES)
    assert list(found["generator"]) == ["real", "a", "b", "rare", "c", "d"]
    assert (found[list(CLASSES)].sum(axis=1) == found["n"]).all()
    assert found["n"].sum() == 200
    row = found.set_index("generator").loc["c"]
    group = scored[scored["generator"] == "c"]
    assert row["truth"] == "unknown"
    assert row["b"] == (group["attributed"] == "b").sum()
    assert row["unknown"] == (group["answer"] == "unknown").sum()


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(1)
    options = {"classes": ["real", "gen-a"], "strangeness": "energy"}
    return build(Attribution, "attribution", options).eval()


def test_a_folder_with_a_row_an_image_failed_ones_included(network, data_set, tmp_path):
    file = data_set(n_real=3, n_synthetic=4, splits=("test",))
    broken = file.parent / "test" / "real" / "001.png"
    broken.write_bytes(b"no image")
    run = attribute(network, file, tmp_path / "out", device="cpu", workers=2, resamples=20)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"attribution.csv", "metrics.csv", "confusion.csv", "table.md"} | {
        f"confusion.{ending}" for ending in ("svg", "png", "pdf")
    }
    rows = pd.read_csv(tmp_path / "out" / "attribution.csv")
    assert list(rows["status"]) == ["ok", "failed", "ok", "ok", "ok", "ok", "ok"]
    assert "not an image" in rows["error"][1]
    assert list(rows["truth"]) == ["real"] * 3 + ["gen-a", "unknown"] * 2
    fine = rows[rows["status"] == "ok"]
    np.testing.assert_allclose(fine["p_real"] + fine["p_gen-a"], 1, atol=1e-5)
    np.testing.assert_allclose(fine[["p_real", "p_gen-a"]].max(axis=1), fine["probability"], atol=1e-5)
    assert (fine["answer"] == fine["attributed"]).all()  # the threshold is infinite
    assert list(run.confusion["generator"]) == ["real", "gen-a", "gen-b"]
    table = (tmp_path / "out" / "table.md").read_text()
    assert "7 images, 1 failed" in table
    assert "No interval with fewer than 10 sources" in table


def test_over_the_threshold_the_answer_is_unknown(network, data_set, tmp_path):
    file = data_set(n_real=2, n_synthetic=2, splits=("test",), sources=False)
    strict = copy.deepcopy(network)
    strict.threshold.fill_(-torch.inf)
    run = attribute(strict, file, tmp_path / "out", device="cpu", workers=1, resamples=20)
    assert set(run.images["answer"]) == {"unknown"}
    assert "names no sources" in (tmp_path / "out" / "table.md").read_text()


def test_one_row_at_a_time_or_many_it_says_the_same(network, data_set, tmp_path):
    file = data_set(n_real=20, n_synthetic=20, splits=("test",))
    whole = attribute(network, file, tmp_path / "a", device="cpu", workers=2, resamples=20).images
    part = attribute(network, file, tmp_path / "b", device="cpu", workers=1, limit=5, resamples=20).images
    both = part.merge(whole, on="path")
    assert len(both) == 5
    np.testing.assert_allclose(both["p_real_x"], both["p_real_y"], atol=1e-4)


@pytest.mark.parametrize(
    ("model", "options", "reason"),
    [
        ("bailu", (), "tells synthetic from real and no more"),
        ("attribution-demo", ("--split", "train"), "has no images of split 'train'; it has: test"),
        ("attribution-demo", ("--perturb", "jpg:3"), "jpg"),
        ("attribution", (), "has no bundled weights"),
    ],
)
def test_a_wrong_request_is_one_line(model, options, reason, data_set, tmp_path):
    file = data_set(n_real=1, n_synthetic=1, splits=("test",))
    command = ["attribute", model, "--data", str(file), "--out", str(tmp_path / "out"), *options]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 2
    assert reason in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_model_that_is_none(data_set, tmp_path):
    with pytest.raises(MaibenchError, match="unknown detector 'nothing'"):
        attribute("nothing", data_set(splits=("test",)), tmp_path)


def test_the_command_prints_the_table(data_set, tmp_path):
    file = data_set(n_real=2, n_synthetic=2, splits=("test",))
    done = CliRunner().invoke(
        app, ["attribute", "attribution-demo", "--data", str(file), "--out", str(tmp_path / "out"), "--device", "cpu"]
    )
    assert done.exit_code == 0, done.output
    assert "unknown_auroc" in done.stdout
    assert "nano-sdxl" in done.stdout
