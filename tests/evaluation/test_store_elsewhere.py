"""A comparison of images on a web server, with its predictions behind a URL."""

import json
import uuid

import fsspec
import pytest

from maibench.config import make_config
from maibench.errors import MaibenchError
from maibench.evaluation.compare import run_comparison
from maibench.evaluation.report import write_report
from tests.web_server import serving


def compare(data, out, dummies, **settings):
    flags = {
        "models": [f"{dummies}:Brightness", f"{dummies}:Broken"], "data": str(data), "out": str(out), "resamples": 10,
        "figures": False, "gallery": 0, "audit": False, "batch_size": 4, "perturb": ["none", "jpeg:75"],
    }  # fmt: skip
    return run_comparison(make_config(None, flags | settings, []))


def test_nothing_has_to_be_here(greys, dummies, tmp_path):
    values = [(40 + 11 * number, number % 2) for number in range(14)]
    manifest = greys(values)
    here = compare(manifest, tmp_path / "here", dummies)
    where = f"memory://{uuid.uuid4().hex}/predictions"
    with serving(manifest.parent) as web:
        there = compare(f"{web.url}/manifest.csv", tmp_path / "there", dummies, predictions=where)
        assert there.scored == here.scored == 8
        again = compare(f"{web.url}/manifest.csv", tmp_path / "there", dummies, predictions=where)
        assert again.scored == 0
        with pytest.raises(MaibenchError, match=r"holds the predictions of another run"):
            compare(f"{web.url}/manifest.csv", tmp_path / "another", dummies, predictions=where)
    assert not (tmp_path / "there" / "predictions").exists()
    assert json.loads((tmp_path / "there" / "run.json").read_text())["predictions"] == where
    assert sorted(fsspec.filesystem("memory").ls(where, detail=False))[0].endswith("/Brightness")
    speed = here.metrics.columns.drop("images_per_second")
    assert here.metrics[speed].equals(there.metrics[speed])
    assert here.predictions.equals(there.predictions)
    before = (tmp_path / "there" / "metrics.csv").read_bytes()
    (tmp_path / "there" / "metrics.csv").unlink()
    write_report(tmp_path / "there")
    assert (tmp_path / "there" / "metrics.csv").read_bytes() == before
