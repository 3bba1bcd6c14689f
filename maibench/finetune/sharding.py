"""Weights that are spread over processes (FSDP): trained in pieces, whole where they are scored and kept.

A tensor in pieces is a DTensor. Every function here that makes one whole is called by all processes, since each has a
piece to give.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from maibench.models.base import Detector


def changing(detector: Detector) -> dict[str, Tensor]:
    """What a training changes, by name: the trained parameters, and the buffers."""
    trained = {name: parameter.detach() for name, parameter in detector.named_parameters() if parameter.requires_grad}
    return trained | dict(detector.named_buffers())


def own_piece(tensor: Tensor) -> Tensor:
    """The piece of a tensor that this process has: all of it where it is not spread."""
    return cast(Any, tensor).to_local() if _is_spread(tensor) else tensor


def whole(value: Any, keep: bool = True) -> Any:
    """A tensor, or lists and dicts of them, with every tensor in pieces put together in ordinary memory; None in its
    place where this process has no use for it (keep)."""
    if isinstance(value, dict):
        return {key: whole(item, keep) for key, item in value.items()}
    if isinstance(value, list):
        return [whole(item, keep) for item in value]
    if isinstance(value, Tensor) and _is_spread(value):
        full = cast(Any, value).full_tensor()
        return full.cpu() if keep else None
    return value


def put(tensor: Tensor, value: Tensor) -> None:
    """Copy a whole tensor into one that may be in pieces."""
    with torch.no_grad():
        tensor.copy_(_spread_like(tensor, value))


def spread_state(optimiser: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    """An optimiser's state of whole tensors, spread as the parameters are that it belongs to."""
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    of_each = {
        index: {name: _fit(parameters[index], value) for name, value in values.items()}
        for index, values in state["state"].items()
    }
    return {**state, "state": of_each}


def gather(detector: Detector, into: Detector | None) -> None:
    """Make `into`, a copy of the detector on the main process (elsewhere None), what the detector is now; nothing is
    done where both are one."""
    if into is detector:
        return
    own = changing(into) if into is not None else {}
    for name, tensor in changing(detector).items():
        value = whole(tensor, keep=into is not None)
        if into is not None:
            own[name].copy_(value)


def _is_spread(tensor: Tensor) -> bool:
    return hasattr(tensor, "full_tensor")


def _fit(parameter: Tensor, value: Any) -> Any:
    # a count of steps belongs to a parameter too, and is whole everywhere
    return _spread_like(parameter, value) if isinstance(value, Tensor) and value.shape == parameter.shape else value


def _spread_like(tensor: Tensor, value: Tensor) -> Tensor:
    if not _is_spread(tensor):
        return value
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(tensor, DTensor)
    # each process has read the same file: nothing needs to be sent
    return distribute_tensor(value.to(tensor.device), tensor.device_mesh, tensor.placements, src_data_rank=None)
