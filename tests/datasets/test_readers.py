"""Opening a SOURCE: folders in the layouts that people have, manifests in both formats, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from maibench.datasets.image import EXTENSIONS, decode
from maibench.datasets.readers import open_data, read_folder
from maibench.errors import MaibenchError


def listed(folder: Path) -> dict[str, tuple[int, str, str]]:
    rows = read_folder(folder).rows
    return {row.path: (row.label, row.generator, row.split) for row in rows.itertuples()}


class TestFolderLayouts:
    def test_real_beside_a_folder_for_each_generator(self, image_folder):
        folder = image_folder(["real/a.png", "real/b.jpg", "SDXL/a.png", "flux.1/sub/c.webp"])
        assert listed(folder) == {
            "SDXL/a.png": (1, "SDXL", "test"),
            "flux.1/sub/c.webp": (1, "sub", "test"),
            "real/a.png": (0, "real", "test"),
            "real/b.jpg": (0, "real", "test"),
        }

    def test_0_real_and_1_fake(self, image_folder):
        assert listed(image_folder(["0_real/a.png", "1_fake/b.png"])) == {
            "0_real/a.png": (0, "real", "test"),
            "1_fake/b.png": (1, "synthetic", "test"),
        }

    def test_0_real_and_1_fake_in_a_folder_for_each_generator(self, image_folder):
        folder = image_folder(["progan/0_real/a.png", "progan/1_fake/b.png", "biggan/1_fake/c.png"])
        assert listed(folder) == {
            "biggan/1_fake/c.png": (1, "biggan", "test"),
            "progan/0_real/a.png": (0, "real", "test"),
            "progan/1_fake/b.png": (1, "progan", "test"),
        }

    def test_genimage(self, image_folder):
        names = [
            "ADM/train/ai/a.png",
            "ADM/train/nature/b.png",
            "Midjourney/val/ai/c.png",
            "Midjourney/val/nature/d.png",
        ]
        assert listed(image_folder(names)) == {
            "ADM/train/ai/a.png": (1, "ADM", "train"),
            "ADM/train/nature/b.png": (0, "real", "train"),
            "Midjourney/val/ai/c.png": (1, "Midjourney", "validation"),
            "Midjourney/val/nature/d.png": (0, "real", "validation"),
        }

    @pytest.mark.parametrize("validation", ["val", "valid", "validation", "Validation"])
    def test_splits_as_the_first_level(self, image_folder, validation):
        names = ["train/real/a.png", "train/gen/b.png", f"{validation}/gen/c.png", "test/real/d.png"]
        assert listed(image_folder(names)) == {
            "train/real/a.png": (0, "real", "train"),
            "train/gen/b.png": (1, "gen", "train"),
            f"{validation}/gen/c.png": (1, "gen", "validation"),
            "test/real/d.png": (0, "real", "test"),
        }

    def test_class_names_in_capitals(self, image_folder):
        assert listed(image_folder(["Real/a.png", "FAKE/b.png"])) == {
            "Real/a.png": (0, "real", "test"),
            "FAKE/b.png": (1, "synthetic", "test"),
        }

    @pytest.mark.parametrize(
        ("given", "real"),
        [
            ("photos sdxl", "photos"), ("real_images sdxl", "real_images"), ("Authentic sdxl", "Authentic"),
            ("human sdxl", "human"), ("fake_images/sdxl photos/sdxl", "photos/sdxl"),  # two folders of one generator
            ("photos/real photos/sdxl", "photos/real"), ("human/real human/sdxl dog/sdxl", "human/real"),
            ("real/nature sdxl/nature", "real/nature"), ("real/0 real/1 sdxl/0 sdxl/1", "real/0 real/1"),
            ("ADM/train/ai/x ADM/train/nature sdxl/val/nature", "ADM/train/nature sdxl/val/nature"),
        ],
    )  # fmt: skip
    def test_words_that_mean_real(self, image_folder, given, real):
        found = listed(image_folder([f"{folder}/a.png" for folder in given.split()]))
        assert {path for path, (label, *_) in found.items() if not label} == {f"{name}/a.png" for name in real.split()}
        assert {generator for label, generator, _ in found.values() if label} <= {"sdxl", "x"}

    @pytest.mark.parametrize(
        ("given", "told"),
        [
            ("coco sdxl", "none of the folders coco, sdxl says that it holds real images: rename the one that does"),
            ("train/sdxl val/sdxl", "the folder sdxl does not say .* a set of synthetic images alone needs a manifest"),
            ("real/fake real/b", "'real/fake' says both: 'real' means real, 'fake' synthetic"),
            ("real sdxl/nature", "'sdxl/nature' may hold real images, or synthetic ones of nature: rename 'nature'"),
        ],
    )
    def test_names_that_do_not_say_it(self, image_folder, given, told):
        with pytest.raises(MaibenchError, match=told):
            open_data(str(image_folder([f"{folder}/a.png" for folder in given.split()])))


class TestFolder:
    def test_the_order_does_not_depend_on_the_file_system(self, image_folder):
        names = ["real/b.png", "gen/a.png", "real/a.png", "gen-2/z.png", "gen/B.png"]
        one, other = image_folder(names), image_folder(reversed(names))
        assert read_folder(one).rows["path"].tolist() == sorted(names) == read_folder(other).rows["path"].tolist()

    def test_rows_can_be_read(self, image_folder):
        data = open_data(str(image_folder(["real/a.png", "gen/b.jpg"])))
        for row in data.rows.itertuples():
            file = data.read(row.path)
            assert len(file.data) == row.n_bytes
            assert decode(file.data).shape == (16, 24, 3)

    def test_is_named_after_the_folder_and_knows_no_sources(self, image_folder, tmp_path, monkeypatch):
        image_folder(["real/a.png"], tmp_path / "photos")
        monkeypatch.chdir(tmp_path / "photos")
        for source in (str(tmp_path / "photos"), ".", "../photos/"):
            assert open_data(source).name == "photos"
            assert not open_data(source).has_sources
            assert open_data(source).rows["path"].tolist() == ["real/a.png"]

    def test_every_extension_in_small_and_capital_letters(self, image_folder, tmp_path):
        one = (image_folder(["real/x.png"]) / "real" / "x.png").read_bytes()
        (tmp_path / "real").mkdir()
        names = [f"{n}{e}" for n, e in enumerate(sorted(EXTENSIONS))] + ["A.PNG", "B.JpG"]
        for name in [*names, "notes.txt", "list.csv", "noextension", ".hidden.png", "Thumbs.db"]:
            (tmp_path / "real" / name).write_bytes(one)
        image_folder([".cache/real/a.png", "real/.trash/b.png"], tmp_path)
        assert listed(tmp_path).keys() == {f"real/{name}" for name in names}

    def test_a_broken_image_is_listed_as_it_is_for_scoring_to_report(self, tmp_path):
        (tmp_path / "real").mkdir()
        (tmp_path / "real" / "a.png").touch()
        (tmp_path / "real" / "b.png").symlink_to("gone.png")
        assert listed(tmp_path).keys() == {"real/a.png", "real/b.png"}

    def test_no_images(self, tmp_path):
        (tmp_path / "real").mkdir()
        (tmp_path / "real" / "notes.txt").touch()
        with pytest.raises(MaibenchError, match="no images found; expected real/ and a folder for each generator"):
            open_data(str(tmp_path))

    @pytest.mark.parametrize("name", ["a.png", "train/a.png"])
    def test_images_in_no_class_folder(self, image_folder, name):
        with pytest.raises(MaibenchError, match=f"'{name}' lies in no class folder; expected real/"):
            open_data(str(image_folder(["real/x.png", name])))

    def test_a_name_that_is_not_utf_8(self, image_folder):
        folder = image_folder(["real/a.png"])
        os.rename(folder / "real" / "a.png", os.fsencode(folder / "real") + b"/caf\xe9.png")
        with pytest.raises(MaibenchError, match=r"caf\\xe9.png' is not UTF-8; rename it"):
            open_data(str(folder))

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may list every folder")
    def test_a_folder_that_may_not_be_listed_is_not_passed_over(self, image_folder):
        folder = image_folder(["real/a.png", "gen/b.png"])
        (folder / "gen").chmod(0)
        with pytest.raises(MaibenchError, match="gen: cannot be listed: Permission denied"):
            open_data(str(folder))


@pytest.mark.timeout(20)
class TestSymbolicLinks:
    def test_within_the_folder_they_are_followed(self, image_folder):
        folder = image_folder(["real/a.png"])
        (folder / "gen").symlink_to("real")
        assert listed(folder) == {"real/a.png": (0, "real", "test"), "gen/a.png": (1, "gen", "test")}

    @pytest.mark.parametrize("target", ["..", "../real", "."])
    def test_a_loop_ends(self, image_folder, target):
        folder = image_folder(["real/a.png", "gen/b.png"])
        (folder / "real" / "again").symlink_to(target)
        with pytest.raises(MaibenchError, match="symbolic link that leads back to a folder above"):
            open_data(str(folder))

    def test_two_folders_that_point_at_each_other_end(self, image_folder):
        folder = image_folder(["real/a.png", "gen/b.png"])
        (folder / "real" / "x").symlink_to("../gen")
        (folder / "gen" / "y").symlink_to("../real")
        with pytest.raises(MaibenchError, match="symbolic link that leads back to a folder above"):
            open_data(str(folder))

    def test_a_link_to_the_whole_disk_is_refused_before_it_is_walked(self, image_folder):
        folder = image_folder(["real/a.png"])
        (folder / "gen").symlink_to("/")
        with pytest.raises(MaibenchError, match="'gen' leaves the data set's folder"):
            open_data(str(folder))

    def test_a_file_outside_is_refused(self, image_folder, tmp_path):
        folder = image_folder(["real/a.png"])
        (tmp_path / "b.png").touch()
        (folder / "real" / "b.png").symlink_to(tmp_path / "b.png")
        with pytest.raises(MaibenchError, match=r"'real/b\.png' leaves the data set's folder"):
            open_data(str(folder))


class TestManifest:
    def test_csv_and_parquet_are_equal(self, data_set):
        csv = data_set(splits=("train", "validation", "test"))
        parquet = csv.with_suffix(".parquet")
        pd.read_csv(csv).to_parquet(parquet)
        one, other = open_data(str(csv)), open_data(str(parquet))
        assert one.rows.astype(object).equals(other.rows.astype(object))
        assert one.fingerprint == other.fingerprint
        assert len(one.rows) == 24

    @pytest.mark.parametrize("name", ["manifest.csv", "manifest.parquet"])
    def test_a_folder_that_holds_one_uses_it(self, data_set, name):
        csv = data_set()
        rows = pd.read_csv(csv).iloc[:3].assign(generator=["real"] * 3, label=0)
        csv.unlink()
        rows.to_csv(csv.parent / name, index=False) if name.endswith("csv") else rows.to_parquet(csv.parent / name)
        data = open_data(str(csv.parent))
        assert data.rows["path"].tolist() == rows["path"].tolist()
        assert data.has_sources
        assert data.name == csv.parent.name

    def test_is_named_after_its_file(self, data_set):
        csv = data_set()
        csv = csv.rename(csv.with_name("flowers.csv"))
        assert open_data(str(csv)).name == "flowers"

    def test_paths_are_relative_to_its_folder(self, data_set, monkeypatch, tmp_path):
        csv = data_set()
        monkeypatch.chdir(tmp_path)
        data = open_data(os.path.relpath(csv))
        assert data.root == csv.parent.resolve()
        assert decode(data.read(data.rows["path"][0]).data).shape == (80, 96, 3)

    def test_home_is_expanded(self, data_set, monkeypatch):
        csv = data_set()
        monkeypatch.setenv("HOME", str(csv.parent))
        assert len(open_data("~/manifest.csv").rows) == 8

    def test_names_that_look_like_numbers_or_nothing_stay_names(self, tmp_path):
        text = "path,label,generator,source\nnull,0,real,null\nNA,1,NA,NA\n1e5,1,nan,1e5\n"
        (tmp_path / "m.csv").write_text(text)
        rows = open_data(str(tmp_path / "m.csv")).rows
        assert rows["path"].tolist() == ["null", "NA", "1e5"]
        assert rows["generator"].tolist() == ["real", "NA", "nan"]
        assert rows["source"].tolist() == ["null", "NA", "1e5"]

    def test_a_column_of_numbers_stays_text(self, tmp_path):
        text = "path,label,generator,source,image_id\n001,1,1.50,0010,00\n002,1,2.50,,01\n"
        (tmp_path / "m.csv").write_text(text)
        rows = open_data(str(tmp_path / "m.csv")).rows
        assert rows["path"].tolist() == ["001", "002"]
        assert rows["generator"].tolist() == ["1.50", "2.50"]
        assert rows["source"].tolist() == ["0010", ""]
        assert rows["image_id"].tolist() == ["00", "01"]

    def test_a_csv_that_a_spreadsheet_wrote(self, tmp_path):
        (tmp_path / "m.csv").write_bytes(b'\xef\xbb\xbfpath,label,generator\r\na.png,0,real\r\n"b,c.png",1,gen\r\n')
        assert open_data(str(tmp_path / "m.csv")).rows["path"].tolist() == ["a.png", "b,c.png"]

    def test_one_generator_for_all_synthetic_rows(self, tmp_path):
        (tmp_path / "m.csv").write_text("path,label\na.png,0\nb.png,1\n")
        assert open_data(str(tmp_path / "m.csv"), "generator='sdxl'").rows["generator"].tolist() == ["real", "sdxl"]

    @pytest.mark.parametrize(
        ("text", "told", "columns"),
        [
            ("file,is_fake\na,1", "columns are file, is_fake", "path=file,label=is_fake,generator='sdxl'"),
            ("path,label\na,1", "'generator' is missing", "generator='sdxl'"),
            ("path,label\na,AI\nb,human", "'generator' is missing", "synthetic=AI,real=human,generator='sdxl'"),
            ("path,label,generator\na,AI,x\nb,mine,real", "the label 'AI'", "synthetic=AI,real=mine"),
            ("path,generator\na,x\nb,real", "'label' is missing", "real=real"),
            ("path;label;generator\na,b;0;real", "separated by ';'", None),
            ("path\tlabel\tgenerator\na\t0\treal", "separated by tabs", None),
        ],
    )
    def test_what_is_missing_is_said_with_the_columns_that_mend_it(self, tmp_path, text, told, columns):
        (tmp_path / "m.csv").write_text(text + "\n")
        with pytest.raises(MaibenchError, match=rf"m\.csv: .*{told}") as refused:
            open_data(str(tmp_path / "m.csv"))
        if columns:
            assert f'--columns "{columns}"' in str(refused.value)
            assert open_data(str(tmp_path / "m.csv"), columns).rows["label"][0] == 1

    def test_a_wrong_row_is_named_with_its_file(self, tmp_path):
        (tmp_path / "m.csv").write_text("path,label,generator\na.png,0,real\nb.png,,gen\n")
        with pytest.raises(MaibenchError, match=r"m\.csv: row 2 has no label"):
            open_data(str(tmp_path / "m.csv"))

    def test_a_path_that_leaves_its_folder(self, data_set):
        csv = data_set()
        (csv.parent / "lists").mkdir()
        csv = csv.rename(csv.parent / "lists" / "manifest.csv")
        pd.read_csv(csv).assign(path=lambda rows: "../" + rows["path"]).to_csv(csv, index=False)
        with pytest.raises(MaibenchError, match=r"leaves the data set's folder .*move the manifest to a folder above"):
            open_data(str(csv))


class TestRefused:
    def test_a_source_that_does_not_exist(self, tmp_path):
        with pytest.raises(MaibenchError, match=r"no data at '.*nothing': give 'demo', a folder .*or \.parquet"):
            open_data(str(tmp_path / "nothing"))

    @pytest.mark.parametrize("name", ["list.txt", "list.xlsx", "list"])
    def test_a_file_of_another_kind(self, tmp_path, name):
        (tmp_path / name).write_text("path,label,generator\n")
        with pytest.raises(MaibenchError, match=f"{name}: a manifest is a .csv or a .parquet file"):
            open_data(str(tmp_path / name))

    @pytest.mark.parametrize(
        ("file", "told"),
        [
            ("a-000.tar", r"shards are opened by wds:.*d$"), ("sub/a.parquet", r"Parquet files are opened by hf:.*d$"),
            (".shards/a.json", "is not finished; run the command"), (".windows/0.json", "is not finished"),
            ("x/y/notes.txt", r"or a manifest$"),
        ],
    )  # fmt: skip
    def test_a_folder_of_something_else(self, tmp_path, file, told):
        (tmp_path / "d" / file).parent.mkdir(parents=True)
        (tmp_path / "d" / file).write_bytes(b"")
        with pytest.raises(MaibenchError, match=told):
            open_data(str(tmp_path / "d"))
        with pytest.raises(MaibenchError, match=r"a manifest is a \.csv or a \.parquet file; .* wds:.*\.tar"):
            (tmp_path / "e.tar").touch()
            open_data(str(tmp_path / "e.tar"))

    def test_one_image_instead_of_a_list(self, write_image, tmp_path):
        with pytest.raises(MaibenchError, match=r"a manifest is a \.csv or"):
            open_data(str(write_image(tmp_path / "a.png")))

    @pytest.mark.parametrize("name", ["m.csv", "m.parquet"])
    @pytest.mark.parametrize("data", [b"", b"\xff\xfe\x00garbage\x80\x81" * 50, b"PAR1 but nothing more"])
    def test_garbage(self, tmp_path, name, data):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(MaibenchError, match=r"m\.(csv|parquet): (cannot be read as a manifest|the column)"):
            open_data(str(tmp_path / name))

    def test_an_image_renamed_to_csv(self, tmp_path):
        Image.new("RGB", (30, 30)).save(tmp_path / "m.png")
        (tmp_path / "m.png").rename(tmp_path / "m.csv")
        with pytest.raises(MaibenchError, match="cannot be read as a manifest"):
            open_data(str(tmp_path / "m.csv"))
