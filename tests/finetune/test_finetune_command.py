"""`maibench finetune`: exit codes, one clear line for a wrong request, and killed processes that go on bit for bit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch.nn import functional as F
from torch.nn.utils import clip_grad_norm_
from typer.testing import CliRunner

from maibench.cli import app
from maibench.datasets.readers import read_manifest
from maibench.finetune import trainer
from maibench.finetune.batches import Batches
from maibench.finetune.recipe import read_recipe
from maibench.finetune.samples import SampleSource
from maibench.finetune.schedule import warm_cosine
from maibench.models.loading import load_detector
from tests.finetune.launching import Launched, launch

RECIPE = {
    "detector": "tiny", "lr": 0.05, "epochs": 2, "warmup": 1, "crop": 64, "batch_size": 4, "averaging": 0.0,
    "validate_every": 4, "precision": "float32",
}  # fmt: skip
DDP = Path(__file__).parents[2] / "configs" / "accelerate" / "ddp.yaml"
LAUNCHERS = (
    ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"),
    ("-m", "accelerate.commands.launch", "--config_file", str(DDP)),
)


@pytest.fixture(scope="module")
def data(data_set) -> Path:
    return data_set(n_real=6, n_synthetic=6, splits=("train", "validation"))


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """write(**changes) -> the file of a recipe."""

    def make(**changes: object) -> Path:
        values = {key: value for key, value in {**RECIPE, **changes}.items() if value is not None}
        (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(values))
        return tmp_path / "recipe.yaml"

    return make


@pytest.fixture
def finetune(tiny, data, tmp_path: Path):
    """finetune(recipe, *arguments, data=..., out="out") -> what the command printed and its exit code."""

    def run(recipe: Path, *arguments: object, data: Path = data, out: str = "out"):
        command = ["finetune", recipe, "--data", data, "--out", tmp_path / out, "--device", "cpu", *arguments]
        done = CliRunner().invoke(app, list(map(str, command)))
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done

    return run


@pytest.fixture
def begin(tiny, data, tmp_path: Path):
    """begin(recipe, out, launcher=()) -> the running process of the same command, with one thread."""

    def start(recipe: Path, out: Path, *launcher: str) -> subprocess.Popen:
        command = [sys.executable, *launcher, "-m", "maibench", "finetune", recipe, "--data", data, "--out", out]
        environment = os.environ | tiny | {"OMP_NUM_THREADS": "1"}
        environment = {name: value for name, value in environment.items() if not name.startswith("PYTEST_XDIST")}
        return subprocess.Popen(
            [*map(str, command), "--device", "cpu"], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=environment, cwd=tmp_path,
        )  # fmt: skip

    return start


def wait_for_another(file: Path, launched: Launched) -> None:
    """Until a file is written (again), or the process has ended."""
    before = file.stat().st_mtime_ns if file.exists() else 0
    deadline = time.monotonic() + 240
    while launched.processes[0].is_alive() and time.monotonic() < deadline:
        if file.exists() and file.stat().st_mtime_ns != before:
            return
        time.sleep(0.002)
    raise AssertionError(f"{file} was not written: {launched.wait(5)}")


def refused(done, reason: str) -> None:
    """Exit code 2, and one line that says why."""
    assert done.exit_code == 2
    told = ("reading the training images", "12 training images")
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith(told)]
    assert line.startswith("maibench: ")
    assert reason in line
    assert done.stdout == ""


@pytest.mark.slow
def test_killed_and_interrupted_it_ends_in_the_same_folder_bit_for_bit(tiny, data, write, tmp_path: Path):
    changes = {"lr": 3e-3, "steps": 8, "validate_every": 2, "batch_size": 2, "averaging": 0.9, "precision": "bf16"}
    recipe = write(detector="bailu", epochs=None, **changes)
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"

    def train(out: Path) -> Launched:
        return launch(tmp_path, ["finetune", recipe, "--data", data, "--out", out, "--device", "cpu"], count=1)

    (code,), (said,) = train(whole).wait()
    assert code == 0, said

    launched = train(stopped)
    wait_for_another(stopped / "checkpoint.pt", launched)
    launched.processes[0].kill()
    assert launched.wait()[0] == [-signal.SIGKILL]

    launched = train(stopped)
    wait_for_another(stopped / "checkpoint.pt", launched)
    os.kill(launched.processes[0].pid, signal.SIGINT)
    (code,), (said,) = launched.wait()
    assert code == 130
    assert "Traceback" not in said
    assert said.splitlines()[-1] == (
        "maibench: interrupted; the last checkpoint is kept, the same command goes on from there"
    )
    assert torch.load(stopped / "checkpoint.pt", weights_only=True)["state"]["step"] in (4, 6)

    (code,), (said,) = train(stopped).wait()
    assert code == 0, said
    assert {file.name for file in stopped.iterdir()} == {file.name for file in whole.iterdir()}
    for file in whole.iterdir():
        if file.suffix != ".pt":
            assert (stopped / file.name).read_bytes() == file.read_bytes(), file.name
    one, other = (torch.load(folder / "checkpoint.pt", weights_only=True) for folder in (whole, stopped))
    assert one["state"] == other["state"]
    assert all(torch.equal(tensor, other["detector"][name]) for name, tensor in one["detector"].items())


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("launcher", LAUNCHERS, ids=["torchrun", "accelerate"])
def test_two_processes_train_one_network_on_shares_of_a_batch(begin, write, data: Path, tmp_path: Path, launcher):
    """The mean of both gradients makes each step, as plain torch does it with the batches of both in one."""
    file = write(epochs=None, steps=6, accumulate=2, validate_every=3)
    process = begin(file, tmp_path / "out", *launcher)
    _, stderr = process.communicate(timeout=280)
    assert process.returncode == 0, stderr
    assert pd.read_csv(tmp_path / "out" / "curve.csv")["step"].tolist() == [3, 6]
    assert stderr.count("step 3 of 6") == 1

    recipe, source = read_recipe(file), SampleSource([read_manifest(data)], smallest=64)
    torch.manual_seed(recipe.seed)
    detector = trainer.make_detector(recipe, "cpu").train()
    optimiser = trainer.make_optimiser(recipe, detector)
    for step in range(1, 7):
        drawn = [
            Batches(source, recipe, detector, process, 1, 2).draw(step, part) for process in (0, 1) for part in (0, 1)
        ]
        images, labels = (torch.cat(parts) for parts in zip(*drawn, strict=True))
        optimiser.param_groups[0]["lr"] = recipe.lr * warm_cosine(step, 6, 1)
        optimiser.zero_grad()
        F.binary_cross_entropy_with_logits(detector(images), labels).backward()
        clip_grad_norm_(detector.parameters(), recipe.clip)
        optimiser.step()
    trained = torch.load(tmp_path / "out" / "checkpoint.pt", weights_only=True)["detector"]
    torch.testing.assert_close(trained, detector.state_dict(), rtol=1e-5, atol=1e-6)
    assert load_detector(str(tmp_path / "out")).card.trained_on == ("gen-a", "gen-b")


def test_done_it_says_how_to_compare_and_again_it_has_nothing_to_do(finetune, write, tmp_path: Path):
    first = finetune(write())
    assert first.exit_code == 0, first.stderr
    assert first.stderr.splitlines()[-1] == f"done; compare it with --models {tmp_path / 'out'}"
    assert "12 training images of 2 generators" in first.stderr
    before = (tmp_path / "out" / "checkpoint.pt").stat().st_mtime_ns
    assert finetune(write()).exit_code == 0
    assert (tmp_path / "out" / "checkpoint.pt").stat().st_mtime_ns == before


def test_settings_win_over_the_file(finetune, write, tmp_path: Path):
    done = finetune(write(), "--set", "steps=3", "--set", "augmentation.jpeg=0", "--set", "options.dropout=0.5")
    assert done.exit_code == 0, done.stderr
    assert pd.read_csv(tmp_path / "out" / "curve.csv")["step"].tolist() == [3]
    card = load_detector(str(tmp_path / "out")).card
    assert '"steps":3' in card.recipe
    assert '"dropout":0.5' in card.recipe


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (["stepz=3"], "unknown key 'stepz'; did you mean 'steps'?"),
        (["augmentation.jepg=1"], "unknown key 'augmentation.jepg'; did you mean 'jpeg'?"),
        (["detector.name=x"], "unknown key 'detector.name'"),
        (["lr"], "write key=value"),
        (["lr=fast"], "lr: Input should be a valid number"),
        (["detector=tinny"], "unknown detector 'tinny': did you mean 'tiny'"),
        (["detector=metadata"], "metadata is fitted by the comparison itself"),
        (["options.colour=red"], "tiny has no option 'colour'"),
        (["exclude=[gen-a, gen-b]"], "real images and at least one generator"),
        (["hold_out=[gen-z]"], "hold_out: no training image is of a generator or a collection called 'gen-z'"),
        (["lora={}"], "tiny takes no LoRA adapter"),
    ],
)
def test_a_wrong_recipe_is_refused_in_one_line(finetune, write, tmp_path: Path, settings: list[str], reason: str):
    refused(finetune(write(), *(word for setting in settings for word in ("--set", setting))), reason)
    assert not list((tmp_path / "out").glob("*"))


def test_wrong_places_are_refused_in_one_line(finetune, write, tmp_path: Path):
    refused(finetune(tmp_path / "none.yaml"), "none.yaml: No such file")
    refused(finetune(write(), data=tmp_path / "nowhere"), "no data at")
    (tmp_path / "file").touch()
    refused(finetune(write(), out="file"), "file: cannot be written")
    refused(finetune(write(), "--device", "gpu"), "unknown device 'gpu'")


def test_data_that_nothing_can_be_learnt_from_is_refused_in_one_line(finetune, write, data_set, data: Path):
    for changes, reason in (
        ({"splits": ("train",)}, "none of the data has a validation split with both classes"),
        ({"splits": ("train", "validation"), "n_real": 0}, "needs real images and at least one generator"),
        ({"splits": ("train", "validation"), "n_synthetic": 0}, "needs real images and at least one generator"),
        ({"splits": ("test",)}, "needs real images and at least one generator"),
    ):
        done = finetune(write(), data=data_set(**changes))
        assert done.exit_code == 2
        assert reason in done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr
    twice = finetune(write(), "--data", data)
    assert twice.exit_code == 2
    assert f"called '{data.parent.name}'; rename the folder" in twice.stderr.splitlines()[-1]


def test_a_checkpoint_of_another_recipe_or_of_nothing_at_all_is_refused(finetune, write, tmp_path: Path):
    assert finetune(write()).exit_code == 0
    before = load_file(tmp_path / "out" / "model.safetensors")
    refused(finetune(write(), "--set", "lr=0.1"), "a checkpoint of another recipe; choose another --out, or remove it")
    (tmp_path / "out" / "checkpoint.pt").write_bytes(b"hello")
    refused(finetune(write()), "checkpoint.pt: not a checkpoint")
    after = load_file(tmp_path / "out" / "model.safetensors")
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


def test_a_loss_that_is_not_a_number_is_told_in_one_line(finetune, write, tmp_path: Path):
    recipe = write(detector="tiny_breaking", options={"at": 6}, epochs=None, steps=8)
    done = finetune(recipe)
    assert done.exit_code == 2
    assert done.stderr.splitlines()[-1].startswith("maibench: the loss is nan at step 6; the last checkpoint in ")
    assert torch.isfinite(load_detector(str(tmp_path / "out")).linear.weight).all()
