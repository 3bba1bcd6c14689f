"""A network that another file fills: it goes where its owner goes, and is not trained, stored or counted with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn


class Frozen(nn.Module):
    """Holds a network out of sight of its owner's `parameters`, `state_dict` and `train`: a detector on top of a frozen
    network stores what it learnt, a few numbers, and not the network's gigabytes once more.

    network: in evaluation mode from here on, without gradients of its own; those of its inputs go through it.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self._held = (network.eval().requires_grad_(False),)

    @property
    def network(self) -> Any:
        """The network itself."""
        return self._held[0]

    def parameter_count(self) -> int:
        """How many numbers the network has."""
        return sum(parameter.numel() for parameter in self.network.parameters())

    def forward(self, *arguments: Any, **options: Any) -> Any:
        return self.network(*arguments, **options)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Frozen:
        self.network._apply(fn, recurse)
        return super()._apply(fn, recurse)
