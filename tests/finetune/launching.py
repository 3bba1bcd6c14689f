"""Trainings in processes of their own, one or several as torchrun begins them, forked from a server that imported
everything beforehand: an interpreter of its own takes seconds for each."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

CONTEXT = multiprocessing.get_context("forkserver")


@dataclass(frozen=True)
class Launched:
    """Running processes, and the files that receive what each of them prints on stderr."""

    processes: list[BaseProcess]
    files: list[Path]

    def wait(self, seconds: float = 120) -> tuple[list[int | None], list[str]]:
        """The exit codes and what was printed, of each process; whatever still runs by then is killed."""
        for process in self.processes:
            process.join(seconds)
            process.kill()
        for process in self.processes:
            process.join(10)
        return [process.exitcode for process in self.processes], [file.read_text() for file in self.files]


def launch(
    folder: Path, arguments: Sequence[object], count: int = 2, environment: Mapping[str, str] | None = None
) -> Launched:
    """`maibench ARGUMENTS` with one thread, in so many processes that find each other, on processors; "{rank}" in an
    argument is the number of the process. environment: besides what torchrun sets (nothing for one process);
    KILLED_AT="1 9": process 1 is killed before its ninth batch."""
    CONTEXT.set_forkserver_preload(["maibench.cli", "maibench.finetune.trainer", "maibench.models.moondream.detector"])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launched = Launched([], [])
    for rank in range(count):
        own = {
            "RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count,
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port,
        }  # fmt: skip
        own_environment = {name: str(value) for name, value in own.items() if count > 1} | dict(environment or {})
        launched.files.append(folder / f"stderr-{port}-{rank}")
        own_arguments = [str(argument).replace("{rank}", str(rank)) for argument in arguments]
        command = (own_environment, own_arguments, launched.files[-1])
        launched.processes.append(CONTEXT.Process(target=_run, args=command))
        launched.processes[-1].start()
    return launched


def _run(environment: dict[str, str], arguments: list[str], file: Path) -> None:
    os.environ.update(environment | {"OMP_NUM_THREADS": "1"})
    with open(file, "w") as stream:
        os.dup2(stream.fileno(), 2)
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    torch.set_num_threads(1)
    if (place := environment.get("KILLED_AT", "").split()) and environment["RANK"] == place[0]:
        _die_at(int(place[1]))
    if environment.get("ACCELERATE_USE_FSDP") == "true":
        _spread_weights_over_processors()
    from maibench.cli import app

    app(arguments)


def _die_at(batch: int) -> None:
    from maibench.finetune import trainer

    following, asked = trainer._next, itertools.count(1)

    def die(*arguments: Any) -> Any:
        if next(asked) == batch:
            os.kill(os.getpid(), signal.SIGKILL)
        return following(*arguments)

    trainer._next = die


def _spread_weights_over_processors() -> None:
    """Let accelerate take processors for GPUs: torch spreads weights over them as well, accelerate only over GPUs."""
    from accelerate.state import PartialState
    from accelerate.utils import DistributedType

    from maibench.finetune.checkpoint import Checkpoint
    from maibench.finetune.sharding import own_piece
    from maibench.models.base import Detector

    os.environ["ACCELERATE_TORCH_DEVICE"] = "cpu"
    torch.distributed.init_process_group("gloo")
    PartialState._prepare_backend = lambda *_, **__: ("gloo", DistributedType.MULTI_GPU)  # type: ignore[method-assign]
    load = Checkpoint.load

    def tell(checkpoint: Checkpoint, detector: Detector, *others: Any) -> Any:
        own, whole = (
            sum(map(torch.Tensor.numel, tensors))
            for tensors in ([own_piece(parameter) for parameter in detector.parameters()], detector.parameters())
        )
        print(f"this process holds {own} of {whole} numbers", file=sys.stderr)
        return load(checkpoint, detector, *others)

    Checkpoint.load = tell  # type: ignore[method-assign]
