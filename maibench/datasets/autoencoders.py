"""The nano autoencoders: small KL autoencoders in the shapes of SD 1.5, SDXL, FLUX.1 and FLUX.2.

They are diffusers' own classes at about 1/300 of the published size, trained for the demo by
`python -m maibench.finetune.autoencoder`. A reconstruction carries the traces of an encoder, a narrow latent and a
learned up-sampler, and the content of its photograph, which is what makes the pair a fair question.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maibench.errors import MaibenchError

if TYPE_CHECKING:
    import torch

WEIGHTS = Path(__file__).parent / "weights"
FACTOR = 4
"""Sides must be divisible by this: the nano autoencoders halve the picture twice. The published ones do it three times,
but with a three-hundredth of their weights an eighth of the resolution only blurs."""


_SHARED: dict[str, Any] = {
    "down_block_types": ["DownEncoderBlock2D"] * 3,
    "up_block_types": ["UpDecoderBlock2D"] * 3,
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "mid_block_add_attention": False,
    "sample_size": 256,
}

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "nano-sd1.5": {
        "class": "AutoencoderKL",
        "upsample": "nearest",
        "config": {**_SHARED, "latent_channels": 4, "block_out_channels": [16, 24, 40]},
    },
    "nano-sdxl": {
        "class": "AutoencoderKL",
        "upsample": "nearest",
        "config": {**_SHARED, "latent_channels": 4, "block_out_channels": [24, 32, 40]},
    },
    "nano-flux.1": {
        "class": "AutoencoderKL",
        "upsample": "transpose",
        "config": {
            **_SHARED,
            "latent_channels": 16,
            "block_out_channels": [16, 32, 40],
            "use_quant_conv": False,
            "use_post_quant_conv": False,
        },
    },
    "nano-flux.2": {
        "class": "AutoencoderKLFlux2",
        "upsample": "nearest",
        "config": {
            **_SHARED,
            "latent_channels": 32,
            "block_out_channels": [16, 24, 40],
            "decoder_block_out_channels": [24, 24, 40],
        },
    },
}
"""Name -> diffusers class, configuration, and how the decoder doubles its resolution (nearest neighbour followed by a
convolution, or a transposed 4x4 convolution)."""


def build_autoencoder(name: str) -> torch.nn.Module:
    """Return the named nano autoencoder with fresh random weights.

    Raises MaibenchError for an unknown name.
    """
    if name not in ARCHITECTURES:
        raise MaibenchError(f"unknown autoencoder '{name}': there are {', '.join(ARCHITECTURES)}")
    import diffusers
    from diffusers.models.upsampling import Upsample2D

    architecture = ARCHITECTURES[name]
    model = getattr(diffusers, architecture["class"])(**architecture["config"])
    if architecture["upsample"] == "transpose":
        for block in model.decoder.up_blocks:
            if block.upsamplers is not None:
                channels = block.upsamplers[0].channels
                block.upsamplers[0] = Upsample2D(channels, use_conv_transpose=True, out_channels=channels)
    return model


def weights_file(name: str) -> Path:
    """Where the named autoencoder's bundled weights lie. Raises MaibenchError when they are missing."""
    path = WEIGHTS / f"{name}.safetensors"
    if not path.is_file():
        raise MaibenchError(f"{path}: the autoencoder's weights are missing; reinstall maibench")
    return path


def load_autoencoder(name: str) -> torch.nn.Module:
    """Return the named nano autoencoder with its bundled weights, in float32 and evaluation mode.

    Raises MaibenchError when the file is missing, or does not fit the architecture to the letter.
    """
    from safetensors.torch import load_file

    model = build_autoencoder(name)
    path = weights_file(name)
    try:
        model.load_state_dict(load_file(path))
    except Exception as error:
        raise MaibenchError(f"{path}: not the weights of '{name}' ({error}); reinstall maibench") from error
    return model.float().eval()


def save_autoencoder(model: torch.nn.Module, name: str, folder: Path, facts: dict[str, Any]) -> None:
    """Write NAME.safetensors (half precision) and NAME.json (class, configuration, how it was trained) to `folder`."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    tensors = {key: value.half() if value.is_floating_point() else value for key, value in model.state_dict().items()}
    save_file({key: value.contiguous() for key, value in tensors.items()}, folder / f"{name}.safetensors")
    text = json.dumps({"name": name, **ARCHITECTURES[name], **facts}, indent=2)
    (folder / f"{name}.json").write_text(text + "\n")
