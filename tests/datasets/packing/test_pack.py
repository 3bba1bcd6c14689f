"""Packing: every byte and every column comes back, whatever happens on the way, and others can read it."""

import hashlib
import os
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from maibench.cli import app
from maibench.datasets.data_card import read_front_matter
from maibench.datasets.manifest import Manifest
from maibench.datasets.packing import pack as packing
from maibench.datasets.packing.pack import Request, pack, packing_order
from maibench.datasets.readers import open_data
from maibench.errors import DiskError, MaibenchError
from maibench.progress import Progress

FORMATS = ["parquet", "wds"]
SMALL = 0.05
"""Millions of bytes of images after which a shard is full: a few of these."""


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("MAIBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="module")
def source(data_set, tmp_path_factory):
    """24 images in three splits, pairs that share a source far apart, and columns of every kind."""
    file = data_set(tmp_path_factory.mktemp("data") / "mine", splits=("test", "train", "validation"))
    rows = pd.read_csv(file)
    rows["licence"], rows["score"], rows["note"] = "MIT", np.linspace(0, 1, len(rows)), [None, "a|b", 'quote"', "é"] * 6
    rows["n"], rows["flag"], rows["released"] = range(len(rows)), [True, False] * 12, "2024-05"
    rows.to_csv(file, index=False)
    return file.parent


def files_of(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def shards_of(folder):
    return [name for name in files_of(folder) if name.endswith(".tar") or "-of-" in name]


class _Killed(Progress):
    """Interrupts after so many images."""

    def __init__(self, after):
        self.left = after

    def advance(self, count, note=""):
        self.left -= count
        if self.left < 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize("format", FORMATS)
def test_everything_comes_back(source, tmp_path, format):
    packed = pack(Request(str(source), tmp_path / "out", format, SMALL))
    before, after = open_data(str(source)), open_data(str(tmp_path / "out"))
    assert (packed.images, packed.left_out) == (24, {})
    order = packing_order(before.rows)[0]
    expected = before.rows.iloc[order].reset_index(drop=True)
    columns = list(before.rows.columns)
    pd.testing.assert_frame_equal(after.rows[columns], expected, check_dtype=False)
    for manifest in (after, *([open_data(f"wds:{tmp_path}/out/*.tar")] if format == "wds" else [])):
        for row in manifest.rows.to_dict("records"):
            data = manifest.read(row["path"]).data
            assert data == (source / row["path"]).read_bytes()
            assert row["image_id"] == hashlib.sha256(data).hexdigest()
            assert (row["format"], row["width"], row["height"], row["n_bytes"]) == ("PNG", 96, 80, len(data))
    assert len(shards_of(tmp_path / "out")) == len(packed.shards) > 3
    assert read_front_matter(tmp_path / "out")["license"] == "mit"
    # packed again from what was packed, in the other format: still the same rows
    again = pack(Request(str(tmp_path / "out"), tmp_path / "again", FORMATS[format == "parquet"], SMALL))
    assert again.images == 24
    pd.testing.assert_frame_equal(open_data(str(tmp_path / "again")).rows[columns], expected, check_dtype=False)


def test_hugging_face_datasets_opens_parquet(source, tmp_path):
    datasets = pytest.importorskip("datasets")
    pack(Request(str(source), tmp_path / "out", "parquet", SMALL))
    loaded = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert {split: len(rows) for split, rows in loaded.items()} == {"train": 8, "validation": 8, "test": 8}
    assert loaded["train"].features["label"].names == ["real", "synthetic"]
    for row in loaded["test"]:
        with Image.open(source / row["path"]) as image:
            np.testing.assert_array_equal(np.asarray(row["image"]), np.asarray(image))
        assert row["split"] == "test"


def test_hugging_face_datasets_opens_shards(source, tmp_path):
    datasets = pytest.importorskip("datasets")
    pack(Request(str(source), tmp_path / "out", "wds", SMALL))
    splits = {split: f"{tmp_path}/out/{split}-*.tar" for split in ("train", "test")}
    loaded = datasets.load_dataset("webdataset", data_files=splits, cache_dir=str(tmp_path / "cache"))
    assert {split: len(rows) for split, rows in loaded.items()} == {"train": 8, "test": 8}
    for row in loaded["train"]:
        with Image.open(source / row["json"]["path"]) as image:
            np.testing.assert_array_equal(np.asarray(row["png"]), np.asarray(image))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["", "x", "y", "z"])), min_size=1, max_size=30))
def test_sources_stay_together_in_order(rows):
    frame = pd.DataFrame(rows, columns=["split", "source"]).assign(path=[str(at) for at in range(len(rows))])
    order, sources = packing_order(frame)
    assert sorted(order) == list(range(len(rows)))
    keys = [(rows[at][0], rows[at][1] or f"own {at}") for at in order]
    runs = [key for at, key in enumerate(keys) if at == 0 or keys[at - 1] != key]
    assert len(runs) == len(set(runs)), "a source or a split is left and come back to"
    assert [keys.index(key) for key in keys] == [list(sources).index(number) for number in sources]
    for key in set(keys):
        members = [at for at, other in zip(order, keys, strict=True) if other == key]
        assert members == sorted(members)


def test_no_source_lies_in_two_shards(source, tmp_path):
    pack(Request(str(source), tmp_path / "out", "parquet", 1e-6))
    shards = [open_data(str(tmp_path / "out" / name)).rows for name in shards_of(tmp_path / "out")]
    assert [(len(rows), rows["source"].nunique()) for rows in shards] == [(2, 1)] * 12


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("after", [0, 11])
def test_killed_and_gone_on_with(source, tmp_path, format, after):
    whole, request = tmp_path / "whole" / "out", Request(str(source), tmp_path / "killed" / "out", format, SMALL)
    pack(Request(str(source), whole, format, SMALL))
    with pytest.raises(KeyboardInterrupt):
        pack(request, progress=_Killed(after))
    (request.out / ".part-1-x").write_text("half")
    assert pack(request).computed < len(files_of(whole)) - 2 or after < 11
    assert files_of(request.out) == files_of(whole)
    assert not [path for path in request.out.iterdir() if path.name.startswith(".")]
    assert pack(request).computed == 0


@pytest.mark.parametrize("format", FORMATS)
def test_killed_while_it_finishes(source, tmp_path, monkeypatch, format):
    request = Request(str(source), tmp_path / "out", format, SMALL)
    with monkeypatch.context() as patched:
        patched.setattr(packing, "write_data_card", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            pack(request)
    assert pack(request).computed == 0
    before = files_of(request.out)
    (request.out / next(iter(pack(request).shards))).unlink()  # lost later: made again
    assert pack(request).computed > 0
    assert files_of(request.out) == before


def test_another_request_is_refused(source, tmp_path):
    pack(Request(str(source), tmp_path / "out"))
    with pytest.raises(MaibenchError, match=r"holds what another command packed \(format was 'parquet', now 'wds'\)"):
        pack(Request(str(source), tmp_path / "out", "wds"))
    assert pack(Request(str(source), tmp_path / "out", "wds"), fresh=True).computed == 3
    assert not list((tmp_path / "out").glob("t*.parquet"))
    with pytest.raises(MaibenchError, match="holds the data to be packed, which --fresh would remove"):
        pack(Request(f"wds:{tmp_path}/out/*.tar", tmp_path / "out"), fresh=True)
    again = pack(Request(str(source), tmp_path / "out", "wds", licence="CC BY 4.0"))  # the card alone is written again
    assert (again.computed, read_front_matter(tmp_path / "out")["license"]) == (0, "cc-by-4.0")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    for fresh in (False, True):
        with pytest.raises(MaibenchError, match="holds files that were not made by this command"):
            pack(Request(str(source), tmp_path / "mine"), fresh)
    for wrong in (Request(str(source), tmp_path, "zip"), Request(str(source), tmp_path, shard_mb=0)):
        with pytest.raises(MaibenchError, match="give"):
            pack(wrong)


def test_unreadable_images_are_named_and_left_out(source, tmp_path):
    data = shutil.copytree(source, tmp_path / "data")
    rows = pd.read_csv(data / "manifest.csv")
    (data / rows["path"][3]).write_text("no image")
    (data / rows["path"][9]).unlink()
    ids = [hashlib.sha256((source / path).read_bytes()).hexdigest() for path in rows["path"]]
    rows.assign(image_id=["", *ids[1:11], "0" * 64, *ids[12:]]).to_csv(data / "manifest.csv", index=False)
    told = CliRunner().invoke(app, ["data", "pack", str(data), "--out", str(tmp_path / "out"), "--licence", "CC0"])
    assert told.exit_code == 1
    assert "21 images in 3 shards" in told.stderr
    for path, why in (
        (3, "not an image"),
        (9, "cannot be read: No such file"),
        (11, "are not those that"),
    ):
        assert f"left out: {rows['path'][path]}: " in told.stderr
        assert why in told.stderr
    assert len(open_data(str(tmp_path / "out")).rows) == 21
    card = (tmp_path / "out" / "README.md").read_text()
    assert "- 3 images could not be read and are left out" in card
    assert "license: cc0-1.0" in card
    for path in rows["path"]:
        (data / path).unlink(missing_ok=True)
    with pytest.raises(MaibenchError, match=r"none of the 24 images can be read; the first is test/real/000\.png"):
        pack(Request(str(data), tmp_path / "none"))


def test_one_image_with_two_labels(source, tmp_path):
    data = shutil.copytree(source, tmp_path / "data")
    rows = pd.read_csv(data / "manifest.csv")
    real, synthetic = rows["path"][rows["label"] == 0].iloc[0], rows["path"][rows["label"] == 1].iloc[-1]
    shutil.copy(data / real, data / synthetic)
    with pytest.raises(MaibenchError, match=rf"'{real}' and '{synthetic}' are one image .* with two labels"):
        pack(Request(str(data), tmp_path / "out", "wds", SMALL))
    with pytest.raises(MaibenchError, match="are one image"):  # also where the first of them was packed before
        pack(Request(str(data), tmp_path / "out", "wds", SMALL))


@pytest.mark.parametrize("format", FORMATS)
def test_data_that_can_only_be_read_forward(source, tmp_path, monkeypatch, format):
    pack(Request(str(source), tmp_path / "whole" / "out", format, SMALL))

    class Forward:
        in_order = True

        def __init__(self, paths):
            self.expected, self.paths, self.at = [], paths, -1

        def expect(self, paths):
            self.expected += paths
            places = [self.paths.index(path) for path in self.expected]
            assert places == sorted(places), "asked to go back"

        def read(self, path):
            assert path in self.expected
            return (source / path).read_bytes()

    def opened(data, columns):
        manifest = open_data(data)
        return Manifest(manifest.rows, manifest.root, manifest.name, Forward(manifest.rows["path"].tolist()))

    monkeypatch.setattr(packing, "open_data", opened)
    request = Request(str(source), tmp_path / "forward" / "out", format, SMALL)
    with pytest.raises(KeyboardInterrupt):
        pack(request, progress=_Killed(11))
    pack(request)
    assert files_of(request.out) == files_of(tmp_path / "whole" / "out")


@pytest.fixture
def disk(tmp_path):
    """disk(size) -> a folder on a disk of that size, or the same, larger."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(options):
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder]
        if os.geteuid() or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("a small disk can be mounted by root only")
        return folder

    yield mount
    subprocess.run(["umount", "--lazy", folder], capture_output=True)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("size", ["4k", "200k"])
def test_a_full_disk(source, tmp_path, disk, format, size):
    pack(Request(str(source), tmp_path / "whole" / "out", format, SMALL))
    request = Request(str(source), disk(f"size={size}") / "out", format, SMALL)
    with pytest.raises(DiskError, match="the disk is full; what was written is kept"):
        pack(request)
    assert not list((tmp_path / "disk").rglob(".part-*"))
    disk("remount,size=16m")
    pack(request)
    assert files_of(request.out) == files_of(tmp_path / "whole" / "out")


def test_a_parquet_shard_that_is_cut_or_gone(source, tmp_path):
    pack(Request(str(source), tmp_path / "out", shard_mb=0.001))
    last = max((tmp_path / "out").glob("*.parquet"))
    data = last.read_bytes()
    for change, told in ((lambda: last.write_bytes(data[:-9]), "is not as it was packed"), (last.unlink, "is gone")):
        change()
        with pytest.raises(MaibenchError, match=rf"{last.name}: {told} \([\d,]+ bytes\); copy it again"):
            open_data(str(tmp_path / "out"))


def test_a_packed_shard_that_is_cut_or_gone(source, tmp_path):
    pack(Request(str(source), tmp_path / "out", "wds"))
    shard = tmp_path / "out" / "test-000000.tar"
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(MaibenchError, match=r"test-000000\.tar: is cut in the middle, after [\d,]+ bytes: \d images"):
        open_data(str(tmp_path / "out"))
    shard.unlink()
    with pytest.raises(MaibenchError, match=r"test-000000\.tar: is gone: 8 images are missing"):
        open_data(str(tmp_path / "out"))
