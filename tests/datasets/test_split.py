"""Splits: nothing on two sides, every generator in its shares, and nothing moves when images are added."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maibench.datasets.manifest import Manifest
from maibench.datasets.readers import open_data, read_manifest
from maibench.datasets.split import parse_shares, split_rows, write_split
from maibench.errors import MaibenchError


def listed(sources: list[int], generators: list[int]) -> pd.DataFrame:
    names = ["real", "sdxl", "flux", "sd1.5"]
    chosen = [names[g % 4] for g in generators]
    return pd.DataFrame(
        {
            "path": [f"{i}.png" for i in range(len(sources))],
            "label": [int(name != "real") for name in chosen],
            "generator": chosen,
            "source": [f"photo:{s}" for s in sources],
        }
    )


@st.composite
def lists(draw, most=60):
    sources = draw(st.lists(st.integers(0, 15), min_size=1, max_size=most))
    return listed(sources, draw(st.lists(st.integers(0, 3), min_size=len(sources), max_size=len(sources))))


@settings(max_examples=60, deadline=None)
@given(rows=lists(), more=lists(), seed=st.integers(0, 3))
def test_no_source_lies_on_two_sides_and_none_moves_when_rows_are_added(rows, more, seed):
    splits = split_rows(rows, seed=seed)
    both = pd.concat([rows, more.assign(path="more/" + more["path"])], ignore_index=True)
    after = split_rows(both, seed=seed)
    assert both.assign(split=after).groupby("source")["split"].nunique().max() == 1
    # a source that had photographs alone is its generator's from now on: that one may move, and --keep holds it
    real = rows.groupby("source")["label"].max().eq(0)
    grown = real.index[real & real.index.isin(more["source"][more["label"] == 1])]
    stays = ~rows["source"].isin(grown)
    assert after[: len(rows)][stays].tolist() == splits[stays].tolist()
    kept = split_rows(both, seed=seed, kept=dict(zip(rows["source"], splits, strict=True)))
    assert kept[: len(rows)].tolist() == splits.tolist()


@pytest.mark.parametrize("seed", range(5))
def test_every_generator_is_cut_in_the_shares_that_were_asked(seed):
    rows = listed(list(range(240)), [i // 60 for i in range(240)])
    splits = split_rows(rows, (0.5, 0.2, 0.3), seed)
    counts = pd.crosstab(rows["generator"], splits)
    for split, share in (("train", 0.5), ("validation", 0.2), ("test", 0.3)):
        assert (counts[split] / 60 - share).abs().max() <= 0.04


def test_another_seed_deals_otherwise():
    rows = listed(list(range(100)), [1] * 100)
    assert split_rows(rows, seed=0).tolist() != split_rows(rows, seed=1).tolist()


def test_what_is_added_in_the_middle_moves_nothing_that_is_kept():
    rows = listed(list(range(100)), [i % 4 for i in range(100)])
    splits = split_rows(rows)
    more = listed(list(range(500, 600)), [i % 4 for i in range(100)]).assign(path=[f"more/{i}" for i in range(100)])
    grown = pd.concat([more, rows], ignore_index=True)
    after = split_rows(grown, kept=dict(zip(rows["source"], splits, strict=True)))
    assert after[100:].tolist() == splits.tolist()
    counts = pd.crosstab(grown["generator"], after)
    assert (counts["train"] / counts.sum(axis=1) - 0.7).abs().max() <= 0.06


def test_held_out_generators_come_in_the_test_split_alone_with_all_that_shares_their_sources():
    rows = listed([0, 0, 1, 2, 2, *range(3, 40)], [0, 1, 1, 0, 2, *[2] * 37])
    splits = split_rows(rows, hold_out=["sdxl"])
    assert splits[:3].tolist() == ["test"] * 3
    assert set(splits[3:]) == {"train", "validation", "test"}
    with pytest.raises(MaibenchError, match="no such generator; there are flux, sdxl"):
        split_rows(rows, hold_out=["dalle2"])


def test_images_without_a_source_stand_alone_but_for_copies():
    rows = listed([0] * 40, [1] * 40).drop(columns="source")
    assert set(split_rows(rows)) == {"train", "validation", "test"}
    assert split_rows(rows.assign(image_id="same")).nunique() == 1


@pytest.mark.parametrize("text", ["0.7,0.3", "nan,0.5,0.5", "0.7,0.2,0.2", "1.2,-0.1,-0.1", "a,b,c", ""])
def test_shares_that_are_none(text):
    with pytest.raises(MaibenchError, match="three that sum to one"):
        parse_shares(text)


def test_generators_without_test_images_and_those_that_went_with_another_are_named(tmp_path):
    rows = listed([*range(40), *range(40), 90, 91], [1] * 40 + [2] * 40 + [3, 3])
    manifest = Manifest.from_frame(rows, tmp_path, "mine")
    dragged, few = write_split(manifest, tmp_path / "split.csv", hold_out=["sdxl"]).described()[-2:]
    assert "sd1.5 has no image in" in few and "2 sources, the largest of 1 of 2 images" in few
    assert "flux has no image in train" in dragged and "40 images share theirs with a generator that is held" in dragged


class TestWritten:
    def test_a_folder_gets_a_manifest_that_opens(self, data_set, tmp_path):
        data_set(tmp_path / "data", n_real=10, n_synthetic=10)
        manifest = open_data(str(tmp_path / "data"))
        made = write_split(manifest, tmp_path / "data" / "split.csv", (0.5, 0.25, 0.25))
        read = read_manifest(tmp_path / "data" / "split.csv")
        assert set(read.rows["split"]) == {"train", "validation", "test"}
        assert made.counts.to_numpy().sum() == len(read.rows)
        assert read.read(read.rows["path"][0]).format == "PNG"

    def test_paths_are_those_seen_from_the_new_manifest(self, data_set, tmp_path):
        data_set(tmp_path / "data")
        write_split(open_data(str(tmp_path / "data")), tmp_path / "above.parquet")
        assert read_manifest(tmp_path / "above.parquet").rows["path"].str.startswith("data/").all()
        with pytest.raises(MaibenchError, match="below its own folder"):
            write_split(open_data(str(tmp_path / "data")), tmp_path / "elsewhere" / "split.csv")

    def test_look_alikes_are_kept_on_one_side(self, tmp_path, write_image):
        from PIL import Image

        rng = np.random.default_rng(0)
        rows = []
        for i in range(30):
            small = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
            picture = small.resize((128, 128), Image.Resampling.BICUBIC)
            for copy in range(2):
                path = f"{i}-{copy}.jpg"
                picture.save(tmp_path / path, quality=95 - 30 * copy)
                rows.append({"path": path, "label": i % 2, "generator": ["real", "gen"][i % 2]})
        pd.DataFrame(rows).to_csv(tmp_path / "manifest.csv", index=False)
        manifest = open_data(str(tmp_path))
        together = {}
        for near in (False, True):
            made = write_split(manifest, tmp_path / "split.csv", near=near, fresh=True)
            written = read_manifest(tmp_path / "split.csv").rows
            pair = written["path"].str.split("-").str[0]
            together[near] = int((written.groupby(pair)["split"].nunique() == 1).sum())
        assert together[False] < 30 and together[True] == 30 and made.joined == 30

    def test_keep_reads_an_earlier_manifest(self, data_set, tmp_path):
        data_set(tmp_path / "data", n_real=8, n_synthetic=8)
        manifest = open_data(str(tmp_path / "data"))
        first, second = tmp_path / "data" / "one.csv", tmp_path / "data" / "two.csv"
        write_split(manifest, first, seed=1)
        write_split(manifest, second, seed=2, keep=first)
        assert read_manifest(second).rows["split"].tolist() == read_manifest(first).rows["split"].tolist()

    def test_a_manifest_that_is_there_is_added_to_or_replaced_but_never_lost(self, data_set, tmp_path):
        data_set(tmp_path / "data", n_real=8, n_synthetic=8).unlink()
        folder = tmp_path / "data"
        out = tmp_path / "above.csv"  # from where paths, which stand for the sources here, look otherwise
        write_split(open_data(str(folder)), out)
        before = read_manifest(out).rows.set_index("path")["split"]
        for file in list(folder.rglob("*[4-7].png")):
            file.with_name(f"0-{file.name}").write_bytes(file.read_bytes())
        grown = open_data(str(folder))
        with pytest.raises(MaibenchError, match=r"is there already; --keep .* --fresh replaces it"):
            write_split(grown, out)
        made = write_split(grown, out, keep=out)
        after = read_manifest(out).rows.set_index("path")["split"]
        assert len(after) == 24 and after[before.index].equals(before)
        assert made.described()[0] == "16 sources keep their splits"
        assert write_split(grown, out, fresh=True).kept == 0
        everything_is_test = tmp_path / "data" / "old.csv"
        grown.rows.to_csv(everything_is_test, index=False)
        with pytest.raises(MaibenchError, match="lists the data's sources in 'test' alone"):
            write_split(grown, tmp_path / "new.csv", keep=everything_is_test)

    def test_what_holding_out_takes_with_it_is_told(self, tmp_path, write_image):
        rows = []
        for i in range(12):
            for generator in ("real", "sdxl", "flux"):
                write_image(tmp_path / generator / f"{i}.png", (16, 16), i)
                rows.append((f"{generator}/{i}.png", int(generator != "real"), generator, f"photo:{i}"))
        pd.DataFrame(rows, columns=["path", "label", "generator", "source"]).to_csv(tmp_path / "manifest.csv")
        made = write_split(open_data(str(tmp_path)), tmp_path / "split.csv", hold_out=["flux"])
        assert made.empty == ["train", "validation"]
        assert "shared with a generator that is held out" in made.described()[0]
