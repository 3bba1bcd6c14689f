"""Where images lie, in other processes: a pickled manifest reads what it read before."""

import pickle
import shutil

import fsspec
import pandas as pd
import pytest

from maibench.datasets.images import FolderImages
from maibench.datasets.packing.pack import Request, pack
from maibench.datasets.readers import open_data


@pytest.fixture(scope="module")
def places(image_folder, tmp_path_factory) -> dict[str, str]:
    """A SOURCE of each kind, of the same four images."""
    folder = image_folder([f"test/{kind}/{number}.png" for kind in ("real", "sd") for number in range(2)])
    out = tmp_path_factory.mktemp("packed")
    for kind in ("parquet", "wds"):
        pack(Request(str(folder), out / kind, kind))
    tar = next((out / "wds").glob("*.tar"))
    (alone := out / "alone").mkdir()
    shutil.copy(tar, alone)
    fsspec.filesystem("memory").pipe("/far/test-0.tar", tar.read_bytes())
    return {
        "folder": str(folder), "parquet": str(out / "parquet"), "packed wds": str(out / "wds"), "wds": f"wds:{tar}",
        "remote wds": "wds:memory://far/test-0.tar", "hf parquet": f"hf:{out / 'parquet'}", "hf folder": f"hf:{folder}",
        "hf wds": f"hf:{alone}",
    }  # fmt: skip


@pytest.mark.parametrize(
    "kind", ["folder", "parquet", "packed wds", "wds", "remote wds", "hf parquet", "hf folder", "hf wds"]
)
def test_a_pickled_manifest_reads_the_same(places, kind, monkeypatch, tmp_path):
    monkeypatch.setenv("MAIBENCH_CACHE", str(tmp_path))
    if kind.startswith("hf"):
        monkeypatch.setattr(pytest.importorskip("datasets").config, "HF_DATASETS_CACHE", tmp_path)
    manifest = open_data(places[kind], "label=label,real=real" if kind == "hf folder" else "")
    paths = manifest.rows["path"].tolist()
    manifest.images.expect(paths[:3])
    read = [manifest.read(path).image_id for path in paths[:2]]  # in the middle of it
    other = pickle.loads(pickle.dumps(manifest))
    pd.testing.assert_frame_equal(other.rows, manifest.rows)
    assert (other.fingerprint, other.images.in_order) == (manifest.fingerprint, manifest.images.in_order)
    assert [other.read(path).image_id for path in paths[:2]] == read
    assert len({manifest.read(path).image_id for path in paths}) == 4


def test_the_same_folder_is_the_same_place(tmp_path):
    assert FolderImages(tmp_path) == FolderImages(tmp_path) != FolderImages(tmp_path / "other")
    assert len({FolderImages(tmp_path), FolderImages(tmp_path)}) == 1
