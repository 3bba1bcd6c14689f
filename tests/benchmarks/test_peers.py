"""The peers' loops and ours, on few images: that all run, and that they score the same."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import peer_loops, peers
from maibench.models.loading import load_detector


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("peers")
    peers.make_images(folder / "images", 12)
    return folder


def test_the_plain_network_is_the_same_network() -> None:
    torch.manual_seed(0)
    plain, _ = peer_loops.network("mai_cnn", "mai_cnn")
    assert isinstance(plain, peer_loops.Plain)
    x = torch.randn(3, 3, 200, 200)
    with torch.no_grad():
        torch.testing.assert_close(plain(x)[:, 0], load_detector("mai_cnn")(x), atol=1e-4, rtol=1e-5)


def test_the_images_are_all_different_and_of_a_real_size(here: Path) -> None:
    files = [*(here / "images").rglob("*.jpg")]
    assert len({file.read_bytes() for file in files}) == 12
    assert 40_000 < sum(file.stat().st_size for file in files) / 12 < 150_000


def test_other_weights_are_other(tmp_path: Path) -> None:
    other = load_detector(str(peers.other_weights(tmp_path / "other")))
    assert not torch.equal(next(other.parameters()), next(load_detector("mai_cnn").parameters()))


@pytest.mark.parametrize("name", ["mai_cnn", "bailu"])
def test_both_preprocessings_are_the_same(here: Path, name: str) -> None:
    _, transform = peer_loops.network(name, name)
    detector = load_detector(name, **peer_loops.OPTIONS.get(name, {}))
    with Image.open(here / "images" / peer_loops.REAL / "00000.jpg") as image:
        ours = detector.preprocess(np.asarray(image))
        torch.testing.assert_close(transform(image), ours.reshape(ours.shape[-3:]), atol=1e-5, rtol=0)


@pytest.mark.slow  # three processes that import torch, one of them with workers
def test_the_loops_agree_and_are_compared(here: Path) -> None:
    models = {"mai_cnn": "mai_cnn", "bailu": "bailu"}
    ways = ["CNNDetection", "torch", "no such way"]
    rows = peers.compared(here, "two detectors", models, ways, images=12, rounds=1, floor=1e9)
    first = rows[0]
    assert first.name == "two detectors, maibench float32, to the fastest peer"
    assert first.ratio is not None
    assert first.verdict == "below"
    assert "CNNDetection" in first.detail
    assert peers.difference(here, "torch", "CNNDetection") < peers.AGREE


def test_scores_that_differ_make_the_row_void(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for way, score in (("CNNDetection", 0.5), ("torch", 0.6)):
        (here / f"{way}.json").write_text(json.dumps({"mai_cnn": {"a.jpg": score}}))
    assert peers.difference(here, "torch", "CNNDetection") == pytest.approx(0.1)
    (here / "torch.json").write_text(json.dumps({"mai_cnn": {"b.jpg": 0.5}}))
    assert peers.difference(here, "torch", "CNNDetection") == float("inf")
