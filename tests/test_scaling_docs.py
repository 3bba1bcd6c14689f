"""The cluster's files can be read by what they are for, and the commands that docs/scaling.md shows exist."""

from __future__ import annotations

import itertools
import json
import os
import re
import secrets
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml
from typer.main import get_command

from maibench.cli import app
from maibench.config import RunConfig
from tests.ray_cluster import MARK, kill, processes

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


@pytest.mark.slow
def test_the_script_of_slurm_scores_with_stand_ins_for_slurm(data_set, tmp_path: Path):
    pytest.importorskip("ray.data")
    stand_ins = {
        "srun": 'while [[ $1 == --* ]]; do shift; done\nSLURM_PROCID=0 exec "$@"',
        "scontrol": '[[ "$*" == "show hostnames $SLURM_JOB_NODELIST" ]] && echo here',
    }
    for name, script in stand_ins.items():
        (tmp_path / name).write_text(f"#!/usr/bin/env bash\n{script}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "compare.py").symlink_to(ROOT / "compare.py")
    mark = f"slurm-{secrets.token_hex(8)}"
    job = {"SLURM_JOB_ID": str(os.getpid()), "SLURM_JOB_NODELIST": "here", "SLURM_CPUS_ON_NODE": "1"}
    own = {"MAIBENCH_VENV": sys.prefix, "SLURM_SUBMIT_DIR": str(tmp_path), MARK: mark}
    quick = [word for name in ("figures", "audit") for word in ("--set", f"{name}=false")]
    asked = ["--models", "mai_cnn", "--data", str(data_set()), "--out", str(tmp_path / "out"), *quick]
    try:
        done = subprocess.run(
            [CLUSTER / "slurm.sh", *asked, "--set", "gallery=0"],
            env=os.environ | job | own | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=250,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        assert "1 of 1 nodes" in done.stdout
        assert pd.read_csv(tmp_path / "out" / "metrics.csv")["n"].tolist() == [8]
        deadline = time.monotonic() + 30  # its cluster ends with the job
        while processes(mark) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not processes(mark)
    finally:
        kill(mark)
        for folder in Path("/tmp").glob(f"ray-{os.getpid()}-*"):
            shutil.rmtree(folder)
