"""The files of a published model: a folder, or OWNER/NAME[@REVISION] of the Hub."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from maibench.errors import DetectorError, MaibenchError
from maibench.models.hub import find_folder
from maibench.models.weights import sha256

PATTERNS = ("*.safetensors", "*.json", "*.md", "*.txt", "*.model", "*.jinja", "*.tiktoken")
"""What is fetched: tensors, settings, tokenizers, chat templates; neither code nor pickles."""
ADAPTER_PATTERNS = ("adapter_config.json", "adapter_model.safetensors", "config.json", "card.json", "README.md")
INDEX = "model.safetensors.index.json"


@dataclass(frozen=True)
class HubFiles:
    """name: OWNER/NAME@COMMIT, or the folder as it was named. title: OWNER/NAME, or the folder's own name. tensors: the
    safetensors files in `folder`."""

    name: str
    title: str
    folder: Path
    tensors: tuple[Path, ...]

    @cached_property
    def sha256(self) -> str:
        """Of the tensors' file; of several files, of their sha256s in order. Read once: it may be gigabytes."""
        each = [sha256(file) for file in self.tensors]
        return each[0] if len(each) == 1 else hashlib.sha256("".join(each).encode()).hexdigest()

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What the head of README.md states (license, datasets, base_model, ...); nothing where it cannot be read."""
        import yaml
        from huggingface_hub.repocard import metadata_load

        readme = self.folder / "README.md"
        try:
            return dict(metadata_load(readme) or {}) if readme.is_file() else {}
        except (ValueError, OSError, yaml.YAMLError):  # a page for people: what it says is no part of the detector
            return {}

    @property
    def origin(self) -> str:
        """Base model and data sets, as README.md states them."""
        named = {"base model": self.facts.get("base_model"), "data sets": self.facts.get("datasets")}
        return "; ".join(f"{what} as its README states: {_listed(value)}" for what, value in named.items() if value)

    @property
    def licence(self) -> str:
        """The licence as README.md states it."""
        stated = self.facts.get("license_name") or self.facts.get("license")
        return f"{_listed(stated)} (as its README states)" if stated else "not stated"


def find_files(model: str | Path) -> HubFiles:
    """The files of a folder or of OWNER/NAME[@REVISION], fetched where they are not cached: naming it is the consent.

    Raises MaibenchError where there is no such place, DetectorError for one without config.json or safetensors.
    """
    name, commit, folder = _find(model, PATTERNS)
    if not (folder / "config.json").is_file():
        if (folder / "adapter_config.json").is_file():
            raise DetectorError(
                f"{model}: an adapter, not a model: name the base that it was made for, and this as its option adapter"
            )
        raise DetectorError(f"{model}: has no config.json, so it is not a model of transformers")
    whole, title = (f"{name}@{commit}", name) if commit else (name, folder.resolve().name)
    return HubFiles(whole, title, folder, _tensors(folder, str(model)))


def find_adapter(place: str | Path) -> Path:
    """A folder with a PEFT adapter, or OWNER/NAME[@REVISION] of one. Raises MaibenchError for anything else."""
    folder = _find(place, ADAPTER_PATTERNS)[2]
    for name in ADAPTER_PATTERNS[:2]:
        if not (folder / name).is_file():
            raise MaibenchError(f"{place}: not an adapter that can be read: it has no {name}")
    return folder


def _find(place: str | Path, patterns: tuple[str, ...]) -> tuple[str, str, Path]:
    """Name, commit ("" for a folder), and folder."""
    if not isinstance(place, (str, Path)) or not str(place):
        raise MaibenchError(f"{place!r}: name a folder, or OWNER/NAME[@REVISION] on the Hub")
    if Path(place).is_dir():
        return str(place), "", Path(place)
    name, _, revision = str(place).partition("@")
    folder = find_folder(
        name,
        revision=revision or None,
        allow_patterns=list(patterns),
        ignore_patterns=["*/*"],  # other formats and other sizes of the same weights
    )
    return name, folder.name if folder.parent.name == "snapshots" else "", folder


def _tensors(folder: Path, name: str) -> tuple[Path, ...]:
    whole = folder / "model.safetensors"
    if (folder / INDEX).is_file():
        try:
            named = sorted(set(json.loads((folder / INDEX).read_text())["weight_map"].values()))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DetectorError(f"{name}: {INDEX} is not an index of weights ({error!r})") from error
        if any(not isinstance(file, str) or Path(file).name != file for file in named):
            raise DetectorError(f"{name}: {INDEX} names files outside its folder")
        if missing := [file for file in named if not (folder / file).is_file()]:
            raise DetectorError(f"{name}: {missing[0]} is missing, {len(missing)} of {len(named)} files of weights are")
        return tuple(folder / file for file in named)
    if whole.is_file():
        return (whole,)
    raise DetectorError(
        f"{name}: has no model.safetensors. A pickle (pytorch_model.bin) is never loaded, it can run code: another "
        "revision may have safetensors (its pull requests on the Hub: @refs/pr/1), or convert it where you trust it"
    )


def _listed(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
