"""Originals out of git: copies that are on this machine, and partial clones that are made for the purpose."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from maibench.datasets.wild.originals import Original, Read, verified
from maibench.errors import ImageError, MaibenchError
from maibench.files import disk_error

GITHUB = "https://github.com"
LAYOUTS = ("{owner}+{name}", "{owner}/{name}", "{owner}__{name}", "{name}")
"""How a folder of copies may name them; each may be bare, a clone with its work tree, or lie in `repo` below."""

_CLONE = ".clone-"
_FETCH = ("fetch", "--quiet", "--no-tags", "--filter=blob:none")


class Copies:
    """Git copies below folders; nothing is ever downloaded, not even by a copy that is a partial clone."""

    def __init__(self, folders: Sequence[Path]) -> None:
        """Raises MaibenchError where a folder is not there, or git is not installed."""
        check_copies(folders)
        _check_git()
        self._folders = folders

    def check(self, repositories: Sequence[str]) -> None:
        """Raises MaibenchError where there is no copy of any of these."""
        if not any(map(self._find, repositories)):
            where = ", ".join(map(str, self._folders))
            raise MaibenchError(f"{where}: holds no copy of {', '.join(repositories)}; expected {_expected()}")

    @contextmanager
    def open(self, repository: str, originals: Sequence[Original]) -> Iterator[Read]:
        """See `Place`."""
        found = self._find(repository)
        if found is None:
            raise ImageError(f"no copy of it in {', '.join(map(str, self._folders))}")
        with _Objects(found) as objects:
            yield objects.read

    def _find(self, repository: str) -> Path | None:
        """The git directory of the first copy."""
        owner, _, name = repository.partition("/")
        for folder in self._folders:
            for layout in LAYOUTS:
                place = folder / layout.format(owner=owner, name=name)
                for candidate in (place, place / ".git", place / "repo", place / "repo" / ".git"):
                    # asked of the files: git itself would go up and find a repository that only contains the folder
                    if (candidate / "HEAD").is_file() and (candidate / "objects").is_dir():
                        return candidate
        return None


def check_copies(folders: Sequence[Path]) -> None:
    """Raise MaibenchError where one of the folders of --copies is not there."""
    for folder in folders:
        if not folder.is_dir():
            raise MaibenchError(f"{folder}: no such folder; give one that holds git copies, {_expected()}")


class Clones:
    """Partial clones that hold the listed files and no others, made in a folder and removed after use.

    address: what stands before /OWNER/NAME. workplace: where they lie meanwhile.
    """

    def __init__(self, address: str, workplace: Path) -> None:
        """Raises MaibenchError where git is not installed."""
        _check_git()
        self._address, self._workplace = address.rstrip("/"), workplace

    @contextmanager
    def open(self, repository: str, originals: Sequence[Original]) -> Iterator[Read]:
        """See `Place`. Every commit is fetched without its history and files, then the listed files in one go."""
        try:
            folder = tempfile.mkdtemp(prefix=_CLONE, dir=self._workplace)
        except OSError as error:
            raise disk_error(self._workplace, error) from error
        try:
            _fetch(Path(folder), f"{self._address}/{repository}", originals)
            with _Objects(Path(folder)) as objects:
                yield objects.read
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def remove_clones(workplace: Path) -> None:
    """Remove what a killed process left there."""
    for left in workplace.glob(f"{_CLONE}*"):
        shutil.rmtree(left, ignore_errors=True)


def _fetch(folder: Path, url: str, originals: Sequence[Original]) -> None:
    _git(folder, "init", "--quiet", "--bare", str(folder))
    for key, value in (
        ("remote.origin.url", url),
        ("remote.origin.promisor", "true"),
        ("remote.origin.partialclonefilter", "blob:none"),
        # told of the commits that are here, a server would think that their files are here too, and send none
        ("fetch.negotiationAlgorithm", "noop"),
    ):
        _git(folder, "config", key, value)
    paths: dict[str, set[str]] = {}
    for original in originals:
        paths.setdefault(original.commit, set()).add(original.path)
    wanted, gone = set(), set()
    for commit, names in paths.items():
        try:
            _git(folder, *_FETCH, "--depth=1", "origin", commit)
            wanted |= _blobs(folder, commit, names)
        except ImageError:
            gone |= names
    if gone:  # the newest commit may still have these files
        _git(folder, *_FETCH, "--depth=1", "origin", "HEAD")
        _git(folder, "update-ref", "HEAD", "FETCH_HEAD")
        wanted |= _blobs(folder, "HEAD", gone)
    if wanted:
        _git(folder, *_FETCH, "--no-write-fetch-head", "--stdin", "origin", given="\n".join(sorted(wanted)))


def _blobs(folder: Path, revision: str, names: set[str]) -> set[str]:
    entries = (entry.partition("\t") for entry in _git(folder, "ls-tree", "-r", "-z", revision).split("\0"))
    return {facts.split()[2] for facts, _, path in entries if path in names}


class _Objects:
    """`git cat-file --batch` on one repository, for several threads."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._lock = folder, threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> _Objects:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def read(self, original: Original) -> bytes:
        return verified(original, self._find, "the copy has neither the listed commit nor, in its newest one, the file")

    def _find(self, revision: str, path: str) -> bytes | None:
        with self._lock:
            try:
                return self._ask(f"{revision}:{path}")
            except OSError:  # git has died, as of an object that is broken or was never fetched
                self._stop()
                return None

    def _ask(self, name: str) -> bytes | None:
        if self._process is None:
            self._process = subprocess.Popen(
                ["git", f"--git-dir={self._folder}", "cat-file", "--batch"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                # a partial clone would otherwise fetch what it lacks
                env={**os.environ, "GIT_NO_LAZY_FETCH": "1", "GIT_ALLOW_PROTOCOL": "none"},
            )  # fmt: skip
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin and stdout
        stdin.write(name.encode() + b"\n")
        stdin.flush()
        header = stdout.readline()
        if not header.endswith(b"\n"):
            raise BrokenPipeError
        if header.endswith((b" missing\n", b" ambiguous\n")):
            return None
        _, kind, size = header.split()
        data = stdout.read(int(size) + 1)
        if len(data) <= int(size):
            raise BrokenPipeError
        return data[:-1] if kind == b"blob" else None

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def _git(folder: Path, *arguments: str, given: str = "") -> str:
    done = subprocess.run(
        ["git", f"--git-dir={folder}", *arguments],
        input=given, capture_output=True, text=True, env={**os.environ, "GIT_TERMINAL_PROMPT": "0"},
    )  # fmt: skip
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it failed"])[-1]
        raise ImageError(f"git {arguments[0]}: {last.removeprefix('fatal: ')}")
    return done.stdout


def _expected() -> str:
    return " or ".join(f"DIR/{layout.format(owner='OWNER', name='NAME')}" for layout in LAYOUTS)


def _check_git() -> None:
    if shutil.which("git") is None:
        raise MaibenchError("git is not installed; install it, or collect the files with --fetch raw")
