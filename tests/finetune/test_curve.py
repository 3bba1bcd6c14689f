"""The learning curve: rows in order, none twice, and a picture."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest
from PIL import Image

from maibench.errors import DiskError
from maibench.finetune.curve import append_curve, plot_curve, read_curve


def row(step: int, auc: float = 0.5) -> dict[str, float]:
    return {"step": step, "loss": 0.1 + 1 / step, "auc": auc, "mine_auc": auc, "threshold": 1 / 3}


def test_rows_are_kept_in_order_and_to_the_last_digit(tmp_path: Path):
    rows = [row(step) for step in (4, 8, 12)]
    for each in rows:
        append_curve(tmp_path / "curve.csv", each)
    assert read_curve(tmp_path / "curve.csv") == rows
    assert (tmp_path / "curve.csv").read_text().splitlines()[1].startswith("4,")


@pytest.mark.parametrize(("again", "left"), [(12, [4, 8, 12]), (8, [4, 8]), (4, [4]), (2, [2]), (6, [4, 6])])
def test_a_row_replaces_those_of_the_same_and_later_steps(tmp_path: Path, again: int, left: list[int]):
    for step in (4, 8, 12):
        append_curve(tmp_path / "curve.csv", row(step))
    append_curve(tmp_path / "curve.csv", row(again, 0.9))
    found = read_curve(tmp_path / "curve.csv")
    assert [each["step"] for each in found] == left
    assert [each["auc"] for each in found] == [0.5] * (len(left) - 1) + [0.9]


def test_a_data_set_that_was_renamed_meanwhile_gets_a_column_of_its_own(tmp_path: Path):
    append_curve(tmp_path / "curve.csv", {"step": 1, "loss": 0.7, "auc": 0.5, "old_auc": 0.5})
    append_curve(tmp_path / "curve.csv", {"step": 2, "loss": 0.6, "auc": 0.6, "new_auc": 0.6})
    first, second = read_curve(tmp_path / "curve.csv")
    assert (first["old_auc"], second["new_auc"]) == (0.5, 0.6)
    assert math.isnan(first["new_auc"])
    assert math.isnan(second["old_auc"])
    plot_curve(tmp_path / "curve.csv", tmp_path / "curve.png")


def test_no_file_is_no_rows(tmp_path: Path):
    assert read_curve(tmp_path / "curve.csv") == []


@pytest.mark.parametrize("steps", [1, 3])
def test_the_picture_is_a_png_that_shows_something(tmp_path: Path, steps: int):
    for step in range(1, steps + 1):
        append_curve(tmp_path / "curve.csv", row(step) | {"under_score $x$_auc": 0.7})
    plot_curve(tmp_path / "curve.csv", tmp_path / "curve.png")
    with Image.open(tmp_path / "curve.png") as picture:
        picture.load()
        assert picture.format == "PNG"
        assert min(picture.size) > 300
        assert len(picture.convert("RGB").getcolors(10**6)) > 2
    assert sorted(os.listdir(tmp_path)) == ["curve.csv", "curve.png"]


def test_on_a_full_disk_the_curve_before_stays(small_disk):
    disk = small_disk(40_000)
    append_curve(disk / "curve.csv", row(1))
    small_disk(0)
    with pytest.raises(DiskError, match="the disk is full"):
        append_curve(disk / "curve.csv", row(2))
    with pytest.raises(DiskError, match="the disk is full"):
        plot_curve(disk / "curve.csv", disk / "curve.png")
    assert read_curve(disk / "curve.csv") == [row(1)]
    assert not (disk / "curve.png").exists()
