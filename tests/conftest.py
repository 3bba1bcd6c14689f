"""Small data sets of random textures, and the demo, made once.

Every fixture here is a factory of session scope, so that fixtures of any scope can build on it.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from filelock import FileLock
from PIL import Image


def pytest_collection_finish() -> None:
    """What was imported stays: a collection of garbage need not look through it again (0.4 s each)."""
    gc.collect()
    gc.freeze()


def _texture(size: tuple[int, int] = (96, 80), seed: int = 0) -> np.ndarray:
    """A colour texture with the 1/f spectrum of photographs: uint8, height x width x 3; `size` is (width, height)."""
    width, height = size
    random = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None, :])
    frequency[0, 0] = np.inf if width * height > 1 else 1
    shared = random.normal(size=(height, width, 1))
    spectrum = np.fft.fft2(shared + 0.3 * random.normal(size=(height, width, 3)), axes=(0, 1))
    waves = np.fft.ifft2(spectrum / frequency[:, :, None], axes=(0, 1)).real
    waves = waves / max(waves.std(), 1e-9)
    return np.clip(128 + 45 * waves + random.normal(0, 2, waves.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def texture() -> Callable[..., np.ndarray]:
    """texture(size=(width, height), seed=0) -> uint8, height x width x 3."""
    return _texture


@pytest.fixture(scope="session")
def write_image() -> Callable[..., Path]:
    """write_image(path, size=(width, height), seed=0, **options of Pillow's save) -> path; its folder is made too."""

    def write(path: Path | str, size: tuple[int, int] = (96, 80), seed: int = 0, **options: object) -> Path:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(_texture(size, seed)).save(path, **options)
        return path

    return write


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory: pytest.TempPathFactory, write_image: Callable[..., Path]) -> Callable[..., Path]:
    """image_folder(paths, folder=None) -> a folder that holds a small picture at each of these relative paths."""

    def make(paths: Iterable[str], folder: Path | None = None) -> Path:
        folder = folder or tmp_path_factory.mktemp("images")
        for seed, path in enumerate(paths):
            write_image(folder / path, (24, 16), seed)
        return folder

    return make


@pytest.fixture(scope="session")
def data_set(tmp_path_factory: pytest.TempPathFactory, write_image: Callable[..., Path]) -> Callable[..., Path]:
    """data_set(folder=None, n_real=4, n_synthetic=4, ...) -> the path of a manifest.csv beside its PNG images.

    In each split there are `n_real` real and `n_synthetic` synthetic images; the generators take turns. The synthetic
    image i is the real image i at half the resolution, doubled again, and shares its source; without `sources` the
    column is absent. No two real images are alike.
    """

    def make(
        folder: Path | None = None,
        n_real: int = 4,
        n_synthetic: int = 4,
        generators: Sequence[str] = ("gen-a", "gen-b"),
        splits: Sequence[str] = ("test",),
        sources: bool = True,
        size: tuple[int, int] = (96, 80),
    ) -> Path:
        folder = folder or tmp_path_factory.mktemp("data")
        rows = []
        for split in splits:
            offset = 1000 * ["train", "validation", "test"].index(split)
            for index in range(n_real):
                path = f"{split}/real/{index:03d}.png"
                write_image(folder / path, size, offset + index)
                rows.append((path, 0, "real", f"{split}-{index}", split))
            for index in range(n_synthetic):
                generator = generators[index % len(generators)]
                path = f"{split}/{generator}/{index:03d}.png"
                original = Image.fromarray(_texture(size, offset + index))
                small = original.resize((max(1, size[0] // 2), max(1, size[1] // 2)), Image.Resampling.BOX)
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                small.resize(size, Image.Resampling.NEAREST).save(folder / path)
                rows.append((path, 1, generator, f"{split}-{index}", split))
        frame = pd.DataFrame(rows, columns=["path", "label", "generator", "source", "split"])
        if not sources:
            frame = frame.drop(columns="source")
        frame.to_csv(folder / "manifest.csv", index=False)
        return folder / "manifest.csv"

    return make


@pytest.fixture(scope="session")
def demo_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder that holds the demo, made once a session; set MAIBENCH_CACHE to it, or hand it on as `cache`."""
    from maibench.datasets.demo import demo_manifest

    # the processes of pytest-xdist share it: they have one folder above their own
    shared = tmp_path_factory.getbasetemp().parent if "PYTEST_XDIST_WORKER" in os.environ else None
    cache = shared / "cache" if shared else tmp_path_factory.mktemp("cache")
    with FileLock(cache.with_suffix(".lock")):
        demo_manifest(cache)
    return cache
