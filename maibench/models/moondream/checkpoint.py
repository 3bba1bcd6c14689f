"""Where a moondream 2 checkpoint lies: the bundled nano one, a folder laid out as the official repository, or a
repository of the Hub."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from maibench.errors import MaibenchError
from maibench.models.moondream.config import OFFICIAL, MoondreamConfig, read_config
from maibench.models.weights import BUNDLED, sha256

REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")
FILES = ("config.json", "tokenizer.json", "model.safetensors", "model-*.safetensors", "model.safetensors.index.json")
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors", "config.json", "card.json")


@dataclass(frozen=True)
class Checkpoint:
    """name: for cards and messages. settings: what config.json says. tensors: the safetensors files. tokenizer: its
    tokenizer.json, if it has one. from_hub: it was named as a repository."""

    name: str
    settings: MoondreamConfig
    tensors: tuple[Path, ...]
    tokenizer: Path | None
    from_hub: bool = False

    @cached_property
    def sha256(self) -> str:
        """Of the tensors' file; of several files, of their sha256s in order. Read once: it is gigabytes."""
        each = [sha256(file) for file in self.tensors]
        return each[0] if len(each) == 1 else hashlib.sha256("".join(each).encode()).hexdigest()


def bundled() -> Checkpoint:
    """The nano moondream that comes with the package."""
    extra = BUNDLED / "moondream"
    return Checkpoint(
        "bundled", read_config(extra / "config.json"), (BUNDLED / "moondream.safetensors",), extra / "tokenizer.json"
    )


def bundled_adapter() -> Path:
    """The LoRA adapter that comes with the package."""
    return BUNDLED / "moondream" / "adapter"


def find_checkpoint(place: str | Path) -> Checkpoint:
    """A folder, or OWNER/NAME[@REVISION] of the Hub, which is fetched where it is not cached.

    Raises MaibenchError where there is none, and where it is not a moondream 2.
    """
    folder = _folder(place, FILES, f"a folder laid out as {OFFICIAL.partition('@')[0]}")
    own = folder / "tokenizer.json"
    settings, tokenizer = read_config(folder / "config.json"), own if own.is_file() else None
    return Checkpoint(str(place), settings, _shards(folder), tokenizer, from_hub=not Path(place).is_dir())


def find_adapter(place: str | Path) -> Path:
    """A folder with a PEFT adapter, or a repository of the Hub that is one. Raises MaibenchError for anything else."""
    folder = _folder(place, ADAPTER_FILES, "a folder with adapter_config.json and adapter_model.safetensors")
    for name in ADAPTER_FILES[:2]:
        if not (folder / name).is_file():
            raise MaibenchError(f"{place}: not a LoRA adapter that can be read: it has no {name}")
    return folder


def trained_options(adapter: Path) -> dict[str, Any]:
    """What finetuning noted of an adapter: the options that it was trained with; empty for one from elsewhere.

    Raises MaibenchError where the note cannot be read.
    """
    file = adapter / "config.json"
    if not file.is_file():
        return {}
    try:
        options = json.loads(file.read_text()).get("options", {})
        return dict(options)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise MaibenchError(f"{file}: cannot be read: {error}") from error


def fetch(repository: str, patterns: tuple[str, ...]) -> Path:
    """OWNER/NAME[@REVISION] -> the folder of its cached or fetched snapshot. Raises MaibenchError where it cannot."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    name, _, revision = repository.partition("@")
    try:
        return Path(snapshot_download(name, revision=revision or None, allow_patterns=list(patterns)))
    except (HfHubHTTPError, OSError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        at = f" --revision {revision}" if revision else ""
        raise MaibenchError(
            f"'{repository}' is not on this disk and cannot be fetched ({type(error).__name__}: {reason}). Where "
            f"there is a network: hf download {name}{at} --local-dir FOLDER; then name that FOLDER here"
        ) from error


def _folder(place: str | Path, patterns: tuple[str, ...], wanted: str) -> Path:
    folder = Path(place)
    if folder.is_dir():
        return folder
    if folder.exists():
        raise MaibenchError(f"{place}: is a file; name {wanted}")
    text = str(place)
    if REPOSITORY.fullmatch(text) and not text.startswith((".", "/")) and not folder.parent.is_dir():
        return fetch(text, patterns)
    raise MaibenchError(f"{place}: no such folder; name {wanted}, or OWNER/NAME@REVISION on the Hub")


def _shards(folder: Path) -> tuple[Path, ...]:
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return (folder / "model.safetensors",)
    try:
        places = set(json.loads(index.read_text())["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise MaibenchError(f"{index}: not an index of shards ({error!r})") from error
    if any(not isinstance(place, str) or Path(place).name != place for place in places):
        raise MaibenchError(f"{index}: names files outside its folder")
    return tuple(folder / place for place in sorted(places))
