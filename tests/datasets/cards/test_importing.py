"""Import: a folder in a data set's own layout becomes a manifest; what does not fit is said, with what would."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from maibench.cli import app
from maibench.datasets.cards.card import find_card
from maibench.datasets.cards.importing import import_folder
from maibench.datasets.image import decode
from maibench.datasets.readers import open_data
from maibench.errors import DiskError, MaibenchError

GENIMAGE = {
    "Midjourney/train/ai/1.png": ("midjourney-v5", "Midjourney/train/ai/1.png", "train", "2023-03"),
    "Midjourney/val/ai/1.png": ("midjourney-v5", "Midjourney/val/ai/1.png", "test", "2023-03"),
    "Midjourney/val/nature/n1.png": ("real", "imagenet:n1", "test", None),
    "wukong/train/ai/2.png": ("wukong", "wukong/train/ai/2.png", "train", None),
    "wukong/train/nature/n2.png": ("real", "imagenet:n2", "train", None),
}


@pytest.fixture
def tree(tmp_path):
    """tree(paths) -> a folder with a small image at each."""

    def make(paths, name="data"):
        for index, path in enumerate(paths):
            file = tmp_path / name / path
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((8, 8, 3), index, np.uint8)).save(file)
        return tmp_path / name

    return make


def run(*arguments):
    done = CliRunner().invoke(app, ["data", *map(str, arguments)], env={"COLUMNS": "300"})
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


def refused(done, *reasons):
    """Exit code 2, and one line that says why."""
    assert done.exit_code == 2
    (line,) = done.stderr.splitlines()
    assert all(reason in line for reason in reasons), line
    assert done.stdout == ""


def test_import_lists_every_file(tree):
    folder = tree(GENIMAGE)
    (folder / "Midjourney" / "readme.txt").write_text("not an image")
    done = run("import", "genimage", "--from", folder)
    assert done.exit_code == 0, done.stderr
    assert "midjourney-v5" in done.stdout
    manifest = open_data(str(folder))
    rows = manifest.rows.set_index("path")
    assert set(rows.index) == set(GENIMAGE)
    for path, (generator, source, split, released) in GENIMAGE.items():
        row = rows.loc[path]
        assert (row["generator"], row["source"], row["split"]) == (generator, source, split)
        assert row["label"] == (generator != "real")
        assert row["licence"] == "cc-by-nc-sa-4.0"
        assert row["n_bytes"] == (folder / path).stat().st_size
        assert (None if pd.isna(row["released"]) else row["released"]) == released
        assert decode(manifest.read(path).data).shape == (8, 8, 3)
    before = (folder / "manifest.parquet").read_bytes()
    assert run("import", "genimage", "--from", folder).exit_code == 0
    assert (folder / "manifest.parquet").read_bytes() == before


def test_a_part_of_a_data_set_is_known_by_its_folders(tree):
    folder = tree(GENIMAGE)
    rows = import_folder(find_card("genimage"), folder / "Midjourney" / "train").manifest.rows
    assert rows[["path", "generator", "split"]].values.tolist() == [["ai/1.png", "midjourney-v5", "train"]]


def test_a_manifest_may_lie_above_and_be_short(tree, tmp_path):
    folder = tree([f"dalle2/r{index}.png" for index in range(9)] + [f"RAISE/r{index}.png" for index in range(9)])
    done = import_folder(find_card("synthbuster"), folder, tmp_path / "mine.csv", limit=3)
    assert done.counts.to_dict() == {"test": {"real": 3, "dalle2": 3}}
    rows = open_data(str(tmp_path / "mine.csv")).rows
    assert sorted(rows["path"])[:3] == ["data/RAISE/r0.png", "data/RAISE/r4.png", "data/RAISE/r8.png"]
    assert set(rows["source"]) == {"raise:r0", "raise:r4", "raise:r8"}


def test_what_does_not_fit_is_said_with_the_nearest_layouts(tree):
    folder = tree(["test/reddit/0_real/1.png", "test/twitter/1_fake/2.png", "test/odd.png"])
    refused(
        run("import", "genimage", "--from", folder),
        "3 of 3 images do not lie as the card 'genimage' says",
        "**/{generator}/**/train|val/ai/{stem}",
        "one of Midjourney",
        "There is: 'test/odd.png', 'test/reddit/0_real/1.png'",
        "Nearest layouts: wildrf (67% of the images), chameleon (67% of the images). Give",
    )
    done = run("import", "wildrf", "--from", folder)
    refused(done, "1 of 3 images", "There is: 'test/odd.png'. The first folder that does not fit: test. Nearest")
    assert "wildrf (" not in done.stderr and " (0% of" not in done.stderr
    other = tree(["odd/a.png"], "other")
    refused(run("import", "chameleon", "--from", other), "No other layout that is known here fits any of them")
    assert not (folder / "manifest.parquet").exists()


def test_nothing_that_is_there_is_lost(tree):
    folder = tree(["test/0_real/1.png", "test/1_fake/2.png"])
    (folder / "manifest.csv").write_text("precious\n")
    out = ("--out", folder / "manifest.csv")
    refused(run("import", "chameleon", "--from", folder, *out), "there already", "--fresh")
    assert (folder / "manifest.csv").read_text() == "precious\n"
    assert run("import", "chameleon", "--from", folder, *out, "--fresh").exit_code == 0
    assert len(open_data(str(folder)).rows) == 2


def test_a_full_disk_leaves_no_half_manifest(tree, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    folder = tree(["test/0_real/1.png"])
    monkeypatch.setattr("maibench.files.os.fsync", full)
    with pytest.raises(DiskError, match="the disk is full"):
        import_folder(find_card("chameleon"), folder)
    assert [file.name for file in folder.iterdir()] == ["test"]


def test_wrong_requests(tree, tmp_path):
    folder = tree(["test/0_real/1.png"])
    (tmp_path / "empty").mkdir()
    refused(run("import", "genimage"), "--from FOLDER", "https://github.com/GenImage-Dataset/GenImage")
    refused(run("import", "openfake"), "--data hf:ComplexDataLab/OpenFake:core (1 more", "maibench data pack hf:")
    refused(run("import", "openfake", "--from", folder), "its card has no folders")
    refused(run("import", "chameleon", "--from", tmp_path / "nowhere"), "no such folder")
    refused(run("import", "chameleon", "--from", tmp_path / "empty"), "no images found")
    refused(run("import", "chameleon", "--from", folder, "--fetch", "git"), "'wild' alone")
    refused(run("import", "wild", "--from", folder), "collected from repositories")
    with pytest.raises(MaibenchError, match=r"manifest is a \.csv or a \.parquet"):
        import_folder(find_card("chameleon"), folder, tmp_path / "list.txt")
    with pytest.raises(MaibenchError, match="or in one above it"):
        import_folder(find_card("chameleon"), folder, tmp_path / "empty" / "list.csv")


def test_a_card_of_the_hub_is_packed_when_asked(tree, tmp_path, monkeypatch):
    pytest.importorskip("datasets")
    monkeypatch.chdir(tmp_path)  # a repository's name that is a folder here is read from there
    folder = tree(["a.png", "b.png"])
    images = [{"bytes": file.read_bytes(), "path": file.name} for file in sorted(folder.glob("*.png"))]
    (tmp_path / "me" / "set").mkdir(parents=True)
    pd.DataFrame({"image": images, "ai": ["yes", "no"]}).to_parquet(tmp_path / "me" / "set" / "train.parquet")
    (tmp_path / "mine.yaml").write_text(
        "title: mine\nhomepage: https://example.org\nlicence: mit\nsize: two\ncite: '@misc{mine}'\n"
        "problems: [{says: none known}]\n"
        "hub: [{repo: me/set, columns: \"image=image,label=ai,synthetic=yes,real=no,generator='sdxl'\"}]\n"
    )
    refused(run("import", "--card", "mine.yaml"), "--data hf:me/set", "maibench data pack hf:me/set")
    done = run("import", "--card", "mine.yaml", "--out", "packed")
    assert done.exit_code == 0, done.stderr
    rows = open_data("packed").rows
    assert rows[["label", "generator", "split"]].values.tolist() == [[1, "sdxl", "train"], [0, "real", "train"]]


def test_list_and_show(tmp_path):
    assert {"universalfakedetect", "community_forensics"} <= set(run("list").stdout.split())  # whole, to be typed
    listed = run("list", "*i*").stdout
    assert "genimage" in listed and "wild" in listed and "chameleon" not in listed
    refused(run("list", "nothing*"), "no data set matches")
    shown = run("show", "genimage").stdout
    for fact in (
        "cc-by-nc-sa-4.0",
        "arxiv.org/abs/2403.17608",
        "midjourney-v5 (Midjourney, imagenet_midjourney) 2023-03",
        "Zhijun and Hu, Hailin and Hu, Jie and Wang, Yunhe},\n",  # of BibTeX, which is copied
    ):
        assert fact in shown
    assert "maibench data import wild" in run("show", "wild").stdout
    refused(run("show", "nothing"), "unknown data set 'nothing'")
