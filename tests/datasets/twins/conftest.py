"""Text-to-image pipelines, a CLIP and a captioner of the published classes, tiny and of random weights."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

VAE = {
    "block_out_channels": [8, 8],
    "down_block_types": ["DownEncoderBlock2D"] * 2,
    "up_block_types": ["UpDecoderBlock2D"] * 2,
    "norm_num_groups": 4,
    "sample_size": 64,
}
TEXT = {
    "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "vocab_size": 514,
    "bos_token_id": 512, "eos_token_id": 513, "pad_token_id": 513, "projection_dim": 32,
}  # fmt: skip
UNET = {
    "block_out_channels": [16, 32],
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "sample_size": 32,
    "cross_attention_dim": 32,
}


def clip_tokenizer() -> Any:
    """Every letter is a token."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTokenizer

    letters = sorted(ByteLevel.alphabet())
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={word: i for i, word in enumerate(words)}, merges=[], model_max_length=77)


def t5_tokenizer() -> Any:
    """Every letter is a token."""
    import string

    from transformers import T5Tokenizer

    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -10.0), *((letter, -3.0) for letter in string.printable[:62])]
    return T5Tokenizer(vocab=[*pieces, ("▁", -3.0)], extra_ids=0, model_max_length=77)


def _vae(**more: Any) -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(**{**VAE, **more})


def _text(kind: str = "CLIPTextModel", **more: Any) -> Any:
    import transformers

    return getattr(transformers, kind)(transformers.CLIPTextConfig(**{**TEXT, **more}))


def _t5() -> Any:
    from transformers import T5Config, T5EncoderModel

    return T5EncoderModel(T5Config(vocab_size=66, d_model=32, d_kv=8, d_ff=32, num_layers=1, num_heads=4))


def _sd15() -> Any:
    from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel

    return StableDiffusionPipeline(
        vae=_vae(), text_encoder=_text(), tokenizer=clip_tokenizer(), unet=UNet2DConditionModel(**UNET),
        scheduler=DDIMScheduler(clip_sample=False, steps_offset=1), safety_checker=None, feature_extractor=None,
        requires_safety_checker=False,
    )  # fmt: skip


def _sdxl() -> Any:
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel

    unet = UNet2DConditionModel(
        **{**UNET, "cross_attention_dim": 64}, addition_embed_type="text_time", addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=80, transformer_layers_per_block=[1, 2], use_linear_projection=True,
    )  # fmt: skip
    return StableDiffusionXLPipeline(
        vae=_vae(), text_encoder=_text(), text_encoder_2=_text("CLIPTextModelWithProjection", hidden_act="gelu"),
        tokenizer=clip_tokenizer(), tokenizer_2=clip_tokenizer(), unet=unet, scheduler=EulerDiscreteScheduler(),
    )  # fmt: skip


def _sd3() -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline

    transformer = SD3Transformer2DModel(
        sample_size=32, patch_size=1, in_channels=4, num_layers=1, attention_head_dim=8, num_attention_heads=4,
        caption_projection_dim=32, joint_attention_dim=32, pooled_projection_dim=64, out_channels=4,
    )  # fmt: skip
    texts = {
        f"text_encoder{n}": _text("CLIPTextModelWithProjection", hidden_size=16, projection_dim=32) for n in ("", "_2")
    }
    return StableDiffusion3Pipeline(
        vae=_vae(shift_factor=0.06, scaling_factor=1.5), **texts, text_encoder_3=_t5(), transformer=transformer,
        tokenizer=clip_tokenizer(), tokenizer_2=clip_tokenizer(), tokenizer_3=t5_tokenizer(),
        scheduler=FlowMatchEulerDiscreteScheduler(),
    )  # fmt: skip


def _flux() -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel

    transformer = FluxTransformer2DModel(
        patch_size=1, in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=32, pooled_projection_dim=32, axes_dims_rope=(4, 4, 8),
    )  # fmt: skip
    return FluxPipeline(
        vae=_vae(shift_factor=0.06, scaling_factor=1.5), text_encoder=_text(), text_encoder_2=_t5(),
        tokenizer=clip_tokenizer(), tokenizer_2=t5_tokenizer(), transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(),
    )  # fmt: skip


@pytest.fixture(scope="session")
def tiny_pipeline(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """tiny_pipeline(kind, seed=0) -> a folder that holds a random pipeline: sd1.5, sdxl, sd3 or flux."""
    made: dict[tuple[str, int], Path] = {}

    def make(kind: str, seed: int = 0) -> Path:
        import torch

        if (kind, seed) not in made:
            torch.manual_seed(seed)
            folder = tmp_path_factory.mktemp("pipelines") / f"{kind}-{seed}"
            {"sd1.5": _sd15, "sdxl": _sdxl, "sd3": _sd3, "flux": _flux}[kind]().save_pretrained(folder)
            made[kind, seed] = folder
        return made[kind, seed]

    return make


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds a random CLIP with its processor."""
    import torch
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor

    torch.manual_seed(0)
    vision = {**TEXT, "image_size": 32, "patch_size": 8}
    model = CLIPModel(CLIPConfig(text_config=TEXT, vision_config=vision, projection_dim=32))
    processor = CLIPProcessor(
        CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}), clip_tokenizer()
    )
    folder = tmp_path_factory.mktemp("clip") / "tiny-clip"
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_captioner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds a random BLIP with its processor."""
    import torch
    from transformers import BlipConfig, BlipForConditionalGeneration, BlipImageProcessor, BlipProcessor

    torch.manual_seed(0)
    text = {**TEXT, "max_position_embeddings": 64, "encoder_hidden_size": 32, "sep_token_id": 513}
    vision = {**TEXT, "image_size": 32, "patch_size": 8}
    model = BlipForConditionalGeneration(BlipConfig(text_config=text, vision_config=vision, projection_dim=32))
    processor = BlipProcessor(BlipImageProcessor(size={"height": 32, "width": 32}), clip_tokenizer())
    folder = tmp_path_factory.mktemp("captioner") / "tiny-blip"
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory, write_image: Callable[..., Path]) -> Path:
    """A folder with three photographs, 120 x 100."""
    folder = tmp_path_factory.mktemp("photographs") / "photos"
    for seed in range(3):
        write_image(folder / "real" / f"{seed}.png", (120, 100), seed)
    return folder


@pytest.fixture(scope="session")
def presets(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """presets(name=folder, ...) -> a file that names these pipelines, with two steps and 64 pixels a side."""

    def make(**folders: Path) -> Path:
        import yaml

        settings = {"num_inference_steps": 2, "width": 64, "height": 64}
        entries = {name: {"repository": str(folder), "settings": settings} for name, folder in folders.items()}
        file = tmp_path_factory.mktemp("presets") / "presets.yaml"
        file.write_text(yaml.safe_dump(entries))
        return file

    return make


@pytest.fixture(scope="session")
def request_for(tiny_pipeline: Any, tiny_clip: Path, tiny_captioner: Path, photographs: Path, presets: Any) -> Any:
    """request_for(out, **changed) -> a Request of tiny models that every picture passes; its generator is "unet"."""
    from maibench.datasets.twins.gates import Limits
    from maibench.datasets.twins.request import Request

    def make(out: Path, **changed: Any) -> Request:
        usual = {
            "data": str(photographs), "generators": "unet", "captioner": str(tiny_captioner), "clip": str(tiny_clip),
            "out": out, "size": 64, "limits": Limits(-1.0, 0.0, 1.0), "device": "cpu",
            "presets": presets(unet=tiny_pipeline("sd1.5")),
        }  # fmt: skip
        return Request(**{**usual, **changed})

    return make


@pytest.fixture(scope="session")
def broken_pipeline(tiny_pipeline: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[[float], Path]:
    """broken_pipeline(value) -> a folder with a pipeline whose images are `value` everywhere (-1 is black)."""

    def make(value: float) -> Path:
        from safetensors.torch import load_file, save_file

        folder = tmp_path_factory.mktemp("broken") / "pipeline"
        shutil.copytree(tiny_pipeline("sd1.5"), folder)
        weights = folder / "vae" / "diffusion_pytorch_model.safetensors"
        tensors = load_file(weights)
        tensors["decoder.conv_out.weight"].zero_()
        tensors["decoder.conv_out.bias"].fill_(value)
        save_file(tensors, weights)
        return folder

    return make
