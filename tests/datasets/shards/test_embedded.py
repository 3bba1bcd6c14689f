"""Parquet files with images in them, as Hugging Face datasets and others write them."""

import hashlib
import random
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from maibench.datasets.readers import open_data
from maibench.datasets.shards import embedded
from maibench.datasets.shards.embedded import open_embedded
from maibench.errors import ImageError, MaibenchError


@pytest.fixture(scope="module")
def images(tmp_path_factory, write_image):
    folder = tmp_path_factory.mktemp("images")
    return [write_image(folder / f"{seed}.jpg", (40, 30), seed).read_bytes() for seed in range(12)]


def write(file, image, **columns):
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"image": image, **columns}), file, row_group_size=5)
    return file


STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def test_an_export_of_hugging_face_datasets(tmp_path, images):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"image": datasets.Image(), "model": datasets.Value("string")})
    features["label"] = datasets.ClassLabel(names=["fake", "real"])
    for split, part in (("train", slice(0, 7)), ("validation", slice(7, 12))):
        rows = images[part]
        data = {"image": [{"bytes": data, "path": None} for data in rows], "label": [at % 2 for at in range(len(rows))]}
        data["model"] = ["", "sdxl"][::-1] * 3 + [""] if split == "train" else ["sdxl", "", "sdxl", "", "flux"]
        made = datasets.Dataset.from_dict(data, features=features)
        (tmp_path / "export" / "data").mkdir(parents=True, exist_ok=True)
        made.to_parquet(str(tmp_path / "export" / "data" / f"{split}-00000-of-00001.parquet"))
    manifest = open_data(str(tmp_path / "export"))
    assert manifest.rows["split"].value_counts().to_dict() == {"train": 7, "validation": 5}
    assert manifest.rows["label"].tolist() == [1, 0, 1, 0, 1, 0, 1, 1, 0, 1, 0, 1]
    assert manifest.rows["generator"].unique().tolist() == ["sdxl", "real", "synthetic", "flux"]
    assert manifest.rows["path"].iloc[8] == "validation-00000-of-00001/000001"
    assert [manifest.read(path).data for path in manifest.rows["path"]] == images


@pytest.mark.parametrize("kind", ["struct", "binary"])
def test_any_order_from_many_threads_in_flat_memory(tmp_path, images, kind, monkeypatch):
    column = images if kind == "binary" else pa.array([{"bytes": i, "path": f"p{at}"} for at, i in enumerate(images)])
    files = [write(tmp_path / f"{name}.parquet", column, label=["real"] * 12, source=[name] * 12) for name in "ab"]
    manifest = open_embedded(files, "mine")
    assert manifest.rows["path"].iloc[13] == "b/000001"
    monkeypatch.setattr(embedded, "HELD", sum(map(len, images[:8])))
    paths = manifest.rows["path"].tolist()
    order = random.Random(0).sample(range(24), 24)
    with ThreadPoolExecutor(4) as threads:
        read = list(threads.map(lambda at: manifest.read(paths[at]).data, order))
    assert read == [images[at % 12] for at in order]
    assert len(manifest.images._held) < 4
    assert sum(held.nbytes for held in manifest.images._held.values()) <= embedded.HELD


def test_own_paths_are_keys(tmp_path, images):
    column = pa.array([{"bytes": data, "path": f"x/{at}.jpg"} for at, data in enumerate(images)])
    manifest = open_embedded([write(tmp_path / "a.parquet", column, label=["ai"] * 12)], "mine")
    assert manifest.rows["path"].iloc[3] == "x/3.jpg"
    assert manifest.read("x/3.jpg").image_id == hashlib.sha256(images[3]).hexdigest()


def test_a_row_without_an_image_is_a_failed_row(tmp_path, images):
    column = pa.array([{"bytes": images[0], "path": "a"}, {"bytes": None, "path": "b"}, None], STRUCT)
    file = write(tmp_path / "a.parquet", column, label=["real", "real", "fake"])
    manifest = open_data(str(file))
    assert manifest.rows["path"].tolist() == ["a/000000", "a/000001", "a/000002"]
    assert manifest.read("a/000000").data == images[0]
    for path in ("a/000001", "a/000002"):
        with pytest.raises(ImageError, match="the row has no image"):
            manifest.read(path)


@pytest.mark.parametrize("kind", ["text", "struct"])
def test_paths_instead_of_bytes(tmp_path, images, kind):
    paths = [f"pictures/{at}.jpg" for at in range(3)]
    column = paths if kind == "text" else pa.array([{"bytes": None, "path": path} for path in paths], STRUCT)
    file = write(tmp_path / "a.parquet", column, label=["real", "real", "fake"])
    message = r"a\.parquet: the column 'image' holds paths \('pictures/0\.jpg'\) instead of images, and there is no"
    with pytest.raises(MaibenchError, match=message):
        open_data(f"{file}") if kind == "struct" else open_data(str(file), "image=image")
    (tmp_path / "pictures").mkdir()
    for at in (0, 2):
        (tmp_path / paths[at]).write_bytes(images[at])
    manifest = open_embedded([file], "mine")
    assert manifest.rows["path"].tolist() == paths
    assert manifest.read(paths[2]).data == images[2]
    with pytest.raises(ImageError, match="cannot be read: No such file"):
        manifest.read(paths[1])


def test_paths_that_leave_the_folder(tmp_path, images):
    (tmp_path / "secret.jpg").write_bytes(images[0])
    file = write(tmp_path / "data" / "a.parquet", ["../secret.jpg"], label=["real"])
    with pytest.raises(MaibenchError, match=r"'\.\./secret\.jpg' leaves the data set's folder"):
        open_embedded([file], "mine")


def test_a_parquet_file_without_images(tmp_path):
    file = tmp_path / "a.parquet"
    pd.DataFrame({"label": [0], "width": [3], "note": ["x"]}).to_parquet(file)
    with pytest.raises(MaibenchError, match=r"a\.parquet: no column that holds images; the columns are label, width"):
        open_embedded([file], "mine")


def test_files_that_are_damaged_or_differ(tmp_path, images):
    good = write(tmp_path / "a.parquet", images, label=["real"] * 12)
    (tmp_path / "b.parquet").write_bytes(good.read_bytes()[:-500])
    with pytest.raises(MaibenchError, match=r"b\.parquet: is cut or no Parquet file; copy it again"):
        open_embedded([good, tmp_path / "b.parquet"], "mine")
    write(tmp_path / "b.parquet", ["x"], label=["real"])
    with pytest.raises(MaibenchError, match=r"b\.parquet: the column 'image' is of another kind than binary"):
        open_embedded([good, tmp_path / "b.parquet"], "mine")
    data = bytearray(good.read_bytes())
    data[200:2000] = bytes(1800)
    good.write_bytes(data)
    manifest = open_embedded([good], "mine")
    failed = 0
    for path in manifest.rows["path"]:
        try:
            manifest.read(path)
        except ImageError:
            failed += 1
    assert 0 < failed < 12
