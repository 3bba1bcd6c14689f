"""The training loop: it computes what a few lines of torch compute, stops anywhere, and goes on to the same weights."""

from __future__ import annotations

import json
import math
from pathlib import Path

import accelerate.tracking
import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils import clip_grad_norm_

from maibench.datasets.manifest import Manifest
from maibench.datasets.readers import read_manifest
from maibench.errors import DiskError, MaibenchError
from maibench.finetune import trainer
from maibench.finetune.batches import Batches
from maibench.finetune.checkpoint import Checkpoint
from maibench.finetune.recipe import Recipe
from maibench.finetune.samples import SampleSource
from maibench.finetune.schedule import warm_cosine
from maibench.models.loading import load_detector
from maibench.progress import Progress

pytestmark = pytest.mark.usefixtures("tiny")


@pytest.fixture(scope="module")
def manifest(data_set):
    return read_manifest(data_set(n_real=8, n_synthetic=8, splits=("train", "validation")))


class Told(Progress):
    """What a training told; `at` a step, `act` is called."""

    def __init__(self, at: int = 0, act=lambda: None) -> None:
        self.at, self.act = at, act
        self.said: list[str] = []
        self.began: tuple[int, int] | None = None
        self.notes: list[str] = []
        self.stopped = False

    def say(self, text: str) -> None:
        self.said.append(text)

    def start(self, total: int, done: int = 0) -> None:
        self.began = (done, total)

    def advance(self, count: int, note: str = "") -> None:
        assert count == 1
        self.notes.append(note)
        if self.began[0] + len(self.notes) == self.at:
            self.act()

    def stop(self) -> None:
        self.stopped = True


def stored(out: Path) -> dict:
    return torch.load(out / "checkpoint.pt", weights_only=True)


def weights(out: Path) -> dict[str, Tensor]:
    return stored(out)["detector"]


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def by_hand(recipe: Recipe, manifest: Manifest, last: int = 8) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The weights after step `last` and their average, in plain torch: all parts of a step in one batch."""
    torch.manual_seed(recipe.seed)
    detector = trainer.make_detector(recipe, "cpu").train()
    batches = Batches(SampleSource([manifest], smallest=recipe.smallest_image), recipe, detector, 0, 1)
    kinds = {"adamw": torch.optim.AdamW, "rmsprop": torch.optim.RMSprop}
    optimiser = kinds[recipe.optimiser](detector.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
    average: dict[str, Tensor] = {}
    for step in range(1, last + 1):
        drawn = [batches.draw(step, part) for part in range(recipe.accumulate)]
        images, labels = (torch.cat(parts) for parts in zip(*drawn, strict=True))
        optimiser.param_groups[0]["lr"] = recipe.lr * warm_cosine(step, recipe.steps, recipe.warmup_steps(recipe.steps))
        optimiser.zero_grad()
        F.binary_cross_entropy_with_logits(detector(images), labels).backward()
        clip_grad_norm_(detector.parameters(), recipe.clip)
        optimiser.step()
        present = {name: parameter.detach().clone() for name, parameter in detector.named_parameters()}
        kept = recipe.averaging if average else 0.0
        average = {name: kept * average.get(name, 0.0) + (1 - kept) * tensor for name, tensor in present.items()}
    return present, average


def test_the_loss_falls_and_the_validation_auc_rises_above_chance(manifest, tiny_recipe, tmp_path: Path):
    changes = {"detector": "bailu", "lr": 3e-3, "precision": "bf16", "batch_size": 8}
    trainer.train(tiny_recipe(steps=40, validate_every=20, **changes), [manifest], tmp_path)
    curve = pd.read_csv(tmp_path / "curve.csv")
    assert curve["step"].tolist() == [20, 40]
    assert curve["loss"].iloc[-1] < curve["loss"].iloc[0]
    assert curve.filter(like="_auc").max().item() > 0.9


@pytest.mark.parametrize("optimiser", ["adamw", "rmsprop"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_weights_are_those_of_plain_torch(manifest, tiny_recipe, tmp_path: Path, optimiser: str, accumulate: int):
    """Learning rate, accumulation of parts, clipping, weight decay, and the moving average."""
    clip = 0.3  # below the norm of most gradients, not of all
    recipe = tiny_recipe(
        optimiser=optimiser, accumulate=accumulate, clip=clip, weight_decay=0.1, lr=0.03, averaging=0.7, seed=3
    )
    trainer.train(recipe, [manifest], tmp_path / "out")
    present, average = by_hand(recipe, manifest)
    content = stored(tmp_path / "out")
    for name in present:
        torch.testing.assert_close(content["detector"][name], present[name], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(content["average"][name], average[name], rtol=1e-5, atol=1e-6)
    for change in ({"clip": 1e3}, {"lr": 0.02}, {"warmup": 0}, {"weight_decay": 0.0}, {"seed": 4}):
        other, _ = by_hand(recipe.model_copy(update=change), manifest)
        assert (other["linear.weight"] - present["linear.weight"]).abs().max() > 1e-4, change


def test_the_learning_rate_of_the_last_step_is_in_the_optimiser(manifest, tiny_recipe, tmp_path: Path):
    for steps, warmup, share in ((1, 4, 0.1 + 0.9 / 4), (3, 3, 1.0), (4, 2, 0.01), (10, 0.5, 0.01)):
        out = trainer.train(
            tiny_recipe(steps=steps, warmup=warmup, lr=0.2, validate_every=10), [manifest], tmp_path / f"{steps}"
        )
        assert stored(out)["optimiser"]["param_groups"][0]["lr"] == pytest.approx(0.2 * share)


def test_clipping_bounds_the_update(manifest, tiny_recipe, tmp_path: Path):
    """AdamW's first update of a weight is lr g / (|g| + 1e-8); gradients are clipped to a norm of 1e-9 here."""
    lr, clip = 0.1, 1e-9
    recipe = tiny_recipe(steps=1, warmup=1, lr=lr, clip=clip)
    torch.manual_seed(recipe.seed)
    before = trainer.make_detector(recipe, "cpu").state_dict()
    moved = {}
    for name, value in (("clipped", clip), ("free", 1e3)):
        after = weights(trainer.train(recipe.model_copy(update={"clip": value}), [manifest], tmp_path / name))
        moved[name] = max(float((after[key] - before[key]).abs().max()) for key in before)
    assert 0 < moved["clipped"] <= lr * clip / (clip + 1e-8) + 1e-6
    assert moved["free"] == pytest.approx(lr, rel=1e-3)


def test_without_averaging_the_last_weights_are_validated_and_kept(manifest, tiny_recipe, tmp_path: Path):
    recipe = tiny_recipe(steps=1, averaging=0.0)
    trainer.train(recipe, [manifest], tmp_path)
    assert same(load_file(tmp_path / "model.safetensors"), weights(tmp_path))
    assert same(stored(tmp_path)["average"], weights(tmp_path))


def test_anchored_weights_are_mixed_with_those_that_it_began_with(manifest, tiny_recipe, tmp_path: Path):
    recipe = tiny_recipe(anchor=0.25)
    trainer.train(recipe, [manifest], tmp_path)
    torch.manual_seed(recipe.seed)
    first = trainer.make_detector(recipe, "cpu").state_dict()
    _, average = by_hand(recipe, manifest)
    mixed = {name: 0.75 * average[name] + 0.25 * first[name] for name in first}
    torch.testing.assert_close(load_file(tmp_path / "model.safetensors"), mixed, rtol=1e-5, atol=1e-6)


def test_the_average_at_the_best_validation_is_what_is_exported(manifest, tiny_recipe, tmp_path: Path):
    recipe = tiny_recipe(steps=6, validate_every=1, averaging=0.9, lr=0.5, seed=1)
    trainer.train(recipe, [manifest], tmp_path)
    curve = pd.read_csv(tmp_path / "curve.csv")
    best = int(curve["step"][curve["auc"].argmax()])
    assert best < 6, "the seed has to be one where a later validation is not better"
    assert stored(tmp_path)["state"]["best_step"] == best
    _, average = by_hand(recipe, manifest, best)
    exported = load_file(tmp_path / "model.safetensors")
    torch.testing.assert_close(exported, average, rtol=1e-5, atol=1e-6)
    assert not same(exported, stored(tmp_path)["average"])
    assert f"step {best}" in (tmp_path / "card.json").read_text()
    detector = load_detector(str(tmp_path))
    assert detector.card.validation["auc"] == pytest.approx(curve["auc"].max(), abs=1e-4)


def test_dropout_and_batches_are_the_same_however_often_it_is_stopped(manifest, tiny_recipe, tmp_path: Path):
    recipe = tiny_recipe(options={"dropout": 0.5}, accumulate=2, validate_every=1, steps=3, anchor=0.1)
    whole = trainer.train(recipe, [manifest], tmp_path / "whole")

    def stop() -> None:
        raise KeyboardInterrupt

    for step in (2, 3):  # in step 2 after the checkpoint of step 1, and so on
        told = Told(step, stop)
        with pytest.raises(KeyboardInterrupt):
            trainer.train(recipe, [manifest], tmp_path / "stopped", progress=told, workers=step)
        assert told.stopped
        assert stored(tmp_path / "stopped")["state"]["step"] == step - 1
    stopped = trainer.train(recipe, [manifest], tmp_path / "stopped")
    assert same(weights(stopped), weights(whole))
    for name in ("model.safetensors", "card.json", "curve.csv", "config.json", "README.md"):
        assert (stopped / name).read_bytes() == (whole / name).read_bytes(), name
    other = trainer.train(recipe.model_copy(update={"options": {}}), [manifest], tmp_path / "other")
    assert not same(weights(other), weights(whole))


def test_a_network_with_batch_normalisation_goes_on_bit_for_bit_too(manifest, tiny_recipe, tmp_path, monkeypatch):
    recipe = tiny_recipe(detector="bailu", precision="bf16", lr=3e-3, steps=4, validate_every=2)
    trainer.train(recipe, [manifest], tmp_path / "whole")
    save = Checkpoint.save

    def stop_after_first(*arguments: object) -> None:
        save(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "save", stop_after_first)
        with pytest.raises(KeyboardInterrupt):
            trainer.train(recipe, [manifest], tmp_path / "stopped")
    trainer.train(recipe, [manifest], tmp_path / "stopped")
    whole, stopped = stored(tmp_path / "whole"), stored(tmp_path / "stopped")
    assert stopped["state"] == whole["state"]
    assert same(stopped["detector"], whole["detector"])
    assert same(stopped["average"], whole["average"])


def test_a_training_that_is_done_does_nothing_more(manifest, tiny_recipe, tmp_path: Path):
    trainer.train(tiny_recipe(), [manifest], tmp_path)
    before = {file.name: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    told = Told()
    trainer.train(tiny_recipe(), [manifest], tmp_path, progress=told)
    assert told.began == (8, 8)
    assert not told.notes
    assert {file.name: file.stat().st_mtime_ns for file in tmp_path.iterdir()} == before


def test_early_stopping_stops_and_stays_stopped(manifest, tiny_recipe, tmp_path: Path):
    recipe = tiny_recipe(steps=1000, validate_every=2, patience=4, lr=1e-9)  # an AUC that never changes
    told = Told()
    trainer.train(recipe, [manifest], tmp_path, progress=told)
    assert pd.read_csv(tmp_path / "curve.csv")["step"].tolist() == [2, 4, 6]
    assert len(told.notes) == 6
    assert "no better validation AUC for 4 steps: stopped early" in told.said
    before = (tmp_path / "checkpoint.pt").read_bytes()
    again = Told()
    trainer.train(recipe, [manifest], tmp_path, progress=again)
    assert again.began == (6, 6)
    assert not again.notes
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


def test_epochs_count_images(manifest, tiny_recipe, tmp_path: Path):
    told = Told()
    trainer.train(tiny_recipe(steps=None, epochs=1.5, accumulate=2), [manifest], tmp_path, progress=told)
    assert told.began == (0, 3)  # 16 images, 8 a step
    assert len(told.notes) == 3


def test_it_tells_every_step_and_every_validation(manifest, tiny_recipe, tmp_path: Path):
    told = Told()
    trainer.train(tiny_recipe(accumulate=2, validate_every=4), [manifest], tmp_path, progress=told)
    assert len(told.notes) == 8
    curve = pd.read_csv(tmp_path / "curve.csv")
    for step, loss in zip(curve["step"], curve["loss"], strict=True):
        assert told.notes[step - 1].startswith(f"loss {loss:.3f}")
    assert "AUC" not in told.notes[3]
    assert f"AUC {curve['auc'][0]:.3f}" in told.notes[4]
    assert [line.partition(":")[0] for line in told.said[-2:]] == ["step 4 of 8", "step 8 of 8"]
    assert any("16 training images of 2 generators" in line for line in told.said)
    assert told.stopped


def test_the_running_loss_begins_at_chance_and_follows_the_batches(manifest, tiny_recipe, tmp_path: Path):
    recipe = tiny_recipe(steps=1, lr=1e-9)
    trainer.train(recipe, [manifest], tmp_path)
    torch.manual_seed(recipe.seed)
    detector = trainer.make_detector(recipe, "cpu")
    images, labels = Batches(SampleSource([manifest]), recipe, detector, 0, 1).draw(1, 0)
    expected = 0.98 * math.log(2) + 0.02 * detector.loss(images, labels).item()
    assert pd.read_csv(tmp_path / "curve.csv")["loss"].tolist() == [pytest.approx(expected)]


def test_the_result_is_a_folder_that_loads_and_says_how_it_was_made(manifest, tiny_recipe, tmp_path: Path):
    recipe = tiny_recipe(exclude=["gen-b"], options={"dropout": 0.25})
    trainer.train(recipe, [manifest], tmp_path)
    detector = load_detector(str(tmp_path))
    assert detector.card.trained_on == ("gen-a",)
    assert manifest.fingerprint in detector.card.training_data
    assert 0 <= detector.card.validation["threshold"] <= 1
    assert Recipe.model_validate_json(detector.card.recipe) == recipe  # enough to do it again
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["detector"], config["options"]["dropout"]) == ("tiny", 0.25)
    assert same(load_file(tmp_path / "model.safetensors"), detector.state_dict())
    assert "gen-a" in (tmp_path / "README.md").read_text()


def test_another_recipe_does_not_go_on_from_a_checkpoint(manifest, tiny_recipe, tmp_path: Path):
    trainer.train(tiny_recipe(steps=4), [manifest], tmp_path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(MaibenchError, match="another recipe"):
        trainer.train(tiny_recipe(steps=4, lr=1e-4), [manifest], tmp_path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_what_an_earlier_training_left_is_not_mixed_with_a_new_one(manifest, tiny_recipe, tmp_path: Path):
    trainer.train(tiny_recipe(validate_every=1, steps=3), [manifest], tmp_path)
    (tmp_path / "checkpoint.pt").unlink()  # what the error about another recipe says to do
    (tmp_path / ".part-1-checkpoint.pt").write_bytes(b"of a process that was killed")
    renamed = Manifest(manifest.rows, manifest.root, "renamed")
    trainer.train(tiny_recipe(lr=0.2, validate_every=4), [renamed], tmp_path)
    curve = pd.read_csv(tmp_path / "curve.csv")
    assert curve["step"].tolist() == [4, 8]
    assert set(curve) == {"step", "loss", "auc", "renamed_auc", "renamed_accuracy", "threshold"}
    assert not list(tmp_path.glob(".part-*"))


def test_a_loss_that_is_not_a_number_stops_and_keeps_the_last_checkpoint(manifest, tiny_recipe, tmp_path: Path):
    for what, at, reason in (
        ("loss", 6, "the loss is nan at step 6"),
        ("gradient", 6, "the loss is nan at step 7"),  # the weights are lost in step 6
        ("gradient", 8, "the weights '.*' are not finite after step 8"),  # where a checkpoint would be written
    ):
        out = tmp_path / f"{what}{at}"
        recipe = tiny_recipe(detector="tiny_breaking", options={"what": what, "at": at}, steps=12, validate_every=4)
        before = {}

        def remember(out: Path = out, before: dict = before) -> None:
            before.update({name: (out / name).read_bytes() for name in ("checkpoint.pt", "model.safetensors")})

        with pytest.raises(MaibenchError, match=f"{reason}; the last checkpoint in {out} is kept: lower lr"):
            trainer.train(recipe, [manifest], out, progress=Told(5, remember))
        assert before
        assert all((out / name).read_bytes() == content for name, content in before.items())
        assert stored(out)["state"]["step"] == 4
        assert torch.isfinite(load_detector(str(out)).linear.weight).all()


def test_an_image_that_vanishes_stops_and_once_it_is_back_the_same_weights_come_out(
    data_set, tiny_recipe, tmp_path: Path, monkeypatch
):
    monkeypatch.setattr(trainer, "MEMORY", 0)  # read whenever drawn
    manifest = read_manifest(data_set(tmp_path / "data", splits=("train", "validation")))
    recipe = tiny_recipe(steps=24)
    whole = trainer.train(recipe, [manifest], tmp_path / "whole")
    victim = tmp_path / "data/train/real/002.png"
    content = victim.read_bytes()
    told = Told(10, victim.unlink)
    with pytest.raises(MaibenchError, match=rf"{victim}: .*\(the last checkpoint in .* is kept\)"):
        trainer.train(recipe, [manifest], tmp_path / "out", progress=told)
    assert stored(tmp_path / "out")["state"]["step"] == len(told.notes) // 8 * 8 >= 8
    assert told.stopped
    victim.write_bytes(content)
    out = trainer.train(recipe, [manifest], tmp_path / "out")
    assert same(weights(out), weights(whole))
    assert (out / "curve.csv").read_bytes() == (whole / "curve.csv").read_bytes()


def test_trainings_of_two_precisions_in_one_process_do_not_touch_each_other(manifest, tiny_recipe, tmp_path: Path):
    found = {}
    for name in ("float32", "bf16", "float32 again", "bf16 again"):
        recipe = tiny_recipe(precision=name.split()[0])
        found[name] = weights(trainer.train(recipe, [manifest], tmp_path / name))
    assert same(found["float32"], found["float32 again"])
    assert same(found["bf16"], found["bf16 again"])
    assert not same(found["float32"], found["bf16"])
    torch.testing.assert_close(found["float32"], found["bf16"], rtol=0, atol=0.1)
    assert all(tensor.dtype == torch.float32 for tensor in found["bf16"].values())


def test_batches_of_several_sizes_train_a_network_that_takes_them(data_set, tiny_recipe, texture, tmp_path: Path):
    """bailu's batch is then a list of images, and its batch normalisation is made anew for the average."""
    manifests = [
        read_manifest(data_set(tmp_path / name, 3, 3, splits=("train", "validation"), size=size))
        for name, size in (("tall", (70, 90)), ("wide", (110, 80)))
    ]
    recipe = tiny_recipe(detector="bailu", crop=[64, 100], steps=2, batch_size=6)
    out = trainer.train(recipe, manifests, tmp_path / "out")
    detector = load_detector(str(out))
    for name, tensor in detector.state_dict().items():
        assert torch.isfinite(tensor).all(), name
    assert detector.down.norm.num_batches_tracked > 16 - 1  # every image of 16 batches, group by group, not the first
    pixels = np.stack([texture((96, 80), seed) for seed in range(4)])
    assert torch.isfinite(detector(detector.collate([detector.preprocess(image) for image in pixels]))).all()


def test_tensorboard_has_a_point_for_every_validation(manifest, tiny_recipe, tmp_path: Path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    plain = trainer.train(tiny_recipe(), [manifest], tmp_path / "plain")
    assert not list(plain.rglob("events.*"))
    out = trainer.train(tiny_recipe(tensorboard=True, validate_every=4), [manifest], tmp_path / "out")
    (file,) = (file for file in out.rglob("events.*") if file.parent.name == "tensorboard")
    events = EventAccumulator(str(file)).Reload()
    curve = pd.read_csv(out / "curve.csv")
    for name in ("loss", "auc"):
        points = events.Scalars(name)
        assert [point.step for point in points] == [4, 8]
        assert [point.value for point in points] == pytest.approx(curve[name].tolist())
    assert same(weights(out), weights(plain))


@pytest.mark.filterwarnings("ignore:.*no supported trackers")
def test_tensorboard_that_is_not_installed_is_told(manifest, tiny_recipe, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(accelerate.tracking, "_available_trackers", [])
    with pytest.raises(MaibenchError, match="pip install tensorboard"):
        trainer.train(tiny_recipe(tensorboard=True), [manifest], tmp_path)


def test_data_without_a_validation_split_is_refused(data_set, tiny_recipe, tmp_path: Path):
    manifest = read_manifest(data_set(splits=("train",)))
    with pytest.raises(MaibenchError, match="validation split"):
        trainer.train(tiny_recipe(), [manifest], tmp_path)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"detector": "tinny"}, "unknown detector 'tinny': did you mean 'tiny'"),
        ({"options": {"colour": 1}}, "tiny has no option 'colour'; its options: dropout"),
        ({"detector": "metadata"}, "metadata is fitted by the comparison itself"),
        ({"start": "none.safetensors"}, "none.safetensors: no weights file there"),
        ({"checkpointing": True}, "tiny cannot recompute its activations; leave 'checkpointing' out"),
        ({"lora": {}}, "tiny takes no LoRA adapter"),
        ({"hold_out": ["gen-z"]}, "hold_out: no training image .* called 'gen-z'"),
        ({"exclude": ["gen-a", "gen-b"]}, "real images and at least one generator"),
        ({"crop": 97}, "real images and at least one generator"),
    ],
)
def test_a_recipe_that_cannot_be_trained_is_refused(manifest, tiny_recipe, tmp_path: Path, changes: dict, reason: str):
    with pytest.raises(MaibenchError, match=reason):
        trainer.train(tiny_recipe(**changes), [manifest], tmp_path)
    assert not list(tmp_path.iterdir())


def test_devices_that_are_not_there_are_refused(manifest, tiny_recipe, tmp_path: Path, monkeypatch):
    with pytest.raises(MaibenchError, match="unknown device 'gpu': use auto, cpu or cuda"):
        trainer.train(tiny_recipe(), [manifest], tmp_path, device="gpu")
    if not torch.cuda.is_available():
        with pytest.raises(MaibenchError, match="no CUDA device"):
            trainer.train(tiny_recipe(), [manifest], tmp_path, device="cuda")
        monkeypatch.setenv("WORLD_SIZE", "2")  # without what else torchrun sets
        with pytest.raises(MaibenchError, match=r"training cannot begin: .*MASTER_ADDR|each would train for itself"):
            trainer.train(tiny_recipe(), [manifest], tmp_path)


def test_spreading_weights_without_gpus_is_refused(manifest, tiny_recipe, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")  # as accelerate launch with fsdp.yaml sets it
    with pytest.raises(MaibenchError, match="FSDP needs several processes with a GPU each"):
        trainer.train(tiny_recipe(), [manifest], tmp_path, device="cpu")


def test_without_a_count_of_its_own_cores_it_trains_too(manifest, tiny_recipe, tmp_path: Path, monkeypatch):
    monkeypatch.delattr("os.sched_getaffinity", raising=False)  # macOS and Windows have none
    trainer.train(tiny_recipe(steps=1), [manifest], tmp_path)


def test_a_second_stage_starts_from_the_weights_of_the_first(manifest, tiny_recipe, tmp_path: Path):
    first = trainer.train(tiny_recipe(steps=4), [manifest], tmp_path / "first")
    start = first / "model.safetensors"
    second = tiny_recipe(steps=1, lr=1e-12, averaging=0.0, start=str(start))
    trainer.train(second, [manifest], tmp_path / "second")
    again = load_file(tmp_path / "second" / "model.safetensors")
    torch.testing.assert_close(again, load_file(start), atol=1e-6, rtol=0)
    with pytest.raises(MaibenchError, match="not the weights of Bailu"):
        trainer.train(tiny_recipe(detector="bailu", start=str(start)), [manifest], tmp_path / "third")


def test_however_full_the_disk_is_the_same_call_ends_in_the_same_weights(
    manifest, tiny_recipe, tmp_path: Path, small_disk
):
    recipe = tiny_recipe(steps=2, validate_every=1)
    whole = trainer.train(recipe, [manifest], tmp_path / "whole")
    for room in range(0, 200_000, 12_000):
        out = small_disk(room) / "out"
        try:
            trainer.train(recipe, [manifest], out)
        except DiskError as error:
            assert "the disk is full" in str(error)
            assert not list(out.glob("*part*"))
        else:
            break
    assert room > 24_000
    assert same(weights(out), weights(whole))
    assert same(load_detector(str(out)).state_dict(), load_detector(str(whole)).state_dict())
    assert (out / "curve.csv").read_bytes() == (whole / "curve.csv").read_bytes()
