"""Data sets of textures, clean or with a known leak."""

import functools
import zlib

import pandas as pd
import pytest
from PIL import Image

SOURCES = 40


def clean(picture, name, label):
    """What tells nothing: JPEG, its quality drawn without a look at the label."""
    return picture, ".jpg", {"quality": 75 + zlib.crc32(name.encode()) % 21}


def png_where_synthetic(picture, name, label):
    return (picture, ".png", {}) if label else clean(picture, name, label)


def larger_where_real(picture, name, label):
    larger = picture.resize((144, 144), Image.Resampling.BICUBIC)
    return clean(picture if label else larger, name, label)


def quality_95_where_synthetic(picture, name, label):
    return picture, ".jpg", {"quality": 95 if label else 75}


STORES = {
    "clean": clean,
    "png": png_where_synthetic,
    "larger": larger_where_real,
    "quality": quality_95_where_synthetic,
}


@pytest.fixture(scope="session")
def make(tmp_path_factory, texture):
    """make(a key of STORES) -> a folder with a manifest: SOURCES photographs and as many synthetic pictures, half of
    them test; textures of one kind on both sides, so that only how they are stored can tell them apart. Made once a
    session: change a copy."""

    pictures = [Image.fromarray(texture((112, 112), index)) for index in range(2 * SOURCES)]

    @functools.cache
    def write(name):
        folder = tmp_path_factory.mktemp("stored")
        rows = []
        for index in range(2 * SOURCES):
            label, split = index % 2, ("train", "test")[index // 2 % 2]
            picture, ending, options = STORES[name](pictures[index], str(index), label)
            picture.save(folder / f"{index:03d}{ending}", **options)
            generator = ("gen-a", "gen-b")[index // 4 % 2] if label else "real"
            rows.append((f"{index:03d}{ending}", label, generator, f"source-{index}", split))
        columns = ["path", "label", "generator", "source", "split"]
        pd.DataFrame(rows, columns=columns).to_csv(folder / "manifest.csv", index=False)
        return folder

    return write
