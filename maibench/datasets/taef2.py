"""TAEF2, the tiny autoencoder that was distilled from FLUX.2's (github.com/madebyollin/taesd, MIT)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from maibench.errors import MaibenchError

WIDTH, LATENT = 64, 32


class Block(nn.Module):
    """relu(x + three 3x3 convolutions); with `pooled` a normalised 1x1 branch is added to x before."""

    def __init__(self, pooled: bool = False) -> None:
        super().__init__()
        self.conv = nn.Sequential(_conv(), nn.ReLU(), _conv(), nn.ReLU(), _conv())
        self.pool = nn.Sequential(
            nn.Conv2d(WIDTH, 4 * WIDTH, 1, bias=False),
            nn.GroupNorm(4, 4 * WIDTH),
            nn.ReLU(inplace=True),
            nn.Conv2d(4 * WIDTH, WIDTH, 1, bias=False),
        ) if pooled else None  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        if self.pool is not None:
            x = x + self.pool(x)
        return torch.relu(self.conv(x) + x)


class Clamp(nn.Module):
    """Latents pressed softly into (-3, 3)."""

    def forward(self, x: Tensor) -> Tensor:
        return 3 * torch.tanh(x / 3)


class Taef2(nn.Module):
    """Images in [0, 1], n x 3 x height x width, to latents, n x 32 x height / 8 x width / 8, and back."""

    factor = 8

    def __init__(self) -> None:
        super().__init__()
        encoder: list[nn.Module] = [_conv(3), Block()]
        for pooled in (False, False, True):
            encoder += [_conv(stride=2, bias=False), *(Block(pooled) for _ in range(3))]
        self.encoder = nn.Sequential(*encoder, nn.Conv2d(WIDTH, LATENT, 3, padding=1))
        decoder: list[nn.Module] = [Clamp(), _conv(LATENT), nn.ReLU()]
        for pooled in (True, False, False):
            decoder += [*(Block(pooled) for _ in range(3)), nn.Upsample(scale_factor=2), _conv(bias=False)]
        self.decoder = nn.Sequential(*decoder, Block(), nn.Conv2d(WIDTH, 3, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        """The reconstruction of a batch in [0, 1], sides divisible by 8; values in [0, 1]."""
        return self.decoder(self.encoder(x)).clamp(0, 1)


def load_taef2(file: Path) -> Taef2:
    """Read `taef2.safetensors`, in float32. Raises MaibenchError when it does not fit to the letter."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    model = Taef2()
    try:
        model.load_state_dict(load_file(file))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise MaibenchError(f"{file}: not the weights of TAEF2 ({' '.join(str(error).split())[:200]})") from error
    return model.float().eval()


def _conv(before: int = WIDTH, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(before, WIDTH, 3, stride, padding=1, bias=bias)
