"""Several processes train as one with as many times the batch, and end together when one of them is lost."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from safetensors.torch import load_file
from torch.nn import functional as F
from torch.nn.utils import clip_grad_norm_

from maibench.datasets.readers import read_manifest
from maibench.errors import MaibenchError
from maibench.finetune import trainer
from maibench.finetune.batches import Batches
from maibench.finetune.recipe import Recipe
from maibench.finetune.samples import SampleSource
from maibench.finetune.schedule import warm_cosine
from maibench.models.loading import load_detector
from tests.finetune.launching import Launched, launch

CONFIGS = Path(__file__).parents[2] / "configs" / "accelerate"
CLOSE = {"rtol": 1e-5, "atol": 1e-6}
"""How near two processes come to one: sums of float32 in another order, and nothing else."""

pytestmark = [pytest.mark.usefixtures("tiny"), pytest.mark.timeout(280)]


@pytest.fixture(scope="module")
def file(data_set) -> Path:
    return data_set(n_real=8, n_synthetic=8, splits=("train", "validation"))


@pytest.fixture(scope="module")
def two(file, tmp_path_factory) -> Callable[..., Launched]:
    """two(recipe, out, environment=None) -> two processes that train by this recipe."""

    def begin(recipe: Recipe, out: Path, environment: dict[str, str] | None = None) -> Launched:
        folder = tmp_path_factory.mktemp("recipe")
        (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe.model_dump(mode="json", exclude_defaults=True)))
        return launch(folder, ["finetune", folder / "recipe.yaml", "--data", file, "--out", out], 2, environment)

    return begin


@pytest.fixture(scope="module")
def drawn_recipe(tiny_recipe) -> Callable[..., Recipe]:
    """drawn_recipe(**changes): with all that a recipe can draw and do, dropout left out."""

    def make(**changes: object) -> Recipe:
        treated = {"jpeg": 0.5, "resize": 0.5, "noise": 0.5, "rotate": True}
        usual = {"accumulate": 2, "clip": 0.3, "averaging": 0.7, "weight_decay": 0.1, "steps": 6, "validate_every": 3}
        return tiny_recipe(**{"augmentation": treated, **usual, **changes})

    return make


@pytest.fixture(scope="module")
def trained(two, drawn_recipe, tmp_path_factory) -> tuple[Path, list[str]]:
    """The folder that two processes wrote, and what each of them said."""
    out = tmp_path_factory.mktemp("trained") / "out"
    codes, said = two(drawn_recipe(batch_size=4), out).wait()
    assert codes == [0, 0], said
    return out, said


def stored(out: Path) -> dict:
    return torch.load(out / "checkpoint.pt", weights_only=True)


def check_alike(one: Path, other: Path, close: dict[str, float] = CLOSE) -> None:
    """Weights, their average, the optimiser's state and the curve are those of another training."""
    mine, theirs = stored(one), stored(other)
    for part in ("detector", "average"):
        assert mine[part].keys() == theirs[part].keys()
        torch.testing.assert_close(mine[part], theirs[part], **close)
    torch.testing.assert_close(mine["optimiser"]["state"], theirs["optimiser"]["state"], **close)
    curves = [pd.read_csv(out / "curve.csv") for out in (one, other)]
    pd.testing.assert_frame_equal(*curves, rtol=1e-4)


def fsdp(name: str = "fsdp.yaml") -> dict[str, str]:
    """What `accelerate launch` hands to its processes of a configuration."""
    settings = yaml.safe_load((CONFIGS / name).read_text())["fsdp_config"]
    return {"ACCELERATE_USE_FSDP": "true"} | {
        key.upper(): value if isinstance(value, str) else str(value).lower() for key, value in settings.items()
    }


def test_two_processes_are_one_with_twice_the_batch(trained, file, drawn_recipe, tmp_path: Path):
    """Also in the number of steps that epochs are, and in the files that are written."""
    out, said = trained
    recipe = drawn_recipe(batch_size=8)
    trainer.train(recipe, [read_manifest(file)], tmp_path, device="cpu")
    check_alike(out, tmp_path)
    assert {path.name for path in out.iterdir()} == {path.name for path in tmp_path.iterdir()}
    assert load_detector(str(out)).card.trained_on == ("gen-a", "gen-b")
    assert said[0].count("step 3 of 6") == 1
    assert "step" not in said[1]
    assert drawn_recipe(steps=None, epochs=3, batch_size=4).count_steps(16, 2) == 3


def stopped_at(place: str, recipe: Recipe, out: Path, two, environment: dict[str, str]) -> None:
    """Train until a process is killed; the other one says so, and ends too."""
    codes, said = two(recipe, out, environment | {"KILLED_AT": place}).wait()
    killed = int(place.split()[0])
    assert codes[killed] == -9, said
    assert codes[1 - killed] == 2, said
    assert said[1 - killed].splitlines()[-1] == (
        "maibench: another process of this training has ended, its own message says why; the last checkpoint in "
        f"{out} is kept, the same command goes on from there"
    )
    assert "Traceback" not in said[1 - killed]


@pytest.mark.slow
def test_a_process_that_is_killed_ends_the_training_and_the_same_command_goes_on(
    two, trained, drawn_recipe, tmp_path: Path
):
    recipe = drawn_recipe(batch_size=4)
    stopped_at("0 9", recipe, tmp_path / "out", two, {})  # in step 5, two parts to a step; 3 has a checkpoint
    assert stored(tmp_path / "out")["state"]["step"] == 3
    codes, said = two(recipe, tmp_path / "out").wait()
    assert codes == [0, 0], said
    for name in ("model.safetensors", "card.json", "curve.csv"):
        assert (tmp_path / "out" / name).read_bytes() == (trained[0] / name).read_bytes(), name


@pytest.mark.slow
def test_weights_that_are_spread_over_two_processes_are_trained_as_those_of_one(
    two, file, tiny_moondream, tiny_recipe, tmp_path: Path
):
    """A LoRA adapter on a small moondream, as configs/accelerate/fsdp.yaml spreads it; stopped and gone on with."""
    recipe = tiny_recipe(
        detector="moondream", options={"adapter": "none", "weights": str(tiny_moondream)}, crop=64, lr=3e-2,
        lora={"rank": 2, "alpha": 4, "dropout": 0.0}, batch_size=2, steps=4, validate_every=2,
    )  # fmt: skip
    stopped_at("1 4", recipe, tmp_path / "spread", two, fsdp())
    assert stored(tmp_path / "spread")["state"]["step"] == 2
    codes, said = two(recipe, tmp_path / "spread", fsdp()).wait()
    assert codes == [0, 0], said
    shares = [line.split() for text in said for line in text.splitlines() if line.startswith("this process holds")]
    held, whole = [int(words[3]) for words in shares], int(shares[0][5])
    assert sum(held) == whole
    assert max(held) < 0.7 * whole

    trainer.train(recipe.model_copy(update={"batch_size": 4}), [read_manifest(file)], tmp_path / "one", device="cpu")
    close = {"rtol": 1e-4, "atol": 1e-4}  # AdamW divides small gradients by their own size
    check_alike(tmp_path / "spread", tmp_path / "one", close)
    kept, expected = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("spread", "one"))
    torch.testing.assert_close(kept, expected, **close)


def test_what_is_wrong_in_one_process_is_told_by_all(two, tiny_recipe, tmp_path: Path):
    recipe = tiny_recipe(detector="tiny_breaking", options={"at": 6, "process": 1}, validate_every=4)
    codes, said = two(recipe, tmp_path).wait()
    assert codes == [2, 2], said
    for text in said:
        assert text.splitlines()[-1].startswith("maibench: the loss is nan at step 6; the last checkpoint in ")
    assert stored(tmp_path)["state"]["step"] == 4


@pytest.mark.slow
def test_each_process_normalises_over_its_own_images(two, file, tiny_recipe, tmp_path: Path):
    """Batch normalisation in training is that of two parts of a step, as torch's data parallelism has it; dropout is
    drawn by each process for itself."""
    recipe = tiny_recipe(detector="bailu", lr=3e-3, steps=2, validate_every=2, batch_size=2)
    codes, said = two(recipe, tmp_path).wait()
    assert codes == [0, 0], said
    torch.manual_seed(recipe.seed)
    detector = trainer.make_detector(recipe, "cpu").train()
    source = SampleSource([read_manifest(file)], smallest=64)
    optimiser = trainer.make_optimiser(recipe, detector)
    for step in (1, 2):
        optimiser.param_groups[0]["lr"] = recipe.lr * warm_cosine(step, 2, 2)
        optimiser.zero_grad()
        for process in (0, 1):
            images, labels = Batches(source, recipe, detector, process, 1, 2).draw(step, 0)
            torch.manual_seed(trainer._seed(recipe.seed, step, 0, process))
            (F.binary_cross_entropy_with_logits(detector(images), labels) / 2).backward()
        clip_grad_norm_(detector.parameters(), recipe.clip)
        optimiser.step()
    found = stored(tmp_path)["detector"]
    torch.testing.assert_close(
        {name: found[name] for name, _ in detector.named_parameters()}, dict(detector.named_parameters()),
        rtol=1e-3, atol=recipe.lr / 10,  # AdamW makes a step of a gradient that is rounding alone
    )  # fmt: skip


def test_another_number_of_processes_does_not_go_on_from_a_checkpoint(trained, file, drawn_recipe):
    out, _ = trained
    before = (out / "checkpoint.pt").read_bytes()
    with pytest.raises(MaibenchError, match="a checkpoint of a training by 2 processes, not 1: launch as many again"):
        trainer.train(drawn_recipe(batch_size=4), [read_manifest(file)], out, device="cpu")
    assert (out / "checkpoint.pt").read_bytes() == before


def test_a_folder_that_not_all_machines_share_is_refused(two, trained, drawn_recipe, tmp_path: Path):
    shutil.copytree(trained[0], tmp_path / "0")  # where the second process looks, there is nothing
    codes, said = two(drawn_recipe(batch_size=4), tmp_path / "{rank}").wait()
    assert codes == [2, 2], said
    for text in said:
        assert "(process 0: 6, process 1: 0); --out has to lie in a folder that all machines share" in text


@pytest.mark.parametrize("name", ["ddp.yaml", "fsdp.yaml"])
def test_accelerate_reads_the_configurations(name: str):
    config = load_config_from_file(str(CONFIGS / name))
    assert config.distributed_type.value == ("FSDP" if name == "fsdp.yaml" else "MULTI_GPU")
    assert config.num_processes == 2
    assert not config.use_cpu
    assert config.mixed_precision == "no"


def test_the_memory_and_the_cores_of_a_machine_are_shared(monkeypatch):
    alone = trainer.cores()
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert trainer.on_this_machine() == 2
    assert trainer.cores() == max(1, alone // 2)
    assert "LOCAL_WORLD_SIZE" in os.environ
