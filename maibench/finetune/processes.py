"""The processes of one training: how they find each other, what each may use, and how all end when one is lost."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType, InitProcessGroupKwargs, gather_object

from maibench.cores import cores as cores_here
from maibench.errors import MaibenchError
from maibench.finetune.recipe import Recipe
from maibench.models.device import choose_device

PATIENCE = timedelta(hours=3)
"""How long the others wait for the main process, which alone reads the validation images and scores them."""

KNOWN = (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU, DistributedType.FSDP)


def connect(recipe: Recipe, out: Path, device: str) -> Accelerator:
    """Join the processes that torchrun or accelerate launched; one by itself where there was no launcher.

    Raises MaibenchError for a device that is not there, and for a launcher's settings that this training has no use
    for: weights are copied to every process (DDP) or spread over them (FSDP, version 2, on GPUs).
    """
    if (name := choose_device(device)) not in ("cpu", "cuda"):
        raise MaibenchError(
            f"--device {device}: a training takes auto, cpu or cuda; CUDA_VISIBLE_DEVICES chooses among GPUs"
        )
    # an earlier training of this process may have had another precision; the processes themselves stay connected
    AcceleratorState._reset_state()
    try:
        accelerator = Accelerator(
            cpu=name == "cpu",
            mixed_precision="bf16" if recipe.precision == "bf16" else "no",
            gradient_accumulation_steps=recipe.accumulate,
            log_with="tensorboard" if recipe.tensorboard else None,
            project_dir=str(out),
            kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)],
        )
        if recipe.tensorboard:
            if not accelerator.log_with:
                raise MaibenchError("tensorboard: true needs a package: pip install tensorboard")
            accelerator.init_trackers("tensorboard", {"recipe": recipe.model_dump_json(exclude_defaults=True)})
    except (ImportError, ValueError) as error:
        raise MaibenchError(f"training cannot begin: {error}") from error
    _check(accelerator)
    return accelerator


def spreads_weights(accelerator: Accelerator) -> bool:
    """Whether each process keeps a piece of the weights alone (FSDP)."""
    return accelerator.distributed_type == DistributedType.FSDP


def on_this_machine() -> int:
    """How many processes of the training share the memory and the cores of this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", 1))


def cores() -> int:
    """Processor cores that a process may use, each of those on this machine as many as any other."""
    return max(1, cores_here() // on_this_machine())


def check_alike(state: dict[str, Any], file: Path) -> None:
    """Raise MaibenchError, in every process, where not all of them read the same checkpoint."""
    steps = gather_object([state["step"]])
    if len(set(steps)) > 1:
        found = ", ".join(f"process {process}: {step}" for process, step in enumerate(steps))
        raise MaibenchError(
            f"the processes would go on from different steps of {file} ({found}); --out has to lie in a folder that "
            "all machines share"
        )


@contextlib.contextmanager
def together(out: Path) -> Iterator[None]:
    """Where another process ends before its time: one clear line instead of what the network says."""
    try:
        yield
    except RuntimeError as error:
        if not _is_of_the_connection(error):
            raise
        raise MaibenchError(
            "another process of this training has ended, its own message says why; the last checkpoint in "
            f"{out} is kept, the same command goes on from there"
        ) from error


def _check(accelerator: Accelerator) -> None:
    launched = int(os.environ.get("WORLD_SIZE", 1))
    if launched != accelerator.num_processes:
        raise MaibenchError(f"{launched} processes were launched, but each would train for itself; use torchrun")
    is_sharded = os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"
    if is_sharded and not spreads_weights(accelerator):
        raise MaibenchError(
            "FSDP needs several processes with a GPU each; on processors use configs/accelerate/ddp.yaml"
        )
    if accelerator.distributed_type not in KNOWN:
        kind = str(accelerator.distributed_type.value).lower()
        raise MaibenchError(f"accelerate was set to '{kind}'; use a file of configs/accelerate/ (DDP or FSDP)")
    if spreads_weights(accelerator) and not accelerator.is_fsdp2:
        raise MaibenchError("FSDP of version 1 flattens the weights; set fsdp_version: 2, as in fsdp.yaml")


def _is_of_the_connection(error: RuntimeError) -> bool:
    # gloo's errors have no class of their own
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return False
    said = re.search(r"gloo|nccl|connection (closed|reset)", str(error), re.IGNORECASE)
    return said is not None or isinstance(error, torch.distributed.DistError)
