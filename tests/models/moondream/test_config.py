"""What config.json may say: the official numbers where it says nothing, and nothing that is not understood."""

from __future__ import annotations

import json

import pytest

from maibench.errors import MaibenchError
from maibench.models.moondream.config import MoondreamConfig, read_config


@pytest.fixture
def read(tmp_path):
    """read(content) -> what read_config makes of a config.json with this content (a text, bytes, or JSON)."""

    def run(content):
        data = content if isinstance(content, bytes) else content if isinstance(content, str) else json.dumps(content)
        (tmp_path / "config.json").write_bytes(data if isinstance(data, bytes) else data.encode())
        return read_config(tmp_path / "config.json")

    return run


# the published model card and moondream/torch/config.py of 2025-06-21
OFFICIAL_TEXT = {
    "dim": 2048, "ff_dim": 8192, "n_layers": 24, "vocab_size": 51200, "max_context": 2048, "n_heads": 32,
    "n_kv_heads": 32, "prefix_attn": 730, "group_size": None,
}  # fmt: skip
OFFICIAL_VISION = {
    "enc_dim": 1152, "enc_patch_size": 14, "enc_n_layers": 27, "enc_ff_dim": 4304, "enc_n_heads": 16,
    "proj_out_dim": 2048, "crop_size": 378, "in_channels": 3, "max_crops": 12, "overlap_margin": 4,
    "proj_inner_dim": 8192,
}  # fmt: skip


@pytest.mark.parametrize("content", [{}, {"model_type": "moondream1"}, {"model_type": "moondream1", "config": {}}])
def test_official_numbers_where_nothing_is_said(read, content):
    settings = read({"architectures": ["HfMoondream"], "torch_dtype": "bfloat16", **content})
    assert settings.text.model_dump() == OFFICIAL_TEXT
    assert settings.vision.model_dump() == OFFICIAL_VISION
    assert settings.query_template() == ([1, 15381, 2], [3])
    assert (settings.tokenizer.bos_id, settings.tokenizer.eos_id) == (0, 0)
    assert settings.vision.tokens == 729


def test_what_is_said_replaces_the_official_number_alone(read):
    settings = read({"config": {"text": {"n_layers": 3}, "region": {"dim": 8}}})
    assert settings.text.model_dump() == OFFICIAL_TEXT | {"n_layers": 3}
    assert settings.vision.model_dump() == OFFICIAL_VISION
    assert settings.region == {"dim": 8}


def test_a_template_of_its_own(read):
    templates = {"query": {"prefix": [1, 7], "suffix": [3, 3]}, "detect": None, "point": {"prefix": [9], "suffix": []}}
    settings = read({"config": {"tokenizer": {"templates": templates, "answer_id": 3}}})
    assert settings.query_template() == ([1, 7], [3, 3])
    assert settings.query_template(suffix=[4]) == ([1, 7], [4])
    assert settings.query_template([], []) == ([], [])


def test_no_template_for_questions(read):
    settings = read({"config": {"tokenizer": {"templates": {"query": None}}}})
    with pytest.raises(MaibenchError, match=r"no template for questions \(tokenizer\.templates\.query"):
        settings.query_template(prefix=[1])
    assert settings.query_template([1], [2]) == ([1], [2])


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"text": {"dimm": 5}}, r"config\.text\.dimm: .*not permitted"),
        ({"sound": {}}, r"config\.sound: .*not permitted"),
        ({"text": {"dim": "wide"}}, r"config\.text\.dim: "),
        ({"text": {"group_size": 128}}, r"config\.text: .*group_size: quantised weights are not supported"),
        ({"text": {"dim": 2050}}, r"config\.text: .*dim 2050, n_heads 32"),
        ({"text": {"n_kv_heads": 5}}, r"config\.text: .*n_kv_heads 5 do not fit"),
        ({"text": {"prefix_attn": 731}}, r"config: .*prefix_attn 731 is not 1 \+ 729"),
        ({"vision": {"crop_size": 364}}, r"config: .*prefix_attn 730 is not 1 \+ 676"),
        ({"vision": {"crop_size": 380}}, r"config\.vision: .*crop_size"),
        ({"vision": {"enc_n_heads": 7}}, r"config\.vision: .*enc_n_heads"),
        ({"vision": {"in_channels": 1}}, r"config\.vision: .*in_channels"),
        ({"vision": {"overlap_margin": 14}}, r"config\.vision: .*overlap_margin 14 leaves nothing"),
        ({"vision": {"proj_out_dim": 1024}}, r"config: .*proj_out_dim 1024 is not text\.dim 2048"),
        ({"text": {"dim": 1024}}, r"config: .*proj_out_dim 2048 is not text\.dim 1024"),
        ({"tokenizer": {"templates": {"query": {"prefix": "a"}}}}, r"config\.tokenizer\.templates\.query\.prefix"),
        ([], "config: "),
        (3, "config: "),
        (None, "config: "),
    ],
)
def test_a_config_that_is_not_understood(read, tmp_path, config, reason):
    with pytest.raises(MaibenchError, match=reason) as raised:
        read({"model_type": "moondream1", "config": config})
    assert str(raised.value).startswith(str(tmp_path / "config.json"))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"model_type": "moondream3"}, "model_type 'moondream3' is not moondream 2's"),
        ({"model_type": "phi"}, "model_type 'phi' is not moondream 2's"),
        ({"model_type": None}, "model_type 'None'"),
        ("[]", "is not moondream 2's"),
        ("3", "is not moondream 2's"),
        ("", "cannot be read"),
        ('{"config": ', "cannot be read"),
        (b"\xff\xfe\x00", "cannot be read"),
    ],
)
def test_a_file_of_something_else(read, tmp_path, content, reason):
    with pytest.raises(MaibenchError, match=reason) as raised:
        read(content)
    assert str(raised.value).startswith(str(tmp_path / "config.json"))


def test_no_file(tmp_path):
    for place in (tmp_path / "config.json", tmp_path):
        with pytest.raises(MaibenchError, match="cannot be read; a moondream folder has one beside its weights"):
            read_config(place)


def test_the_settings_cannot_be_changed_by_mistake():
    with pytest.raises(ValueError, match="frozen"):
        MoondreamConfig().text.dim = 5
