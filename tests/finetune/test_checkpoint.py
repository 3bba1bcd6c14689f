"""Checkpoints: what was saved comes back, nothing else is gone on from, and each is whole or absent."""

from __future__ import annotations

import math
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from maibench.datasets.readers import read_manifest
from maibench.errors import DiskError, MaibenchError
from maibench.finetune.averaging import WeightAverage
from maibench.finetune.checkpoint import Checkpoint
from maibench.finetune.recipe import Recipe
from maibench.finetune.trainer import make_optimiser
from maibench.models.base import Detector
from maibench.models.card import Card

STATE = {"step": 7, "loss": 0.25, "auc": 0.75, "best": 0.8, "best_step": 4}
FRESH = {"step": 0, "loss": pytest.approx(math.log(2)), "auc": pytest.approx(math.nan, nan_ok=True), "best": -1.0}


class Network(Detector):
    """Parameters, one of them frozen, and buffers."""

    card = Card(name="network")

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.frozen = nn.Linear(3, 3).requires_grad_(False)
        self.layers = nn.Sequential(nn.Linear(3, width), nn.BatchNorm1d(width), nn.Linear(width, 1))


class Training:
    """A network with its optimiser and average, some steps on."""

    def __init__(self, recipe: Recipe, steps: int = 0, width: int = 4) -> None:
        torch.manual_seed(steps)
        self.detector = Network(width)
        self.average = WeightAverage(self.detector, 0.5)
        self.optimiser = make_optimiser(recipe, self.detector)
        for _ in range(steps):
            self.detector.layers(torch.randn(8, 3)).sum().backward()
            self.optimiser.step()
            self.average.update()

    @property
    def parts(self) -> tuple[Detector, WeightAverage, torch.optim.Optimizer]:
        return self.detector, self.average, self.optimiser

    def tensors(self) -> dict[str, torch.Tensor]:
        """What a checkpoint has to bring back, as copies."""
        found = {name: tensor for name, tensor in self.detector.state_dict().items() if "frozen" not in name}
        found |= {f"average of {name}": tensor for name, tensor in self.average.tensors.items()}
        for index, moments in self.optimiser.state_dict()["state"].items():
            found |= {f"{name} of {index}": torch.as_tensor(value) for name, value in moments.items()}
        return {name: tensor.clone() for name, tensor in found.items()}

    def is_as(self, tensors: dict[str, torch.Tensor]) -> bool:
        own = self.tensors()
        return own.keys() == tensors.keys() and all(torch.equal(own[name], tensors[name]) for name in own)


@pytest.fixture(scope="module")
def manifests(data_set):
    return [read_manifest(data_set(n_real=1, n_synthetic=1)), read_manifest(data_set(n_real=2, n_synthetic=1))]


@pytest.fixture
def checkpoint(manifests, tiny_recipe, tmp_path: Path) -> Callable[..., Checkpoint]:
    """checkpoint(file=..., data=..., **recipe) -> Checkpoint, of one file if nothing is said."""

    def make(file: Path = tmp_path / "checkpoint.pt", data=manifests, **changes: object) -> Checkpoint:
        return Checkpoint(file, tiny_recipe(**changes), data)

    return make


@pytest.mark.parametrize("optimiser", ["adamw", "rmsprop"])
def test_what_was_saved_comes_back_bit_for_bit(checkpoint, tiny_recipe, optimiser: str):
    recipe = tiny_recipe(optimiser=optimiser)
    saved, other = Training(recipe, 3), Training(recipe, 1)
    frozen = other.detector.frozen.weight.clone()
    checkpoint(optimiser=optimiser).save(STATE, *saved.parts)
    assert checkpoint(optimiser=optimiser).load(*other.parts) == STATE
    assert other.is_as(saved.tensors())
    assert other.average.updates == 3
    assert torch.equal(other.detector.frozen.weight, frozen)  # the base is not in the checkpoint
    assert "frozen.weight" not in torch.load(checkpoint().file, weights_only=True)["detector"]


def test_without_a_file_one_begins_afresh(checkpoint, tiny_recipe):
    training = Training(tiny_recipe(), 1)
    before = training.tensors()
    state = checkpoint().load(*training.parts)
    assert state == {**FRESH, "best_step": 0}
    assert training.is_as(before)


def test_another_recipe_or_other_data_is_refused_and_nothing_is_loaded(checkpoint, tiny_recipe, manifests):
    recipe = tiny_recipe()
    checkpoint().save(STATE, *Training(recipe, 3).parts)
    training = Training(recipe, 1)
    before = training.tensors()
    for reason, changed in (
        ("another recipe", checkpoint(lr=0.2)),
        ("another recipe", checkpoint(augmentation={"jpeg": 0.1})),
        ("other data", checkpoint(data=manifests[:1])),
        ("other data", checkpoint(data=manifests[::-1])),
    ):
        with pytest.raises(MaibenchError, match=f"a checkpoint of {reason}; choose another --out, or remove it"):
            changed.load(*training.parts)
    assert training.is_as(before)


def test_another_architecture_is_refused_and_nothing_is_loaded(checkpoint, tiny_recipe):
    checkpoint().save(STATE, *Training(tiny_recipe(), 3, width=5).parts)
    training = Training(tiny_recipe(), 1)
    before = training.tensors()
    with pytest.raises(MaibenchError, match=r"another architecture: 'layers.0.weight' is \[5, 3\], not \[4, 3\]"):
        checkpoint().load(*training.parts)
    assert training.is_as(before)


def refused(checkpoint: Checkpoint, recipe: Recipe) -> None:
    with (
        warnings.catch_warnings(),
        pytest.raises(MaibenchError, match=r"not a checkpoint .*; remove it to begin again"),
    ):
        warnings.simplefilter("ignore")
        checkpoint.load(*Training(recipe).parts)


class Harmful:
    """A pickle that would make a file when it is loaded."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple:
        return Path.touch, (self.file,)


def test_another_file_is_no_checkpoint_and_no_code_in_it_is_run(checkpoint, tiny_recipe, tmp_path: Path):
    file, mark = checkpoint().file, tmp_path / "mark"
    for content in (b"", b"hello", b"{}", pickle.dumps({"recipe": 1}), pickle.dumps(Harmful(mark))):
        file.write_bytes(content)
        refused(checkpoint(), tiny_recipe())
    for found in ([1, 2], torch.zeros(3), Harmful(mark)):
        torch.save(found, file)
        refused(checkpoint(), tiny_recipe())
    assert not mark.exists()


def test_a_state_dict_is_no_checkpoint_of_this_recipe(checkpoint, tiny_recipe):
    torch.save(Network().state_dict(), checkpoint().file)
    with pytest.raises(MaibenchError, match="another recipe"):
        checkpoint().load(*Training(tiny_recipe()).parts)


def test_a_checkpoint_that_was_cut_short_is_refused(checkpoint, tiny_recipe):
    checkpoint().save(STATE, *Training(tiny_recipe(), 1).parts)
    whole = checkpoint().file.read_bytes()
    for length in (1, 10, len(whole) // 2, len(whole) - 1):
        checkpoint().file.write_bytes(whole[:length])
        refused(checkpoint(), tiny_recipe())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100, deadline=None)
@given(content=st.binary(max_size=60))
def test_no_bytes_whatever_end_in_a_traceback(checkpoint, tiny_recipe, content: bytes):
    checkpoint().file.write_bytes(content)
    refused(checkpoint(), tiny_recipe())


@pytest.mark.parametrize("room", [0, 4096])
def test_on_a_full_disk_the_checkpoint_before_stays_and_loads(checkpoint, tiny_recipe, small_disk, room: int):
    disk = small_disk(100_000)
    kept = checkpoint(disk / "checkpoint.pt")
    saved = Training(tiny_recipe(), 1)
    kept.save(STATE, *saved.parts)
    small_disk(room)
    with pytest.raises(DiskError, match="the disk is full; what was written is kept"):
        kept.save({**STATE, "step": 8}, *Training(tiny_recipe(), 3, width=999).parts)
    assert sorted(file.name for file in disk.iterdir()) == ["checkpoint.pt", "filler"]
    other = Training(tiny_recipe())
    assert kept.load(*other.parts) == STATE
    assert other.is_as(saved.tensors())


def test_a_folder_that_is_gone_is_told_in_words(checkpoint, tiny_recipe, tmp_path: Path):
    with pytest.raises(DiskError, match="cannot be written"):
        checkpoint(tmp_path / "gone" / "checkpoint.pt").save(STATE, *Training(tiny_recipe()).parts)
