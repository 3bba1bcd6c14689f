"""Published models in small: random networks of transformers with their processors, saved as folders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

WORDS = "Is this image AI - generated ? real Answer yes or no . Yes No NO photo User Assistant :"
MARKS = ("<pad>", "<unk>", "<s>", "</s>", "<image>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>",
         "<|video_pad|>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>")  # fmt: skip
TILES = tuple(f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7))
TEMPLATE = (
    "<s>{% for message in messages %}User: {% for part in message.content %}{% if part.type == 'image' %}IMAGE"
    "{% else %}{{ part.text }}{% endif %}{% endfor %}{% endfor %}{% if add_generation_prompt %} Assistant:{% endif %}"
)


@pytest.fixture(scope="session")
def tokenizer() -> Callable[..., PreTrainedTokenizerFast]:
    """tokenizer(words=WORDS) -> a tokenizer of whole words; of single letters where words is empty."""

    def make(words: str = WORDS) -> PreTrainedTokenizerFast:
        known = words.split() or list("abcdefghijklmnopqrstuvwxyz")
        vocabulary = {word: index for index, word in enumerate((*MARKS, *TILES, *dict.fromkeys(known)))}
        if words:
            made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
            made.pre_tokenizer = pre_tokenizers.Whitespace()
        else:
            made = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>"))
            made.decoder = decoders.Fuse()
        made.add_special_tokens([*MARKS, *TILES])
        return PreTrainedTokenizerFast(
            tokenizer_object=made, pad_token="<pad>", unk_token="<unk>", bos_token="<s>", eos_token="</s>"
        )

    return make


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """classifier(*labels, kind="vit", facts="", seed=0) -> a new folder with an image classifier of these classes.

    kind: "vit" (32 x 32 pixels), or "convnext", whose processor leaves images as large as they are. facts: the head of
    README.md.
    """

    def make(*labels: str, kind: str = "vit", facts: str = "", seed: int = 0, **settings: Any) -> Path:
        from transformers import ConvNextConfig, ConvNextForImageClassification, ViTConfig, ViTForImageClassification
        from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

        torch.manual_seed(seed)
        names = {"id2label": dict(enumerate(labels)), "label2id": {label: i for i, label in enumerate(labels)}}
        shapes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
        if kind == "vit":
            config = ViTConfig(image_size=32, patch_size=8, initializer_range=0.5, **shapes, **names, **settings)
            network, processor = (
                ViTForImageClassification(config),
                ViTImageProcessorPil(size={"height": 32, "width": 32}),
            )
        else:
            config = ConvNextConfig(hidden_sizes=[4, 4], depths=[1, 1], num_stages=2, initializer_range=0.5, **names)
            network, processor = ConvNextForImageClassification(config), ViTImageProcessorPil(do_resize=False)
        folder = tmp_path_factory.mktemp("model")
        network.save_pretrained(folder)
        processor.save_pretrained(folder)
        if facts:
            (folder / "README.md").write_text(f"---\n{facts}\n---\n# A model\n")
        return folder

    return make


@pytest.fixture(scope="session")
def vlm(tmp_path_factory: pytest.TempPathFactory, tokenizer) -> Callable[..., Path]:
    """vlm(kind, template=True, words=WORDS) -> a new folder with a VLM: "llava", "idefics3" or "qwen2_vl"."""

    def make(kind: str, template: bool = True, words: str = WORDS) -> Path:
        torch.manual_seed(0)
        network, processor, image = _VLMS[kind](tokenizer(words))
        if template:
            processor.chat_template = TEMPLATE.replace("IMAGE", image)
        folder = tmp_path_factory.mktemp(kind)
        for name, tensor in network.named_parameters():  # the usual beginning, 0.02, leaves nothing of the image
            if tensor.ndim > 1:
                tensor.data.normal_(0, 0.3 if "embed" not in name else 1.0)
        network.save_pretrained(folder)
        processor.save_pretrained(folder)
        return folder

    return make


def _llava(tokenizer: PreTrainedTokenizerFast) -> tuple[Any, Any, str]:
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    vision = CLIPVisionConfig(image_size=32, patch_size=8, projection_dim=16, **_shapes(layers=2))
    text = LlamaConfig(vocab_size=len(tokenizer), **_shapes())
    image_token = tokenizer.convert_tokens_to_ids("<image>")
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_index=image_token, image_seq_length=16)
    looks = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    processor = LlavaProcessor(looks, tokenizer, 8, "default", num_additional_image_tokens=1)
    return LlavaForConditionalGeneration(config), processor, "<image>"


def _idefics3(tokenizer: PreTrainedTokenizerFast) -> tuple[Any, Any, str]:
    from transformers import Idefics3Config, Idefics3ForConditionalGeneration, Idefics3Processor
    from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

    text = {"model_type": "llama", "vocab_size": len(tokenizer), "pad_token_id": 0, **_shapes()}
    config = Idefics3Config(
        vision_config={"image_size": 32, "patch_size": 8, **_shapes()},
        text_config=text,
        scale_factor=2,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        pad_token_id=0,
    )
    looks = Idefics3ImageProcessorPil(size={"longest_edge": 64}, max_image_size={"longest_edge": 32})
    return Idefics3ForConditionalGeneration(config), Idefics3Processor(looks, tokenizer, 4), "<image>"


def _qwen2_vl(tokenizer: PreTrainedTokenizerFast) -> tuple[Any, Any, str]:
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration, Qwen2VLProcessor, Qwen2VLVideoProcessor
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    ids = {name: tokenizer.convert_tokens_to_ids(f"<|{name}|>") for name in ("image_pad", "video_pad")}
    ids |= {name: tokenizer.convert_tokens_to_ids(f"<|{name}|>") for name in ("vision_start", "vision_end")}
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]}
    config = Qwen2VLConfig(
        text_config={"vocab_size": len(tokenizer), "num_key_value_heads": 2, "rope_parameters": rope, **_shapes()},
        vision_config={"depth": 1, "embed_dim": 16, "hidden_size": 16, "num_heads": 2, "mlp_ratio": 1, "patch_size": 4},
        image_token_id=ids["image_pad"],
        video_token_id=ids["video_pad"],
        vision_start_token_id=ids["vision_start"],
        vision_end_token_id=ids["vision_end"],
    )
    sizes = {"patch_size": 4, "size": {"shortest_edge": 8 * 8 * 4, "longest_edge": 8 * 8 * 64}}
    processor = Qwen2VLProcessor(Qwen2VLImageProcessorPil(**sizes), tokenizer, Qwen2VLVideoProcessor())
    return Qwen2VLForConditionalGeneration(config), processor, "<|vision_start|><|image_pad|><|vision_end|>"


def _shapes(layers: int = 1) -> dict[str, int]:
    return {"hidden_size": 16, "num_hidden_layers": layers, "num_attention_heads": 2, "intermediate_size": 16}


_VLMS = {"llava": _llava, "idefics3": _idefics3, "qwen2_vl": _qwen2_vl}
