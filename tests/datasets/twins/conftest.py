"""Text-to-image pipelines, a CLIP and a captioner of the published classes, tiny and of random weights."""

import functools
import shutil
import string

import pytest

TEXT = {
    "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "vocab_size": 514,
    "bos_token_id": 512, "eos_token_id": 513, "pad_token_id": 513, "projection_dim": 32,
}  # fmt: skip
VISION = {**TEXT, "image_size": 32, "patch_size": 8}
UNET = {
    "block_out_channels": [16, 32], "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"], "layers_per_block": 1, "norm_num_groups": 8,
    "sample_size": 32, "cross_attention_dim": 32,
}  # fmt: skip


def clip_tokenizer():  # every letter is a token
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTokenizer

    letters = sorted(ByteLevel.alphabet())
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={word: i for i, word in enumerate(words)}, merges=[], model_max_length=77)


def _parts(n_clip, vae, t5=0, **text):
    """An autoencoder, and text encoders with their tokenizers: so many CLIPs, then a T5 as the one of that number."""
    import transformers as t
    from diffusers import AutoencoderKL

    blocks = {"down_block_types": ["DownEncoderBlock2D"] * 2, "up_block_types": ["UpDecoderBlock2D"] * 2}
    parts = {"vae": AutoencoderKL(**blocks, block_out_channels=[8, 8], norm_num_groups=4, sample_size=64, **vae)}
    for end in ("", "_2")[:n_clip]:
        kind = t.CLIPTextModelWithProjection if text or end else t.CLIPTextModel
        parts |= {f"text_encoder{end}": kind(t.CLIPTextConfig(**{**TEXT, **text})), f"tokenizer{end}": clip_tokenizer()}
    if t5:
        config = t.T5Config(vocab_size=66, d_model=32, d_kv=8, d_ff=32, num_layers=1, num_heads=4)
        pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -10.0), *((x, -3.0) for x in [*string.printable[:62], "▁"])]
        tokenizer = t.T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=77)
        parts |= {f"text_encoder_{t5}": t.T5EncoderModel(config), f"tokenizer_{t5}": tokenizer}
    return parts


def _pipeline(kind):
    import diffusers as d

    if kind == "sd1.5":
        return d.StableDiffusionPipeline(
            **_parts(1, {}), unet=d.UNet2DConditionModel(**UNET), safety_checker=None, feature_extractor=None,
            scheduler=d.DDIMScheduler(clip_sample=False, steps_offset=1), requires_safety_checker=False,
        )  # fmt: skip
    if kind == "sdxl":
        unet = d.UNet2DConditionModel(
            **{**UNET, "cross_attention_dim": 64}, addition_embed_type="text_time", addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=80, transformer_layers_per_block=[1, 2], use_linear_projection=True,
        )  # fmt: skip
        return d.StableDiffusionXLPipeline(**_parts(2, {}), unet=unet, scheduler=d.EulerDiscreteScheduler())
    flow = {"shift_factor": 0.06, "scaling_factor": 1.5}
    usual = {"patch_size": 1, "num_layers": 1, "joint_attention_dim": 32}
    scheduler = d.FlowMatchEulerDiscreteScheduler()
    if kind == "sd3":
        transformer = d.SD3Transformer2DModel(
            **usual, sample_size=32, in_channels=4, attention_head_dim=8, num_attention_heads=4,
            caption_projection_dim=32, pooled_projection_dim=64, out_channels=4,
        )  # fmt: skip
        parts = _parts(2, flow, t5=3, hidden_size=16)
        return d.StableDiffusion3Pipeline(**parts, transformer=transformer, scheduler=scheduler)
    transformer = d.FluxTransformer2DModel(
        **usual, in_channels=16, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        pooled_projection_dim=32, axes_dims_rope=(4, 4, 8),
    )  # fmt: skip
    return d.FluxPipeline(**_parts(1, flow, t5=2), transformer=transformer, scheduler=scheduler)


def change(weights, how):
    """Write tensors anew after `how` has changed them."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(weights)
    how(tensors)
    save_file(tensors, weights, {"format": "pt"})


def save(folder, make):
    """What `make` returns, in a folder, always with the same weights."""
    import torch

    torch.manual_seed(0)
    for part in make():
        part.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_pipeline(tmp_path_factory):
    """tiny_pipeline(kind) -> a folder that holds a random pipeline: sd1.5, sdxl, sd3 or flux."""
    return functools.cache(lambda kind: save(tmp_path_factory.mktemp("pipeline") / kind, lambda: [_pipeline(kind)]))


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory):
    import transformers as t

    config = t.CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=32)
    images = t.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    processor = t.CLIPProcessor(images, clip_tokenizer())
    return save(tmp_path_factory.mktemp("clip") / "tiny-clip", lambda: [t.CLIPModel(config), processor])


@pytest.fixture(scope="session")
def tiny_captioner(tmp_path_factory):
    import transformers as t

    text = {**TEXT, "max_position_embeddings": 64, "encoder_hidden_size": 32, "sep_token_id": 513}
    config = t.BlipConfig(text_config=text, vision_config=VISION, projection_dim=32)
    processor = t.BlipProcessor(t.BlipImageProcessor(size={"height": 32, "width": 32}), clip_tokenizer())
    model = t.BlipForConditionalGeneration
    return save(tmp_path_factory.mktemp("captioner") / "tiny-blip", lambda: [model(config), processor])


@pytest.fixture(scope="session")
def photographs(tmp_path_factory, write_image):
    folder = tmp_path_factory.mktemp("photographs") / "photos"
    for seed in range(3):
        write_image(folder / "real" / f"{seed}.png", (120, 100), seed)
    return folder


@pytest.fixture(scope="session")
def request_for(tiny_pipeline, tiny_clip, tiny_captioner, photographs, tmp_path_factory):
    """request_for(out, pipelines={"unet": FOLDER, ...}, **changed) -> a Request of tiny models that every picture
    passes: two steps, 64 pixels a side."""
    import yaml

    from maibench.datasets.twins.gates import Limits
    from maibench.datasets.twins.request import Request

    usual = {
        "data": str(photographs), "captioner": str(tiny_captioner), "clip": str(tiny_clip), "size": 64,
        "limits": Limits(-1.0, 0.0, 1.0), "device": "cpu",
    }  # fmt: skip

    def make(out, pipelines=None, **changed):
        pipelines = pipelines or {"unet": tiny_pipeline("sd1.5")}
        settings = {"num_inference_steps": 2, "width": 64, "height": 64}
        entries = {name: {"repository": str(folder), "settings": settings} for name, folder in pipelines.items()}
        file = tmp_path_factory.mktemp("presets") / "presets.yaml"
        file.write_text(yaml.safe_dump(entries))
        return Request(**{**usual, "out": out, "generators": ",".join(pipelines), "presets": file, **changed})

    return make


@pytest.fixture(scope="session")
def request_two(request_for, tiny_pipeline):
    """request_two(out, **changed) -> what asks for twins by a U-Net and by a transformer."""
    two = {"unet": tiny_pipeline("sd1.5"), "transformer": tiny_pipeline("sd3")}
    return functools.partial(request_for, pipelines=two)


@pytest.fixture(scope="session")
def made(request_two, tmp_path_factory):
    from maibench.datasets.twins.build import make_twins

    out = tmp_path_factory.mktemp("made") / "twins"
    assert make_twins(request_two(out)).described().startswith("9 images of 3 photographs; none quarantined")
    return out


@pytest.fixture(scope="session")
def contents():
    """contents(folder) -> {path: bytes} of all files below it."""
    return lambda folder: {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


@pytest.fixture(scope="session")
def broken_pipeline(tiny_pipeline, tmp_path_factory):
    """broken_pipeline(value) -> a folder with a pipeline whose images are `value` everywhere (-1 is black)."""

    def make(value):
        def fill(tensors):
            tensors["decoder.conv_out.weight"].zero_()
            tensors["decoder.conv_out.bias"].fill_(value)

        folder = shutil.copytree(tiny_pipeline("sd1.5"), tmp_path_factory.mktemp("broken") / "sd1.5")
        change(folder / "vae" / "diffusion_pytorch_model.safetensors", fill)
        return folder

    return make
