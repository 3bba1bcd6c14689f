"""The moving average of the weights: torch's own, of the trained parameters alone."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from maibench.finetune.averaging import WeightAverage


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Linear(5, 2))


def wander(module: nn.Module) -> None:
    """A step of a training: other weights, and other statistics."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += torch.randn_like(parameter)
    module(torch.randn(8, 3))


def state(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.998])
@pytest.mark.parametrize("updates", [1, 2, 7])
def test_it_is_torchs_own_average(decay: float, updates: int):
    module = network()
    mine, known = WeightAverage(module, decay), AveragedModel(module, multi_avg_fn=get_ema_multi_avg_fn(decay))
    for _ in range(updates):
        wander(module)
        mine.update()
        known.update_parameters(module)
    assert mine.updates == updates
    assert same(mine.tensors, dict(known.module.named_parameters()))


def test_without_decay_it_is_the_last_weights():
    module = network()
    average = WeightAverage(module, 0.0)
    for _ in range(3):
        wander(module)
        average.update()
    assert same(average.tensors, dict(module.named_parameters()))
    places = {parameter.data_ptr() for parameter in module.parameters()}
    assert not any(tensor.data_ptr() in places for tensor in average.tensors.values())


def test_in_place_the_module_has_the_average_and_afterwards_everything_of_its_own():
    module = network()
    average = WeightAverage(module, 0.9)
    for _ in range(3):
        wander(module)
        average.update()
    before, averaged = state(module), {name: tensor.clone() for name, tensor in average.tensors.items()}
    with average.in_place():
        assert same(dict(module.named_parameters()), averaged)
        assert not same(state(module), before)
        module(torch.randn(8, 3))  # other statistics
        module[1].reset_running_stats()
    assert same(state(module), before)
    assert same(average.tensors, averaged)


def test_an_exception_in_place_restores_everything_too():
    module = network()
    average = WeightAverage(module, 0.9)
    wander(module)
    average.update()
    wander(module)
    average.update()
    before, averaged = state(module), {name: tensor.clone() for name, tensor in average.tensors.items()}
    with pytest.raises(KeyboardInterrupt), average.in_place():
        module(torch.randn(8, 3))
        raise KeyboardInterrupt
    assert same(state(module), before)
    assert same(average.tensors, averaged)


def test_what_is_frozen_is_not_copied():
    module = network()
    module[0].requires_grad_(False)
    average = WeightAverage(module, 0.9)
    assert set(average.tensors) == {"1.weight", "1.bias", "2.weight", "2.bias"}
    frozen = module[0].weight
    wander(module)
    average.update()
    before = frozen.clone()
    with average.in_place():
        assert module[0].weight is frozen
        assert torch.equal(frozen, before)


def test_anchored_it_lies_between_the_first_weights_and_the_average():
    module = network()
    first = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}
    average = WeightAverage(module, 0.5, anchor=0.25)
    for _ in range(3):
        wander(module)
        average.update()
    before, averaged = state(module), {name: tensor.clone() for name, tensor in average.tensors.items()}
    with average.in_place():
        for name, parameter in module.named_parameters():
            torch.testing.assert_close(parameter.detach(), 0.75 * averaged[name] + 0.25 * first[name])
    assert same(state(module), before)
    assert same(average.tensors, averaged)


def test_training_goes_on_in_the_same_tensors_afterwards():
    module = network()
    average = WeightAverage(module, 0.9)
    places = [parameter.data_ptr() for parameter in module.parameters()]
    average.update()
    with average.in_place():
        pass
    assert [parameter.data_ptr() for parameter in module.parameters()] == places
    assert all(parameter.requires_grad and parameter.is_leaf for parameter in module.parameters())
