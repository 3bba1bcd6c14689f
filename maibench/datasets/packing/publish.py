"""A data set on the Hub of Hugging Face: a folder with a data card, sent as it is."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from maibench.datasets.data_card import FILE, read_front_matter
from maibench.datasets.readers import check_finished, check_whole
from maibench.errors import MaibenchError
from maibench.files import PART

AUDITS = ("audit.json", "audit/audit.json", "audit/after/audit.json")
"""The last is what 'maibench data match' writes of its own images."""
_LEFT_HERE = [f"{PART}*", f"**/{PART}*", "**/.DS_Store", ".DS_Store"]
"""What half-done commands leave, and what no data set means to hold."""


def publish(folder: Path, repository: str, private: bool = False, anyway: bool = False) -> str:
    """Send a folder to the data set OWNER/NAME of the Hub, which is made where it is not there; returns its address.

    anyway: also where an audit in the folder is red. Raises MaibenchError, before anything is sent, for a folder
    without a data card or a licence, a data set that is not finished or not whole, and an audit that is red; and where
    the Hub refuses.
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise MaibenchError(f"--to {repository}: give OWNER/NAME, the data set's name on the Hub")
    check_folder(folder)
    if (red := red_findings(folder)) and not anyway:
        named = "; ".join(red[:3]) + ("; ..." if len(red) > 3 else "")
        raise MaibenchError(
            f"{folder}: the audit is red ({named}): 'maibench data match' or 'maibench data split' may help; "
            "--anyway publishes it as it is"
        )
    return _send(folder, repository, private)


def check_folder(folder: Path) -> None:
    """Raise MaibenchError where a folder cannot be handed on: no data card, no licence, not finished, not whole."""
    if not folder.is_dir():
        raise MaibenchError(f"{folder}: no such folder; 'maibench data pack' writes one to publish")
    check_finished(folder)
    check_whole(folder)
    licence = read_front_matter(folder).get("license")
    if not licence or licence == "unknown":
        raise MaibenchError(
            f"{folder / FILE}: names no licence, and without one nobody may use the data; write 'license:' into its "
            "front matter, or give --licence to 'maibench data pack'"
        )


def red_findings(folder: Path) -> list[str]:
    """The names of what the audits of a folder, in it or below audit/, found to be red; none where there is none."""
    files = [folder / name for name in AUDITS if (folder / name).is_file()]
    return list(dict.fromkeys(finding for file in files for finding in _red_in(file)))


def _red_in(file: Path) -> Iterator[str]:
    try:
        audit = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise MaibenchError(f"{file}: cannot be read ({error}); audit the data again, or remove the file") from error
    yield from _red(audit)


def _red(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if part.get("light") == "red":
            yield str(part.get("name", "a finding"))
        for inner in part.values():
            yield from _red(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from _red(inner)


def _send(folder: Path, repository: str, private: bool) -> str:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    # httpx's or httpx2's own, whichever this version of the library uses: what goes wrong before there is an answer
    errors = cast("tuple[type[Exception], ...]", (*HfHubHTTPError.__bases__, ValueError, RuntimeError))
    hub = HfApi(library_name="maibench")
    try:
        made = hub.create_repo(repository, repo_type="dataset", private=private, exist_ok=True)
        # of one that was there before, create_repo leaves the visibility as it is
        if private and not hub.repo_info(made.repo_id, repo_type="dataset").private:
            raise MaibenchError(f"{repository}: is public already; choose another name, or leave --private out")
        hub.upload_folder(
            repo_id=made.repo_id,
            folder_path=folder,
            repo_type="dataset",
            commit_message="Publish with maibench",
            ignore_patterns=_LEFT_HERE,
        )
    except errors as error:
        reason = " ".join(str(error).split())[:200]
        raise MaibenchError(
            f"{repository}: the Hub did not take it ({type(error).__name__}: {reason}); check the connection, and that "
            "'hf auth login' is done with a token that may write there"
        ) from error
    return str(made)
