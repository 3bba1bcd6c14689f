"""A Ray cluster of several nodes on this machine: each is a `ray start` of its own, with its own address, and can be
killed like a machine whose plug is pulled. Linux alone: other systems lack 127.0.0.2 and /proc."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

MARK = "MAIBENCH_TEST_NODE"
"""The environment variable that every process of a node inherits: the cluster's id and the node's name."""
STORE_BYTES = 100_000_000
PATIENCE = 120
"""Seconds in which a node has to be up."""

_WATCH = """
import sys
from tests.ray_cluster import kill
sys.stdin.read()  # ends when the tests do, however they end
kill(sys.argv[1])
"""


class Cluster:
    """A head without cores, so that nothing is scored beside the driver, and the nodes that `add` starts.

    environment: what a driver needs in its own. Ray's token is the cluster's own: nobody else's is read or written.
    A context manager; whatever happens, even to the tests' own process, no process of it stays.
    """

    def __init__(self) -> None:
        self.id = secrets.token_hex(8)
        self.folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # the paths of its sockets must be short
        self.environment = os.environ | {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_ADDRESS": "",
            "OMP_NUM_THREADS": "1",
        }
        self.address = ""
        self._count = 1
        self._started: list[subprocess.Popen[bytes]] = []
        root = str(Path(__file__).parents[1])
        self._watch = subprocess.Popen([sys.executable, "-c", _WATCH, self.id], stdin=subprocess.PIPE, cwd=root)

    def __enter__(self) -> Cluster:
        try:
            self._await([self._start("head", self._head())])
            # an address of this machine, which Ray puts in the place of 127.0.0.1
            self.address = re.findall(r"--address='([^']+)'", self._log("head"))[0]
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        assert self._watch.stdin
        self._watch.stdin.close()
        self._watch.wait()
        for process in self._started:
            process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def add(self, *names: str, cores: int = 1, within: Sequence[str] = ()) -> None:
        """Start a node of so many `cores` for each name, all at once, and wait until they are up. within: a command
        that runs the command after it, such as `with_full_disk` gives."""
        self._await([self._start(name, self._worker(name, cores), within) for name in names])

    def kill(self, name: str) -> None:
        """End every process of a node, as when a machine is gone."""
        kill(f"{self.id}-{name}\0")

    def processes(self, name: str) -> list[int]:
        """The ids of a node's processes."""
        return processes(f"{self.id}-{name}\0")

    def actors(self, name: str) -> list[int]:
        """The ids of the actors that are at work on a node."""
        return [
            pid for pid in self.processes(name) if re.match(rb"ray::(?!IDLE|\w*Agent|\w*Stats|SplitC)", _title(pid))
        ]

    def _head(self) -> list[str]:
        client = ["--ray-client-server-port", str(_free_port())]
        return ["--head", "--port", "0", "--num-cpus", "0", "--include-dashboard", "false", *client]

    def _worker(self, name: str, cores: int) -> list[str]:
        self._count += 1
        own = ["--node-ip-address", f"127.0.0.{self._count}", "--num-cpus", str(cores), "--node-name", name]
        return ["--address", self.address, *own]

    def _start(
        self, name: str, arguments: list[str], within: Sequence[str] = ()
    ) -> tuple[str, subprocess.Popen[bytes]]:
        folder = self.folder / name
        folder.mkdir()
        ports = ["--min-worker-port", "0", "--max-worker-port", "0", "--dashboard-agent-listen-port", "0"]
        small = ["--object-store-memory", str(STORE_BYTES), "--include-log-monitor", "false"]
        ray = str(Path(sys.executable).with_name("ray"))
        with open(self.folder / f"{name}.log", "wb") as log:
            process = subprocess.Popen(
                [*within, ray, "start", "--block", *arguments, *ports, *small, "--temp-dir", str(folder)],
                env=self.environment | {MARK: f"{self.id}-{name}"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._started.append(process)
        return name, process

    def _await(self, nodes: list[tuple[str, subprocess.Popen[bytes]]]) -> None:
        deadline = time.monotonic() + PATIENCE
        for name, process in nodes:
            while "will now block" not in self._log(name):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"the node '{name}' did not start:\n{self._log(name)[-3000:]}")
                time.sleep(0.05)

    def _log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")


def processes(mark: str) -> list[int]:
    """The ids of all processes whose node's mark begins with `mark`."""
    return [pid for pid in _all() if f"{MARK}={mark}".encode() in _read(pid, "environ")]


def kill(mark: str) -> None:
    """SIGKILL all processes whose node's mark begins with `mark`, and wait until they are gone."""
    while found := processes(mark):
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def with_full_disk(folder: Path, *below: str) -> list[str]:
    """A command that runs the command after it where nothing more can be written into these folders `below` a folder:
    no space is left. What others write there is seen."""
    layers = "mount -t tmpfs -o size=256k none /mnt; mkdir /mnt/work"
    there = " ".join(f"/mnt/upper/{name}" for name in ("", *below))
    overlay = "mount -t overlay -o lowerdir=$0,upperdir=/mnt/upper,workdir=/mnt/work none $0"
    return _mounted(f"{layers}; mkdir -p {there}; {overlay}; cat /dev/zero > /mnt/full 2> /dev/null || true", folder)


def with_other_folder(folder: Path) -> list[str]:
    """A command that runs the command after it where `folder` is another one of that name, as on a machine that does
    not share it: nobody else sees what is written there."""
    return _mounted("mount -t tmpfs -o size=16m none $0", folder)


def can_mount() -> bool:
    """Whether these commands work here: they need root, or a system that lends its users namespaces."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            commands = [[*of(Path(folder)), "true"] for of in (with_full_disk, with_other_folder)]
            return all(subprocess.run(command, capture_output=True).returncode == 0 for command in commands)
        except OSError:  # no unshare
            return False


def _mounted(script: str, folder: Path) -> list[str]:
    namespace = ["--mount"] if os.geteuid() == 0 else ["--map-root-user", "--mount"]
    return ["unshare", *namespace, "sh", "-ec", f'{script}; exec "$@"', str(folder)]


def _all() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _title(pid: int) -> bytes:
    return _read(pid, "cmdline")


def _read(pid: int, what: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{what}").read_bytes()
    except OSError:  # it ended meanwhile, or is somebody else's
        return b""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])
