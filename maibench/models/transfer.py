"""Batches on their way to a GPU: from page-locked memory, on a stream of their own, while it computes another one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import torch
from torch import Tensor


class Sent:
    """A batch that is on its way to a device, or there already."""

    def __init__(self, batch: Any, done: torch.cuda.Event | None = None) -> None:
        self._batch = batch
        self._done = done

    def receive(self) -> Any:
        """The batch, for the calling thread: what it computes with it begins when the copy is done, and nobody waits
        for that but the GPU."""
        if self._done is not None:
            for tensor in _tensors(self._batch):
                if tensor.is_cuda:
                    stream = torch.cuda.current_stream(tensor.device)
                    stream.wait_event(self._done)
                    tensor.record_stream(stream)  # its memory belongs to the stream of copies
        return self._batch


def send(batch: Any, device: torch.device) -> Sent:
    """Start to copy a batch (a tensor, or a list, tuple or dict of them; other values stay) to a device. Any thread may
    call it, and another one may receive the batch.

    To a GPU it costs the caller one copy within the host's memory, into pages that the GPU reads by itself. A tensor
    that is there already, or that gradients flow through, goes as torch sends it.
    """
    device = torch.device(device)
    if device.type != "cuda":
        return Sent(_mapped(batch, lambda tensor: tensor.to(device)))
    index = torch.cuda.current_device() if device.index is None else device.index
    place = torch.device("cuda", index)
    stream = _copies(index)
    copied = False

    def copy(tensor: Tensor) -> Tensor:
        nonlocal copied
        if tensor.device.type != "cpu" or tensor.requires_grad:
            return tensor.to(place)
        copied = True
        with torch.cuda.stream(stream):
            return tensor.pin_memory().to(place, non_blocking=True)

    sent = _mapped(batch, copy)
    return Sent(sent, stream.record_event() if copied else None)


@cache
def _copies(index: int) -> torch.cuda.Stream:
    return torch.cuda.Stream(index)


def _mapped(batch: Any, function: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(batch, Tensor):
        return function(batch)
    if isinstance(batch, dict):
        return {key: _mapped(value, function) for key, value in batch.items()}
    if isinstance(batch, (list, tuple)):
        return type(batch)(_mapped(value, function) for value in batch)
    return batch


def _tensors(batch: Any) -> Iterator[Tensor]:
    if isinstance(batch, Tensor):
        yield batch
    elif isinstance(batch, dict):
        for value in batch.values():
            yield from _tensors(value)
    elif isinstance(batch, (list, tuple)):
        for value in batch:
            yield from _tensors(value)
