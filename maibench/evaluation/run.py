"""run.json: what was asked, of what, with which versions, on which machine."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import maibench
from maibench.config import options_of_detectors
from maibench.errors import MaibenchError
from maibench.files import PART, write_text

FILE = "run.json"
_PACKAGES = (
    "torch",
    "torchvision",
    "transformers",
    "numpy",
    "pandas",
    "pyarrow",
    "pillow",
    "scikit-learn",
    "scipy",
    "statsmodels",
    "adversarial-robustness-toolbox",
)


def read_run(folder: Path) -> dict[str, Any]:
    """The folder's run.json, or {} where there is none. Raises MaibenchError when it is something else."""
    file = folder / FILE
    if not file.is_file():
        return {}
    try:
        run = json.loads(file.read_text())
        if not isinstance(run, dict):
            raise ValueError(f"it holds {str(run)[:20]}")
    except (OSError, ValueError) as error:
        raise MaibenchError(
            f"{file}: not what a run writes ({error}); move the folder away or choose another --out"
        ) from error
    return run


def write_run(folder: Path, run: dict[str, Any]) -> None:
    """Write run.json, whole or not at all."""
    write_text(folder / FILE, json.dumps(run, indent=2) + "\n")


def check_same_request(folder: Path, run: dict[str, Any], identity: dict[str, Any], fresh: bool) -> None:
    """Raise MaibenchError unless `folder` is new, empty, or holds the same request; `fresh` lets another replace it.

    A folder with something in it that maibench did not write is never touched.
    """
    if not run:
        if folder.is_dir() and any(not path.name.startswith(PART) for path in folder.iterdir()):
            raise MaibenchError(f"{folder}: holds files but no run of maibench; choose another folder with --out")
        return
    before = run.get("config", {})
    before = before | {"options": options_of_detectors(before.get("options", {}))}
    changed = [key for key in identity if before.get(key, identity[key]) != identity[key]]
    if changed and not fresh:
        key = changed[0]
        raise MaibenchError(
            f"{folder}: holds another run ({key} was {before.get(key)!r}, now {identity[key]!r}); "
            "choose another folder with --out, or replace it with --fresh"
        )


def machine() -> dict[str, Any]:
    """The processor, memory and accelerator in words; nothing that names the machine or its user."""
    import torch

    facts: dict[str, Any] = {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
    }
    if torch.cuda.is_available():
        facts["gpu"] = torch.cuda.get_device_name()
    return facts


def versions() -> dict[str, str]:
    """Versions of Python, of maibench and of the packages that numbers depend on."""
    found = {"python": platform.python_version(), "maibench": maibench.__version__}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def git_commit() -> str | None:
    """The commit of the checkout that maibench runs from (with "+" where it was changed), None outside a checkout."""
    here = Path(__file__).parent
    try:
        commit = _git(here, "rev-parse", "HEAD")
        return commit + ("+" if _git(here, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
