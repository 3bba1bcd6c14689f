"""What a manifest accepts, what it refuses and in which words, and what its fingerprint stands for."""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from maibench.datasets.manifest import REQUIRED, Manifest
from maibench.errors import ImageError, MaibenchError

_stream = io.BytesIO()
Image.new("RGB", (5, 3)).save(_stream, "PNG")
PNG = _stream.getvalue()


def frame(**changes: object) -> pd.DataFrame:
    columns = {
        "path": ["a.png", "b.png", "c/d.png"],
        "label": [0, 1, 1],
        "generator": ["real", "gen-a", "gen-b"],
        "source": ["s", "s", "t"],
        "split": ["train", "train", "test"],
    }
    return pd.DataFrame({**columns, **changes})


def manifest(rows: pd.DataFrame, root: Path) -> Manifest:
    return Manifest.from_frame(rows, root, "name", where="list.csv")


def refused(rows: pd.DataFrame, root: Path, words: str) -> None:
    with pytest.raises(MaibenchError, match=words) as caught:
        manifest(rows, root)
    assert str(caught.value).startswith("list.csv: ")
    assert "\n" not in str(caught.value)


class TestAccepted:
    def test_rows_keep_their_order_and_all_their_columns(self, tmp_path):
        rows = frame(path=["z.png", "a.png", "m.png"], released=["2023", "2024", ""])
        checked = manifest(rows, tmp_path).rows
        assert checked["path"].tolist() == ["z.png", "a.png", "m.png"]
        assert checked["released"].tolist() == ["2023", "2024", ""]
        assert checked.index.tolist() == [0, 1, 2]

    def test_the_frame_that_was_given_stays_as_it_was(self, tmp_path):
        rows = frame(label=["0", "1", "1"]).drop(columns="split")
        before = rows.copy(deep=True)
        manifest(rows, tmp_path)
        pd.testing.assert_frame_equal(rows, before)

    @pytest.mark.parametrize("labels", [["0", "1", "1"], [0.0, 1.0, 1.0], [False, True, True], ["0", 1, "1.0"]])
    def test_labels_become_integers(self, tmp_path, labels):
        checked = manifest(frame(label=labels), tmp_path).rows["label"]
        assert checked.tolist() == [0, 1, 1]
        assert checked.dtype == "int64"

    def test_without_splits_all_is_test(self, tmp_path):
        checked = manifest(frame().drop(columns="split"), tmp_path)
        assert checked.rows["split"].tolist() == ["test"] * 3
        assert len(checked.split("test")) == 3
        assert checked.split("train").empty

    def test_val_is_validation_and_nothing_is_test(self, tmp_path):
        checked = manifest(frame(split=["val", None, " train "]), tmp_path)
        assert checked.rows["split"].tolist() == ["validation", "test", "train"]

    def test_a_split_keeps_the_positions_of_its_rows(self, tmp_path):
        assert manifest(frame(split=["test", "train", "test"]), tmp_path).split("test").index.tolist() == [0, 2]

    @pytest.mark.parametrize(
        ("rows", "has"),
        [
            (frame(), True),
            (frame().drop(columns="source"), False),
            (frame(source=["s", None, "t"]), False),
            (frame(source=["s", "", "t"]), False),
        ],
    )
    def test_has_sources_only_where_every_row_has_one(self, tmp_path, rows, has):
        assert manifest(rows, tmp_path).has_sources is has


class TestRefused:
    @pytest.mark.parametrize("column", REQUIRED)
    def test_a_missing_column(self, tmp_path, column):
        refused(frame().drop(columns=column), tmp_path, f"column '{column}' is missing.*path, label, generator")

    def test_an_empty_list(self, tmp_path):
        refused(frame().iloc[:0], tmp_path, "lists no images")

    @pytest.mark.parametrize("label", ["2", "abc", "-1", "0.5", "true", "inf"])
    def test_a_label_that_is_neither_0_nor_1(self, tmp_path, label):
        words = rf"row 2 has the label '{label}'; a label is 0 \(real\) or 1 \(synthetic\)"
        refused(frame(label=["0", label, "1"]), tmp_path, words)

    @pytest.mark.parametrize("label", ["", None, float("nan")])
    def test_no_label(self, tmp_path, label):
        refused(frame(label=["0", "1", label]), tmp_path, r"row 3 has (no label|the label ''); a label is 0")

    @pytest.mark.parametrize(("label", "generator"), [(1, "real"), (0, "gen-a"), (0, "Real")])
    def test_a_label_that_contradicts_its_generator(self, tmp_path, label, generator):
        rows = frame(label=[0, label, 1], generator=["real", generator, "gen-b"])
        refused(rows, tmp_path, f"row 2 has label {label} and generator '{generator}'; label 0 goes with .* 'real'")

    @pytest.mark.parametrize("column", ["path", "generator"])
    @pytest.mark.parametrize("value", [None, "", "  "])
    def test_a_row_without_path_or_generator(self, tmp_path, column, value):
        rows = frame()
        rows.loc[1, column] = value
        refused(rows, tmp_path, f"row 2 has no {column}")

    @pytest.mark.parametrize("split", ["tset", "Test", "dev"])
    def test_an_unknown_split(self, tmp_path, split):
        words = f"row 3 has the split '{split}'; use train, validation, test"
        refused(frame(split=["train", "test", split]), tmp_path, words)

    def test_a_path_that_is_listed_twice(self, tmp_path):
        refused(frame(path=["a.png", "b.png", "a.png"]), tmp_path, "'a.png' is listed twice")

    def test_one_image_with_two_labels(self, tmp_path):
        refused(frame(image_id=["same", "other", "same"]), tmp_path, "'a.png' and 'c/d.png' are one image.*two labels")
        assert len(manifest(frame(image_id=["x", "same", "same"]), tmp_path).rows) == 3
        assert len(manifest(frame(image_id=["", "", None]), tmp_path).rows) == 3


class Elsewhere:
    """Images that lie in no files."""

    in_order = False

    def read(self, path: str) -> bytes:
        if path == "b.png":
            raise ImageError("is gone")
        return PNG

    def expect(self, paths: list[str]) -> None:
        raise AssertionError("nothing was asked for")


class TestImages:
    def test_a_file_is_read_by_its_path(self, tmp_path):
        (tmp_path / "a.png").write_bytes(PNG)
        file = manifest(frame(), tmp_path).read("a.png")
        assert (file.path, file.format, file.width, file.height, file.data) == ("a.png", "PNG", 5, 3, PNG)
        with pytest.raises(ImageError, match="cannot be read: No such file"):
            manifest(frame(), tmp_path).read("b.png")
        with pytest.raises(ImageError, match="more than the limit of 14"):
            manifest(frame(), tmp_path).read("a.png", max_pixels=14)

    def test_they_may_come_from_elsewhere_and_a_path_is_then_a_name(self, tmp_path):
        rows = frame(path=["a.png", "b.png", "../shard.tar/1"])
        made = Manifest.from_frame(rows, tmp_path, "name", images=Elsewhere())
        assert made.read("../shard.tar/1").data == PNG
        with pytest.raises(ImageError, match="is gone"):
            made.read("b.png")


class TestInsideTheRoot:
    @pytest.mark.parametrize("path", ["../x.png", "c/../../x.png", "..", "c/..", ".", "c/", "/etc/passwd", "//x.png"])
    def test_a_path_that_leaves_it(self, tmp_path, path):
        (tmp_path / "root" / "c").mkdir(parents=True)
        refused(frame(path=["a.png", path, "d.png"]), tmp_path / "root", "leaves the data set's folder")

    def test_an_absolute_path_even_inside_it(self, tmp_path):
        # it would break with the first move of the folder, and be another key than the relative one
        refused(frame(path=["a.png", str(tmp_path / "b.png"), "d.png"]), tmp_path, "leaves the data set's folder")

    def test_a_folder_whose_name_begins_like_the_root(self, tmp_path):
        (tmp_path / "root").mkdir()
        (tmp_path / "root-2").mkdir()
        (tmp_path / "root" / "link").symlink_to(tmp_path / "root-2")
        refused(frame(path=["a.png", "link/b.png", "d.png"]), tmp_path / "root", "'link/b.png' leaves")

    def test_a_file_that_is_a_link_to_the_outside(self, tmp_path):
        (tmp_path / "root").mkdir()
        (tmp_path / "secret.png").touch()
        (tmp_path / "root" / "b.png").symlink_to(tmp_path / "secret.png")
        refused(frame(), tmp_path / "root", "'b.png' leaves")

    def test_a_link_to_the_outside_where_nothing_is_yet(self, tmp_path):
        (tmp_path / "root").mkdir()
        (tmp_path / "root" / "b.png").symlink_to("../later.png")
        refused(frame(), tmp_path / "root", "'b.png' leaves")

    def test_a_folder_that_is_a_link_to_the_outside(self, tmp_path):
        (tmp_path / "root").mkdir()
        (tmp_path / "outside").mkdir()
        (tmp_path / "root" / "c").symlink_to(tmp_path / "outside")
        refused(frame(), tmp_path / "root", "'c/d.png' leaves")

    def test_a_path_with_a_null_byte(self, tmp_path):
        refused(frame(path=["a.png", "b\0.png", "c\0/d.png"]), tmp_path, "null byte")

    def test_links_within_it_are_fine(self, tmp_path):
        (tmp_path / "inner").mkdir()
        (tmp_path / "inner" / "d.png").touch()
        (tmp_path / "c").symlink_to("inner")
        (tmp_path / "a.png").symlink_to(tmp_path / "inner" / "d.png")
        assert len(manifest(frame(), tmp_path).rows) == 3

    def test_a_root_that_is_itself_a_link_is_fine(self, tmp_path):
        (tmp_path / "inner" / "c").mkdir(parents=True)
        (tmp_path / "inner" / "a.png").touch()
        (tmp_path / "root").symlink_to("inner")
        assert manifest(frame(), tmp_path / "root").root == (tmp_path / "inner").resolve()

    def test_names_with_dots_are_fine(self, tmp_path):
        paths = ["..a.png", "b..png", "c../d.png"]
        assert manifest(frame(path=paths), tmp_path).rows["path"].tolist() == paths

    def test_a_missing_file_is_no_wrong_request(self, tmp_path):
        assert len(manifest(frame(path=["not", "there", "yet/at/all.png"]), tmp_path).rows) == 3

    @settings(deadline=None)
    @given(st.lists(st.sampled_from(["..", ".", "a", "b"]), min_size=1, max_size=6))
    def test_what_is_accepted_lies_inside(self, tmp_path_factory, parts):
        root = tmp_path_factory.getbasetemp() / "deep" / "root"
        for folder in ("a/a/a", "a/b/a", "b/a/a", "b/b/a"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        path = "/".join([*parts, "x.png"])
        rows = pd.DataFrame({"path": [path], "label": [0], "generator": ["real"]})
        if (root / path).resolve().is_relative_to(root.resolve()):
            manifest(rows, root)
        else:
            refused(rows, root, "leaves")


class TestFingerprint:
    def test_a_copy_elsewhere_has_the_same(self, tmp_path):
        (tmp_path / "x").mkdir()
        (tmp_path / "y").mkdir()
        here, there = manifest(frame(), tmp_path / "x"), Manifest.from_frame(frame(), tmp_path / "y", "other")
        assert here.fingerprint == there.fingerprint
        assert len(here.fingerprint) == 16
        int(here.fingerprint, 16)

    @settings(max_examples=20, deadline=None)
    @given(st.permutations(["path", "label", "generator", "source", "split"]))
    def test_the_order_of_columns_does_not_count(self, tmp_path_factory, order):
        root = tmp_path_factory.getbasetemp()
        assert manifest(frame()[order], root).fingerprint == manifest(frame(), root).fingerprint

    def test_a_column_that_is_not_read_does_not_count(self, tmp_path):
        assert manifest(frame(licence="CC0"), tmp_path).fingerprint == manifest(frame(), tmp_path).fingerprint

    def test_the_type_of_labels_does_not_count(self, tmp_path):
        rows = frame(label=["0", "1", "1"])
        assert manifest(rows, tmp_path).fingerprint == manifest(frame(), tmp_path).fingerprint

    @pytest.mark.parametrize(
        "changes",
        [
            {"path": ["a.png", "b.png", "c/e.png"]},
            {"label": [0, 0, 1], "generator": ["real", "real", "gen-b"]},
            {"generator": ["real", "gen-a", "gen-a"]},
            {"split": ["train", "test", "test"]},
            {"source": ["s", "t", "t"]},
            {"image_id": ["1", "2", "3"]},
            {"n_bytes": [1, 2, 3]},
            {"path": ["b.png", "a.png", "c/d.png"]},
        ],
        ids=lambda changes: "+".join(changes),
    )
    def test_what_is_listed_counts(self, tmp_path, changes):
        assert manifest(frame(**changes), tmp_path).fingerprint != manifest(frame(), tmp_path).fingerprint

    def test_another_row_counts(self, tmp_path):
        assert manifest(frame().iloc[:2], tmp_path).fingerprint != manifest(frame(), tmp_path).fingerprint

    def test_the_order_of_rows_counts(self, tmp_path):
        # batches are cut at fixed places of the list
        assert manifest(frame().iloc[::-1], tmp_path).fingerprint != manifest(frame(), tmp_path).fingerprint

    def test_is_the_same_in_every_process(self, tmp_path):
        # a resumed run compares it with the one in run.json
        assert manifest(frame(), tmp_path).fingerprint == "4f388c3526c9f2b4"
