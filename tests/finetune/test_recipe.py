"""Recipes: the shipped ones are valid, a wrong key is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from maibench.config import make_config
from maibench.errors import MaibenchError
from maibench.finetune.recipe import read_recipe
from maibench.models.registry import detector_class

CONFIGS = Path(__file__).parents[2] / "configs"
UNSEEN = {"nano-flux.2", "dalle2", "deepfloyd-if", "flux.1-dev", "sd3.5"}


@pytest.mark.parametrize("file", sorted((CONFIGS / "finetune").glob("*.yaml")), ids=lambda file: file.stem)
def test_shipped_recipes_name_a_detector_and_leave_the_unseen_generators_out(file: Path):
    recipe = read_recipe(file)
    assert detector_class(recipe.detector)(**recipe.options).card.name == recipe.detector
    assert set(recipe.exclude) >= UNSEEN


def test_shipped_runs_are_valid():
    files = list(CONFIGS.glob("*.yaml"))
    assert files
    for file in files:
        make_config(file, {}, [])


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("detector: bailu\nlr: 1\nsteps: 1\ncrop: 64\nepochs: 3\n", "epochs"),
        ("detector: bailu\nlr: -1\nsteps: 1\ncrop: 64\n", "lr"),
        ("detector: bailu\nsteps: 1\ncrop: 64\n", "lr"),
        ("just words", "recipe.yaml"),
        ("a: [", "YAML"),
    ],
)
def test_a_wrong_recipe_is_refused_by_name(tmp_path: Path, text: str, named: str):
    file = tmp_path / "recipe.yaml"
    file.write_text(text)
    with pytest.raises(MaibenchError, match=named):
        read_recipe(file)
