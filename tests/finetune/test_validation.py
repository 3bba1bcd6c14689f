"""Reading and scoring a validation split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from maibench.datasets.image import decode, read_file
from maibench.datasets.readers import read_manifest
from maibench.finetune.validation import read_validation
from maibench.models.bailu import Bailu


@pytest.fixture(scope="module")
def detector() -> Bailu:
    torch.manual_seed(0)
    return Bailu().eval()


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
            float(detector(detector.preprocess(decode(read_file(tmp_path, path).data))[None]))
            for path in manifest.rows["path"]
        ]
    assert read_validation(manifest, detector).logits(detector) == pytest.approx(np.array(alone), abs=1e-4)
