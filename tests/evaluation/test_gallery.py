from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from maibench import Card, Detector, load_detector
from maibench.datasets.manifest import Manifest
from maibench.datasets.readers import read_manifest
from maibench.evaluation import evidence
from maibench.evaluation.gallery import make_gallery
from maibench.evaluation.picks import select
from maibench.evaluation.statistics.evaluated import Evaluated


def evaluated(labels, paths=None, shown="none", **logits) -> Evaluated:
    """Images a, b, c, ... and what each named detector said of them."""
    paths = paths or [chr(ord("a") + index) for index in range(len(labels))]
    frame = pd.DataFrame({"path": paths, "label": labels})
    frame["generator"] = np.where(frame["label"] == 1, "gen", "real")
    frame["source"], frame["own_source"] = frame["path"], True
    return Evaluated(frame, {(name, shown): np.array(values, dtype=float) for name, values in logits.items()})


class TestSelect:
    def test_most_confident_mistakes_of_each_kind_first(self):
        found = select(evaluated([0, 0, 0, 1, 1, 1], one=[3, -1, 7, -2, -4, 1]), each=4)
        assert [pick.path for pick in found] == ["c", "a", "e", "d"]
        assert [pick.why[0].rank for pick in found] == [0, 1, 0, 1]
        assert found[0].why[0].text == "real, called synthetic by one: P > 0.99"
        assert found[2].why[0].text == "synthetic (gen), called real by one: P = 0.02"

    def test_at_most_so_many_and_ties_in_the_order_of_paths(self):
        found = select(evaluated([0] * 5, one=[1, 2, 1, 1, 2]), each=3)
        assert [pick.path for pick in found] == ["b", "e", "a"]

    def test_a_logit_of_zero_is_called_real(self):
        assert [pick.path for pick in select(evaluated([0, 1], one=[0, 0]), each=2)] == ["b"]

    def test_an_image_picked_twice_is_listed_once_with_both_reasons(self):
        found = select(evaluated([0, 1], one=[2, 3], two=[-1, 4]), each=1)
        assert [pick.path for pick in found] == ["a"]
        assert [(reason.kind, reason.detector) for reason in found[0].why] == [
            ("mistake", "one"),
            ("disagreement", None),
        ]
        assert found[0].why[1].text == "detectors disagree: P = 0.27 (two), P = 0.88 (one)"
        assert found[0].scores == pytest.approx({"one": 1 / (1 + np.exp(-2)), "two": 1 / (1 + np.exp(1))})

    def test_no_disagreement_of_one_detector_or_of_equal_answers(self):
        assert select(evaluated([1], one=[3]), each=4) == []
        assert select(evaluated([1], one=[3], two=[3]), each=4) == []

    def test_what_was_not_scored_is_no_mistake_and_no_disagreement(self):
        found = select(evaluated([0, 0, 1], one=[np.nan, 1, 1], two=[-1, np.nan, np.nan]), each=4)
        assert [(pick.path, len(pick.why)) for pick in found] == [("b", 1)]
        assert found[0].scores["two"] is None

    def test_infinite_logits_are_certain(self):
        found = select(evaluated([0, 1], one=[np.inf, -np.inf], two=[1, 1]), each=1)
        assert [pick.scores["one"] for pick in found] == [1.0, 0.0]

    def test_the_shown_perturbation_is_what_counts(self):
        images = evaluated([0], shown="jpeg:75", one=[2])
        images.logits["one", "blur:1"] = np.array([-2.0])
        assert [pick.path for pick in select(images, each=1)] == ["a"]


class Contrast(Detector):
    """Positive for every image: each real one is a mistake, with a map that is not empty."""

    card = Card(name="contrast")

    def preprocess(self, image):
        import torch

        return torch.tensor(float(image.std()))

    def forward(self, batch):
        return batch


class Broken(Contrast):
    def forward(self, batch):
        raise RuntimeError("out of order")


@pytest.fixture
def data(data_set, tmp_path):
    """Six images, and two detectors: one wrong on all real images, one wrong on all synthetic ones."""
    manifest = read_manifest(data_set(tmp_path / "data", n_real=3, n_synthetic=3))
    rows = manifest.rows.sort_values("path")
    images = evaluated(
        rows["label"].tolist(), rows["path"].tolist(), one=[1, 2, 3, 4, 5, 6], two=[-1, -2, -3, -4, -5, -6]
    )
    return images, manifest


@pytest.fixture
def draw(data, tmp_path):
    """Draw a gallery into tmp_path/run; returns whether it was drawn."""
    images, manifest = data

    def call(detectors=None, images=images, each=2, manifest=manifest, **options):
        detectors = {"one": Contrast(), "two": Contrast()} if detectors is None else detectors
        keys = dict.fromkeys(detectors, options.pop("key", "k"))
        return make_gallery(tmp_path / "run", images, manifest, detectors, keys, each, **options)

    return call


def listed(tmp_path: Path) -> list[dict]:
    return json.loads((tmp_path / "run/gallery/gallery.json").read_text())["items"]


def pictures(tmp_path: Path) -> set[str]:
    return {f"gallery/{file.name}" for file in (tmp_path / "run/gallery").iterdir() if file.suffix == ".jpg"}


def test_every_item_has_its_pictures_scores_and_reasons(draw, tmp_path):
    assert draw()
    content = json.loads((tmp_path / "run/gallery/gallery.json").read_text())
    assert content["method"].startswith("occlusion")
    named = []
    for item in content["items"]:
        assert set(item["scores"]) == {"one", "two"}
        assert item["why"] and all(set(reason) == {"kind", "detector", "text"} for reason in item["why"])
        named += [item["thumbnail"], *item["evidence"].values()]
        for detector in item["evidence"]:
            assert item["strongest"][detector] > 0
    assert set(named) == pictures(tmp_path) and len(named) == len(set(named))
    by_path = {item["path"]: item for item in content["items"]}
    assert set(by_path["test/gen-a/002.png"]["evidence"]) == {"two"}  # its mistake alone
    disagreed = [item for item in content["items"] if any(why["kind"] == "disagreement" for why in item["why"])]
    assert disagreed and all(set(item["evidence"]) == {"one", "two"} for item in disagreed)


def test_thumbnails_are_small_and_named_by_no_text_of_the_data(draw, tmp_path, data, write_image):
    path = data[0].images["path"].iloc[-1]
    write_image(data[1].root / path, (700, 350))
    draw(evidence=True)
    for name in pictures(tmp_path):
        with Image.open(tmp_path / "run" / name) as image:
            assert image.format == "JPEG" and max(image.size) <= 256
        assert set(Path(name).stem) <= set("0123456789abcdef-")
    item = next(item for item in listed(tmp_path) if item["path"] == path)
    with Image.open(tmp_path / "run" / item["thumbnail"]) as image:
        assert image.size == (256, 128)


def test_a_second_call_draws_nothing(draw, tmp_path):
    assert draw()
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "run/gallery").iterdir()}
    assert not draw()
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "run/gallery").iterdir()} == before


@pytest.mark.parametrize("change", [{"key": "other"}, {"each": 1}, {"evidence": False}])
def test_what_changed_is_drawn_again_and_leaves_nothing_behind(draw, tmp_path, change):
    draw()
    mine = tmp_path / "run/gallery/notes.jpg"
    mine.write_text("somebody's own")
    (tmp_path / "run/gallery/.part-1-x.jpg").write_text("of a killed process")
    assert draw(**change)
    items = listed(tmp_path)
    named = {name for item in items for name in [item["thumbnail"], *item["evidence"].values()]}
    assert pictures(tmp_path) == named | {"gallery/notes.jpg"}


def test_a_lost_picture_or_a_broken_list_is_made_again(draw, tmp_path):
    draw()
    (tmp_path / "run" / listed(tmp_path)[0]["thumbnail"]).unlink()
    assert draw()
    (tmp_path / "run/gallery/gallery.json").write_text("{")
    assert draw()
    assert not draw()


def test_none_asked_for_removes_the_gallery(draw, tmp_path):
    draw()
    assert not draw(each=0)
    assert list((tmp_path / "run/gallery").iterdir()) == []


def test_an_image_that_is_gone_stays_in_the_list_with_the_reason(draw, tmp_path, data):
    path = data[0].images["path"].iloc[-1]
    (data[1].root / path).rename(tmp_path / "elsewhere.png")
    assert draw()
    item = next(item for item in listed(tmp_path) if item["path"] == path)
    assert item["thumbnail"] is None and "cannot be read" in item["error"] and item["evidence"] == {}
    assert not draw()
    (tmp_path / "elsewhere.png").rename(data[1].root / path)
    assert draw()
    assert all(item["thumbnail"] for item in listed(tmp_path))


def test_nothing_outside_the_data_s_folder_is_read(draw, tmp_path, write_image):
    write_image(tmp_path / "secret.png")
    draw(images=evaluated([0], ["../secret.png"], one=[1]))
    [item] = listed(tmp_path)
    assert item["thumbnail"] is None and "does not list it" in item["error"]


def test_text_of_the_data_stays_text(draw, tmp_path, data, write_image):
    path = "<script>alert(1)</script>.png".replace("/", "")
    write_image(data[1].root / path)
    rows = pd.DataFrame({"path": [path], "label": [0], "generator": ["real"]})
    draw(images=evaluated([0], [path], one=[1]), manifest=Manifest.from_frame(rows, data[1].root, "other"))
    [item] = listed(tmp_path)
    assert item["path"] == path and item["thumbnail"]


def test_a_detector_that_cannot_explain_says_why(draw, tmp_path):
    assert draw({"one": Broken(), "two": load_detector("metadata")})
    for item in listed(tmp_path):
        assert item["evidence"] == {} and item["thumbnail"]
    assert any(item["no_evidence"].get("one") == "RuntimeError: out of order" for item in listed(tmp_path))


def test_a_detector_without_scores_here_is_left_out(draw, tmp_path):
    assert draw({"one": Contrast()})
    assert {name for item in listed(tmp_path) for name in item["evidence"]} == {"one"}


def test_costly_maps_are_kept_for_the_strongest_cases(draw, tmp_path, monkeypatch, data):
    detector = load_detector("bailu")
    pixels = np.asarray(Image.open(data[1].root / data[0].images["path"].iloc[0]))
    one_map = evidence.map_cost(evidence.pass_cost(detector, pixels), pixels, evidence.MOST_CELLS)
    monkeypatch.setitem(evidence.PER_GALLERY, "cpu", 1.5 * one_map)
    images = evaluated(data[0].labels.tolist(), data[0].images["path"].tolist(), one=[1, 2, 3, 4, 5, 6])
    draw({"one": detector}, images)
    drawn = [item for item in listed(tmp_path) if item["evidence"]]
    assert len(drawn) == 1 and drawn[0]["scores"]["one"] == max(item["scores"]["one"] for item in listed(tmp_path))
    assert "stronger cases" in next(item for item in listed(tmp_path) if not item["evidence"])["no_evidence"]["one"]
    monkeypatch.setitem(evidence.PER_GALLERY, "cpu", 0.5 * one_map)
    draw({"one": detector}, images, key="slower")
    assert all("too many" in item["no_evidence"]["one"] for item in listed(tmp_path))


def test_without_a_budget_nothing_is_run(draw, tmp_path, monkeypatch, data):
    passes = []

    class Counts(Contrast):
        def forward(self, batch):
            passes.append(len(batch))
            return super().forward(batch)

    monkeypatch.setitem(evidence.PER_GALLERY, "cpu", 0)
    draw({"one": Counts()}, each=3)
    assert passes == []
    assert any("is spent" in item["no_evidence"].get("one", "") for item in listed(tmp_path))


def test_finding_out_what_a_map_costs_is_charged(draw, tmp_path, monkeypatch, data, write_image):
    """Six sizes, and time for two passes and a half: the third is the last one."""
    import torch

    passes = []

    class Costly(Contrast):
        def preprocess(self, image):
            return torch.full((10, 10), float(image.std()))

        def forward(self, batch):
            passes.append(len(batch))
            return torch.stack([(item @ item).mean() for item in batch])

    paths = data[0].images["path"].tolist()
    for number, path in enumerate(paths):
        write_image(data[1].root / path, (100 + number, 100))
    pixels = np.asarray(Image.open(data[1].root / paths[0]).convert("RGB"))
    one_pass = evidence.pass_cost(Costly(), pixels)
    assert one_pass > 0
    passes.clear()
    monkeypatch.setitem(evidence.PER_GALLERY, "cpu", 2.5 * one_pass)
    wrong = evaluated([0] * 6, paths, one=[6, 5, 4, 3, 2, 1])
    draw({"one": Costly()}, wrong, each=6)
    assert passes == [1, 1, 1]
    why = [item["no_evidence"]["one"] for item in listed(tmp_path)]
    assert ["too many" in text for text in why] == [True] * 3 + [False] * 3
    assert all("is spent" in text for text in why[3:])


def test_no_mistake_makes_an_empty_gallery(draw, tmp_path):
    assert draw(images=evaluated([0, 1], one=[-1, 1]))
    assert listed(tmp_path) == []


def test_choosing_needs_no_torch():
    code = "import sys, maibench.evaluation.gallery, maibench.evaluation.picks; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
