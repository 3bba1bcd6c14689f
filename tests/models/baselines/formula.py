"""Weights and images that a formula makes, the same everywhere: logits of the official code can be noted for them."""

import math

import torch
from torch import nn


def fill(network: nn.Module) -> nn.Module:
    """Give every tensor of a network's state values of a formula; in evaluation mode. Names do not matter, but their
    alphabetical order does."""
    state = network.state_dict()
    for number, name in enumerate(sorted(state)):
        tensor = state[name]
        if not tensor.is_floating_point():
            continue
        waves = torch.sin(torch.arange(tensor.numel(), dtype=torch.float32) * 1.7 + number).view(tensor.shape)
        if name.endswith("running_var"):
            values = 1 + waves / 2
        elif tensor.dim() == 1:
            values = (1 if name.endswith("weight") else 0) + waves / 4
        else:
            values = waves * math.sqrt(1.5 / tensor[0].numel())
        tensor.copy_(values)
    return network.eval()


def images(side: int) -> torch.Tensor:
    """(2, 3, side, side), of many frequencies: in [-1, 1], and in [0, 0.5]."""
    places = torch.arange(2 * 3 * side * side, dtype=torch.float64)
    waves = torch.sin(places * places % 997).float().view(2, 3, side, side)
    return torch.stack([waves[0], (waves[1] + 1) / 4])
