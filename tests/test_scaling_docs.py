"""The cluster's files can be read by what they are for, and the commands that docs/scaling.md shows exist."""

from __future__ import annotations

import itertools
import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from maibench.cli import app
from maibench.config import RunConfig

ROOT = Path(__file__).parents[1]
CLUSTER = ROOT / "configs" / "cluster"
DOCS = (ROOT / "docs" / "scaling.md").read_text()


def commands(text: str) -> list[list[str]]:
    """Every `python compare.py`, `maibench` and Slurm line of a text, in words; of `compare`, as its name."""
    found = []
    for line in re.findall(r"(?:^    |`)((?:python compare\.py|maibench|sbatch) [^`\n]*)", text, re.MULTILINE):
        words = shlex.split(line, comments=True)
        start = next((at for at, word in enumerate(words) if word.endswith(("compare.py", "slurm.sh"))), None)
        found.append(words[1:] if start is None else ["compare", *words[start + 1 :]])
    return found


@pytest.mark.parametrize("words", commands(DOCS), ids=" ".join)
def test_a_command_of_the_docs_exists(words: list[str]):
    command = get_command(app)
    while words and words[0] in getattr(command, "commands", {}):
        command, words = command.commands[words[0]], words[1:]
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    assert {word for word in words if word.startswith("--")} <= known
    for flag, value in itertools.pairwise(words):
        if flag == "--set" and "." not in value.partition("=")[0]:
            assert value.partition("=")[0] in RunConfig.model_fields


def test_there_are_commands():
    assert len(commands(DOCS)) >= 10
    assert all(path.exists() for path in map((ROOT / "docs").joinpath, re.findall(r"\]\((\.\.[^)]+)\)", DOCS)))


def test_the_cluster_of_ray_up_is_what_ray_takes():
    ray = pytest.importorskip("ray")
    jsonschema = pytest.importorskip("jsonschema")
    cluster = yaml.safe_load((CLUSTER / "ray.yaml").read_text())
    jsonschema.validate(cluster, json.loads((Path(ray.__file__).parent / "autoscaler/ray-schema.json").read_text()))
    types = cluster["available_node_types"]
    assert cluster["head_node_type"] in types
    assert types["cpu"]["min_workers"] > 0  # a run has to have something to begin with


def test_all_name_the_version_of_ray_that_is_installed_with_them():
    ray = pytest.importorskip("ray")
    for name in ("ray.yaml", "kuberay.yaml", "Dockerfile"):
        named = re.findall(r"(?:rayproject/ray:|rayVersion: \"|RAY=)(\d+\.\d+\.\d+)", (CLUSTER / name).read_text())
        assert set(named) == {ray.__version__}, name


def test_the_job_of_kubernetes_is_well_formed():
    (job,) = yaml.safe_load_all((CLUSTER / "kuberay.yaml").read_text())
    assert job["kind"] == "RayJob"
    words = ["compare", *shlex.split(job["spec"]["entrypoint"])[2:]]
    test_a_command_of_the_docs_exists(words)


def test_the_script_of_slurm_is_bash():
    subprocess.run(["bash", "-n", CLUSTER / "slurm.sh"], check=True)
