"""Weights are loaded to the letter or not at all."""

import os
import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from maibench import Card, Detector
from maibench.errors import MaibenchError
from maibench.models.weights import load_weights, read_tensors, save_weights, sha256


class Tiny(Detector):
    card = Card(name="tiny")

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.norm = nn.BatchNorm1d(2)


@pytest.fixture
def network():
    torch.manual_seed(8)
    network = Tiny()
    network.norm.running_mean.uniform_(-1, 1)
    network.norm.num_batches_tracked.fill_(70_000)  # more than half precision can count
    return network


@pytest.fixture
def file(network, tmp_path):
    save_weights(network, tmp_path / "tiny.safetensors")
    return tmp_path / "tiny.safetensors"


def changed(file, change):
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)


def test_round_trip(network, file):
    other = Tiny()
    load_weights(other, file)
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], tensor, rtol=0, atol=0)
    assert [path.name for path in file.parent.iterdir()] == ["tiny.safetensors"]


def test_half_precision_loads_into_float32(network, tmp_path):
    file = tmp_path / "half.safetensors"
    save_weights(network, file, half=True)
    assert load_file(file)["layer.weight"].dtype == torch.float16
    other = Tiny()
    load_weights(other, file)
    assert other.layer.weight.dtype == torch.float32
    torch.testing.assert_close(other.layer.weight, network.layer.weight.half().float(), rtol=0, atol=0)
    assert other.norm.num_batches_tracked == 70_000


def test_missing_tensor(file):
    changed(file, lambda tensors: tensors.pop("layer.bias"))
    with pytest.raises(MaibenchError, match=r"tiny\.safetensors: not the weights of Tiny: 'layer\.bias' is missing"):
        load_weights(Tiny(), file)


def test_extra_tensor(file):
    changed(file, lambda tensors: tensors.update(extra=torch.zeros(1)))
    with pytest.raises(MaibenchError, match="'extra' is left over"):
        load_weights(Tiny(), file)


def test_wrong_shape(file):
    changed(file, lambda tensors: tensors.update({"layer.weight": torch.zeros(2, 4)}))
    with pytest.raises(MaibenchError, match=r"'layer\.weight' is \[2, 4\], not \[2, 3\]"):
        load_weights(Tiny(), file)


def test_nothing_is_loaded_when_something_is_wrong(file):
    changed(file, lambda tensors: tensors.pop("norm.running_var"))
    other = Tiny()
    before = other.layer.weight.clone()
    with pytest.raises(MaibenchError):
        load_weights(other, file)
    torch.testing.assert_close(other.layer.weight, before, rtol=0, atol=0)


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, witness):
        self.witness = witness

    def __reduce__(self):
        return os.mkdir, (self.witness,)


def test_pickle_is_never_loaded(network, tmp_path):
    torch.save(network.state_dict(), tmp_path / "tiny.pt")
    (tmp_path / "evil.safetensors").write_bytes(pickle.dumps(Payload(str(tmp_path / "witness"))))
    for name in ("tiny.pt", "evil.safetensors"):
        with pytest.raises(
            MaibenchError, match=r"not a whole safetensors file.*A pickle \(\.pt, \.pth, \.bin\) is never"
        ):
            load_weights(Tiny(), tmp_path / name)
    assert not (tmp_path / "witness").exists()


@pytest.mark.parametrize("data", [b"", b"garbage", b"\xff" * 64, b"\x08\x00\x00\x00\x00\x00\x00\x00garbage!"])
def test_garbage(tmp_path, data):
    (tmp_path / "a.safetensors").write_bytes(data)
    with pytest.raises(MaibenchError, match=r"a\.safetensors: not a whole safetensors file"):
        read_tensors(tmp_path / "a.safetensors")


def test_truncated(file):
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(MaibenchError, match="not a whole safetensors file"):
        load_weights(Tiny(), file)


def test_missing_file(tmp_path):
    for path in (tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(MaibenchError, match="no weights file there"):
            load_weights(Tiny(), path)


def test_wrong_hash(file):
    load_weights(Tiny(), file, sha256(file))
    with pytest.raises(MaibenchError, match="its sha256 is not the one on the card"):
        load_weights(Tiny(), file, "0" * 64)


def test_a_file_that_cannot_be_written_leaves_nothing(network, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="Not a directory"):
        save_weights(network, tmp_path / "file" / "tiny.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
