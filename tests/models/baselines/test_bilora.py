"""Bi-LoRA on a small random BLIP-2: the caption that it reads is the one that transformers' own model would write."""

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import Blip2Config, Blip2ForConditionalGeneration, PreTrainedTokenizerFast
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil
from transformers.models.blip_2.processing_blip_2 import Blip2Processor

from maibench.errors import DetectorError, MaibenchError
from maibench.models.baselines.bilora import BiLora
from maibench.models.card import IMAGENET_MEAN
from maibench.models.loading import fingerprint, load_detector

WORDS = ["<pad>", "<unk>", "</s>", "fake", "real", "Fake", "photo", "<image>"]
TARGETS = r"language_model\..*\.(q_proj|k_proj)"


def tiny(**changes):
    layers = {"num_hidden_layers": 1, "num_attention_heads": 2, "hidden_size": 16, "intermediate_size": 20}
    text = {"model_type": "opt", "vocab_size": len(WORDS), "hidden_size": 16, "word_embed_proj_dim": 16, "ffn_dim": 20}
    text |= {"num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 32, "bos_token_id": 2}
    return Blip2Config(
        vision_config={**layers, "image_size": 28, "patch_size": 14},
        qformer_config={**layers, "vocab_size": len(WORDS), "cross_attention_frequency": 1},
        text_config={**text, **changes},
        num_query_tokens=3,
        image_token_index=WORDS.index("<image>"),
    )


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("blip2")
    torch.manual_seed(0)
    network = Blip2ForConditionalGeneration(tiny())
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, 0, 0.3)  # the published start answers every image alike
    network.save_pretrained(folder)
    words = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token="</s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    )
    Blip2Processor(BlipImageProcessorPil(size={"height": 28, "width": 28}), tokenizer).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def detector(base):
    return load_detector("bilora", weights=base)


@pytest.fixture(scope="module")
def batch(detector, texture):
    return torch.stack([detector.preprocess(texture((40 + 9 * seed, 31), seed)) for seed in range(5)])


@pytest.mark.slow
def test_sizes_as_published():
    from peft import LoraConfig, get_peft_model

    large = Blip2Config(text_config={"model_type": "opt", "vocab_size": 50272, "hidden_size": 2560, "ffn_dim": 10240,
        "num_hidden_layers": 32, "num_attention_heads": 32, "word_embed_proj_dim": 2560})  # fmt: skip
    with torch.device("meta"):
        network = Blip2ForConditionalGeneration(large)
        assert network.num_parameters() == BiLora.card.parameters
        config = LoraConfig(r=16, lora_alpha=32, target_modules=TARGETS)
        wrapped = get_peft_model(network, config, low_cpu_mem_usage=True)
    assert sum(p.numel() for p in wrapped.parameters() if p.requires_grad) == 5_242_880


def test_logit_is_read_off_transformers_own_answer(detector, batch):
    ids = torch.tensor([[7, 7, 7, 2]]).expand(len(batch), -1)
    with torch.no_grad():
        logits = detector.network(pixel_values=batch, input_ids=ids).logits[:, -1].float()
        own, unsure = detector.answer(batch)
    probability = logits.softmax(dim=1)
    fake, real = probability[:, [3, 5]].sum(dim=1), probability[:, 4]
    torch.testing.assert_close(own, torch.log(fake / real), atol=1e-4, rtol=1e-4)
    assert unsure.tolist() == (fake + real < 0.5).tolist()
    assert len(set(own.tolist())) == 5
    first = detector.network.generate(pixel_values=batch, input_ids=ids, max_new_tokens=1)[:, -1]
    assert first.tolist() == logits.argmax(dim=1).tolist()


def test_batch_is_single(detector, batch):
    with torch.inference_mode():
        together, single = detector(batch), torch.cat([detector(one[None]) for one in batch])
    torch.testing.assert_close(together, single, atol=1e-5, rtol=1e-4)


def test_reads_as_blip_does(detector, texture):
    image = texture((50, 37))
    resized = np.asarray(Image.fromarray(image).resize((28, 28), Image.Resampling.BICUBIC)) / 255
    mean, std = (np.array(value) for value in (detector.card.mean, detector.card.std))
    assert detector.card.mean != IMAGENET_MEAN
    expected = torch.from_numpy(((resized - mean) / std).transpose(2, 0, 1)).float()
    torch.testing.assert_close(detector.preprocess(image), expected, atol=1e-5, rtol=0)


def test_an_adapter_is_trained_stored_and_found_again(base, batch, tmp_path):
    trained = load_detector("bilora", weights=base)
    trained.add_adapter(2, 4, 0.0, TARGETS)
    labels = torch.tensor([0, 1, 1, 0, 1])
    optimiser = torch.optim.AdamW([p for p in trained.parameters() if p.requires_grad], lr=0.05)
    before = trained.loss(batch, labels).item()
    for _ in range(5):
        optimiser.zero_grad()
        trained.loss(batch, labels).backward()
        optimiser.step()
    assert trained.loss(batch, labels).item() < before
    trained.save_pretrained(tmp_path / "mine")
    assert not list((tmp_path / "mine").glob("model*.safetensors"))
    with torch.no_grad():
        expected = trained(batch)
        for again in (
            load_detector(str(tmp_path / "mine")),
            load_detector("bilora", weights=base, adapter=tmp_path / "mine"),
        ):
            torch.testing.assert_close(again(batch), expected, atol=1e-4, rtol=1e-3)
    assert fingerprint(again) != fingerprint(load_detector("bilora", weights=base))


def test_without_a_base():
    bare = load_detector("bilora")
    assert bare.card.parameters == 3_744_679_936
    for call in (bare.check_ready, lambda: bare(torch.zeros(1, 3, 28, 28)), lambda: bare.add_adapter(1, 1, 0, "x")):
        with pytest.raises(MaibenchError, match="bilora has no bundled weights: --set"):
            call()


@pytest.mark.parametrize(
    ("options", "kind", "reason"),
    [
        ({"fake": "synthetic"}, DetectorError, "'synthetic'"),
        ({"fake": "real"}, MaibenchError, "fake and real share the token 4"),
        ({"min_mass": 2}, MaibenchError, "min_mass is a share of probability"),
    ],
)
def test_wrong_options(base, options, kind, reason):
    with pytest.raises(kind, match=reason):
        BiLora(weights=base, **options)


def test_adapter_as_a_pickle_is_told_how_to_store(base, tmp_path):
    (tmp_path / "adapter_model.bin").write_bytes(b"anything")
    with pytest.raises(DetectorError, match="is a pickle; store its tensors once"):
        BiLora(weights=base, adapter=tmp_path)
