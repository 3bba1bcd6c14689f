"""TAEF2: its files, its shapes, and the numbers of the published weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from maibench.datasets.taef2 import Taef2, load_taef2
from maibench.errors import MaibenchError

PUBLISHED = Path(__file__).parents[2].parent / "shared" / "autoencoders"
"""The real weights and an example, where a checkout has them."""


@pytest.fixture(scope="module")
def random() -> Taef2:
    torch.manual_seed(0)
    return Taef2().eval()


class TestShapes:
    def test_the_sides_of_the_latent_are_an_eighth(self, random):
        images = torch.rand(2, 3, 64, 48)
        with torch.inference_mode():
            latent, made = random.encoder(images), random(images)
        assert latent.shape == (2, 32, 8, 6)
        assert made.shape == images.shape
        assert made.min() >= 0
        assert made.max() <= 1

    def test_has_the_published_number_of_parameters(self, random):
        # 1.34 million on either side
        counts = [sum(p.numel() for p in side.parameters()) for side in (random.encoder, random.decoder)]
        assert [round(count / 1e6, 2) for count in counts] == [1.34, 1.34]


class TestLoad:
    def test_comes_back_in_float32(self, random, tmp_path):
        file = tmp_path / "taef2.safetensors"
        save_file({key: tensor.half() for key, tensor in random.state_dict().items()}, file)
        loaded = load_taef2(file)
        assert not loaded.training
        for key, tensor in random.state_dict().items():
            torch.testing.assert_close(loaded.state_dict()[key], tensor.half().float(), rtol=0, atol=0)

    @pytest.mark.parametrize("change", ["missing", "extra", "shape", "garbage", "absent"])
    def test_not_to_the_letter(self, random, tmp_path, change):
        file = tmp_path / "taef2.safetensors"
        tensors = dict(random.state_dict())
        key = next(iter(tensors))
        if change == "missing":
            del tensors[key]
        elif change == "extra":
            tensors["more"] = torch.zeros(1)
        elif change == "shape":
            tensors[key] = torch.zeros(3)
        if change != "absent":
            save_file(tensors, file)
        if change == "garbage":
            file.write_bytes(b"garbage")
        with pytest.raises(MaibenchError, match=r"taef2\.safetensors: not the weights of TAEF2"):
            load_taef2(file)


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the published weights are not here")
class TestPublished:
    def test_reproduces_the_example(self):
        model, example = load_taef2(PUBLISHED / "taef2.safetensors"), load_file(PUBLISHED / "taef2_example.safetensors")
        with torch.inference_mode():
            latent = model.encoder(example["image"][None].float() / 255)
            made = model.decoder(latent)
        # the example is in half precision: its last bit is worth 1/1024 of a value around 1
        torch.testing.assert_close(latent[0], example["latent"].float(), rtol=2e-3, atol=4e-3)
        torch.testing.assert_close(made[0], example["reconstruction"].float(), rtol=2e-3, atol=2e-3)
