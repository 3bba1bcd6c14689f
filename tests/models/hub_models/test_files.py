"""Where a published model lies: a folder, the cache of the Hub, and what is refused."""

import json
import shutil
import socket

import huggingface_hub
import pytest

from maibench.errors import DetectorError, MaibenchError
from maibench.models.hub_models.files import INDEX, find_adapter, find_files
from maibench.models.weights import sha256

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """An empty cache of the Hub, and no network."""

    def refuse(*arguments, **options):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_repository_is_named_with_its_commit(classifier, cache):
    repository = cache / "models--some--model"
    shutil.copytree(classifier("real", "fake"), repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    (repository / "refs" / "v1").write_text(COMMIT)
    for model in ("some/model", "some/model@v1", f"some/model@{COMMIT}"):
        files = find_files(model)
        assert (files.name, files.title) == (f"some/model@{COMMIT}", "some/model")
    assert files.sha256 == sha256(repository / "snapshots" / COMMIT / "model.safetensors")
    with pytest.raises(MaibenchError, match="'some/model' at v2: no such folder, and it cannot be fetched"):
        find_files("some/model@v2")


@pytest.mark.parametrize("model", ["no/such", "nosuchfolder", "./no/such/folder", ""])
def test_what_is_not_there_is_a_wrong_request(cache, model):
    with pytest.raises(MaibenchError) as error:
        find_files(model)
    assert not isinstance(error.value, DetectorError)


def test_licence_and_origin_are_what_the_readme_states(classifier):
    files = find_files(classifier("real", "fake", facts="license: mit\ndatasets: [a/b, c/d]\nbase_model: google/vit"))
    assert files.licence == "mit (as its README states)"
    assert files.origin == "base model as its README states: google/vit; data sets as its README states: a/b, c/d"
    assert find_files(classifier("real", "fake", facts="license: [unclosed")).licence == "not stated"
    assert find_files(classifier("real", "fake")).licence == "not stated"


def test_shards_are_those_of_the_index(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": {"a": names[1], "b": names[0], "c": names[1]}}))
    (tmp_path / names[0]).write_bytes(b"1")
    with pytest.raises(DetectorError, match=f"{names[1]} is missing, 1 of 2"):
        find_files(tmp_path)
    (tmp_path / names[1]).write_bytes(b"2")
    files = find_files(tmp_path)
    first = files.sha256
    assert [file.name for file in files.tensors] == names
    (tmp_path / names[1]).write_bytes(b"3")
    assert find_files(tmp_path).sha256 != first
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": {"a": "../model.safetensors"}}))
    with pytest.raises(DetectorError, match="outside its folder"):
        find_files(tmp_path)


def test_pickles_and_adapters_are_no_models(tmp_path):
    with pytest.raises(DetectorError, match=r"has no config\.json"):
        find_files(tmp_path)
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(DetectorError, match="an adapter, not a model"):
        find_files(tmp_path)
    with pytest.raises(MaibenchError, match=r"it has no adapter_model\.safetensors"):
        find_adapter(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(DetectorError, match=r"has no model\.safetensors\. A pickle"):
        find_files(tmp_path)
