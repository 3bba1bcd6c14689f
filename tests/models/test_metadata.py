"""The detector that never sees a pixel: it learns what files give away, and nothing where they give nothing away."""

import numpy as np
import pytest
import torch
from PIL import Image

from maibench.datasets.image import parse_file
from maibench.errors import MaibenchError
from maibench.models.metadata import NAMES, Metadata, describe
from maibench.models.weights import load_weights, save_weights


def features_of(detector, files):
    return np.stack([detector.preprocess(parse_file(file.name, file.read_bytes())).numpy() for file in files])


def logits_of(detector, files):
    return detector(torch.from_numpy(features_of(detector, files))).numpy()


@pytest.fixture(scope="module")
def leaky(tmp_path_factory, write_image):
    """JPEG files for real, PNG files for synthetic; a detector fitted to half of them; the other half."""
    folder = tmp_path_factory.mktemp("leaky")
    real = [write_image(folder / f"real-{i}.jpg", (60 + i, 50), i, quality=80 + i) for i in range(16)]
    synthetic = [write_image(folder / f"synthetic-{i}.png", (60 + i, 50), i) for i in range(16)]
    detector = Metadata()
    detector.fit(features_of(detector, [*real[::2], *synthetic[::2]]), np.repeat([0, 1], 8))
    return detector, real[1::2], synthetic[1::2]


def test_learns_a_leaking_set(leaky):
    detector, real, synthetic = leaky
    assert (logits_of(detector, real) < 0).all()
    assert (logits_of(detector, synthetic) > 0).all()


def test_is_at_chance_on_files_that_are_alike(tmp_path, write_image):
    files = [write_image(tmp_path / f"{i}.bmp", (64, 48), i) for i in range(12)]
    detector = Metadata()
    detector.fit(features_of(detector, files), np.array([0] * 3 + [1] * 9))
    logits = logits_of(detector, files)
    assert len(set(logits.tolist())) == 1
    assert abs(logits[0]) < 1e-3  # three times as many of one class are no evidence


@pytest.mark.parametrize("label", [0, 1])
def test_needs_both_classes(label):
    with pytest.raises(MaibenchError, match="holds one class only"):
        Metadata().fit(np.zeros((4, len(NAMES))), np.full(4, label))


def test_refuses_before_fit():
    with pytest.raises(MaibenchError, match="not fitted yet"):
        Metadata()(torch.zeros(2, len(NAMES), dtype=torch.float64))


def test_what_was_fitted_survives_the_disk(leaky, tmp_path):
    detector, real, synthetic = leaky
    save_weights(detector, tmp_path / "fitted.safetensors")
    again = Metadata()
    load_weights(again, tmp_path / "fitted.safetensors")
    np.testing.assert_array_equal(logits_of(again, real + synthetic), logits_of(detector, real + synthetic))


def test_describe_reads_the_header(tmp_path, write_image):
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    plain = write_image(tmp_path / "plain.jpg", (128, 64), quality=75, subsampling=0)
    rich = write_image(
        tmp_path / "rich.jpg", (100, 50), quality=75, subsampling=2, progressive=True, exif=exif, icc_profile=b"x" * 200
    )
    png = write_image(tmp_path / "a.png", (128, 64))
    facts = {
        name: dict(zip(NAMES, describe(parse_file(file.name, file.read_bytes())), strict=True))
        for name, file in {"plain": plain, "rich": rich, "png": png}.items()
    }
    with Image.open(plain) as opened:
        tables = opened.quantization
    assert facts["plain"] == {
        "is_jpeg": 1, "is_png": 0, "is_webp": 0, "is_gif": 0, "is_bmp": 0, "is_tiff": 0,
        "width": 128, "height": 64, "aspect": 2, "multiple_of_64": 1,
        "bytes_per_pixel": plain.stat().st_size / (128 * 64),
        "quantisation_luma": np.mean(tables[0]), "quantisation_chroma": np.mean(tables[1]),
        "subsampled": 0, "progressive": 0, "exif": 0, "colour_profile": 0,
    }  # fmt: skip
    assert [facts["rich"][name] for name in ("subsampled", "progressive", "exif", "colour_profile")] == [1, 1, 1, 1]
    assert facts["rich"]["multiple_of_64"] == 0
    assert [facts["png"][name] for name in ("is_png", "is_jpeg", "quantisation_luma", "quantisation_chroma")] == [
        1, 0, 0, 0,
    ]  # fmt: skip
