"""The Hub of Hugging Face: from the name of a repository to a folder on this disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from maibench.errors import MaibenchError

PATTERNS = ("*.safetensors", "*.json", "*.md")
"""What is fetched of a repository: nothing that can run code."""


def find_folder(place: str | Path, *, revision: str | None = None, **fetching: Any) -> Path:
    """A folder as it is; OWNER/NAME of the Hub is fetched where it is not cached.

    revision: a branch, tag or commit. fetching: what `huggingface_hub.snapshot_download` takes besides (token,
    cache_dir, force_download, local_files_only). Raises MaibenchError where there is neither.
    """
    folder, name = Path(place), str(place)
    if folder.is_dir():
        return folder
    # a folder that was mistyped is not looked for on the Hub
    if name.count("/") != 1 or folder.exists() or (folder.parent.is_dir() and revision is None):
        raise MaibenchError(f"'{place}': no such folder; name one that finetuning wrote, or OWNER/NAME on the Hub")
    return _fetch(name, revision, fetching)


def _fetch(name: str, revision: str | None, fetching: dict[str, Any]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    wanted = {"revision": revision, "allow_patterns": list(PATTERNS), **fetching}
    try:
        try:
            return Path(snapshot_download(name, **wanted))
        except ConnectionError:  # without a network, what is cached has to do; not every version looks there itself
            return Path(snapshot_download(name, **{**wanted, "local_files_only": True}))
    except (HfHubHTTPError, OSError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        at = f" at {revision}" if revision else ""
        raise MaibenchError(
            f"'{name}'{at}: no such folder, and it cannot be fetched from the Hub ({type(error).__name__}: {reason})"
        ) from error
