"""The moving average of what is trained."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class WeightAverage:
    """An exponential moving average of the trained parameters of a module: of these alone, since a frozen language
    model beside an adapter is not worth a second copy (torch's AveragedModel makes one).

    decay: what stays of the average in every update, 0 for the last weights. tensors: the average by parameter's name.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self._module = module
        self._trained = {name: p for name, p in module.named_parameters() if p.requires_grad}
        self._mix = get_ema_multi_avg_fn(decay)
        self.tensors = {name: parameter.detach().clone() for name, parameter in self._trained.items()}
        self.updates = 0

    def update(self) -> None:
        """Take in the module's present weights; the first ones are taken as they are."""
        own = list(self.tensors.values())
        new = [parameter.detach() for parameter in self._trained.values()]
        if self.updates:
            self._mix(own, new, torch.tensor(self.updates))
        else:
            for mine, theirs in zip(own, new, strict=True):
                mine.copy_(theirs)
        self.updates += 1

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """The module with averaged weights; its own, and its buffers, come back afterwards."""
        buffers = {name: buffer.clone() for name, buffer in self._module.named_buffers()}
        self._swap()
        try:
            yield
        finally:
            self._swap()
            for name, buffer in self._module.named_buffers():
                buffer.copy_(buffers[name])

    @torch.no_grad()
    def _swap(self) -> None:
        for name, parameter in self._trained.items():
            own = parameter.clone()
            parameter.copy_(self.tensors[name])
            self.tensors[name].copy_(own)
