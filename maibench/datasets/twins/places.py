"""Where a model lies, a folder or a repository of the Hub, and its weights: safetensors, whole, or an error."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maibench.errors import MaibenchError

if TYPE_CHECKING:
    import torch

REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Place:
    """where: a folder, or OWNER/NAME of the Hub. revision: a branch, tag or commit of the latter."""

    where: str
    revision: str | None = None

    @property
    def is_folder(self) -> bool:
        """Whether it lies on this disk already."""
        return Path(self.where).expanduser().is_dir()

    @property
    def folder(self) -> Path:
        """The folder; for a repository, what it would be if it were one."""
        return Path(self.where).expanduser()

    def __str__(self) -> str:
        """As receipts and cards name it: where a folder lies here says nothing to their readers."""
        if self.is_folder:
            return self.folder.resolve().name
        return f"{self.where}@{self.revision}" if self.revision else self.where


@dataclass(frozen=True)
class Found:
    """A model on this disk. name: as it was asked for. folder: None for one that is bundled. weights: a hash of its
    weights and configurations, 16 hexadecimal digits."""

    name: str
    folder: Path | None
    weights: str

    @property
    def facts(self) -> dict[str, Any]:
        """What a receipt says of it."""
        return {"model": self.name, "revision": _commit_of(self.folder), "weights": self.weights}


def found_at(place: Place) -> Found:
    """The folder, or the repository, which is fetched where it is not cached: safetensors and configurations only.

    Raises MaibenchError where it cannot be had.
    """
    from maibench.models.hub import find_folder

    folder = place.folder if place.is_folder else find_folder(place.where, revision=place.revision)
    return Found(str(place), folder, fingerprint(folder))


def parse_place(text: str, what: str) -> Place:
    """A folder that exists, or OWNER/NAME[@REVISION]. what: it is looked for ("captioner").

    Raises MaibenchError for a text that is neither.
    """
    if Path(text).expanduser().is_dir():
        return Place(text)
    name, _, revision = text.partition("@")
    if not REPOSITORY.fullmatch(name) or Path(name).parent.is_dir():
        raise MaibenchError(f"no {what} at '{text}': give a folder that exists, or OWNER/NAME[@REVISION] of the Hub")
    return Place(name, revision or None)


def fingerprint(folder: Path) -> str:
    """A hash of the weights below a folder and of the configurations beside them: 16 hexadecimal digits."""
    from maibench.models.weights import sha256

    digest = hashlib.sha256()
    for file in sorted(file for file in folder.rglob("*") if file.suffix in (".safetensors", ".json")):
        digest.update(f"{file.relative_to(folder).as_posix()} {sha256(file)}\n".encode())
    return digest.hexdigest()[:16]


def load_model(kind: Any, folder: Path, what: str, dtype: torch.dtype) -> tuple[Any, Any]:
    """The model of a folder, ready, and its processor. kind: an Auto class of transformers. what: it is, for messages.

    Weights that are missing or do not fit are an error (transformers would warn and go on with random ones), as is a
    folder without a processor (tokenizer and image processor). Code that lies in the folder is never run.
    """
    from transformers import AutoProcessor

    quiet()
    try:
        model, info = kind.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, local_files_only=True, output_loading_info=True
        )
        # "pil": what the models were trained with, and the same with and without torchvision
        processor = AutoProcessor.from_pretrained(folder, local_files_only=True, backend="pil")
    except Exception as error:  # whatever a wrong folder makes of safetensors, torch or transformers
        raise MaibenchError(f"{folder}: cannot be loaded as a {what} ({brief(error)})") from error
    refuse_missing(info, folder)
    return model.eval(), processor


def refuse_missing(info: dict[str, Any], where: Path) -> None:
    """Raise MaibenchError where the loading's report says that weights were missing or of another shape."""
    wrong = [str(key) for keys in ("missing_keys", "mismatched_keys") for key in info.get(keys, ())]
    if wrong:
        raise MaibenchError(f"{where}: its weights do not fit its configuration ({wrong[0]}, {len(wrong)} in all)")


def quiet() -> None:
    """Neither bars nor notices of the model libraries: what they warn of is an error here."""
    import diffusers
    import transformers

    for logging in (diffusers.utils.logging, transformers.utils.logging):
        logging.set_verbosity_error()
        logging.disable_progress_bar()


def dtype_for(device: str) -> torch.dtype:
    """bfloat16 on a GPU, float32 elsewhere."""
    import torch

    return torch.bfloat16 if device.startswith("cuda") else torch.float32


def brief(error: BaseException) -> str:
    """What an error says, on one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def _commit_of(folder: Path | None) -> str | None:
    """The commit that a folder of the Hub's cache holds; None for any other folder."""
    held = folder is not None and folder.parent.name == "snapshots" and COMMIT.fullmatch(folder.name)
    return folder.name if folder is not None and held else None
