"""A tiny autoencoder in diffusers' layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny_vae() -> Callable[..., Path]:
    """tiny_vae(folder, seed=0, **configuration) -> folder, which then holds a random AutoencoderKL of factor 2."""

    def make(folder: Path, seed: int = 0, **configuration: object) -> Path:
        import torch
        from diffusers import AutoencoderKL

        torch.manual_seed(seed)
        AutoencoderKL(
            **{
                "down_block_types": ["DownEncoderBlock2D"] * 2,
                "up_block_types": ["UpDecoderBlock2D"] * 2,
                "block_out_channels": [8, 8],
                "norm_num_groups": 4,
                **configuration,
            }
        ).save_pretrained(folder)
        return folder

    return make
