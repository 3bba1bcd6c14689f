"""The file by which a command knows its folders."""

import json

import pytest

from maibench.datasets.facts_file import FactsFile
from maibench.datasets.packing.folder import PackFolder
from maibench.errors import MaibenchError


def facts(folder):
    return FactsFile(folder / "facts.json", "the images of another command")


def test_another_request_is_refused_until_it_is_removed(tmp_path):
    first = facts(tmp_path)
    assert not list(tmp_path.iterdir()), "nothing is written before begin"
    first.begin({"size": 1}, origin="x")
    facts(tmp_path).begin({"size": 2})  # gone on with: what was asked for first stays
    facts(tmp_path).finish({"images": 3})
    assert json.loads((tmp_path / "facts.json").read_text()) == {
        "asked": {"size": 1}, "origin": "x", "made": {"images": 3},
    }  # fmt: skip
    facts(tmp_path).refuse_another({"size": 1})
    for asked, told in (({"size": 2}, r"size was 1, now 2"), ({"size": 1, "new": 0}, r"new was None, now 0")):
        with pytest.raises(MaibenchError, match=rf"holds the images of another command \({told}\); .* --fresh"):
            facts(tmp_path).refuse_another(asked)
    assert facts(tmp_path).made == {"images": 3}
    facts(tmp_path).remove()
    facts(tmp_path).refuse_another({"size": 2})


def test_what_a_command_did_not_make_is_left_alone(tmp_path):
    (tmp_path / ".part-1-x").touch()
    facts(tmp_path)  # a file that was never whole is nobody's
    for text in ("[]", "{", '{"asked": 1}'):
        (tmp_path / "facts.json").write_text(text)
        with pytest.raises(MaibenchError, match="is not what this command writes"):
            facts(tmp_path)
    (tmp_path / "facts.json").rename(tmp_path / "mine")
    with pytest.raises(MaibenchError, match="not made by this command"):
        facts(tmp_path)
    with pytest.raises(MaibenchError, match="it is a file"):
        facts(tmp_path / "mine")


def test_shards_of_a_packing_that_was_killed_at_its_end_do_not_stay_beside_new_ones(tmp_path):
    folder = PackFolder(tmp_path, ".parquet", {"shard_mb": 1})
    folder.begin()
    folder.shard("train-00000").touch()
    folder.place({"train-00000": "train-00000-of-00003.parquet"})
    PackFolder(tmp_path, ".parquet", {"shard_mb": 2}, fresh=True)
    assert not list(tmp_path.rglob("*.parquet"))
