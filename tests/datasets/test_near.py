"""Difference hashes and the exact search among them, against brute force and planted copies."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from maibench.datasets.demo import demo_manifest
from maibench.datasets.image import decode
from maibench.datasets.near import DISTANCE, dhash, groups, likeness, look_alikes, near_groups, neighbours
from maibench.errors import MaibenchError


def brute_force(hashes, distance):
    first, second = np.triu_indices(len(hashes), 1)
    apart = np.bitwise_count(hashes[first] ^ hashes[second])
    return [(int(i), int(j), int(d)) for i, j, d in zip(first, second, apart, strict=True) if d <= distance]


def listed(hashes, distance):
    pairs, distances = neighbours(hashes, distance)
    return [(int(i), int(j), int(d)) for (i, j), d in zip(pairs, distances, strict=True)]


@st.composite
def crowds(draw):
    """Hashes of a few centres with some bits flipped, often in the same places: copies, neighbours and strangers."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    width = draw(st.sampled_from([3, 6, 12, 64]))
    centres = rng.integers(0, 2**64, draw(st.integers(1, 4)), dtype=np.uint64)
    hashes = rng.choice(centres, draw(st.integers(0, 60)))
    for _ in range(draw(st.integers(0, 7))):
        hashes = hashes ^ (rng.integers(0, 2, len(hashes), dtype=np.uint64) << rng.integers(0, width, dtype=np.uint64))
    return hashes


@settings(max_examples=60, deadline=None)
@given(crowds(), st.integers(0, 8))
def test_the_search_finds_what_brute_force_finds(hashes, distance):
    assert listed(hashes, distance) == brute_force(hashes, distance)


def test_the_search_is_exact_where_its_sample_is_not_the_whole():
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, 100_000, dtype=np.uint64)
    ends = rng.choice(len(hashes), (60, 2), replace=False)
    for bits, (one, other) in zip(np.arange(60) % 6, ends, strict=True):
        flipped = rng.choice(64, bits, replace=False)
        hashes[other] = hashes[one] ^ np.uint64(sum(1 << int(bit) for bit in flipped))
    expected = sorted((min(pair), max(pair), bits) for bits, pair in zip(np.arange(60) % 6, ends.tolist(), strict=True))
    assert listed(hashes, 4) == [found for found in sorted(expected) if found[2] <= 4]


def test_too_many_pairs_and_a_distance_that_is_none_are_refused():
    with pytest.raises(MaibenchError, match="one hash alone has 10,000 images"):
        neighbours(np.zeros(10_000, dtype=np.uint64))
    with pytest.raises(MaibenchError, match="up to 8 of 64 bits; got 9"):
        neighbours(np.zeros(2, dtype=np.uint64), 9)


def test_dhash_says_where_a_pixel_is_brighter_than_the_one_on_its_left():
    grey = np.random.default_rng(0).integers(0, 256, (8, 9), dtype=np.uint8)  # resized to its own size: the same
    value, flat = dhash(np.repeat(grey[:, :, None], 3, axis=2))
    bits = "".join("1" if grey[y, x + 1] > grey[y, x] else "0" for y in range(8) for x in range(8))
    assert (f"{value:064b}", flat) == (bits, False)
    rising = np.broadcast_to(np.arange(0, 256, 2, dtype=np.uint8)[None, :, None], (128, 128, 3)).copy()
    assert dhash(rising) == (2**64 - 1, True)  # a ramp
    assert dhash(np.full((64, 64, 3), 200, dtype=np.uint8)) == (0, True)


def changed(image):
    """Copies as they go round: recompressed, resized, brightened, cropped by 2 %."""
    for quality in (50, 75, 95):
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=quality)
        yield Image.open(stream).convert("RGB")
    width, height = image.size
    yield image.resize((width // 2, height // 2), Image.Resampling.BICUBIC)
    yield image.resize((width * 3 // 2, height * 3 // 2), Image.Resampling.BICUBIC)
    yield ImageEnhance.Brightness(image).enhance(1.05)
    yield image.crop((width // 100, height // 100, width - width // 100, height - height // 100))


def test_planted_copies_are_found_all_of_them():
    manifest = demo_manifest()
    photos = manifest.rows[manifest.rows["label"] == 0].iloc[::8]
    told, origin = [], []
    for number, path in enumerate(photos["path"]):
        image = Image.fromarray(decode(manifest.read(path).data))
        for copy in (image, *changed(image)):
            told.append(likeness(np.asarray(copy)))
            origin.append(number)
    across, down, flat = ([one[name] for one in told] for name in ("dhash", "dhash_down", "flat"))
    origin, across = np.array(origin), np.array(across, dtype=np.uint64)
    group = near_groups(across, down, flat)
    first = np.flatnonzero(np.r_[True, origin[1:] != origin[:-1]])[origin]  # the original of each
    near = (np.bitwise_count(across ^ across[first]) <= DISTANCE) & ~np.array(flat) & ~np.array(flat)[first]
    assert (group == group[first])[near].all()
    assert near[~np.array(flat)].mean() > 0.95


def test_look_alikes_are_near_in_both_hashes_and_not_flat():
    across = np.array([5, 5, 4, 5, 2**40, 5], dtype=np.uint64)
    down = np.array([9, 9, 8, 2**20 - 1, 9, 9], dtype=np.uint64)
    shown, pairs, distances = look_alikes(across, down, np.array([False] * 5 + [True]))
    assert shown.tolist() == [0, 0, 2, 3, 4, 5]  # copies show one picture, a flat one its own
    found = sorted(zip(pairs.tolist(), distances.tolist(), strict=True))
    assert found == [([0, 2], 1), ([0, 4], 3), ([2, 4], 2)]
    assert near_groups(across, down, [False] * 5 + [True]).tolist() == [0, 0, 0, 3, 0, 5]
    assert near_groups([], [], []).tolist() == []


def test_any_number_of_copies_is_grouped():
    n = 50_000
    assert near_groups(np.full(n, 7), np.full(n, 7), np.zeros(n, dtype=bool)).max() == 0


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=12))
def test_groups_are_named_by_their_first_member(links):
    found = groups(np.array(links, dtype=np.int64).reshape(-1, 2), 10)
    assert (found <= np.arange(10)).all() and (found[found] == found).all()
    assert all(found[one] == found[other] for one, other in links)
