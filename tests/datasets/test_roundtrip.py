"""What a reconstruction is, and that tiles do not show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from hypothesis import given, settings
from hypothesis import strategies as st

from maibench.datasets import roundtrip
from maibench.datasets.autoencoders import ARCHITECTURES, FACTOR, build_autoencoder, load_autoencoder
from maibench.datasets.roundtrip import factor_of, in_tiles, reconstruct
from maibench.datasets.taef2 import Taef2, load_taef2

PUBLISHED = Path(__file__).parents[2].parent / "shared" / "autoencoders"


def built(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    return build_autoencoder(name).eval()


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    return 20 * np.log10(255 / np.sqrt(((one.astype(float) - other) ** 2).mean()))


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

    def disable_tiling(self): ...


class TestReconstruct:
    @pytest.mark.parametrize("name", ARCHITECTURES)
    def test_has_the_shape_of_its_input_and_is_deterministic(self, texture, name):
        model, images = built(name), [texture((48, 32), seed) for seed in (1, 2)]
        before = [image.copy() for image in images]
        made, again = reconstruct(model, images), reconstruct(model, images)
        assert [(m.shape, m.dtype) for m in made] == [((32, 48, 3), np.uint8)] * 2
        np.testing.assert_array_equal(made, again)
        np.testing.assert_array_equal(images, before)
        assert (made[0] != made[1]).any()

    def test_the_range_of_pixels_is_kept(self):
        echo = Echo()
        levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
        np.testing.assert_array_equal(reconstruct(echo, [levels])[0], levels)
        assert (float(echo.seen.min()), float(echo.seen.max())) == (-1.0, 1.0)
        assert echo.seen.shape == (1, 3, 16, 16)

    @pytest.mark.parametrize("name", ARCHITECTURES)
    def test_the_bundled_ones_know_photographs(self, name):
        skimage_data = pytest.importorskip("skimage.data")
        photograph = skimage_data.astronaut()[:128, 128:256]
        [made] = reconstruct(load_autoencoder(name), [photograph])
        assert psnr(made, photograph) > 22  # the same picture; random weights stay below 10

    def test_taef2_works_between_0_and_1(self, texture):
        torch.manual_seed(0)
        model, image = Taef2().eval(), texture((48, 32))
        with torch.inference_mode():
            expected = model(torch.from_numpy(image).permute(2, 0, 1)[None] / 255)[0].permute(1, 2, 0).numpy() * 255
        [made] = reconstruct(model, [image])
        assert np.abs(made - expected).max() < 0.51


class TestFactor:
    def test_is_what_the_sides_shrink_by(self):
        deep = AutoencoderKL(
            down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4,
            block_out_channels=[8] * 4, norm_num_groups=4,
        )  # fmt: skip
        for model, factor in ((deep, 8), (built("nano-flux.2"), FACTOR)):
            assert factor_of(model) == factor
            with torch.inference_mode():
                latent = model.encode(torch.zeros(1, 3, 32, 48)).latent_dist.mode()
            assert latent.shape[2:] == (32 // factor, 48 // factor)

    def test_of_taef2(self):
        assert factor_of(Taef2()) == 8


class TestTiles:
    @settings(deadline=None, max_examples=30)
    @given(height=st.integers(1, 99), width=st.integers(1, 99), tile=st.integers(20, 60), overlap=st.integers(1, 10))
    def test_cover_everything_and_blend_to_the_same(self, height, width, tile, overlap):
        batch = torch.from_numpy(np.random.default_rng(height).normal(size=(2, 3, height, width))).float()
        sizes = set()

        def echo(part):
            sizes.add(part.shape[2:])
            return part

        torch.testing.assert_close(in_tiles(echo, batch, tile, overlap), batch)
        assert sizes == {(min(height, tile), min(width, tile))}

    def test_what_looks_at_neighbours_is_disturbed_at_the_tiles_borders_alone(self):
        batch = torch.rand(1, 1, 100, 100, generator=torch.Generator().manual_seed(0))

        def blur(part):
            return torch.nn.functional.avg_pool2d(part, 3, 1, padding=1)

        wrong = (in_tiles(blur, batch, 64, 16) - blur(batch)).abs() > 1e-6
        # two tiles a side: 0-63 and 36-99
        borders = torch.zeros(100, dtype=torch.bool)
        borders[[36, 63]] = True
        assert wrong.any()
        assert not wrong[0, 0, ~borders][:, ~borders].any()

    def test_images_up_to_the_limit_are_taken_whole(self, texture, monkeypatch):
        torch.manual_seed(0)
        model, image = Taef2().eval(), texture((96, 64))
        whole = reconstruct(model, [image])
        monkeypatch.setattr(roundtrip, "in_tiles", None)
        monkeypatch.setattr(roundtrip, "WHOLE", 96)
        np.testing.assert_array_equal(reconstruct(model, [image]), whole)

    @pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the published weights are not here")
    def test_taef2s_make_the_same_picture(self):
        photograph = pytest.importorskip("skimage.data").astronaut()[:192, 128:320]
        model = load_taef2(PUBLISHED / "taef2.safetensors")
        batch = torch.from_numpy(photograph.copy()).permute(2, 0, 1)[None] / 255
        with torch.inference_mode():
            whole, tiled = model(batch), in_tiles(model, batch, 128, 32)
        inside = (whole - tiled).abs()[..., :48, :48]  # 16 pixels from where the next tiles begin
        assert inside.mean() < 2 / 255
        assert psnr(255 * whole.numpy(), 255 * tiled.numpy()) > 35

    def test_diffusers_make_the_same_picture(self, monkeypatch):
        photograph = pytest.importorskip("skimage.data").astronaut()[:192, 128:384]
        model = load_autoencoder("nano-sdxl")
        model.tile_sample_min_size, model.tile_latent_min_size = 128, 128 // FACTOR
        [whole] = reconstruct(model, [photograph])
        monkeypatch.setattr(roundtrip, "WHOLE", 200)
        [tiled] = reconstruct(model, [photograph])
        assert (whole != tiled).any()
        assert psnr(tiled, whole) > 25  # every tile is normalised by itself, and these are small ones
        # and the next image that fits is taken whole again
        small = photograph[:128, :128]
        np.testing.assert_array_equal(reconstruct(model, [small]), reconstruct(load_autoencoder("nano-sdxl"), [small]))
