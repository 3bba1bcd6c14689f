"""`hf:...` on exports that lie here: the same images and predictions as from a folder, read in one pass."""

import itertools
import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import maibench
from maibench.datasets.hub import listing
from maibench.datasets.hub.data import HubSpec, open_hub, parse_hub
from maibench.datasets.readers import open_data
from maibench.errors import ImageError, MaibenchError

datasets = pytest.importorskip("datasets")
BRIGHTNESS = f"{Path(__file__).parents[2] / 'dummy_detectors.py'}:Brightness"


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
        patch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        yield


@pytest.fixture(scope="module")
def folder(image_folder) -> Path:
    """train and test, of each six real and six synthetic images by two generators."""
    paths = [
        f"{split}/{generator}/{number}.png"
        for split in ("train", "test")
        for generator in ("real", "sd", "flux")
        for number in range(6 if generator == "real" else 3)
    ]
    return image_folder(paths)


@pytest.fixture(scope="module")
def parquet(folder, tmp_path_factory) -> Path:
    """The same images as Hugging Face exports them, four a row group."""
    out = tmp_path_factory.mktemp("exports") / "mine"
    (out / "data").mkdir(parents=True)
    rows = open_data(str(folder)).rows
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "label": datasets.ClassLabel(names=["human", "AI"]),
            "model": datasets.Value("string"),
        }
    )
    for split, its in rows.groupby("split"):
        export = {
            "image": [{"bytes": (folder / path).read_bytes(), "path": path} for path in its["path"]],
            "label": its["label"].tolist(),
            "model": its["generator"].where(its["label"] == 1, None).tolist(),
        }
        made = datasets.Dataset.from_dict(export, features=features)
        made.to_parquet(out / "data" / f"{split}-00000-of-00001.parquet", batch_size=4)
    return out


def table(folder: Path, name="t.parquet", **columns) -> Path:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(columns).to_parquet(folder / name)
    return folder / name


class TestTheSameAsAFolder:
    def test_rows_and_bytes(self, folder, parquet):
        given, made = open_data(str(folder)), open_data(f"hf:{parquet}")
        columns = ["path", "label", "generator", "split"]
        pd.testing.assert_frame_equal(
            made.rows.sort_values("path")[columns].reset_index(drop=True),
            given.rows.sort_values("path")[columns].reset_index(drop=True),
        )
        for path in made.rows["path"]:
            assert made.read(path).data == (folder / path).read_bytes()
        assert (made.name, made.images.in_order) == ("mine", True)

    @pytest.mark.slow
    def test_predictions_and_passes(self, folder, parquet, tmp_path, monkeypatch):
        """A sparse draw, several threads: the first pass reads no images, scoring each row group at most once."""
        read, opened = [], []
        real, group = pq.ParquetFile.read, listing.row_group
        monkeypatch.setattr(pq.ParquetFile, "read", lambda its, columns: read.append(columns) or real(its, columns))
        monkeypatch.setattr(
            listing, "row_group", lambda url, *given: opened.append((url, given[1])) or group(url, *given)
        )
        frames = []
        for data in (str(folder), f"hf:{parquet}"):
            run = maibench.compare(
                models=[BRIGHTNESS, "metadata"], data=data, out=tmp_path / data[:3].strip("/"), limit=7, workers=3,
                batch_size=3, perturb=["none", "jpeg:50"], device="cpu",
            )  # fmt: skip
            assert set(run.predictions["status"]) == {"ok"}
            by = ["detector", "perturbation", "path"]
            frames.append(run.predictions.sort_values(by)[[*by, "image_id", "label", "logit"]].reset_index(drop=True))
        pd.testing.assert_frame_equal(frames[1].drop(columns="logit"), frames[0].drop(columns="logit"))
        np.testing.assert_allclose(frames[1]["logit"], frames[0]["logit"], rtol=1e-5, atol=1e-6)
        assert read == [["image.path", "label", "model"]] * 2
        tested = [number for url, number in opened if "data/test-" in url]
        passes = 1 + sum(after <= before for before, after in itertools.pairwise(tested))
        assert passes <= 3  # of scoring, of the report's pictures, and of the audit

    def test_a_folder_of_images_is_read_in_any_order(self, folder):
        made = open_hub(str(folder), "label=label,real=real")
        assert not made.images.in_order
        assert set(made.rows["generator"]) == {"real", "sd", "flux"}
        assert made.read("test/sd/0.png").data == (folder / "test/sd/0.png").read_bytes()
        with pytest.raises(ImageError, match="cannot be read"):
            made.read("test/sd/9.png")

    def test_shards_of_webdataset(self, folder, tmp_path):
        with tarfile.open(tmp_path / "test-0.tar", "w") as tar:
            for number, kind in enumerate(("real", "sd", "flux")):
                (tmp_path / "x.json").write_text(json.dumps({"label": "photo" if kind == "real" else "ai", "by": kind}))
                tar.add(tmp_path / "x.json", f"{number}.json")
                tar.add(folder / "test" / kind / "0.png", f"{number}.png")
        (tmp_path / "x.json").unlink()
        made = open_hub(str(tmp_path), "generator=by")
        assert made.rows[["path", "generator", "split"]].to_numpy().tolist() == [
            ["0.png", "real", "test"], ["1.png", "sd", "test"], ["2.png", "flux", "test"],
        ]  # fmt: skip
        assert made.read("2.png").data == (folder / "test/flux/0.png").read_bytes()


class TestMemory:
    def test_memory_does_not_grow_with_a_row_group(self, tmp_path):
        """160 MB of images in one row group."""
        noise = [np.random.default_rng(number).bytes(10**6) for number in range(16)]
        file = tmp_path / "t.parquet"
        schema = pa.schema({"image": pa.struct({"bytes": pa.binary(), "path": pa.string()}), "label": pa.string()})
        with pq.ParquetWriter(file, schema, use_dictionary=False, compression="none") as writer:
            images = [{"bytes": noise[number % 16], "path": f"{number}"} for number in range(160)]
            writer.write_table(pa.table({"image": images, "label": ["real"] * 160}, schema), row_group_size=160)
        del images
        made = open_hub(str(file))
        before = pa.total_allocated_bytes()
        pa.default_memory_pool().release_unused()
        paths = made.rows["path"].tolist()
        most = 0
        for start in range(0, 160, 8):
            made.images.expect(paths[start : start + 8])
            for number in range(start, start + 8):
                assert made.images.read(paths[number]) == noise[number % 16]
                most = max(most, pa.total_allocated_bytes() - before)
                assert len(made.images._kept) <= 8
        assert most < 60 * 10**6
        assert made.images._kept == {}


class TestWhatThereIs:
    def test_configurations_and_splits(self, parquet, tmp_path):
        image = [{"bytes": b"x", "path": "same.png"}] * 2
        for name in ("a", "b"):
            table(tmp_path, f"{name}/odd.parquet", image=image, label=["real", name])
        front = [f"- config_name: {name}\n  data_files: [{{split: odd, path: {name}/*.parquet}}]\n" for name in "ab"]
        (tmp_path / "README.md").write_text(f"---\nconfigs:\n{''.join(front)}---\n")
        made = open_hub(f"{tmp_path}:b", "real=real")
        assert made.name == f"{tmp_path.name}-b"
        assert made.rows[["path", "generator", "split"]].to_numpy().tolist() == [
            ["odd/000000", "real", "test"], ["odd/000001", "b", "test"],
        ]  # fmt: skip
        with pytest.raises(MaibenchError, match=rf"there are several configurations: a, b; .* hf:{tmp_path}:a"):
            open_hub(str(tmp_path))
        with pytest.raises(MaibenchError, match="there is no configuration 'c': a, b"):
            open_hub(f"{tmp_path}:c")

    def test_an_image_column_of_paths(self, folder, tmp_path):
        for kind in ("real", "sd"):
            os.makedirs(tmp_path / kind)
            os.link(folder / f"test/{kind}/0.png", tmp_path / kind / "0.png")
        file = table(tmp_path, image=["real/0.png", "sd/0.png"], is_fake=[False, True])
        made = open_hub(str(file))
        assert made.read("sd/0.png").data == (folder / "test/sd/0.png").read_bytes()
        (tmp_path / "elsewhere").mkdir()
        lost = file.rename(tmp_path / "elsewhere" / "t.parquet")
        with pytest.raises(
            MaibenchError, match=r"'image' holds paths such as 'real/0.png' .* no such file in .*elsewh"
        ):
            open_hub(str(lost))
        with pytest.raises(MaibenchError, match="leaves the data set's folder"):
            open_hub(str(table(tmp_path, "u.parquet", image=["real/0.png", "/etc/passwd"], is_fake=[False, True])))

    def test_what_cannot_be_read(self, tmp_path, parquet):
        with pytest.raises(MaibenchError, match="no column that holds images; the columns are a, b"):
            open_hub(str(table(tmp_path / "none", a=[1, 2], b=["x", "y"])))
        cut = tmp_path / "cut.parquet"
        cut.write_bytes(next(parquet.rglob("*.parquet")).read_bytes()[:-9])
        with pytest.raises(MaibenchError, match=r"hf:.*cut\.parquet: cannot be read"):
            open_hub(str(cut))
        null = table(tmp_path / "null", image=[{"bytes": None, "path": "a"}, {"bytes": b"x", "path": "b"}], real=[1, 0])
        with pytest.raises(ImageError, match="holds no bytes"):
            open_hub(str(null)).read("a")
        (tmp_path / "code").mkdir()
        (tmp_path / "code" / "code.py").write_text("raise SystemExit")
        with pytest.raises(MaibenchError, match=r"needs code of its own .* never run"):
            open_hub(str(tmp_path / "code"))

    def test_the_hub_without_a_connection(self):
        with pytest.raises(MaibenchError, match=r"hf:a/b@main: the Hub cannot be reached .* --local-dir FOLDER"):
            open_hub("a/b@main")


def test_specs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert parse_hub("a/b") == HubSpec("a/b")
    assert parse_hub("a/b:c@r") == parse_hub("a/b@r:c") == HubSpec("a/b", "c", "r")
    assert parse_hub("a/b@refs/convert/parquet").revision == "refs/convert/parquet"
    (tmp_path / "a/b").mkdir(parents=True)
    assert parse_hub("a/b:c") == HubSpec(str(tmp_path.resolve() / "a/b"), "c", None, True)
    for spec, words in {
        "a/b@r": "has no revisions", "nothing": "no file or folder 'nothing'", "x/y:c:d": "give hf:OWNER/NAME",
        "": "give hf:OWNER/NAME",
    }.items():  # fmt: skip
        with pytest.raises(MaibenchError, match=words):
            parse_hub(spec)
