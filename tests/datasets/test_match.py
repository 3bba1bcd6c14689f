"""A matched data set: nothing in the files tells the label, and a killed run ends in the same bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from maibench.datasets.match import Recipe, match, parse_quality
from maibench.datasets.readers import open_data
from maibench.errors import DiskError, MaibenchError
from maibench.files import write_whole


@pytest.fixture
def leaky(tmp_path):
    """24 sources: real ones JPEG of 200 x 160, synthetic ones PNG of 128 x 128; one is too small, one is broken."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(24):
        label = i % 2
        size = (200, 160) if not label else (128, 128)
        pixels = rng.integers(0, 256, (size[1] // 8, size[0] // 8, 3), dtype=np.uint8)
        picture = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)
        path = f"{i}.{'png' if label else 'jpg'}"
        (picture.resize((40, 40)) if i == 5 else picture).save(tmp_path / path)
        split = ["train", "train", "test"][i % 3]
        rows.append((path, label, ["real", "gen"][label], f"s{i // 2}", split))
    (tmp_path / "6.jpg").write_bytes(b"no image")
    columns = ["path", "label", "generator", "source", "split"]
    pd.DataFrame(rows, columns=columns).to_csv(tmp_path / "manifest.csv", index=False)
    return open_data(str(tmp_path))


def files(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


RECIPE = Recipe(size=64)


def test_all_is_cut_and_stored_alike_by_draws_that_do_not_know_the_label(leaky, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    made = match(leaky, out, RECIPE)
    rows = open_data(str(out)).rows
    assert made.images == len(rows) == 22
    assert made.by_generator == {"real": 1, "gen": 1} and "smaller than --size 64" in made.left_out["5.png"]
    assert set(rows["format"]) == {"JPEG"} and set(rows["width"]) == set(rows["height"]) == {64}
    assert rows["quality"].between(75, 95).all() and rows["quality"].nunique() > 5
    assert set(rows["subsampling"]) == {"4:2:0", "4:4:4"}
    before = leaky.rows.set_index("path").loc[rows["original"]]
    for column in ("label", "generator", "source", "split"):
        assert rows[column].tolist() == before[column].tolist()
    assert not any(word in path for path in rows["path"] for word in ("gen", "real"))
    # the same bytes under the other label are stored in the same way
    turned = leaky.rows.assign(label=1 - leaky.rows["label"])
    turned["generator"] = np.where(turned["label"] == 1, "gen", "real")
    other = tmp_path_factory.mktemp("turned")
    match(type(leaky).from_frame(turned, leaky.root, "turned"), other, RECIPE)
    assert open_data(str(other)).rows["image_id"].tolist() == rows["image_id"].tolist()


def test_crops_begin_on_a_multiple_of_eight(leaky, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    match(leaky, out, Recipe(size=64, store="png"))
    row = open_data(str(out)).rows.iloc[0]
    whole = np.asarray(Image.open(leaky.root / row["original"]).convert("RGB"))
    # (160 - 64) / 2 = 48 from the top, (200 - 64) / 2 = 68 -> 64 from the left
    np.testing.assert_array_equal(np.asarray(Image.open(out / row["path"])), whole[48:112, 64:128])
    assert open_data(str(out)).rows["n_bytes"].nunique() == 1, "uncompressed: not even content shows"


def test_balanced_classes_in_every_split(leaky, tmp_path_factory):
    rows = leaky.rows[~((leaky.rows["label"] == 0) & (leaky.rows.index % 4 == 0))]
    out = tmp_path_factory.mktemp("out")
    made = match(type(leaky).from_frame(rows, leaky.root, "fewer"), out, Recipe(size=64, balance=True))
    kept = open_data(str(out)).rows
    counts = kept.groupby(["split", "label"]).size().unstack()
    assert (counts[0] == counts[1]).all() and made.surplus > 0
    assert len(list((out / "images").iterdir())) == len(kept)


def test_a_killed_run_goes_on_and_ends_in_the_same_bytes(leaky, tmp_path_factory, monkeypatch):
    monkeypatch.setattr("maibench.datasets.match.WINDOW", 4)
    whole, killed = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("killed")
    match(leaky, whole, RECIPE)
    written = []

    def dies(file, write):
        written.append(file)
        if len(written) == 15:
            raise KeyboardInterrupt
        write_whole(file, write)

    with monkeypatch.context() as patch:
        patch.setattr("maibench.datasets.match.write_whole", dies)
        with pytest.raises(KeyboardInterrupt):
            match(leaky, killed, RECIPE)
    assert not (killed / "manifest.csv").exists()
    assert match(leaky, killed, RECIPE).computed
    assert files(killed) == files(whole)
    assert not match(leaky, killed, RECIPE).computed


def test_a_folder_of_another_request_is_refused(leaky, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    match(leaky, out, RECIPE)
    with pytest.raises(MaibenchError, match="size was 64, now 72"):
        match(leaky, out, Recipe(size=72))
    assert match(leaky, out, Recipe(size=72), fresh=True).images == 22
    with pytest.raises(MaibenchError, match="lies in the folder of the data"):
        match(leaky, leaky.root / "below", RECIPE)


def test_a_full_disk_is_told_and_what_was_made_stays(leaky, tmp_path_factory, monkeypatch):
    import errno

    out = tmp_path_factory.mktemp("out")
    monkeypatch.setattr("maibench.datasets.match.WINDOW", 4)

    def full(file, write):
        if file.name > "0000006":
            raise DiskError(f"{file}: the disk is full ({errno.ENOSPC})")
        write_whole(file, write)

    with monkeypatch.context() as patch:
        patch.setattr("maibench.datasets.match.write_whole", full)
        with pytest.raises(DiskError, match="the disk is full"):
            match(leaky, out, RECIPE)
    assert match(leaky, out, RECIPE).images == 22


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": 100}, "multiple of 8"),
        ({"size": 32}, "at least 64"),
        ({"store": "gif"}, "jpeg or png"),
        ({"quality": (90, 80)}, "the lowest and the highest"),
        ({"subsampling": ("4:2:1",)}, "some of 4:4:4, 4:2:2, 4:2:0"),
    ],
)
def test_a_recipe_that_is_none(options, words):
    with pytest.raises(MaibenchError, match=words):
        Recipe(**options)


def test_qualities():
    assert parse_quality("75-95") == (75, 95) and parse_quality(" 90") == (90, 90)
    with pytest.raises(MaibenchError, match="75-95"):
        parse_quality("high")


def test_nothing_of_the_files_stays(tmp_path, texture):
    """Comments, EXIF, profiles, texts, progressive scans, depths and modes: what comes out differs in pixels alone."""
    exif = Image.Exif()
    exif[0x010F] = "camera"
    rgb = Image.fromarray(texture((101, 83), 1))
    told = {"exif": exif, "icc_profile": b"x" * 99}
    texts = PngInfo()
    texts.add_text("parameters", "a prompt")
    deep = Image.fromarray(np.linspace(0, 65535, 101 * 83, dtype=np.uint16).reshape(83, 101))
    for number, (image, suffix, options) in enumerate(
        [
            (rgb, "jpg", {**told, "comment": b"made by", "progressive": True, "quality": 30}),
            (rgb.convert("CMYK"), "jpg", {"dpi": (300, 300)}),
            (rgb.convert("L"), "jpg", {}),
            (deep, "png", {"pnginfo": texts}),
            (rgb.convert("RGBA"), "png", {**told, "pnginfo": texts}),
            (rgb.convert("P"), "gif", {"comment": b"made by"}),
            (rgb, "webp", told),
            (rgb, "tiff", {"description": "made by"}),
        ]
    ):
        (tmp_path / "data" / ["real", "gen"][number % 2]).mkdir(parents=True, exist_ok=True)
        image.save(tmp_path / "data" / ["real", "gen"][number % 2] / f"{number}.{suffix}", **options)
    manifest = open_data(str(tmp_path / "data"))
    match(manifest, tmp_path / "jpeg", Recipe(size=64, quality=(90, 90), subsampling=("4:2:0",)))
    match(manifest, tmp_path / "png", Recipe(size=64, store="png"))
    for name in ("jpeg", "png"):
        heads = set()
        for file in (tmp_path / name / "images").iterdir():
            data, (start, last) = file.read_bytes(), {"jpeg": (b"\xff\xda", 0), "png": (b"IDAT", 8)}[name]
            heads.add((data[: data.index(start)], last and len(data)))
        assert len(heads) == 1 and len(list((tmp_path / name / "images").iterdir())) == 8


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(203, 165), (96, 107)])
def test_the_grid_is_that_of_the_file_however_it_is_turned(tmp_path, orientation, size):
    blocks = np.random.default_rng(0).integers(0, 256, (30, 30, 3), dtype=np.uint8)
    stored = blocks.repeat(8, axis=0).repeat(8, axis=1)[: size[1], : size[0]]
    exif = Image.Exif()
    exif[0x0112] = orientation
    (tmp_path / "data" / "real").mkdir(parents=True)
    Image.fromarray(stored).save(tmp_path / "data" / "real" / "0.png", exif=exif)
    match(open_data(str(tmp_path / "data")), tmp_path / "out", Recipe(size=64, store="png"))
    cut = np.asarray(Image.open(tmp_path / "out" / "images" / "0000000.png"))
    assert (cut == cut[::8, ::8].repeat(8, axis=0).repeat(8, axis=1)).all()


def test_a_class_that_is_gone_is_told(leaky, tmp_path_factory):
    with pytest.raises(
        MaibenchError, match=r"no synthetic image is left of 12; .*128 x 128 pixels.*give a smaller --s"
    ):
        match(leaky, tmp_path_factory.mktemp("out"), Recipe(size=136))
    half = leaky.rows[(leaky.rows["label"] == 0) == (leaky.rows["split"] == "train")]
    with pytest.raises(MaibenchError, match="no split has both real and synthetic"):
        match(type(leaky).from_frame(half, leaky.root, "x"), tmp_path_factory.mktemp("out"), Recipe(64, balance=True))
    (leaky.root / "big").mkdir()
    Image.new("RGB", (500, 500), (9, 99, 199)).save(leaky.root / "big" / "0.png")
    rows = pd.concat([leaky.rows, leaky.rows.iloc[[1]].assign(path="big/0.png")])
    made = match(type(leaky).from_frame(rows, leaky.root, "x"), tmp_path_factory.mktemp("out"), Recipe(160, "png"))
    assert "13 left out" in made.described() and "a smaller --size keeps more" in made.described()
