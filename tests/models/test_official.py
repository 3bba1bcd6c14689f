"""Published weights of any usual form are read, and nothing in them is run."""

import argparse
import contextlib
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from maibench.errors import MaibenchError
from maibench.models.official import read_official

TENSORS = {"conv.weight": torch.arange(6.0).view(2, 3), "norm.count": torch.tensor(3)}


def same(found):
    return found.keys() == TENSORS.keys() and all(torch.equal(found[name], TENSORS[name]) for name in TENSORS)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".ckpt"])
@pytest.mark.parametrize("key", ["", "model", "state_dict"])
def test_checkpoints(tmp_path, suffix, key):
    file = tmp_path / f"official{suffix}"
    torch.save({key: TENSORS, "epoch": 3, "args": argparse.Namespace(lr=0.1)} if key else TENSORS, file)
    assert same(read_official(file))


def test_data_parallel_and_nested(tmp_path):
    torch.save({"state_dict": {f"module.{name}": value for name, value in TENSORS.items()}}, tmp_path / "a.pth")
    assert same(read_official(tmp_path / "a.pth"))
    torch.save({"ema": TENSORS, "model": {}}, tmp_path / "b.pth")
    assert same(read_official(tmp_path / "b.pth", inside=("ema",)))


def test_safetensors(tmp_path):
    save_file(TENSORS, tmp_path / "a.safetensors")
    assert same(read_official(tmp_path / "a.safetensors"))


class Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, witness: str):
        self.witness = witness

    def __reduce__(self):
        return os.mkdir, (self.witness,)


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    torch.save({"model": TENSORS, "extra": Payload(str(tmp_path / "witness"))}, tmp_path / "evil.pth")
    with pytest.raises(MaibenchError, match=r"evil\.pth: not a checkpoint whose tensors can be read without running"):
        read_official(tmp_path / "evil.pth")
    assert not (tmp_path / "witness").exists()


@pytest.mark.parametrize("data", [b"", b"garbage", b"PK\x03\x04 and so on", b"\x80\x02}q\x00."])
def test_what_is_no_checkpoint(tmp_path, data):
    (tmp_path / "a.pth").write_bytes(data)
    with pytest.raises(MaibenchError, match=r"a\.pth: "):
        read_official(tmp_path / "a.pth")


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_damaged(tmp_path):
    torch.save(TENSORS, tmp_path / "whole.pth", _use_new_zipfile_serialization=False)
    whole = (tmp_path / "whole.pth").read_bytes()
    for at in range(0, len(whole), 16):  # some of it is numbers, which may be any
        (tmp_path / "a.pth").write_bytes(whole[:at] + bytes([whole[at] ^ 0x5A]) + whole[at + 1 :])
        with contextlib.suppress(MaibenchError):
            read_official(tmp_path / "a.pth")


def test_cut_short(tmp_path):
    torch.save(TENSORS, tmp_path / "a.pth")
    (tmp_path / "a.pth").write_bytes((tmp_path / "a.pth").read_bytes()[:-100])
    with pytest.raises(MaibenchError, match="not a checkpoint"):
        read_official(tmp_path / "a.pth")


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ({"epoch": 3}, "holds 'epoch', a int, where tensors should be"),
        ({}, "holds no tensors by name"),
        ([TENSORS], "holds no tensors by name, but a list"),
    ],
)
def test_no_tensors_by_name(tmp_path, found, told):
    torch.save(found, tmp_path / "a.pth")
    with pytest.raises(MaibenchError, match=told):
        read_official(tmp_path / "a.pth")


@pytest.mark.parametrize("name", ["none.pth", "none.safetensors"])
def test_missing(tmp_path: Path, name):
    with pytest.raises(MaibenchError, match="no weights file there"):
        read_official(tmp_path / name)
