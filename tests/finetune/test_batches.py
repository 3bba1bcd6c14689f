"""Batches: a function of the place in the training alone, and no thread outlives its reader."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor

from maibench.datasets.readers import read_manifest
from maibench.errors import ImageError
from maibench.finetune.batches import AHEAD, Batches
from maibench.finetune.samples import SampleSource
from maibench.models.bailu import Bailu


@pytest.fixture(scope="module")
def file(data_set) -> Path:
    return data_set(n_real=6, n_synthetic=6, splits=("train",))


@pytest.fixture(scope="module")
def detector() -> Bailu:
    """Of which only the preprocessing is asked for: a crop's pixels."""
    return Bailu()


@pytest.fixture
def batches(file, detector, tiny_recipe):
    """batches(workers=1, process=0, processes=1, memory=..., **recipe) -> Batches of crops that were treated in every
    way."""

    def make(workers: int = 1, process: int = 0, processes: int = 1, memory: int = 2**30, **changes: object) -> Batches:
        treated = {"jpeg": 0.5, "resize": 0.5, "colour": 0.5, "noise": 0.5, "rotate": True}
        settings = tiny_recipe(accumulate=2, augmentation=treated, **changes)
        source = SampleSource([read_manifest(file)], smallest=settings.smallest_image, memory=memory)
        return Batches(source, settings, detector, process, workers, processes)

    return make


def same(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> bool:
    return torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])


def alive() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("batches")]


def test_a_place_has_one_batch_whoever_draws_it_and_wherever_one_starts(batches):
    whole = list(batches().between(1, 9))
    assert len(whole) == 9 * 2
    for workers in (1, 2, 5):
        for first in (1, 5, 9):
            drawn = list(batches(workers).between(first, 9))
            assert len(drawn) == (10 - first) * 2
            assert all(map(same, drawn, whole[2 * (first - 1) :]))
    assert list(batches().between(10, 9)) == []


def test_steps_parts_processes_and_seeds_differ(batches):
    several = [batches(process=process, processes=2) for process in (0, 1)] + [batches(seed=1)]
    drawn = [batch for each in several for batch in each.between(1, 3)]
    assert len({images.numpy().tobytes() for images, _ in drawn}) == 3 * 3 * 2


@pytest.mark.parametrize(("processes", "size"), [(2, 4), (3, 2), (2, 5)])
def test_processes_draw_together_what_one_draws_with_as_many_times_the_batch(batches, processes: int, size: int):
    for step, part in ((1, 0), (2, 1)):
        whole, labels = batches(batch_size=size * processes).draw(step, part)
        shares = [batches(process=p, processes=processes, batch_size=size).draw(step, part) for p in range(processes)]
        assert [len(images) for images, _ in shares] == [size] * processes
        expected = sorted((image.numpy().tobytes(), label) for image, label in zip(whole, labels.tolist(), strict=True))
        found = [
            (image.numpy().tobytes(), label)
            for images, own in shares
            for image, label in zip(images, own.tolist(), strict=True)
        ]
        assert sorted(found) == expected
        if size % 2 == 0:
            assert all(own.mean() == 0.5 for _, own in shares)


def test_every_batch_is_half_real_and_of_the_recipes_size(batches):
    for images, labels in batches(batch_size=6).between(1, 2):
        assert images.shape == (6, 3, 64, 64)
        assert labels.tolist() == [0, 1] * 3
        assert labels.dtype == torch.float32


def test_crops_are_of_one_size_in_a_step_and_of_many_over_the_training(batches):
    drawn = list(batches(crop=[64, 80]).between(1, 30))
    sizes = [images.shape[-1] for images, _ in drawn]
    assert all(images.shape[-1] == images.shape[-2] for images, _ in drawn)
    assert sizes[::2] == sizes[1::2] or len(set(sizes)) > 10
    assert min(sizes) >= 64
    assert max(sizes) <= 80


def test_the_first_batches_are_those_of_the_first_steps(batches):
    expected = list(batches().between(1, 3))[::2]
    assert all(torch.equal(images, known) for images, (known, _) in zip(batches().first(3), expected, strict=True))


def test_reading_ahead_is_bounded(batches):
    several = batches(workers=2)
    drawn = []
    draw = several.draw
    several.draw = lambda *place: drawn.append(place) or draw(*place)  # type: ignore[method-assign]
    reader = several.between(1, 50)
    next(reader)
    time.sleep(0.2)
    assert len(drawn) <= 2 * AHEAD
    reader.close()


def test_an_image_that_vanished_reaches_the_reader_with_its_name_after_what_was_whole(batches, file: Path):
    several = batches(workers=2, memory=0)
    whole = list(several.between(1, 2))
    victim = file.parent / "train/real/003.png"
    kept = victim.read_bytes()
    victim.unlink()
    found = []
    try:
        with pytest.raises(ImageError, match=r"train/real/003\.png"):
            for drawn in several.between(1, 50):
                found.append(drawn)
    finally:
        victim.write_bytes(kept)
    assert all(map(same, found, whole))
    assert len(found) < 100
    assert not alive()
    assert all(map(same, several.between(1, 2), whole))


def test_a_reader_that_leaves_early_leaves_no_thread_behind(batches):
    reader = batches(workers=3).between(1, 1000)
    next(reader)
    assert alive()
    reader.close()
    assert not alive()
