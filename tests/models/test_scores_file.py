"""scores:FILE: what was scored elsewhere stands in the table like any other detector."""

import hashlib

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import maibench
from maibench import load_detector
from maibench.datasets.image import parse_file
from maibench.errors import DetectorError, ImageError, MaibenchError
from maibench.evaluation.run import read_run
from maibench.models.loading import fingerprint


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """The file of an image that a manifest lists as a/b.png."""
    path = tmp_path_factory.mktemp("image") / "b.png"
    Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3)).save(path)
    return parse_file("a/b.png", path.read_bytes())


@pytest.fixture
def scores(tmp_path):
    """scores(csv text, **options) -> the detector."""

    def made(text, **options):
        (tmp_path / "s.csv").write_text(text)
        return load_detector(f"scores:{tmp_path / 's.csv'}", **options)

    return made


def logit(detector, image):
    return float(detector(detector.collate([detector.preprocess(image)]))[0])


def test_logits_and_scores_are_looked_up_by_path(scores, image):
    assert logit(scores("path,logit\na/b.png,-2.5\nc.png,1\n"), image) == -2.5
    assert logit(scores("path,score\na/b.png,0.8\n"), image) == pytest.approx(np.log(4))
    assert logit(scores("path,logit\n./a\\b.png,3\n"), image) == 3


def test_the_bytes_go_before_the_path(scores, image):
    rows = f"image_id,path,logit\n{image.image_id},x.png,1\n{'0' * 64},a/b.png,2\n"
    assert logit(scores(rows), image) == 1
    assert image.image_id == hashlib.sha256(image.data).hexdigest()
    assert logit(scores(f"image_id,path,logit\n,a/b.png,2\n{'0' * 64},c.png,1\n"), image) == 2


def test_a_column_of_another_name_is_a_score_unless_said_otherwise(scores, image):
    text = "path,is_ai,raw\na/b.png,0.5,0.25\nc.png,0.1,9\n"
    assert logit(scores(text, column="is_ai"), image) == 0
    assert logit(scores(text, column="raw", kind="logit"), image) == 0.25
    with pytest.raises(DetectorError, match=r"the raw of 'c.png' is 9, which is not between 0 and 1.*kind=logit"):
        scores(text, column="raw")


def test_certainty_is_clipped_and_said_so(scores, image):
    detector = scores("path,score\na/b.png,1\nc.png,0\nd.png,0.3\n")
    assert logit(detector, image) == pytest.approx(27.63, abs=0.01)
    assert detector.card.notes.startswith("2 scores of exactly 0 or 1")
    assert len(detector.card.sha256) == 64 and detector.card.parameters is None


def test_a_missing_image_names_the_file(scores, image):
    with pytest.raises(ImageError, match=r"s\.csv has no score for it \(its paths are like 'other/b.png'\)"):
        scores("path,logit\nother/b.png,1\n").preprocess(image)
    with pytest.raises(ImageError, match=r"s\.csv has no score"):
        scores("path,logit\na/b.png,\nc.png,1\n").preprocess(image)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("path,logit\na.png,1\na.png,2\n", "path 'a.png' has two answers, logits 1 and 2"),
        ("file,logit\na.png,1\n", "needs the columns logit, and path or image_id; it has file, logit"),
        ("path,p\na.png,1\n", "needs the columns logit or score, and path or image_id"),
        ("path,logit\na.png,real\n", "column 'logit' has to hold numbers"),
        ("path,logit\na.png,inf\n", "is inf, which is not finite"),
        ("path,score\na.png,-0.1\n", "is -0.1, which is not between 0 and 1"),
        ("path,logit\na.png,\n", "holds no score"),
        ("", "cannot be read as a table"),
    ],
)
def test_a_file_that_cannot_be_used(scores, text, reason):
    with pytest.raises(DetectorError, match=reason):
        scores(text)


def test_duplicates_that_agree_and_other_perturbations_are_no_contradiction(scores, image):
    assert logit(scores("path,logit\na/b.png,1\na/b.png,1.00001\n"), image) == 1
    assert logit(scores("path,perturbation,logit\na/b.png,none,1\na/b.png,jpeg:75,2\n"), image) == 1


def test_wrong_requests(tmp_path, scores):
    for spec in (f"scores:{tmp_path / 'none.csv'}", f"scores:{tmp_path}"):
        with pytest.raises(MaibenchError, match=r"no such \.csv or \.parquet file") as raised:
            load_detector(spec)
        assert not isinstance(raised.value, DetectorError)
    with pytest.raises(MaibenchError, match="it can be logit or score"):
        scores("path,logit\na.png,1\n", kind="probability")


def test_other_scores_are_another_detector(scores):
    one, other = (fingerprint(scores(f"path,logit\na.png,{value}\n")) for value in (1, 2))
    assert one != other


def test_in_a_comparison(tmp_path, data_set):
    manifest = data_set(n_real=3, n_synthetic=3)
    paths = pd.read_csv(manifest)["path"]
    table = pd.DataFrame({"path": paths[1:], "score": np.linspace(0.1, 0.9, 5)})
    table.to_parquet(tmp_path / "mine.parquet")
    run = maibench.compare(
        models=[f"scores:{tmp_path / 'mine.parquet'}"], data=str(manifest), out=str(tmp_path / "out"),
        perturb=["none", "jpeg:75"], resamples=10, figures=False, gallery=0, audit=False,
    )  # fmt: skip
    rows = run.predictions.set_index("path")
    assert rows["detector"].unique().tolist() == ["mine"]
    assert rows["perturbation"].unique().tolist() == ["none"]
    np.testing.assert_allclose(rows.loc[paths[1:], "score"], table["score"])
    assert rows.loc[paths[0], "status"] == "failed"
    assert "mine.parquet has no score" in rows.loc[paths[0], "error"]
    assert run.metrics["images_per_second"].isna().all()
    assert read_run(run.folder)["detectors"][0]["card"]["sha256"]
