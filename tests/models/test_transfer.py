"""Batches on their way to a device."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from maibench.models.device import to_device
from maibench.models.transfer import send

CPU = torch.device("cpu")
DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")],
    ),
]


def batch():
    return {
        "crops": torch.arange(6).view(2, 3).T,
        "more": [torch.ones(2), (torch.zeros(0), 5)],
        "tilings": [(1, 1), "a"],
    }


@pytest.mark.parametrize("device", DEVICES)
def test_every_tensor_goes_and_all_else_stays(device):
    found = send(batch(), torch.device(device)).receive()
    assert found["tilings"] == [(1, 1), "a"]
    assert isinstance(found["more"][1], tuple)
    assert found["more"][1][1] == 5
    for tensor, expected in (
        (found["crops"], batch()["crops"]),
        (found["more"][0], torch.ones(2)),
        (found["more"][1][0], torch.zeros(0)),
    ):
        assert tensor.device.type == device
        assert torch.equal(tensor.cpu(), expected)


def test_on_the_cpu_nothing_is_copied():
    tensor = torch.rand(5)
    assert to_device(tensor, CPU) is tensor
    assert send([tensor], CPU).receive()[0] is tensor


@pytest.mark.parametrize("device", DEVICES)
def test_gradients_flow_through(device):
    pixels = torch.rand(4, requires_grad=True)
    to_device([pixels * 2], torch.device(device))[0].sum().backward()
    assert torch.equal(pixels.grad, torch.full((4,), 2.0))


@pytest.mark.parametrize("device", DEVICES)
def test_sent_by_workers_received_by_another(device):
    """On a GPU large enough that a batch that is read, or whose memory is given away, too early would be seen."""
    place, size = torch.device(device), 1 << 22 if device == "cuda" else 8
    with ThreadPoolExecutor(4) as pool:
        sent = [pool.submit(send, torch.full((size,), float(number)), place) for number in range(40)]
        for number, future in enumerate(sent):
            received = future.result().receive()
            total = (received - number).abs().sum()
            del received
            assert float(total) == 0
