"""The nano moondream that comes with the package; nothing here depends on how good its answers are."""

from __future__ import annotations

import socket

import huggingface_hub
import pytest
import torch

from maibench import load_detector
from maibench.errors import MaibenchError
from maibench.models.loading import fingerprint
from maibench.models.moondream.checkpoint import bundled
from maibench.models.weights import BUNDLED, sha256


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    """A fresh machine without a network."""

    def refuse(*arguments, **options):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))


def logits(detector, pictures):
    with torch.inference_mode():
        return detector(detector.collate([detector.preprocess(pixels) for pixels in pictures]))


def test_it_loads_with_its_adapter(pictures):
    detector = load_detector("moondream")
    assert detector.row_name == "moondream-nano"
    assert "adapter bundled" in detector.card.weights
    assert detector.card.trained_on  # the adapter has seen generators, and says which
    assert torch.isfinite(logits(detector, pictures)).all()
    bare = load_detector("moondream", adapter="none")
    assert (logits(bare, pictures) - logits(detector, pictures)).abs().max() > 1e-4
    assert fingerprint(bare) != fingerprint(detector)


def test_the_adapter_can_be_named():
    assert fingerprint(load_detector("moondream", adapter="bundled")) == fingerprint(load_detector("moondream"))


def test_it_loads_without_its_adapter(pictures):
    detector = load_detector("moondream", adapter="none")
    assert detector.row_name == "moondream-nano"
    assert detector.card.weights == "bundled"
    assert detector.card.sha256 == sha256(BUNDLED / "moondream.safetensors")
    assert detector.card.trained_on == ()  # it has never met a label
    assert detector.card.parameters == sum(parameter.numel() for parameter in detector.model.parameters())
    detector.check_ready()
    found = logits(detector, pictures)
    assert found.shape == (3,)
    assert torch.isfinite(found).all()
    yes, no = ([*ids.values()] for ids in (detector.answers.yes, detector.answers.no))
    next_token = detector.next_token_logits(pictures, detector.prompt_ids)
    expected = next_token[:, yes].logsumexp(-1) - next_token[:, no].logsumexp(-1)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_its_answers_are_words_of_its_own():
    detector = load_detector("moondream", adapter="none")
    assert "Yes" in detector.answers.yes
    assert "No" in detector.answers.no
    facts = detector.facts()
    assert facts["question"] == "Is this image AI-generated?"
    assert detector.tokenizer.decode(detector.encode(facts["question"])) == facts["question"]


def test_it_says_something(pictures):
    detector = load_detector("moondream", adapter="none")
    for texts in (detector.caption(pictures, max_tokens=8), detector.reply(pictures, "Is this image noisy?", 8)):
        assert len(texts) == 3
        assert all(isinstance(text, str) for text in texts)
        assert any(texts)


def test_its_adapter_is_refused_by_other_weights(shared_folder):
    with pytest.raises(MaibenchError, match="an adapter for another base"):
        load_detector("moondream", weights=shared_folder, adapter="bundled")


def test_it_is_laid_out_as_the_full_model(tmp_path):
    """Its files in one folder are a checkpoint as any other."""
    checkpoint = bundled()
    (tmp_path / "model.safetensors").write_bytes(checkpoint.tensors[0].read_bytes())
    (tmp_path / "config.json").write_bytes((BUNDLED / "moondream" / "config.json").read_bytes())
    (tmp_path / "tokenizer.json").write_bytes(checkpoint.tokenizer.read_bytes())
    detector = load_detector("moondream", weights=tmp_path)
    assert detector.row_name == ""
    expected = load_detector("moondream", adapter="none").state_dict()
    for name, tensor in detector.state_dict().items():
        assert torch.equal(tensor, expected[name]), name


def test_damaged_weights_are_noticed(monkeypatch, tmp_path):
    from maibench.models.moondream import checkpoint, detector

    damaged = bytearray((BUNDLED / "moondream.safetensors").read_bytes())
    damaged[-1] ^= 1
    (tmp_path / "moondream").mkdir()
    (tmp_path / "moondream.safetensors").write_bytes(damaged)
    for name in ("moondream.json", "moondream/config.json", "moondream/tokenizer.json"):
        (tmp_path / name).write_bytes((BUNDLED / name).read_bytes())
    for module in (checkpoint, detector):
        monkeypatch.setattr(module, "BUNDLED", tmp_path)
    with pytest.raises(MaibenchError, match=r"moondream\.safetensors: its sha256 is not the one on the card"):
        load_detector("moondream", adapter="none")
