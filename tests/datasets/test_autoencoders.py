"""The nano autoencoders: their shapes and their files."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from maibench.datasets import autoencoders
from maibench.datasets.autoencoders import (
    ARCHITECTURES,
    FACTOR,
    build_autoencoder,
    load_autoencoder,
    save_autoencoder,
)
from maibench.errors import MaibenchError

# name -> latent channels, diffusers' class: those of the published four
FACTS = {
    "nano-sd1.5": (4, "AutoencoderKL"),
    "nano-sdxl": (4, "AutoencoderKL"),
    "nano-flux.1": (16, "AutoencoderKL"),
    "nano-flux.2": (32, "AutoencoderKLFlux2"),
}


def built(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    return build_autoencoder(name).eval()


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """A folder in place of the bundled one."""
    monkeypatch.setattr(autoencoders, "WEIGHTS", tmp_path)
    return tmp_path


class TestBuild:
    def test_there_are_four(self):
        assert list(ARCHITECTURES) == list(FACTS)

    @pytest.mark.parametrize("name", FACTS)
    def test_the_latent_has_the_published_channels(self, name):
        channels, kind = FACTS[name]
        model = built(name)
        assert type(model).__name__ == kind
        with torch.inference_mode():
            latent = model.encode(torch.zeros(2, 3, 32, 48)).latent_dist.mode()
        assert latent.shape == (2, channels, 32 // FACTOR, 48 // FACTOR)

    @pytest.mark.parametrize("name", FACTS)
    def test_is_nano(self, name):
        # the published four have 84 million parameters; the bundled files are to stay below 1 MB each
        assert 100_000 < sum(p.numel() for p in built(name).parameters()) < 500_000

    def test_flux_1_learns_its_up_sampling_and_the_others_do_not(self):
        transposed = {name for name in FACTS for m in built(name).modules() if isinstance(m, torch.nn.ConvTranspose2d)}
        assert transposed == {"nano-flux.1"}

    def test_an_unknown_name(self):
        with pytest.raises(MaibenchError, match=r"unknown autoencoder 'sd3': there are nano-sd1\.5, .*nano-flux\.2"):
            build_autoencoder("sd3")


class TestFiles:
    @pytest.mark.parametrize("name", FACTS)
    def test_come_back_in_half_precision(self, weights, name):
        model = built(name)
        save_autoencoder(model, name, weights, {"steps": 7})
        loaded = load_autoencoder(name)
        assert not loaded.training
        assert torch.float32 not in {tensor.dtype for tensor in load_file(weights / f"{name}.safetensors").values()}
        for key, tensor in model.state_dict().items():
            assert loaded.state_dict()[key].dtype == tensor.dtype
            torch.testing.assert_close(loaded.state_dict()[key], tensor.half().to(tensor.dtype), rtol=0, atol=0)

    def test_the_card_says_what_it_is_and_how_it_was_made(self, weights):
        save_autoencoder(built("nano-flux.1"), "nano-flux.1", weights / "below", {"steps": 7, "seed": 1})
        card = json.loads((weights / "below" / "nano-flux.1.json").read_text())
        assert card == {"name": "nano-flux.1", **ARCHITECTURES["nano-flux.1"], "steps": 7, "seed": 1}

    def test_missing(self, weights):
        with pytest.raises(MaibenchError, match=r"nano-sdxl.safetensors: .*weights are missing; reinstall maibench"):
            load_autoencoder("nano-sdxl")

    @pytest.mark.parametrize("data", [b"", b"garbage", b"\xff" * 100, b"version https://git-lfs.github.com/spec/v1\n"])
    def test_garbled(self, weights, data):
        (weights / "nano-sdxl.safetensors").write_bytes(data)
        with pytest.raises(MaibenchError, match="not the weights of 'nano-sdxl'"):
            load_autoencoder("nano-sdxl")

    def test_cut_short(self, weights):
        save_autoencoder(built("nano-sdxl"), "nano-sdxl", weights, {})
        file = weights / "nano-sdxl.safetensors"
        file.write_bytes(file.read_bytes()[:-100])
        with pytest.raises(MaibenchError, match="not the weights of 'nano-sdxl'"):
            load_autoencoder("nano-sdxl")

    @pytest.mark.parametrize("change", ["missing", "extra", "shape"])
    def test_not_to_the_letter(self, weights, change):
        save_autoencoder(built("nano-sdxl"), "nano-sdxl", weights, {})
        file = weights / "nano-sdxl.safetensors"
        tensors = load_file(file)
        key = next(iter(tensors))
        if change == "missing":
            del tensors[key]
        elif change == "extra":
            tensors["more"] = torch.zeros(1)
        else:
            tensors[key] = torch.zeros(3)
        save_file(tensors, file)
        with pytest.raises(MaibenchError, match=r"(?s)not the weights of 'nano-sdxl' \(.*; reinstall maibench"):
            load_autoencoder("nano-sdxl")

    def test_those_of_another(self, weights):
        save_autoencoder(built("nano-sd1.5"), "nano-sdxl", weights, {})
        with pytest.raises(MaibenchError, match="not the weights of 'nano-sdxl'"):
            load_autoencoder("nano-sdxl")
