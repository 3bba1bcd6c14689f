"""Drawing training images: balance, pairs, what is left out, and what does not fit into memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from maibench.datasets.manifest import Manifest, collections_of
from maibench.datasets.pairs import Crop, write_pairs
from maibench.datasets.readers import open_data, read_manifest
from maibench.errors import ImageError, MaibenchError
from maibench.finetune import samples
from maibench.finetune.samples import KEPT, SampleSource

COLUMNS = ["path", "label", "generator", "source", "split", "pair"]


@pytest.fixture
def listed(tmp_path: Path) -> Callable[..., Manifest]:
    """listed(rows, name) -> a manifest of rows (generator, source[, pair]) in split train; every pixel of the image of
    row i is i, so that a drawn image tells which row it is."""

    def make(rows: list[tuple], name: str = "mine", size: int = 40) -> Manifest:
        folder = tmp_path / name
        folder.mkdir()
        lines = []
        for index, (generator, source, *pair) in enumerate(rows):
            Image.new("RGB", (size, size), (index,) * 3).save(folder / f"{index}.png")
            label = int(generator != "real")
            lines.append((f"{index}.png", label, generator, source, "train", pair[0] if pair else None))
        return Manifest.from_frame(pd.DataFrame(lines, columns=COLUMNS), folder, name)

    return make


def draw(source: SampleSource, count: int, pairs: float = 0.0, size: int = 8) -> list[tuple[int, int, int]]:
    """(row, label, pair) of what `count` batches are made of."""
    rng = np.random.default_rng(0)
    drawn = [sample for _ in range(count) for sample in source.draw(size, pairs, rng)]
    return [(int(sample.pixels[0, 0, 0]), sample.label, sample.pair) for sample in drawn]


def test_half_of_a_batch_is_real_and_rare_generators_are_not_drowned(listed):
    source = SampleSource([listed([("real", "")] * 3 + [("a", "")] * 9 + [("b", "")])])
    drawn = draw(source, 1000)
    assert Counter(label for _, label, _ in drawn) == {0: 4000, 1: 4000}
    assert source.trained_on(0.5) == ["a", "b"]
    assert source.singles == source.per_epoch == 13
    # the root of 9 against the root of 1; every image of a generator alike
    assert sum(row == 12 for row, _, _ in drawn) / 4000 == pytest.approx(1 / 4, abs=0.03)
    of_a = Counter(row for row, label, _ in drawn if label and row < 12)
    assert len(of_a) == 9
    assert max(of_a.values()) / min(of_a.values()) < 1.4


def test_photographs_are_drawn_by_the_root_of_their_collections_size(listed):
    rows = [("real", f"A/x:{index}") for index in range(16)] + [("real", "B:1")] + [("g", "")]
    without_colon = [("real", str(index)) for index in range(4)]
    source = SampleSource([listed(rows), listed(without_colon, "other")])
    other = {0, 1, 2, 3}  # as dark as the first images of A/x, which bring a quarter of A/x's share along
    drawn = Counter(row for row, label, _ in draw(source, 1500) if not label)
    assert sum(drawn.values()) == 6000
    assert drawn[16] / 6000 == pytest.approx(1 / 7, abs=0.02)  # roots: 4, 1, 2
    assert sum(drawn[row] for row in range(4, 16)) / 6000 == pytest.approx(4 / 7 * 12 / 16, abs=0.025)
    assert sum(drawn[row] for row in other) / 6000 == pytest.approx(2 / 7 + 4 / 7 * 4 / 16, abs=0.025)


def test_a_collection_is_what_stands_before_the_colon_of_a_source(tmp_path: Path):
    rows = pd.DataFrame({"path": list("abcdef"), "label": 0, "generator": "real"})
    sources = ["BIDS/BSDS500:12003", "x:y:z", "12003", "", ":5", None]
    listed = Manifest.from_frame(rows.assign(source=sources), tmp_path, "mine").rows
    assert collections_of(listed, "mine").tolist() == ["BIDS/BSDS500", "x", "mine", "mine", "mine", "mine"]
    assert collections_of(rows, "mine").tolist() == ["mine"] * 6


PAIRED = [
    ("real", "A:1", "p1"), ("g", "A:1", "p1"), ("h", "A:1", "p1"),
    ("real", "B:1", "p2"), ("g", "B:1", "p2"),
    ("real", "A:2"), ("real", "B:2"), ("g", "A:2"), ("h", "B:2"),
]  # fmt: skip


@pytest.mark.parametrize("how", ["exclude", "hold_out"])
@pytest.mark.parametrize(
    ("name", "left_out", "pairs"),
    [
        ("g", {1, 4, 7}, {(0, 2)}),  # p2 has no reconstruction left
        ("h", {2, 8}, {(0, 1), (3, 4)}),
        ("A", {0, 1, 2, 5, 7}, {(3, 4)}),  # a photograph takes its pair with it
        ("B", {3, 4, 6, 8}, {(0, 1), (0, 2)}),
    ],
)
def test_what_is_excluded_or_held_out_is_never_drawn(listed, how: str, name: str, left_out: set, pairs: set):
    source = SampleSource([listed(PAIRED)], **{how: [name]})
    drawn = draw(source, 200, pairs=0.5)
    found = {row for row, _, _ in drawn}
    alone = {3} if name == "g" else set()  # the photograph that lost its pair
    assert found == set(range(9)) - left_out - alone
    rows = [row for row, _, pair in drawn if pair >= 0]
    assert set(zip(rows[::2], rows[1::2], strict=True)) == pairs
    assert source.trained_on(0.5) == sorted({"g", "h"} - {name})


def test_pairs_stand_side_by_side_and_singles_do_not_repeat_them(data_set, texture, tmp_path: Path):
    crops = [Crop(f"c{i}", texture((64, 64), i), f"s{i}", "train", ("nano-sd1.5", "nano-sdxl")) for i in range(3)]
    pairs = Manifest.from_frame(write_pairs(crops, tmp_path), tmp_path, "pairs")
    source = SampleSource([pairs, read_manifest(data_set(splits=("train",)))])
    assert len(source.pairs) == 3
    samples = source.draw(16, 0.5, np.random.default_rng(0))
    assert [sample.label for sample in samples] == [0, 1] * 8
    assert [sample.pair for sample in samples] == [0, 0, 1, 1, 2, 2, 3, 3] + [-1] * 8
    for real, synthetic in zip(samples[:8:2], samples[1:8:2], strict=True):
        difference = np.abs(real.pixels.astype(int) - synthetic.pixels.astype(int)).mean()
        others = [np.abs(real.pixels.astype(int) - crop.pixels.astype(int)).mean() for crop in crops]
        assert difference < np.sort(others)[1]  # nearer to its own photograph than to any other


def test_pairs_of_two_data_sets_that_are_called_alike_stay_apart(listed):
    rows = [("real", "A:1", "p"), ("g", "A:1", "p")]
    source = SampleSource([listed(rows), listed([("real", ""), ("real", ""), *rows], "other")])
    drawn = draw(source, 50, pairs=1.0)
    assert {(drawn[i][0], drawn[i + 1][0]) for i in range(0, len(drawn), 2)} == {(0, 1), (2, 3)}


def test_pairs_are_told_by_any_name_that_is_not_empty(listed, data_set, tmp_path: Path):
    """A list that somebody typed: pandas reads its numbers as numbers, and what is missing as NaN."""
    file = data_set(tmp_path / "typed", n_real=3, n_synthetic=3, splits=("train",))
    rows = pd.read_csv(file)
    rows.assign(pair=[1, 2, "", 1, 2, ""]).to_csv(file, index=False)
    assert len(SampleSource([read_manifest(file)]).pairs) == 2
    named = [("real", "", "a"), ("g", "", "a"), ("real", "", ""), ("g", "", "")]
    source = SampleSource([listed(named)])
    assert (len(source.pairs), source.singles) == (1, 2)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("size", [4, 5])
@pytest.mark.parametrize("more", [[], [("real", "C:1")], [("g", "C:1")]])
def test_pairs_are_enough_to_train_on(listed, share: float, size: int, more: list):
    source = SampleSource([listed([*PAIRED[:5], *more])])
    drawn = draw(source, 20, share, size)
    assert len(drawn) == 20 * size
    assert all(pair >= 0 for _, _, pair in drawn)
    assert [label for _, label, _ in drawn[:size]] == [0, 1, 0, 1, 0][:size]
    assert (source.singles, source.per_epoch) == (0, 4)
    assert ("1 of one class alone" in source.described()) == bool(more)


def test_images_that_do_not_fit_are_read_anew_and_are_the_same(listed, write_image, tmp_path: Path):
    manifest = listed([("real", ""), ("g", ""), ("real", ""), ("g", "")])
    write_image(tmp_path / "mine" / "0.png", (KEPT + 41, KEPT + 8), 5)
    fitting = [SampleSource([manifest], memory=memory) for memory in (2**30, 0, 3 * KEPT * KEPT)]
    draws = [source.draw(16, 0.0, np.random.default_rng(1)) for source in fitting]
    for drawn in zip(*draws, strict=True):
        assert len({(sample.label, sample.pixels.tobytes()) for sample in drawn}) == 1
    sizes = {sample.pixels.shape for sample in draws[1]}
    assert sizes == {(KEPT, KEPT, 3), (40, 40, 3)}
    whole = np.asarray(Image.open(tmp_path / "mine" / "0.png"))
    middle = next(sample.pixels for sample in draws[1] if sample.pixels.shape[0] == KEPT)
    assert np.array_equal(middle, whole[4 : 4 + KEPT, 20 : 20 + KEPT])


@pytest.mark.parametrize("harm", ["missing", "broken"])
def test_an_image_that_cannot_be_read_any_more_is_named(listed, tmp_path: Path, harm: str):
    source = SampleSource([listed([("real", ""), ("g", "")])], memory=0)
    file = tmp_path / "mine" / "1.png"
    file.unlink() if harm == "missing" else file.write_bytes(file.read_bytes()[:60])
    with pytest.raises(ImageError, match=rf"{file}: cannot be (read|decoded).*; mend it, or take its row out"):
        source.draw(2, 0.0, np.random.default_rng(0))


def test_broken_missing_and_small_images_are_left_out_with_the_reason(listed, write_image, tmp_path: Path):
    manifest = listed([("real", "")] * 4 + [("g", "")], size=64)
    (tmp_path / "mine" / "0.png").write_bytes(b"no image")
    (tmp_path / "mine" / "1.png").unlink()
    write_image(tmp_path / "mine" / "2.png", (63, 200))
    source = SampleSource([manifest], smallest=64)
    assert {path: reason.partition(" in a")[0] for path, reason in source.skipped.items()} == {
        "0.png": "not an image",
        "1.png": "cannot be read: No such file or directory",
        "2.png": "smaller than 64 pixels a side",
    }
    assert {row for row, _, _ in draw(source, 20)} == {3, 4}
    assert "2 training images of 1 generators" in source.described()
    assert "3 left out, unreadable or too small" in source.described()


def test_validation_and_test_rows_are_never_drawn(data_set, tmp_path: Path):
    file = data_set(tmp_path, n_real=2, n_synthetic=2, splits=("train", "validation", "test"))
    for split in ("validation", "test"):
        for image in (tmp_path / split).rglob("*.png"):
            image.unlink()
    source = SampleSource([read_manifest(file)])
    assert source.singles == 4
    assert not source.skipped


@pytest.mark.parametrize("rows", [[("real", "")], [("g", "")], PAIRED[:1], PAIRED[1:2]])
def test_one_class_is_refused(listed, rows: list):
    with pytest.raises(MaibenchError, match="real images and at least one generator"):
        SampleSource([listed(rows)])
    with pytest.raises(MaibenchError, match="real images and at least one generator"):
        SampleSource([listed(PAIRED, "other")], ["g", "h"])


def test_a_name_that_nothing_answers_to_is_told(data_set):
    source = SampleSource([read_manifest(data_set(splits=("train",)))], exclude=["gen-b", "gen-z"])
    assert source.unknown == ["gen-z"]
    assert source.described().endswith("nothing here is called gen-z (exclude)")


def test_generators_of_pairs_count_as_trained_on_only_where_pairs_are_drawn(data_set, texture, tmp_path: Path):
    crops = [Crop(f"c{i}", texture((64, 64), i), f"s{i}", "train", ("nano-sd1.5",)) for i in range(2)]
    pairs = Manifest.from_frame(write_pairs(crops, tmp_path), tmp_path, "pairs")
    source = SampleSource([pairs, read_manifest(data_set(splits=("train",)))])
    assert source.trained_on(0.0) == ["gen-a", "gen-b"]
    assert source.trained_on(0.5) == ["gen-a", "gen-b", "nano-sd1.5"]
    assert SampleSource([pairs]).trained_on(0.0) == ["nano-sd1.5"]


def test_what_an_earlier_training_decoded_is_not_decoded_again(data_set, tmp_path: Path, monkeypatch):
    manifest = read_manifest(data_set(tmp_path, splits=("train",)))
    pictures: dict = {}
    first = SampleSource([manifest], pictures=pictures)
    assert len(pictures) == first.singles == 8
    monkeypatch.setattr(samples, "decode", lambda data: pytest.fail("decoded twice"))
    again = SampleSource([manifest], exclude=["gen-b"], pictures=pictures)
    assert again.singles == 6
    assert SampleSource([manifest], smallest=16, pictures=pictures).singles == 8


def test_two_data_sets_of_one_folder_may_call_their_images_alike(tmp_path: Path):
    manifests = []
    for name, level in (("a", 10), ("b", 200)):
        rows = []
        for label in ("real", "ai"):
            Image.new("RGB", (8, 8), (level,) * 3).save(tmp_path / "x.png")
            rows.append({"image": {"bytes": (tmp_path / "x.png").read_bytes(), "path": label}, "label": label})
        pd.DataFrame(rows).assign(split="train").to_parquet(tmp_path / f"{name}.parquet")
        manifests.append(open_data(str(tmp_path / f"{name}.parquet")))
    drawn = SampleSource(manifests).draw(64, 0, np.random.default_rng(0))
    assert {int(sample.pixels[0, 0, 0]) for sample in drawn} == {10, 200}


def test_an_image_whose_source_lies_in_another_split_is_left_out(data_set, tmp_path: Path):
    """Also where the other split is another manifest's."""
    trained = pd.read_csv(data_set(tmp_path / "a", splits=("train",)))
    tested = pd.read_csv(data_set(tmp_path / "b", splits=("test",)))
    tested.loc[0, "source"] = trained.loc[0, "source"]  # the real image and the synthetic one made of it
    source = SampleSource(
        [Manifest.from_frame(frame, tmp_path / name, name) for frame, name in ((trained, "a"), (tested, "b"))]
    )
    assert source.shared == 2
    assert source.singles == 6
    assert "2 left out, their sources are in a validation or test split too" in source.described()
