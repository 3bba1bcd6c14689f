"""Mean images: a mark that stands still is found where it is, whatever order the images come in."""

import io

import numpy as np
import pytest
from PIL import Image

from maibench.evaluation.audit.means import CORNER, FRAME, MOST, OTHERS, MeanImages, thumbnail
from tests.evaluation.audit.photos import photo


@pytest.fixture(scope="module")
def photos():
    return [photo(seed, (112, 128 + 8 * (seed % 3)), noise=6) for seed in range(180)]


def marked(pixels):
    """With a sign at the lower right."""
    pixels = pixels.astype(np.int16)
    pixels[-20:-8, -30:-8][::3] += 120
    return np.clip(pixels, 0, 255).astype(np.uint8)


def means_of(photos, mark_every=1, order=1):
    means = MeanImages()
    for i, pixels in list(enumerate(photos))[::order]:
        name = ("real", "clean", "marked")[i % 3]
        drawn = name == "marked" and i // 3 % mark_every == 0
        means.add(name, str(i), thumbnail(marked(pixels) if drawn else pixels))
    return means


@pytest.mark.parametrize("mark_every", [1, 2])
def test_a_mark_is_found_at_its_place_and_nowhere_else(photos, mark_every):
    marks = means_of(photos, mark_every).marks()
    corners = [mark for mark in marks if mark.where != "anywhere"]
    assert {mark.generator for mark in marks} == {"marked"} and [mark.where for mark in corners] == ["bottom right"]
    rows, columns = np.nonzero(corners[0].seen)
    assert 2 * CORNER - 28 < rows.mean() < 2 * CORNER and columns.mean() > FRAME + 2 * CORNER - 38


def test_nothing_stands_still_in_photographs(photos):
    assert means_of(photos, mark_every=10**6).marks() == []


def test_one_scene_many_times_is_no_mark(photos):
    means = MeanImages()
    for i, pixels in enumerate(photos):
        means.add("real", str(i), thumbnail(pixels))
        means.add("few scenes", str(i % 6), thumbnail(photos[i % 6]))
    assert means.judged() == ["real"] and means.marks() == []


def test_the_order_changes_nothing_and_a_state_goes_on(photos):
    whole, turned = means_of(photos), means_of(photos, order=-1)
    names = ["real", "clean", "marked"]
    assert whole.sheet(names, whole.marks()) == turned.sheet(names, turned.marks())
    stream = io.BytesIO()
    np.savez(stream, **means_of(photos[:90]).state())
    stream.seek(0)
    with np.load(stream, allow_pickle=False) as state:
        again = MeanImages.from_state(dict(state))
    for i, pixels in enumerate(photos[90:], start=90):
        again.add(names[i % 3], str(i), thumbnail(marked(pixels) if i % 3 == 2 else pixels))
    assert all((again.state()[key] == value).all() for key, value in whole.state().items())
    assert MeanImages.from_state(MeanImages().state()).counts() == {}


def test_memory_is_bounded_however_many_generators():
    means = MeanImages()
    small = thumbnail(np.zeros((3, 200, 3), dtype=np.uint8))
    for i in range(MOST + 20):
        means.add(f"generator {i}", str(i), small)
    assert len(means.counts()) == MOST + 1 and means.counts()[OTHERS] == 20


@pytest.mark.parametrize("size", [(1, 1), (30, 400), (48, 48), (500, 700)])
def test_the_corners_of_a_thumbnail_are_the_image_s_own_pixels(size):
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    small = thumbnail(pixels)
    assert small.shape == (FRAME, FRAME + 2 * CORNER, 3)
    height, width = (min(length, CORNER) for length in size)
    assert (small[:height, FRAME : FRAME + width] == pixels[:height, :width]).all()
    assert (small[CORNER : CORNER + height, FRAME + CORNER :][:, :width] == pixels[-height:, -width:]).all()


def test_the_sheet_is_a_picture_with_any_name():
    means = MeanImages()
    means.add("渓流 <b>", "a", thumbnail(photo(0, (60, 60))))
    with Image.open(io.BytesIO(means.sheet(list(means.counts()), []))) as sheet:
        assert sheet.format == "PNG" and sheet.width > 2 * FRAME
