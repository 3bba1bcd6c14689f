"""A detector as a folder, and as a repository of the Hub: what is written is what is read."""

import json
import shutil
import socket
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch
from huggingface_hub import HfApi

from maibench import Card, Detector, load_detector, register
from maibench.errors import DiskError, MaibenchError
from maibench.models import registry
from maibench.models.bailu import Bailu
from maibench.models.folder import model_card, write_folder
from maibench.models.hub import find_folder
from maibench.models.loading import build, fingerprint
from maibench.models.mai_cnn import MaiCnn
from maibench.models.metadata import Metadata
from maibench.models.moondream.detector import Moondream
from maibench.models.weights import sha256

DUMMIES = Path(__file__).parents[1] / "dummy_detectors.py"
FILES = ["README.md", "card.json", "config.json", "model.safetensors"]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path_factory):
    """A fresh machine without a network, on which nothing of our own is registered."""

    def refuse(*arguments, **options):
        raise AssertionError("a connection was opened")

    cache = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(registry, "_registered", {})
    return cache


@pytest.fixture(scope="module")
def bundled():
    return load_detector("bailu", tiles=2)


@pytest.fixture
def saved(bundled, tmp_path):
    bundled.save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"


def logits_of(detector, images):
    with torch.inference_mode():
        return detector(detector.collate([detector.preprocess(image) for image in images]))


def files_of(folder):
    return sorted(path.name for path in folder.iterdir())


def config_of(folder):
    return json.loads((folder / "config.json").read_text())


@pytest.mark.parametrize("name", ["bailu", "mai_cnn"])
def test_round_trip(name, tmp_path, texture):
    detector = load_detector(name)
    detector.save_pretrained(tmp_path / "saved")
    assert files_of(tmp_path / "saved") == FILES
    loaded = Detector.from_pretrained(tmp_path / "saved")
    assert type(loaded) is type(detector)
    assert not loaded.training
    images = [texture((210, 220), seed) for seed in range(2)]
    torch.testing.assert_close(logits_of(loaded, images), logits_of(detector, images), rtol=0, atol=0)
    assert fingerprint(loaded) == fingerprint(detector)
    file = tmp_path / "saved" / "model.safetensors"
    assert loaded.card == detector.card.updated(weights=str(file), sha256=sha256(file))
    assert loaded.card == load_detector(str(tmp_path / "saved")).card


def test_options_are_kept_and_can_be_changed(saved):
    assert config_of(saved) == {
        "detector": "bailu",
        "options": {"input": "both", "tiles": 2, "crop": 256, "resize": None},
    }
    assert Detector.from_pretrained(str(saved)).tiles == 2
    assert Detector.from_pretrained(saved, tiles=3).tiles == 3
    with pytest.raises(MaibenchError, match="bailu has no option 'tile'"):
        Detector.from_pretrained(saved, tile=3)


def test_saving_again_writes_the_same(saved, tmp_path):
    Detector.from_pretrained(saved).save_pretrained(tmp_path / "again")
    for name in FILES:
        assert (saved / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_a_detector_that_was_fitted(tmp_path):
    features = np.random.default_rng(0).normal(size=(40, 17)).astype(np.float32)
    detector = load_detector("metadata")
    detector.fit(features, np.arange(40) % 2)
    detector.save_pretrained(tmp_path)
    loaded = Detector.from_pretrained(tmp_path)
    assert isinstance(loaded, Metadata)
    batch = torch.from_numpy(features).double()
    torch.testing.assert_close(loaded(batch), detector(batch), rtol=0, atol=0)
    assert loaded.card.parameters is None


def test_a_class_loads_its_own(saved):
    assert type(Bailu.from_pretrained(saved)) is Bailu
    with pytest.raises(MaibenchError, match=r"saved: holds bailu \(Bailu\), not a MaiCnn"):
        MaiCnn.from_pretrained(saved)


@pytest.mark.parametrize("make", [lambda: Bailu(tiles=2, input="rgb"), lambda: Bailu("rgb", 2)])
def test_a_detector_that_was_built_by_hand(make, tmp_path):
    made = make().eval()
    made.save_pretrained(tmp_path)
    options = {"input": "rgb", "tiles": 2, "crop": 256, "resize": None}
    assert config_of(tmp_path) == {"detector": "bailu", "options": options}
    assert Detector.from_pretrained(tmp_path).card.parameters == made.parameter_count()


def make_mine():
    class Mine(Detector):
        card = Card(name="mine")

        def __init__(self, factor=1.0, **more):
            super().__init__()
            self.factor = factor
            self.register_buffer("bias", torch.tensor(float(more.get("bias", 0.0))))

    return Mine


def test_a_class_of_ones_own(tmp_path):
    cls = make_mine()
    with pytest.raises(MaibenchError, match=r'Mine has no name .*@maibench\.register\("mine"\)'):
        cls().save_pretrained(tmp_path)
    register("mine")(cls)
    detector = load_detector("mine", bias=2, size=[1])
    detector.save_pretrained(tmp_path)
    assert config_of(tmp_path)["options"] == {"factor": 1.0, "bias": 2, "size": [1]}
    assert Detector.from_pretrained(tmp_path).bias == 2
    cls(bias=3).save_pretrained(tmp_path)
    assert cls.from_pretrained(tmp_path).bias == 3


def test_an_option_that_is_not_json_leaves_the_folder_as_it_was(saved):
    register("mine")(make_mine())
    before = {name: (saved / name).read_bytes() for name in FILES}
    with pytest.raises(MaibenchError, match=r"mine: an option cannot be written to config\.json"):
        load_detector("mine", where=Path("x")).save_pretrained(saved)
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before


def test_a_folder_that_cannot_be_written(bundled, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DiskError, match="cannot be written"):
        bundled.save_pretrained(tmp_path / "file" / "folder")


def test_what_the_mixin_would_write_itself_is_refused(bundled, tmp_path):
    for given in ({"config": {"a": 1}}, {"model_card_kwargs": {"a": 1}}):
        with pytest.raises(MaibenchError, match="follow from the detector and its card"):
            bundled.save_pretrained(tmp_path, **given)


def test_a_class_of_a_file_is_loaded_where_the_file_is(tmp_path, texture):
    detector = load_detector(f"{DUMMIES}:Brightness", middle=100)
    detector.save_pretrained(tmp_path)
    assert config_of(tmp_path) == {"detector": "dummy_detectors.py:Brightness", "options": {"middle": 100}}
    readme = (tmp_path / "README.md").read_text()
    assert "from dummy_detectors import Brightness  # dummy_detectors.py is not part of this folder" in readme
    assert str(DUMMIES.parent) not in "".join((tmp_path / name).read_text() for name in FILES[:3])
    with pytest.raises(MaibenchError, match=r"where dummy_detectors\.py is: Brightness\.from_pretrained"):
        load_detector(str(tmp_path))
    images = [texture()]
    for loaded in (
        type(detector).from_pretrained(tmp_path),
        load_detector(f"{DUMMIES}:Brightness", weights=tmp_path / "model.safetensors"),
    ):
        assert logits_of(loaded, images) == logits_of(detector, images)
    with pytest.raises(MaibenchError, match="somebody's own"):
        Bailu.from_pretrained(tmp_path)


def test_a_folder_never_says_what_code_is_run(tmp_path):
    witness = tmp_path / "witness"
    (tmp_path / "evil.py").write_text(f"open({str(witness)!r}, 'w')\n")
    (tmp_path / "config.json").write_text(json.dumps({"detector": f"{tmp_path / 'evil.py'}:Evil"}))
    with pytest.raises(MaibenchError, match="somebody's own"):
        Detector.from_pretrained(tmp_path)
    assert not witness.exists()


def test_the_card_that_is_given_is_completed(tmp_path):
    detector = build(Bailu, "bailu", {})
    facts = {"weights": "trained by a test, step 3", "trained_on": ("sd1.5",), "validation": {"auc": 0.75}}
    write_folder(detector, tmp_path, card=detector.card.updated(**facts))
    card = json.loads((tmp_path / "card.json").read_text())
    assert card["parameters"] == detector.parameter_count()
    assert card["sha256"] == sha256(tmp_path / "model.safetensors")
    assert (card["weights"], card["trained_on"], card["validation"]) == (facts["weights"], ["sd1.5"], {"auc": 0.75})
    assert Card(name="bailu").read(tmp_path / "card.json").trained_on == ("sd1.5",)
    readme = (tmp_path / "README.md").read_text()
    assert "- weights: trained by a test, step 3" in readme
    assert "| auc | 0.75 |" in readme


def test_the_readme_is_one_that_the_hub_reads():
    import yaml

    card = Card(name="mine", summary="what it is", licence="MIT", trained_on=())
    _, head, body = model_card(card, tags=["lora"]).split("---\n", 2)
    facts = yaml.safe_load(head)
    assert facts["library_name"] == "maibench"
    assert facts["pipeline_tag"] == "image-classification"
    assert {"maibench", "lora"} <= set(facts["tags"])
    assert "# mine\n\nwhat it is." in body
    assert "- licence: MIT" in body
    assert "- trained on: no generator" in body
    assert "validation" not in body


def test_moondream_keeps_its_adapter_and_names_its_base(tmp_path, texture):
    detector = load_detector("moondream", min_mass=0.25)
    detector.save_pretrained(tmp_path)
    assert files_of(tmp_path) == [
        "README.md", "adapter_config.json", "adapter_model.safetensors", "card.json", "config.json"
    ]  # fmt: skip
    assert config_of(tmp_path)["base_sha256"] == detector.checkpoint.sha256
    loaded = Detector.from_pretrained(tmp_path)
    assert isinstance(loaded, Moondream)
    assert loaded.min_mass == 0.25
    images = [texture((100, 90))]
    torch.testing.assert_close(logits_of(loaded, images), logits_of(detector, images), rtol=0, atol=0)
    assert loaded.card == detector.card.updated(weights=f"bundled + adapter {tmp_path}")
    assert "lora" in (tmp_path / "README.md").read_text()


def test_moondream_without_an_adapter_has_nothing_to_save(saved):
    with pytest.raises(MaibenchError, match="moondream was loaded without an adapter"):
        load_detector("moondream", adapter="none").save_pretrained(saved)
    assert type(Detector.from_pretrained(saved)) is Bailu


def test_moondream_keeps_the_question_of_its_adapter(tmp_path):
    fresh = load_detector("moondream", adapter="none", question="Is it real?")
    fresh.add_adapter(2, 4, 0.0, r".*\.(q_proj|v_proj)")
    fresh.save_pretrained(tmp_path / "trained")
    assert config_of(tmp_path / "trained")["options"]["question"] == "Is it real?"
    loaded = load_detector("moondream", adapter=tmp_path / "trained")
    loaded.save_pretrained(tmp_path / "again")
    assert Moondream.from_pretrained(tmp_path / "again").question == "Is it real?"
    shutil.copy(tmp_path / "again" / "README.md", tmp_path / "trained" / "adapter_config.json")
    with pytest.raises(MaibenchError, match="is not the adapter any more that was loaded"):
        loaded.save_pretrained(tmp_path / "third")


@pytest.fixture
def pushed(monkeypatch):
    """What would have gone over the network: the one thing here that is not for real."""
    sent = {}

    def create_repo(self, repo_id, **options):
        sent.update(repo_id=repo_id, private=options["private"])
        return huggingface_hub.RepoUrl(f"https://huggingface.co/{repo_id}")

    def upload_folder(self, *, repo_id, folder_path, revision, **options):
        sent.update(uploaded=repo_id, revision=revision)
        sent["files"] = {path.name: path.read_bytes() for path in Path(folder_path).iterdir()}
        return f"https://huggingface.co/{repo_id}/commit/{COMMIT}"

    monkeypatch.setattr(HfApi, "create_repo", create_repo)
    monkeypatch.setattr(HfApi, "upload_folder", upload_folder)
    return sent


def test_push_to_hub_sends_the_folder(bundled, saved, pushed):
    url = bundled.push_to_hub("me/mine", private=True, branch="main")
    assert url.endswith(f"me/mine/commit/{COMMIT}")
    assert (pushed["repo_id"], pushed["uploaded"]) == ("me/mine", "me/mine")
    assert (pushed["private"], pushed["revision"]) == (True, "main")
    assert pushed["files"] == {name: (saved / name).read_bytes() for name in FILES}


def test_save_and_push(bundled, tmp_path, pushed):
    assert bundled.save_pretrained(tmp_path / "mine") is None
    assert not pushed
    assert bundled.save_pretrained(tmp_path / "mine", push_to_hub=True, repo_id="me/other") is not None
    assert pushed["uploaded"] == "me/other"
    assert sorted(pushed["files"]) == FILES


@pytest.fixture
def cached(offline, saved):
    """The repository me/mine, as huggingface_hub keeps what it has fetched."""
    repository = offline / "models--me--mine"
    shutil.copytree(saved, repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    return repository / "snapshots" / COMMIT


def test_from_the_hub(cached, bundled, texture):
    assert find_folder("me/mine") == cached
    assert find_folder("me/mine", revision=COMMIT) == cached
    images = [texture((90, 80))]
    for revision in (None, "main", COMMIT):
        loaded = Detector.from_pretrained("me/mine", revision=revision)
        torch.testing.assert_close(logits_of(loaded, images), logits_of(bundled, images), rtol=0, atol=0)
    with pytest.raises(MaibenchError, match="not a MaiCnn"):
        MaiCnn.from_pretrained("me/mine")


@pytest.mark.parametrize(
    ("place", "options", "message"),
    [
        ("me/mine", {"revision": "v2"}, "'me/mine' at v2: no such folder, and it cannot be fetched from the Hub"),
        ("me/other", {}, "'me/other': no such folder, and it cannot be fetched from the Hub"),
        ("me/other", {"local_files_only": True}, "'me/other': no such folder, and it cannot be fetched"),
        ("a b/c", {}, "cannot be fetched from the Hub .HFValidationError"),
        ("bailu", {}, "'bailu': no such folder; name one that finetuning wrote, or OWNER/NAME"),
        ("runs/2024/bailu", {}, "no such folder"),
        ("here/nothing", {}, "'here/nothing': no such folder; name one"),
        ("here/file", {}, "'here/file': no such folder; name one"),
    ],
)
def test_neither_a_folder_nor_a_repository(cached, tmp_path, monkeypatch, place, options, message):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "file").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MaibenchError, match=message):
        Detector.from_pretrained(place, **options)


def test_a_repository_of_something_else(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    with pytest.raises(MaibenchError, match=r"its config\.json has to name the 'detector'"):
        Detector.from_pretrained(tmp_path)
