"""Where weights and adapters may lie, and what is said where they do not."""

from __future__ import annotations

import socket

import huggingface_hub
import pytest

from maibench import load_detector
from maibench.errors import MaibenchError
from maibench.models.moondream.checkpoint import bundled, find_adapter, find_checkpoint


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    """Nothing is cached, and nothing is reached for."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))


def test_a_folder(shared_folder):
    for place in (shared_folder, str(shared_folder)):
        checkpoint = find_checkpoint(place)
        assert checkpoint.name == str(shared_folder)
        assert checkpoint.tensors == (shared_folder / "model.safetensors",)
        assert checkpoint.tokenizer == shared_folder / "tokenizer.json"
        assert not checkpoint.from_hub


def test_a_folder_without_a_tokenizer(tiny_folder):
    assert find_checkpoint(tiny_folder(tokenizer=False)).tokenizer is None


def test_a_relative_folder(shared_folder, monkeypatch):
    monkeypatch.chdir(shared_folder.parents[1])
    place = str(shared_folder.relative_to(shared_folder.parents[1]))
    assert place.count("/") == 1  # written as a repository is
    assert not find_checkpoint(place).from_hub


def test_a_folder_of_something_else(tmp_path):
    with pytest.raises(MaibenchError, match=r"config\.json: cannot be read; a moondream folder has one"):
        load_detector("moondream", weights=tmp_path)


@pytest.mark.parametrize("place", ["nothing", "./nothing/there", "/nothing/there", "a/b/c", "a b/c", "a/b@"])
def test_nothing_there(tmp_path, monkeypatch, place):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    with pytest.raises(MaibenchError, match="no such folder; name a folder laid out as vikhyatk/moondream2, or"):
        load_detector("moondream", weights=place)


def test_a_file_in_place_of_a_folder(shared_folder):
    file = shared_folder / "model.safetensors"
    with pytest.raises(MaibenchError, match=r"model\.safetensors: is a file; name a folder laid out as"):
        load_detector("moondream", weights=file)


def test_a_repository_without_a_network(monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    with pytest.raises(MaibenchError) as raised:
        load_detector("moondream", weights="vikhyatk/moondream2@2025-06-21")
    message = str(raised.value)
    assert "'vikhyatk/moondream2@2025-06-21' is not on this disk and cannot be fetched" in message
    assert "hf download vikhyatk/moondream2 --revision 2025-06-21 --local-dir FOLDER" in message
    with pytest.raises(MaibenchError, match="hf download someone/moondream --local-dir FOLDER"):
        find_checkpoint("someone/moondream")


def test_a_cached_repository_needs_no_network(shared_folder, tmp_path):
    """The cache as the Hub's client keeps it."""
    place = tmp_path / "cache" / "models--someone--moondream"
    commit = "0123456789abcdef0123456789abcdef01234567"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "v1").write_text(commit)
    (place / "snapshots").mkdir()
    (place / "snapshots" / commit).symlink_to(shared_folder)
    checkpoint = find_checkpoint("someone/moondream@v1")
    assert checkpoint.name == "someone/moondream@v1"
    assert checkpoint.from_hub
    detector = load_detector("moondream", weights="someone/moondream@v1")
    assert detector.row_name == ""
    assert detector.card.weights == "someone/moondream@v1"


def test_an_adapter_without_a_network(shared_folder):
    with pytest.raises(MaibenchError, match="hf download someone/adapter"):
        load_detector("moondream", weights=shared_folder, adapter="someone/adapter")


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_half_an_adapter(tmp_path, name):
    (tmp_path / name).touch()
    missing = ({"adapter_config.json", "adapter_model.safetensors"} - {name}).pop()
    with pytest.raises(MaibenchError, match=f"not a LoRA adapter that can be read: it has no {missing}"):
        find_adapter(tmp_path)


def test_a_tokenizer_without_a_network(shared_folder):
    with pytest.raises(MaibenchError, match="hf download someone/tokenizer"):
        load_detector("moondream", weights=shared_folder, tokenizer="someone/tokenizer")


def test_what_is_bundled_is_there():
    checkpoint = bundled()
    assert checkpoint.name == "bundled"
    assert [file.is_file() for file in (*checkpoint.tensors, checkpoint.tokenizer)] == [True, True]
