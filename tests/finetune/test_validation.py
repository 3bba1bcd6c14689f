"""Reading and scoring validation splits, and what is held out of the training split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.metrics import accuracy_score, balanced_accuracy_score, roc_auc_score, roc_curve
from torch import Tensor

from maibench.datasets.hub.forward import Chunk, ForwardImages
from maibench.datasets.image import decode
from maibench.datasets.manifest import Manifest
from maibench.datasets.readers import read_manifest
from maibench.errors import MaibenchError
from maibench.finetune.validation import Validation, read_validation
from maibench.models.bailu import Bailu
from maibench.models.base import Detector
from maibench.models.card import Card

COLUMNS = ["path", "label", "generator", "source", "split"]


class Level(Detector):
    """logit = (the first pixel - 128) / 8, so that a flat grey image says what it is scored with."""

    card = Card(name="level")

    def preprocess(self, image: NDArray[np.uint8]) -> Tensor:
        return torch.tensor((float(image[0, 0, 0]) - 128) / 8)

    def forward(self, batch: Tensor) -> Tensor:
        return batch


@pytest.fixture(scope="module")
def detector() -> Bailu:
    torch.manual_seed(0)
    return Bailu().eval()


@pytest.fixture
def grey(tmp_path: Path) -> Callable[..., Manifest]:
    """grey(rows, name) -> a manifest of flat images; rows of (level, generator, source, split)."""

    def make(rows: list[tuple[int, str, str, str]], name: str = "mine") -> Manifest:
        folder = tmp_path / name
        folder.mkdir()
        lines = []
        for index, (level, generator, source, split) in enumerate(rows):
            Image.new("RGB", (8, 8), (level,) * 3).save(folder / f"{index}.png")
            lines.append((f"{index}.png", int(generator != "real"), generator, source, split))
        return Manifest.from_frame(pd.DataFrame(lines, columns=COLUMNS), folder, name)

    return make


def levels(split) -> list[tuple[int, int]]:
    """(level, label) of every image of a split of `grey`, sorted."""
    return sorted(
        (round(float(item) * 8 + 128), int(label)) for item, label in zip(split.items, split.labels, strict=True)
    )


def test_only_the_validation_split_is_read_without_what_is_excluded_or_broken(data_set, detector, tmp_path: Path):
    file = data_set(tmp_path, splits=("train", "validation", "test"))
    (tmp_path / "validation/real/000.png").write_bytes(b"no image")
    split = read_validation(read_manifest(file), detector, ["gen-b"])
    assert split.labels.tolist() == [0] * 3 + [1] * 2
    assert len(split.items) == 5
    assert split.has_both_classes
    assert not read_validation(read_manifest(file), detector, ["gen-a", "gen-b"]).has_both_classes


def test_logits_are_those_of_one_image_at_a_time_in_the_manifests_order(data_set, detector, tmp_path: Path):
    manifest = read_manifest(data_set(tmp_path, n_real=10, n_synthetic=10, splits=("validation",)))
    with torch.inference_mode():
        alone = [
            float(detector(detector.preprocess(decode(manifest.read(path).data))[None]))
            for path in manifest.rows["path"]
        ]
    assert read_validation(manifest, detector).logits(detector) == pytest.approx(np.array(alone), abs=1e-4)


def test_a_detector_in_training_is_scored_in_evaluation_mode(data_set, detector):
    split = read_validation(read_manifest(data_set(splits=("validation",))), detector)
    expected = split.logits(detector)
    detector.train()  # dropout, and the statistics of a batch
    assert np.array_equal(split.logits(detector), expected)


ROWS = [
    (0, "real", "A:1", "train"), (1, "real", "A:2", "train"), (2, "real", "B:1", "train"),
    (3, "g", "A:1", "train"), (4, "g", "B:1", "train"), (5, "h", "A:2", "train"),
    (10, "real", "A:9", "validation"), (11, "real", "B:9", "validation"),
    (13, "g", "A:9", "validation"), (14, "h", "B:9", "validation"),
    (20, "g", "B:5", "test"), (21, "real", "B:6", "test"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("hold_out", "expected"),
    [
        (["h"], [(5, 1), (10, 0), (11, 0)]),  # one class: against the photographs of the validation split
        (["A"], [(0, 0), (1, 0), (3, 1), (5, 1)]),  # a collection of both classes stands by itself
        (["B", "h"], [(2, 0), (4, 1), (5, 1)]),
        (["g", "h"], [(3, 1), (4, 1), (5, 1), (10, 0), (11, 0)]),
    ],
)
def test_what_is_held_out_is_validated_on(grey, hold_out: list[str], expected: list):
    validation = Validation([grey(ROWS)], Level(), hold_out=hold_out)
    assert [split.name for split in validation.splits] == ["mine", "held_out"]
    assert levels(validation.splits[0]) == [(10, 0), (11, 0), (13, 1), (14, 1)]
    assert levels(validation.splits[1]) == expected
    assert {"mine_auc", "held_out_auc"} <= validation.scores(Level()).keys()


def test_held_out_photographs_alone_stand_against_synthetic_validation_images(grey):
    rows = [row for row in ROWS if row[0] != 4]
    validation = Validation([grey(rows)], Level(), hold_out=["B"])
    assert levels(validation.splits[1]) == [(2, 0), (13, 1), (14, 1)]


def test_a_held_out_name_may_be_in_any_of_the_data_sets_and_has_to_be_in_one(grey):
    manifests = [grey(ROWS), grey([(30, "other", "C:1", "train"), (31, "real", "C:1", "train")], "second")]
    assert levels(Validation(manifests, Level(), hold_out=["C"]).splits[1]) == [(30, 1), (31, 0)]
    with pytest.raises(MaibenchError, match=r"hold_out: no training image .* called 'dalle9'"):
        Validation(manifests, Level(), hold_out=["C", "dalle9"])
    with pytest.raises(MaibenchError, match=r"hold_out: no training image .* called 'g'"):
        Validation(manifests, Level(), exclude=["g"], hold_out=["g"])


def test_excluded_generators_and_collections_are_not_validated_with(grey):
    manifest = grey(ROWS)
    assert levels(Validation([manifest], Level(), exclude=["g"]).splits[0]) == [(10, 0), (11, 0), (14, 1)]
    assert levels(Validation([manifest], Level(), exclude=["A"]).splits[0]) == [(11, 0), (14, 1)]
    held_out = Validation([manifest], Level(), exclude=["g"], hold_out=["A"]).splits[1]
    assert levels(held_out) == [(0, 0), (1, 0), (5, 1)]


def test_data_without_both_classes_in_a_validation_split_is_refused(grey):
    one_class, none = grey([row for row in ROWS if row[0] != 13 and row[0] != 14]), grey(ROWS[:6], "none")
    with pytest.raises(MaibenchError, match="none of the data has a validation split with both classes"):
        Validation([one_class, none], Level())
    whole = grey(ROWS, "whole")
    assert [split.name for split in Validation([one_class, none, whole], Level()).splits] == ["whole"]


def test_two_data_sets_of_one_name_are_refused(grey, tmp_path: Path):
    first = grey(ROWS)
    second = Manifest(first.rows, first.root, "mine")
    with pytest.raises(MaibenchError, match="called 'mine'; rename the folder or the manifest of one"):
        Validation([first, second], Level())
    named = Manifest(first.rows, first.root, "held_out")
    with pytest.raises(MaibenchError, match="called 'held_out'"):
        Validation([named], Level(), hold_out=["g"])
    assert Validation([named], Level()).splits[0].name == "held_out"


def test_at_most_so_many_images_are_read_and_always_the_same(grey):
    manifest = grey([(level, ("real", "g")[level % 2], "", "validation") for level in range(60)])
    (drawn,) = Validation([manifest], Level(), most=20).splits
    (again,) = Validation([manifest], Level(), most=20, workers=3).splits
    assert len(levels(drawn)) == 20
    assert [float(item) for item in drawn.items] == [float(item) for item in again.items]
    assert [float(item) for item in drawn.items] == sorted(float(item) for item in drawn.items)  # the manifest's order
    assert Counter(label for _, label in levels(drawn))[0] in range(4, 17)
    assert len(Validation([manifest], Level(), most=60).splits[0].items) == 60


def test_scores_are_those_of_scikit_learn(grey):
    random = np.random.default_rng(0)
    manifests = []
    for name, size, spread in (("first", 40, 40), ("second", 90, 15)):
        values = np.clip(random.normal(120, 30, size) + np.arange(size) % 2 * spread, 0, 255).astype(int)
        rows = [(int(value), ("real", "g")[i % 2], "", "validation") for i, value in enumerate(values)]
        manifests.append(grey(rows, name))
    validation = Validation(manifests, Level())
    scores = validation.scores(Level())
    told = [(split.labels, split.logits(Level())) for split in validation.splits]
    areas = [roc_auc_score(labels, logits) for labels, logits in told]
    assert scores["first_auc"] == pytest.approx(areas[0])
    assert scores["second_auc"] == pytest.approx(areas[1])
    assert scores["auc"] == pytest.approx(np.mean(areas))
    assert scores["first_accuracy"] == pytest.approx(accuracy_score(told[0][0], told[0][1] > 0))
    labels, logits = (np.concatenate(parts) for parts in zip(*told, strict=True))
    fpr, tpr, _ = roc_curve(labels, logits, drop_intermediate=False)
    probabilities = torch.from_numpy(logits).sigmoid().numpy()
    reached = balanced_accuracy_score(labels, probabilities > scores["threshold"])
    assert reached == pytest.approx((1 + (tpr - fpr).max()) / 2)
    assert set(scores) == {"auc", "threshold"} | {f"{n}_{m}" for n in ("first", "second") for m in ("auc", "accuracy")}


def test_what_can_only_be_read_forward_is_not_kept_after_it_was_read(grey):
    manifest = grey(ROWS)
    paths = manifest.rows["path"].tolist()
    chunk = Chunk(0, len(paths), lambda: map(manifest.images.read, paths))
    forward = Manifest.from_frame(manifest.rows, manifest.root, "mine", images=ForwardImages(paths, [chunk]))
    held_out = [Validation([data], Level(), hold_out=["h"]).splits for data in (manifest, forward)]
    assert [levels(split) for split in held_out[0]] == [levels(split) for split in held_out[1]]
    assert not forward.images._kept
