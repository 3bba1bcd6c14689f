"""The moving average of what is trained."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class WeightAverage:
    """An exponential moving average of the trained parameters of a module: of these alone, since a frozen language
    model beside an adapter is not worth a second copy (torch's AveragedModel makes one).

    decay: what stays of the average in every update, 0 for the last weights. anchor: the share of the weights that the
    module has now in what `in_place` shows: between two sets of weights of one training lies one that generalises
    better than either (WiSE-FT, arXiv 2109.01903). tensors: the average by parameter's name.
    """

    def __init__(self, module: nn.Module, decay: float, anchor: float = 0.0) -> None:
        self._module = module
        self._trained = {name: p for name, p in module.named_parameters() if p.requires_grad}
        self._mix = get_ema_multi_avg_fn(decay)
        self.tensors = {name: parameter.detach().clone() for name, parameter in self._trained.items()}
        self._anchor = anchor
        self._begun = {name: p.detach().clone() for name, p in self._trained.items()} if anchor else {}
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
        own = {name: parameter.detach().clone() for name, parameter in self._trained.items()}
        self._put(self.tensors, self._anchor)
        try:
            yield
        finally:
            self._put(own, 0.0)
            for name, buffer in self._module.named_buffers():
                buffer.copy_(buffers[name])

    @torch.no_grad()
    def _put(self, tensors: dict[str, Tensor], anchor: float) -> None:
        for name, parameter in self._trained.items():
            parameter.copy_(tensors[name])
            if anchor:
                parameter.lerp_(self._begun[name], anchor)
