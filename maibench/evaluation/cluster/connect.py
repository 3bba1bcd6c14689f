"""A Ray cluster to work on: the one at an address, or one of this machine's cores that ends with the work."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from maibench.cores import cores
from maibench.errors import MaibenchError

SECONDS = 8
"""How long an address may take to answer."""
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is told to anybody
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else every worker warns of a change to come
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # what ends a run is told by us, the rest is no user's concern
}
_LOGGERS = ("ray", "ray.data")


@dataclass(frozen=True)
class Node:
    """A machine of a cluster, as Ray counts it: cores and GPUs that work may be given."""

    cores: int
    gpus: int


@dataclass(frozen=True)
class Cluster:
    """nodes: those that are there now. grows: whether others may join while the work goes on."""

    nodes: list[Node]
    grows: bool

    @property
    def cores(self) -> int:
        return sum(node.cores for node in self.nodes)

    @property
    def gpus(self) -> int:
        return sum(node.gpus for node in self.nodes)


@contextlib.contextmanager
def connected(address: str | None, workers: int | None = None) -> Iterator[Cluster]:
    """The cluster at `address`, else at the environment's RAY_ADDRESS, else one of `workers` cores of this machine,
    which ends with the block. A program that is connected already stays so, whatever the address.

    Raises MaibenchError where Ray is not installed, or the cluster cannot be reached.
    """
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    ray = _import_ray()
    if ray.is_initialized():
        yield _describe(ray, grows=True)
        return
    _check_reachable(address)
    own = {"num_cpus": workers or cores(), "include_dashboard": False} if address == "local" else {}
    try:
        with _silent():
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **own)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise _unreachable(address, str(error)) from error
    try:
        yield _describe(ray, grows=not own)
    finally:
        ray.shutdown()


def _import_ray() -> Any:
    if find_spec("ray") is None or find_spec("ray.data") is None:
        raise MaibenchError('--engine ray needs Ray, which is not installed: pip install "maibench[ray]"')
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    if "RAY_AUTH_TOKEN" in os.environ or "RAY_AUTH_TOKEN_PATH" in os.environ:
        os.environ.setdefault("RAY_AUTH_MODE", "token")  # without it Ray does not look for them
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of packages that Ray would use and does without
        import ray
        import ray.data
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    return ray


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """What Ray's libraries write past Python's own stderr; what went wrong they raise as well."""
    sys.stderr.flush()
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)


def _check_reachable(address: str) -> None:
    """Raise MaibenchError where nothing answers: Ray itself asks for minutes."""
    if address in ("local", "auto"):
        return
    if "://" in address:
        raise MaibenchError(
            f"--address {address}: a run is started on a machine of the cluster itself, with --address HOST:PORT or "
            "--address auto; from outside by 'ray job submit'"
        )
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal():
        raise MaibenchError(f"--address {address}: give HOST:PORT, as 'ray start --head' says it, or auto")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=SECONDS) as connection:
            if os.environ.get("RAY_USE_TLS", "0") in ("0", ""):
                _check_grpc(connection)
    except (OSError, OverflowError) as error:
        raise _unreachable(address, str(error)) from error


def _check_grpc(connection: socket.socket) -> None:
    """Raise ConnectionError where what listens does not speak gRPC, as Ray does: HTTP/2 (RFC 9113, 3.4), where both
    sides begin with a frame of settings."""
    connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0")
    answer = connection.recv(9)
    if answer[3:4] != b"\4":
        raise ConnectionError("what answers is not Ray")


def _unreachable(address: str, reason: str) -> MaibenchError:
    reason = next((line.strip() for line in reason.splitlines() if line.strip()), "no reason given")
    if address == "local":
        return MaibenchError(f"Ray does not start on this machine: {reason}")
    return MaibenchError(
        f"--address {address}: no Ray cluster can be reached there ({reason}). Is 'ray start --head' running, is this "
        "machine one of the cluster's, and has it the token that Ray's token authentication asks for "
        "(~/.ray/auth_token with RAY_AUTH_MODE=token, or RAY_AUTH_TOKEN)?"
    )


def _describe(ray: Any, grows: bool) -> Cluster:
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return Cluster([Node(int(has.get("CPU", 0)), int(has.get("GPU", 0))) for has in alive], grows)
