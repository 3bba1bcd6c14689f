"""Where the uploads of `maibench app` lie: a folder that goes with its process, and at the latest when the next one
starts."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

PREFIX = "maibench-app-"


@contextlib.contextmanager
def uploads_folder() -> Iterator[str]:
    """A new folder that this user alone can read, removed at the end. It is named after the machine and the process, so
    that what a killed process leaves can be told (`remove_orphans`, which this calls)."""
    remove_orphans()
    with tempfile.TemporaryDirectory(prefix=f"{PREFIX}{_machine()}-{os.getpid()}-") as folder:
        yield folder


def remove_orphans() -> None:
    """Remove this user's upload folders in the temporary folder whose process, on this machine, is gone.

    Links, files, folders of other users and what cannot be removed are left. Does nothing where the platform has no
    user ids, or no way to remove a folder that nobody can redirect meanwhile.
    """
    if os.name != "posix" or not shutil.rmtree.avoids_symlink_attacks:
        return
    named = re.compile(re.escape(f"{PREFIX}{_machine()}-") + r"(\d{1,9})-[a-z0-9_]+")
    for entry in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        found = named.fullmatch(entry.name)
        if found and _is_own_folder(entry) and not _runs(int(found[1])):
            shutil.rmtree(entry, ignore_errors=True)  # another page that starts may be removing it, too


def _machine() -> str:
    """The host's name: a temporary folder that machines or containers share holds processes of several."""
    return re.sub(r"[^\w.-]", "_", socket.gethostname())


def _is_own_folder(path: Path) -> bool:
    try:
        found = path.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()


def _runs(process: int) -> bool:
    if process < 1:  # 0 would stand for the own group
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's, so there is one
        return True
    return True
