"""Write a detector to begin with, and its test."""

from __future__ import annotations

import keyword
from importlib.resources import files
from pathlib import Path

from maibench.errors import MaibenchError
from maibench.files import make_folder, write_text

_NAME, _CLASS = "my_detector", "MyDetector"


def new_detector(name: str, folder: Path) -> tuple[Path, Path]:
    """Write NAME.py, a detector that works, and test_NAME.py, which runs the conformance check on it.

    Returns both files. Raises MaibenchError for a name that Python does not take or that a detector has already, and
    where one of the files is there; DiskError where they cannot be written.
    """
    name = name.removesuffix(".py").replace("-", "_")
    _check(name)
    wanted = {f"{_NAME}.py": folder / f"{name}.py", f"test_{_NAME}.py": folder / f"test_{name}.py"}
    for file in wanted.values():
        if file.exists():
            raise MaibenchError(f"{file}: is there already; choose another name, or another folder with --out")
    make_folder(folder)
    template = files("maibench.plugins.template")
    for source, file in wanted.items():
        text = template.joinpath(source).read_text(encoding="utf-8")
        write_text(file, text.replace(_NAME, name).replace(_CLASS, class_name(name)))
    detector, test = wanted.values()
    return detector, test


def class_name(name: str) -> str:
    """my_detector -> MyDetector."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


def _check(name: str) -> None:
    from maibench.models.registry import BUILT_IN

    if not (name.isidentifier() and name.isascii() and name[0].isalpha()) or keyword.iskeyword(name):
        raise MaibenchError(f"'{name}': a name of letters, digits and underscores is needed, as in edge_counter")
    if name in BUILT_IN:
        raise MaibenchError(f"'{name}' is a detector of maibench; choose another name")
