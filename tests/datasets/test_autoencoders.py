"""The nano autoencoders: their shapes, their files, and what a reconstruction is."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from maibench.datasets import autoencoders
from maibench.datasets.autoencoders import (
    ARCHITECTURES,
    FACTOR,
    build_autoencoder,
    load_autoencoder,
    reconstruct,
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


class TestReconstruct:
    @pytest.mark.parametrize("name", FACTS)
    def test_has_the_shape_of_its_input_and_is_deterministic(self, texture, name):
        model, images = built(name), [texture((48, 32), seed) for seed in (1, 2)]
        before = [image.copy() for image in images]
        made, again = reconstruct(model, images), reconstruct(model, images)
        assert [(m.shape, m.dtype) for m in made] == [((32, 48, 3), np.uint8)] * 2
        np.testing.assert_array_equal(made, again)
        np.testing.assert_array_equal(images, before)
        assert (made[0] != made[1]).any()

    def test_the_range_of_pixels_is_kept(self):
        class Echo(torch.nn.Module):
            """Encodes and decodes to what it was given, and a little beyond its range."""

            def encode(self, batch):
                self.seen = batch
                return self

            @property
            def latent_dist(self):
                return self

            def mode(self):
                return self.seen

            def decode(self, latent):
                self.sample = torch.where(latent.abs() > 0.999, 1.5 * latent, latent)
                return self

        echo = Echo()
        levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
        np.testing.assert_array_equal(reconstruct(echo, [levels])[0], levels)
        assert (float(echo.seen.min()), float(echo.seen.max())) == (-1.0, 1.0)
        assert echo.seen.shape == (1, 3, 16, 16)

    @pytest.mark.parametrize("name", FACTS)
    def test_the_bundled_ones_know_photographs(self, name):
        skimage_data = pytest.importorskip("skimage.data")
        photograph = skimage_data.astronaut()[:128, 128:256]
        [made] = reconstruct(load_autoencoder(name), [photograph])
        error = made.astype(float) - photograph
        psnr = 20 * np.log10(255 / np.sqrt((error**2).mean()))
        assert psnr > 22  # the same picture; random weights stay below 10
