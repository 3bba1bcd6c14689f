"""Publishing: what must not be handed on is refused before anything is sent; what is sent is the folder."""

import json
import shutil

import huggingface_hub
import pandas as pd
import pytest
from huggingface_hub import HfApi
from typer.testing import CliRunner

from maibench.cli import app
from maibench.datasets.data_card import DataCard, write_data_card
from maibench.datasets.packing.publish import publish
from maibench.errors import MaibenchError


@pytest.fixture
def sent(monkeypatch):
    """What would have gone over the network: the one thing here that is not for real."""
    sent = {}

    def create_repo(self, repo_id, **options):
        sent.update(repo_id=repo_id, **options)
        return huggingface_hub.RepoUrl(f"https://huggingface.co/datasets/{repo_id}")

    def repo_info(self, repo_id, **options):
        return type("Info", (), {"private": sent["private"] and repo_id != "me/public"})

    def upload_folder(self, *, repo_id, folder_path, ignore_patterns, **options):
        paths = [str(path.relative_to(folder_path)) for path in sorted(folder_path.rglob("*")) if path.is_file()]
        sent["files"] = list(huggingface_hub.utils.filter_repo_objects(paths, ignore_patterns=ignore_patterns))
        sent["to"] = (repo_id, options["repo_type"])

    for function in (create_repo, repo_info, upload_folder):
        monkeypatch.setattr(HfApi, function.__name__, function)
    return sent


@pytest.fixture
def folder(tmp_path):
    rows = pd.DataFrame({"path": ["a"], "label": [0], "generator": ["real"], "split": ["test"], "licence": ["MIT"]})
    write_data_card(tmp_path, DataCard("mine", "x"), rows)
    (tmp_path / "images").mkdir()
    for name in ("test-00000-of-00001.parquet", ".part-7-x", "images/a.jpg", "images/.part-8-b.jpg"):
        (tmp_path / name).write_text("x")
    return tmp_path


def test_the_folder_is_sent(folder, sent):
    assert publish(folder, "me/mine").endswith("datasets/me/mine")
    assert (sent["private"], sent["to"]) == (False, ("me/mine", "dataset"))
    assert sent["files"] == ["README.md", "images/a.jpg", "test-00000-of-00001.parquet"]
    done = CliRunner().invoke(app, ["data", "publish", str(folder), "--to", "me/mine", "--private"])
    assert done.exit_code == 0, done.stderr
    assert sent["private"]


def test_private_does_not_become_public(folder, sent):
    with pytest.raises(MaibenchError, match="me/public: is public already"):
        publish(folder, "me/public", private=True)
    assert "files" not in sent


def test_what_is_refused(folder, sent):
    card = folder / "README.md"
    text = card.read_text()
    for front, message in (("license: unknown", "names no licence"), ("tags: []", "names no licence")):
        card.write_text(text.replace("license: mit", front))
        with pytest.raises(MaibenchError, match=message):
            publish(folder, "me/mine")
    card.unlink()
    with pytest.raises(MaibenchError, match="the data card cannot be read"):
        publish(folder, "me/mine")
    with pytest.raises(MaibenchError, match="give OWNER/NAME"):
        publish(folder, "mine")
    with pytest.raises(MaibenchError, match="no such folder"):
        publish(folder / "none", "me/mine")
    card.write_text(text)
    (folder / ".shards").mkdir()
    with pytest.raises(MaibenchError, match="is not finished"):
        publish(folder, "me/mine")
    assert not sent


def test_a_red_audit(folder, sent):
    def audit(light):
        finding = {"name": "format", "light": light}
        (folder / "audit.json").write_text(json.dumps({"parts": [{"name": "files", "findings": [finding]}]}))

    audit("red")
    with pytest.raises(MaibenchError, match=r"the audit is red \(format\).*--anyway"):
        publish(folder, "me/mine")
    assert not sent
    publish(folder, "me/mine", anyway=True)
    (folder / "audit" / "after").mkdir(parents=True)  # as 'maibench data match' writes it
    (folder / "audit.json").rename(folder / "audit" / "after" / "audit.json")
    with pytest.raises(MaibenchError, match="the audit is red"):
        publish(folder, "me/mine")
    shutil.rmtree(folder / "audit")
    audit("yellow")
    publish(folder, "me/mine")
    (folder / "audit.json").write_text("{")
    with pytest.raises(MaibenchError, match="audit the data again"):
        publish(folder, "me/mine", anyway=True)
