"""The demo: what the user gets from it, and what it must not give away."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import skimage.data

from maibench.datasets import autoencoders, demo
from maibench.datasets.autoencoders import ARCHITECTURES
from maibench.datasets.demo import UNSEEN, cache_folder, demo_manifest
from maibench.datasets.image import decode
from maibench.datasets.manifest import SPLITS, Manifest
from maibench.datasets.readers import open_data
from maibench.errors import MaibenchError
from maibench.models.metadata import describe


@pytest.fixture(scope="module")
def manifest(demo_cache) -> Manifest:
    return demo_manifest(demo_cache)


@pytest.fixture(scope="module")
def rows(manifest) -> pd.DataFrame:
    return manifest.rows


class TestContents:
    def test_is_large_enough(self, rows):
        assert 180 <= (rows["label"] == 0).sum() <= 230
        test = rows[rows["split"] == "test"]
        assert len(test) >= 100
        assert test["source"].nunique() >= 4
        assert set(rows["split"]) == set(SPLITS)

    def test_every_photograph_lies_in_one_split(self, manifest, rows):
        assert manifest.has_sources
        assert (rows.groupby("source")["split"].nunique() == 1).all()

    def test_every_real_crop_has_one_reconstruction_beside_it(self, rows):
        name = rows["path"].str.extract(r"^images/([^.]+)\.", expand=False)
        pairs = rows.groupby(name)
        assert (pairs.size() == 2).all()
        assert (pairs["label"].sum() == 1).all()
        assert (pairs["source"].nunique() == 1).all()

    def test_real_and_synthetic_are_balanced_in_each_split(self, rows):
        assert (rows.groupby("split")["label"].mean() == 0.5).all()

    def test_the_unseen_generator_is_in_the_test_split_alone(self, rows):
        generators = rows[rows["label"] == 1].groupby("split")["generator"].agg(set)
        seen = set(ARCHITECTURES) - {UNSEEN}
        assert generators.to_dict() == {"train": seen, "validation": seen, "test": seen | {UNSEEN}}

    def test_no_generator_is_rare(self, rows):
        counts = rows[rows["label"] == 1].groupby(["split", "generator"]).size()
        assert counts.min() >= 10
        assert (counts.groupby("split").max() <= 1.5 * counts.groupby("split").min()).all()

    def test_no_image_occurs_twice(self, rows):
        assert rows["image_id"].is_unique


class TestFiles:
    def test_are_what_the_manifest_says(self, manifest, rows):
        for row in rows.sample(20, random_state=0).itertuples():
            file = manifest.read(row.path)
            facts = (file.image_id, file.width, file.height, file.format, len(file.data))
            assert facts == (row.image_id, row.width, row.height, row.format, row.n_bytes)
            assert min(decode(file.data).shape[:2]) >= 200

    def test_nothing_but_the_pixels_tells_real_from_synthetic(self, manifest, rows):
        # with every fact constant, no classifier of the metadata can do better than chance
        files = [manifest.read(path) for path in rows["path"]]
        assert len({tuple(describe(file)) for file in files}) == 1
        assert len({file.data[:41] for file in files}) == 1  # signature, IHDR, and the length and name of the next
        assert rows[["width", "height", "format", "n_bytes"]].drop_duplicates().shape == (1, 4)

    def test_real_crops_are_the_photographs_own_pixels(self, manifest, rows):
        last = rows[(rows["source"] == "astronaut") & (rows["label"] == 0)]["path"].max()
        np.testing.assert_array_equal(
            decode((manifest.root / last).read_bytes()), skimage.data.astronaut()[-200:, -200:]
        )

    def test_a_reconstruction_shows_the_same_and_is_not_the_same(self, manifest, rows):
        sample = list(rows[rows["label"] == 1].sample(30, random_state=0).itertuples())
        reals = [decode((manifest.root / row.path.replace(f".{row.generator}", "")).read_bytes()) for row in sample]
        for number, row in enumerate(sample):
            made = decode((manifest.root / row.path).read_bytes()).astype(int)
            errors = [np.abs(made - real).mean() for real in reals]
            assert np.argmin(errors) == number  # nearer to its own crop than to any other
            assert errors[number] < 40
            assert np.abs(made - reals[number]).max() > 8


class TestCache:
    def test_a_second_call_makes_nothing(self, demo_cache, manifest):
        def times() -> dict[Path, int]:
            return {path: path.stat().st_mtime_ns for path in [demo_cache, *demo_cache.rglob("*")]}

        before = times()
        assert demo_manifest(demo_cache).fingerprint == manifest.fingerprint
        assert times() == before
        assert [path.name.startswith("demo-") for path in demo_cache.iterdir()] == [True]

    def test_the_source_demo_is_this_one(self, demo_cache, manifest, monkeypatch):
        monkeypatch.setenv("MAIBENCH_CACHE", str(demo_cache))
        data = open_data("demo")
        assert (data.name, data.root, data.fingerprint) == ("demo", manifest.root, manifest.fingerprint)

    def test_where_the_cache_lies(self, monkeypatch):
        for name in ("MAIBENCH_CACHE", "XDG_CACHE_HOME"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HOME", "/home/somebody")
        assert cache_folder() == Path("/home/somebody/.cache/maibench")
        monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
        assert cache_folder() == Path("/caches/maibench")
        monkeypatch.setenv("MAIBENCH_CACHE", "/mine")
        assert cache_folder() == Path("/mine")

    @pytest.mark.parametrize("below", ["file", "file/deeper"])
    def test_one_that_cannot_be_written(self, tmp_path, below):
        (tmp_path / "file").touch()
        with pytest.raises(MaibenchError, match=r"the demo cannot be written to .*file.*; set MAIBENCH_CACHE to"):
            demo_manifest(tmp_path / below)


class TestMaking:
    @pytest.fixture(autouse=True)
    def small(self, monkeypatch):
        """The same recipe with two photographs and two crops of each, made in a second."""
        monkeypatch.setattr(demo, "PHOTOGRAPHS", demo.PHOTOGRAPHS[0:1] + demo.PHOTOGRAPHS[6:7])
        monkeypatch.setattr(demo, "CROPS_PER_PHOTOGRAPH", 2)

    def test_two_caches_hold_the_same_demo(self, tmp_path):
        one, other = demo_manifest(tmp_path / "1"), demo_manifest(tmp_path / "2")
        assert one.root != other.root
        assert one.fingerprint == other.fingerprint
        assert len(one.rows) == 8

    def test_another_recipe_or_other_weights_are_another_demo(self, tmp_path, monkeypatch):
        roots = [demo_manifest(tmp_path).root]
        monkeypatch.setattr(demo, "CROPS_PER_PHOTOGRAPH", 3)
        roots.append(demo_manifest(tmp_path).root)
        weights = tmp_path / "weights"
        shutil.copytree(autoencoders.WEIGHTS, weights)
        autoencoders.save_autoencoder(autoencoders.build_autoencoder("nano-sd1.5"), "nano-sd1.5", weights, {})
        monkeypatch.setattr(autoencoders, "WEIGHTS", weights)
        roots.append(demo_manifest(tmp_path).root)
        assert len(set(roots)) == 3

    def test_one_that_was_interrupted_leaves_nothing_behind(self, tmp_path, monkeypatch):
        whole = demo._crops

        def killed():
            yield next(whole())
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(demo, "_crops", killed)
            with pytest.raises(KeyboardInterrupt):
                demo_manifest(tmp_path)
        assert list(tmp_path.iterdir()) == []
        assert len(demo_manifest(tmp_path).rows) == 8

    def test_half_a_demo_is_made_anew(self, tmp_path):
        root = demo_manifest(tmp_path).root
        (root / "manifest.csv").unlink()
        (root / "images" / "stray.png").touch()
        assert len(demo_manifest(tmp_path).rows) == 8
        assert len(list((root / "images").iterdir())) == 8

    def test_missing_weights(self, tmp_path, monkeypatch):
        monkeypatch.setattr(autoencoders, "WEIGHTS", tmp_path)
        with pytest.raises(MaibenchError, match="weights are missing; reinstall maibench"):
            demo_manifest(tmp_path / "cache")

    @pytest.mark.parametrize("package", ["skimage", "no_such_package"])
    def test_a_missing_photograph(self, tmp_path, monkeypatch, package):
        monkeypatch.setattr(demo, "PHOTOGRAPHS", ((package, "data/gone.png", "gone", "test"),))
        words = rf"photograph data/gone\.png is not in the installed {package}; install the versions in constraints"
        with pytest.raises(MaibenchError, match=words):
            demo_manifest(tmp_path)
