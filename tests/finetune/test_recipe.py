"""Recipes: the shipped ones are valid, a wrong key is named, and a change touches nothing else."""

from __future__ import annotations

import copy
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maibench.config import make_config
from maibench.errors import MaibenchError
from maibench.finetune.recipe import Recipe, make_recipe, read_recipe
from maibench.models.registry import detector_class, scheme_of

CONFIGS = Path(__file__).parents[2] / "configs"
SHIPPED = sorted((CONFIGS / "finetune").glob("*.yaml"))
BUNDLED = ("_bundled_1", "_bundled_2", "_bundled_3", "_nano_lora")
UNSEEN = {"nano-flux.2", "dalle2", "deepfloyd-if", "flux.1-dev", "sd3.5"}
PLAIN = {"detector": "bailu", "lr": 1e-3, "steps": 10, "crop": 64}


def recipe(**changes: object) -> Recipe:
    return Recipe.model_validate({**PLAIN, **changes})


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_shipped_recipes_are_valid_and_say_where_they_come_from(file: Path):
    shipped = read_recipe(file)
    if shipped.detector == "timm":
        pytest.importorskip("timm")
    cls = detector_class(shipped.detector)
    # hf-vlm:OWNER/NAME: the user names the model
    assert cls.card.name if scheme_of(shipped.detector) else cls(**shipped.options).card.name
    assert file.read_text().startswith("# ")


@pytest.mark.parametrize("file", [file for file in SHIPPED if file.stem.endswith(BUNDLED)], ids=lambda file: file.stem)
def test_no_bundled_weights_were_trained_on_the_unseen_generators(file: Path):
    assert set(read_recipe(file).exclude) >= UNSEEN


def test_shipped_runs_are_valid():
    files = list(CONFIGS.glob("*.yaml"))
    assert files
    for file in files:
        make_config(file, {}, [])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("detector: bailu\nlr: 1\nsteps: 1\ncrop: 64\nepochs: 3\n", "give either steps or epochs"),
        ("detector: bailu\nlr: 1\ncrop: 64\n", "give either steps or epochs"),
        ("detector: bailu\nlr: -1\nsteps: 1\ncrop: 64\n", "lr: Input should be greater than 0"),
        ("detector: bailu\nsteps: 1\ncrop: 64\n", "lr: Field required"),
        ("just words", "key: value pairs"),
        ("- detector: bailu\n", "key: value pairs"),
        ("", "key: value pairs"),
        ("a: [", "cannot be read as YAML"),
    ],
)
def test_a_wrong_file_is_refused_by_name_and_reason(tmp_path: Path, text: str, reason: str):
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(MaibenchError, match=reason) as refusal:
        read_recipe(file)
    assert str(refusal.value).startswith(f"{file}: ")


def test_a_missing_file_a_folder_and_a_file_that_is_no_text(tmp_path: Path):
    with pytest.raises(MaibenchError, match=r"none\.yaml: No such file"):
        read_recipe(tmp_path / "none.yaml")
    with pytest.raises(MaibenchError, match="directory"):
        read_recipe(tmp_path)
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(MaibenchError, match=r"picture\.png: cannot be read as YAML"):
        read_recipe(tmp_path / "picture.png")


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("learning_rate", "unknown key 'learning_rate'; known keys: detector, options, lora"),
        ("batch-size", "unknown key 'batch-size'; did you mean 'batch_size'"),
        ("step", "unknown key 'step'; did you mean 'steps'"),
        ("augmentation.jepg", "unknown key 'augmentation.jepg'; did you mean 'jpeg'"),
        ("augmentation.mixup", "unknown key 'augmentation.mixup'; known keys: jpeg, pair_jpeg, quality"),
        ("lora.rnk", "unknown key 'lora.rnk'; did you mean 'rank'"),
        ("crop.size", "unknown key 'crop.size'; 'crop' has no keys of its own"),
        ("detector.name", "unknown key 'detector.name'; 'detector' has no keys of its own"),
    ],
)
def test_an_unknown_key_is_named_with_its_nearest(key: str, hint: str):
    with pytest.raises(MaibenchError, match=hint):
        make_recipe(PLAIN, {key: 1}, "mine.yaml")
    if key.partition(".")[0] not in PLAIN:
        group, _, last = key.rpartition(".")
        with pytest.raises(MaibenchError, match=hint):
            make_recipe({**PLAIN, **({group: {last: 1}} if group else {key: 1})}, {}, "mine.yaml")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"crop": 16}, "crop: Input should be greater than or equal to 32"),
        ({"crop": [16, 64]}, "crop.0: Input should be greater than or equal to 32"),
        ({"crop": [96, 64]}, r"crop: \[least, most\], got \[96, 64\]"),
        ({"augmentation.quality": [90, 60]}, r"augmentation.quality: \[least, most\], got \[90, 60\]"),
        ({"augmentation.quality": [0, 60]}, "augmentation.quality.0: "),
        ({"augmentation.quality": [60, 101]}, "augmentation.quality.1: "),
        ({"augmentation.scale": [1.5, 0.5]}, r"augmentation.scale: \[least, most\]"),
        ({"augmentation.jpeg": 1.1}, "augmentation.jpeg: "),
        ({"batch_size": 1}, "batch_size: "),
        ({"averaging": 1.0}, "averaging: "),
        ({"clip": 0}, "clip: "),
        ({"precision": "fp16"}, "precision: "),
        ({"optimiser": "sgd"}, "optimiser: "),
        ({"steps": 0}, "steps: "),
        ({"exclude": "dalle2"}, "exclude: "),
    ],
)
def test_a_value_out_of_bounds_is_refused_by_its_key(changes: dict, reason: str):
    with pytest.raises(MaibenchError, match=f"^mine.yaml: {reason}"):
        make_recipe(PLAIN, changes, "mine.yaml")


def test_the_length_of_the_command_line_replaces_that_of_the_file(tmp_path: Path):
    file = tmp_path / "mine.yaml"
    file.write_text("detector: bailu\nlr: 1.0e-3\ncrop: 64\nepochs: 20\n")
    assert (read_recipe(file).steps, read_recipe(file).epochs) == (None, 20)
    shorter = read_recipe(file, ["steps=3", "augmentation.jpeg=0"])
    assert (shorter.steps, shorter.epochs, shorter.augmentation.jpeg) == (3, None, 0)
    file.write_text("detector: bailu\nlr: 1.0e-3\ncrop: 64\nsteps: 500\n")
    assert (read_recipe(file, ["epochs=0.5"]).steps, read_recipe(file, ["epochs=0.5"]).epochs) == (None, 0.5)
    with pytest.raises(MaibenchError, match="either steps or epochs"):
        read_recipe(file, ["steps=3", "epochs=1"])


def test_changes_leave_the_values_of_the_file_as_they_are():
    values = {**PLAIN, "augmentation": {"jpeg": 0.5, "flip": False}, "options": {"tiles": 1}}
    before = copy.deepcopy(values)
    changed = make_recipe(values, {"augmentation.jpeg": 0, "options.input": "rgb", "lora.rank": 4}, "mine.yaml")
    assert values == before
    assert changed.augmentation.jpeg == 0
    assert changed.augmentation.flip is False  # what stands beside a changed value stays
    assert changed.options == {"tiles": 1, "input": "rgb"}
    assert changed.lora is not None
    assert (changed.lora.rank, changed.lora.alpha) == (4, 32)
    assert make_recipe(values, {}, "mine.yaml").augmentation.jpeg == 0.5


@given(
    halves=st.integers(1, 80),
    images=st.integers(0, 5000),
    batch=st.integers(2, 300),
    parts=st.integers(1, 8),
    processes=st.integers(1, 8),
)
def test_epochs_are_the_fewest_steps_that_see_so_many_images(halves, images, batch, parts, processes):
    settings = recipe(steps=None, epochs=halves / 2, batch_size=batch, accumulate=parts)
    steps = settings.count_steps(images, processes)
    wanted, each = Fraction(halves, 2) * images, batch * parts * processes
    assert steps >= 1
    assert steps * each >= wanted
    assert steps == 1 or (steps - 1) * each < wanted


def test_steps_are_steps_whatever_the_data():
    assert recipe(steps=7).count_steps(10**6, 8) == 7


def test_a_warm_up_is_counted_in_steps_or_as_their_share():
    assert recipe(warmup=50).warmup_steps(1000) == 50
    assert recipe(warmup=0.1).warmup_steps(1000) == 100
    assert recipe(warmup=0).warmup_steps(1000) == 0


def test_the_smallest_image_that_is_trained_on_is_the_least_crop_unless_it_is_padded():
    assert recipe(crop=64).smallest_image == 64
    assert recipe(crop=[40, 96]).smallest_image == 40
    assert recipe(crop=200, pad=True).smallest_image == 1
