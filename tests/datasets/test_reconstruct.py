"""A data set of pairs: what it holds, that it goes on where it was killed, and that nothing is mixed up."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from safetensors.torch import save_file

from maibench.datasets import reconstruct as module
from maibench.datasets import roundtrip
from maibench.datasets.image import decode
from maibench.datasets.readers import open_data
from maibench.datasets.receipts import read_receipt
from maibench.datasets.reconstruct import Request, Summary, make_pairs
from maibench.datasets.taef2 import Taef2
from maibench.datasets.vaes import choose, fingerprint
from maibench.errors import MaibenchError


@pytest.fixture(scope="module")
def vae(tiny_vae, tmp_path_factory) -> Path:
    return tiny_vae(tmp_path_factory.mktemp("autoencoders") / "tiny")


@pytest.fixture(scope="module")
def photos(data_set, tmp_path_factory) -> Path:
    """Seven real photographs of 97 x 81 in each split; of those that are read one is broken and one is too small."""
    manifest = data_set(tmp_path_factory.mktemp("photos"), 7, 2, splits=("train", "validation", "test"), size=(97, 81))
    rows = pd.read_csv(manifest)
    rows["licence"] = ["CC0" if split == "train" else None for split in rows["split"]]
    rows.to_csv(manifest, index=False)
    (manifest.parent / "train/real/002.png").write_bytes(b"broken")
    Image.new("RGB", (70, 60)).save(manifest.parent / "validation/real/004.png")
    for path in rows["path"][rows["split"] == "test"]:
        (manifest.parent / path).unlink()  # never read, so never missed
    return manifest


@pytest.fixture
def request_(vae, photos, tmp_path) -> Request:
    return Request(str(vae), str(photos), tmp_path / "out", batch=2, device="cpu")


@pytest.fixture
def calls(monkeypatch) -> list[int]:
    """How many images each call of `reconstruct` was given; windows hold two batches."""
    counted: list[int] = []
    real = roundtrip.reconstruct

    def count(model, images, device):
        counted.append(len(images))
        return real(model, images, device)

    monkeypatch.setattr(roundtrip, "reconstruct", count)
    monkeypatch.setattr(module, "BATCHES", 2)
    return counted


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class TestContents:
    def test_every_usable_photograph_and_its_reconstruction(self, request_, vae, photos):
        summary = make_pairs(request_)
        made, given = open_data(str(request_.out)), open_data(str(photos))
        assert made.has_sources
        assert set(made.rows.groupby("pair")["label"].agg(tuple)) == {(0, 1)}
        assert summary.photographs == summary.pairs == len(made.rows) / 2 == 12
        model = choose(str(vae))[0].load()
        expected = given.rows[(given.rows["label"] == 0) & (given.rows["split"] != "test")]
        expected = expected[~expected["path"].isin(summary.left_out)]
        for photo, (_, pair) in zip(expected.itertuples(), made.rows.groupby("pair"), strict=True):
            assert set(pair["source"]) == {photo.source}
            assert set(pair["split"]) == {photo.split}
            assert set(pair["licence"].fillna("")) == {"CC0" if photo.split == "train" else ""}
            assert set(pair["n_bytes"].diff().dropna()) == {0}
            real, synthetic = (decode(made.read(path).data) for path in pair.sort_values("label")["path"])
            whole = decode(given.read(photo.path).data)
            np.testing.assert_array_equal(real, whole[:80, :96])
            [again] = roundtrip.reconstruct(model, [real])
            assert np.abs(again.astype(int) - synthetic).max() <= 1  # another batch may round otherwise
        assert set(made.rows["generator"]) == {"real", "tiny"}

    def test_columns_may_have_other_names(self, request_, photos):
        renamed = photos.with_name("renamed.csv")
        open_data(request_.data).rows.rename(columns={"label": "is_fake"}).to_csv(renamed, index=False)
        with pytest.raises(MaibenchError, match="the column 'label' is missing"):
            make_pairs(replace(request_, data=str(renamed)))
        assert make_pairs(replace(request_, data=str(renamed), columns="label=is_fake", most=2)).pairs == 2

    def test_who_was_left_out_and_why(self, request_):
        summary = make_pairs(request_)
        assert set(summary.left_out) == {"train/real/002.png", "validation/real/004.png"}
        assert summary.described() == (
            "12 pairs of 12 photographs; 2 photographs left out (1 not an image in a format that is read here; "
            "1 smaller than 64 pixels a side)"
        )

    def test_receipts_and_the_data_card(self, request_, vae):
        make_pairs(replace(request_, most=2))
        rows = open_data(str(request_.out)).rows
        real, synthetic = (read_receipt(text) for text in rows.sort_values("label").groupby("label")["receipt"].first())
        assert [step["step"] for step in synthetic] == ["photograph", "cut", "reconstruct", "store"]
        assert real[:2] == synthetic[:2]
        assert real[0]["path"].startswith("train/real/")
        original = open_data(request_.data).read(real[0]["path"])
        assert (real[0]["image_id"], real[2]["image_id"]) == (
            original.image_id,
            rows["image_id"][rows["label"] == 0].iloc[0],
        )
        assert (synthetic[2]["model"], synthetic[2]["weights"]) == ("tiny", fingerprint(choose(str(vae))[0].load()))
        card = (request_.out / "README.md").read_text()
        assert "| tiny | " in card
        assert "maibench data reconstruct --vae tiny --data " in card
        assert str(vae) not in card + rows["receipt"].str.cat()

    def test_without_sources_each_photograph_is_its_own(self, request_, data_set, tmp_path):
        data = data_set(tmp_path / "photos", splits=("train",), sources=False)
        make_pairs(replace(request_, data=str(data)))
        rows = open_data(str(request_.out)).rows
        assert set(rows["source"]) == {f"train/real/00{number}.png" for number in range(4)}
        assert "licence" not in rows

    def test_autoencoders_take_turns_and_the_sides_suit_all(self, request_, vae, tmp_path):
        save_file(Taef2().state_dict(), tmp_path / "taef2.safetensors")
        both = replace(request_, vae=f"{vae},{tmp_path / 'taef2.safetensors'},second={vae}", each=2, splits="train")
        make_pairs(both)
        rows = open_data(str(request_.out)).rows
        assert set(zip(rows["height"], rows["width"], strict=True)) == {(80, 96)}  # 8 divides them, not 2 alone
        by = rows[rows["label"] == 1].groupby("pair")["generator"].agg(frozenset)
        turns = [{"tiny", "taef2"}, {"taef2", "second"}, {"second", "tiny"}]
        assert [set(names) for names in by] == [turns[number % 3] for number in (0, 1, 3, 4, 5, 6)]

    def test_both_sides_are_stored_alike(self, request_):
        make_pairs(replace(request_, store="jpeg:80", most=2))
        rows = open_data(str(request_.out)).rows
        assert set(rows["format"]) == {"JPEG"}
        assert rows["path"].str.endswith(".jpg").all()

    def test_whole_photographs(self, request_, photos):
        make_pairs(replace(request_, size="full", splits="validation"))
        assert set(open_data(str(request_.out)).rows["width"]) == {96}
        make_pairs(replace(request_, size="64", splits="validation", out=request_.out.parent / "cut"))
        assert set(open_data(str(request_.out.parent / "cut")).rows["width"]) == {64}

    def test_a_window_is_all_that_is_held(self, request_, monkeypatch, calls):
        held, real = [], module.write_pairs

        def count(crops, **rest):
            held.append(len(crops))
            return real(crops, **rest)

        monkeypatch.setattr(module, "write_pairs", count)
        make_pairs(request_)
        assert held == [3, 4, 3, 2]  # of 4, 4, 4 and 2 photographs


class Killed(BaseException):
    pass


class TestGoingOn:
    @pytest.mark.slow
    def test_killed_anywhere_it_ends_in_the_same_bytes(self, request_, tmp_path, monkeypatch, calls):
        replaced: list[Path] = []
        real = os.replace
        stop = -1

        def replace_until_killed(part, file):
            if len(replaced) == stop:
                raise Killed
            real(part, file)
            replaced.append(file)

        monkeypatch.setattr(os, "replace", replace_until_killed)
        whole = make_pairs(replace(request_, out=tmp_path / "whole"))
        expected, total, needed = contents(tmp_path / "whole"), len(replaced), sum(calls)
        assert needed == 12
        for kill in [0, 1, *range(8, total - 3, 13), total - 2, total - 1]:
            killed = replace(request_, out=tmp_path / f"killed-{kill}")
            replaced.clear()
            calls.clear()
            stop = kill
            with pytest.raises(Killed):
                make_pairs(killed)
            (killed.out / ".part-7-reconstruct.json").write_text("half")  # as SIGKILL would leave it
            stop = -1
            after = make_pairs(killed)
            assert contents(killed.out) == expected
            assert (after.pairs, after.left_out) == (whole.pairs, whole.left_out)
            assert sum(calls) <= needed + killed.batch  # no more than the batch that was under way

    def test_nothing_is_computed_where_nothing_is_missing(self, request_, calls):
        first = make_pairs(request_)
        calls.clear()
        before = contents(request_.out)
        again = make_pairs(request_)
        assert calls == []
        assert contents(request_.out) == before
        assert again == replace(first, computed=0)
        assert first.computed == 4

    def test_what_was_deleted_is_made_again(self, request_, calls):
        make_pairs(request_)
        before = contents(request_.out)
        calls.clear()
        next((request_.out / "images").glob("*.tiny.png")).unlink()
        make_pairs(request_)
        assert sum(calls) <= request_.batch
        assert contents(request_.out) == before

    @pytest.mark.parametrize(
        "change",
        [{"size": "64"}, {"most": 3}, {"splits": "train"}, {"store": "jpeg:90"}, {"batch": 1}, {"shrink": True}],
    )
    def test_another_command_is_refused(self, request_, change):
        make_pairs(replace(request_, most=1))
        before = contents(request_.out)
        words = r"holds the images of another command \(.* was .*, now .*\); .* or replace it with --fresh"
        with pytest.raises(MaibenchError, match=words):
            make_pairs(replace(request_, **{"most": 1, **change}))
        assert contents(request_.out) == before

    def test_afresh_nothing_of_the_other_is_left(self, request_, tmp_path):
        make_pairs(replace(request_, most=4))
        other = replace(request_, most=2, store="jpeg:90")
        make_pairs(other, fresh=True)
        make_pairs(replace(other, out=tmp_path / "new"))
        assert contents(request_.out) == contents(tmp_path / "new")

    def test_other_data_and_other_weights_are_another_command(self, request_, tiny_vae, data_set, tmp_path):
        make_pairs(replace(request_, most=2))
        data = data_set(tmp_path / "others", 2, 0, splits=("train",))
        with pytest.raises(MaibenchError, match=r"another command \(data was"):
            make_pairs(replace(request_, most=2, data=str(data)))
        weights = tiny_vae(tmp_path / "tiny", seed=1)
        with pytest.raises(MaibenchError, match=r"another command \(weights was"):
            make_pairs(replace(request_, most=2, vae=str(weights)))

    def test_what_was_not_made_here_is_never_touched(self, request_):
        request_.out.mkdir()
        (request_.out / "diary.txt").write_text("mine")
        for fresh in (False, True):
            with pytest.raises(MaibenchError, match="holds files that were not made by this command"):
                make_pairs(request_, fresh)
        assert contents(request_.out) == {"diary.txt": b"mine"}

    @pytest.mark.parametrize("text", ["", "[]", '{"asked": 1}', '{"other": {}}'])
    def test_a_garbled_record_is_an_error(self, request_, text):
        request_.out.mkdir()
        (request_.out / "reconstruct.json").write_text(text)
        with pytest.raises(MaibenchError, match=r"reconstruct\.json: is not what this command writes"):
            make_pairs(request_)

    def test_the_record_says_what_was_used(self, request_, vae):
        make_pairs(replace(request_, vae=f"{vae},nano-sdxl", most=2))
        facts = json.loads((request_.out / "reconstruct.json").read_text())
        assert facts["autoencoders"]["nano-sdxl"]["origin"] == "bundled"
        assert facts["autoencoders"]["tiny"]["origin"] == str(vae)
        assert set(facts["asked"]["weights"]) == {"tiny", "nano-sdxl"}


class TestWrong:
    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"vae": "sd9"}, "unknown autoencoder 'sd9'"),
            ({"data": "nowhere"}, "no data at 'nowhere'"),
            ({"splits": "train,test"}, "--split train,test: the test split is never read"),
            ({"splits": "val,dev"}, "there is no split 'dev'"),
            ({"size": "63"}, "--size 63: give pixels a side, at least 64, or full"),
            ({"size": "big"}, "--size big"),
            ({"store": "gif"}, "'gif' is no way to store images"),
            ({"each": 2}, "--each 2: a photograph can have 1 to 1 reconstructions"),
            ({"device": "tpu"}, "unknown device 'tpu'"),
        ],
    )
    def test_requests(self, request_, change, words):
        with pytest.raises(MaibenchError, match=words):
            make_pairs(replace(request_, **change))
        assert not request_.out.exists()

    def test_a_folder_that_cannot_be_written(self, request_, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(MaibenchError, match="cannot be written"):
            make_pairs(replace(request_, out=tmp_path / "file" / "out"))

    def test_a_folder_inside_the_photographs(self, request_, photos):
        with pytest.raises(MaibenchError, match="lies in the folder of the photographs"):
            make_pairs(replace(request_, data=str(photos.parent), out=photos.parent / "train" / "tiny"))

    def test_no_usable_photograph(self, request_, data_set, tmp_path):
        data = data_set(tmp_path / "small", 3, 0, splits=("train",), size=(60, 60))
        with pytest.raises(MaibenchError, match=r"none of the 3 images can be used; .*smaller than 64 pixels"):
            make_pairs(replace(request_, data=str(data)))


def test_the_summary_is_plain_where_all_went_well():
    assert Summary(3, 6, {}, 1).described() == "6 pairs of 3 photographs; no photograph left out"
