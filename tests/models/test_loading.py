"""From a SPEC to a detector: names, folders, files, options, and what a fingerprint stands for."""

import json
from pathlib import Path

import pytest
import torch

from maibench import load_detector
from maibench.errors import DetectorError, MaibenchError
from maibench.models.bailu import Bailu
from maibench.models.loading import fingerprint
from maibench.models.metadata import Metadata
from maibench.models.registry import detector_class
from maibench.models.source import code_of
from maibench.models.weights import save_weights, sha256

DUMMIES = Path(__file__).parents[1] / "dummy_detectors.py"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(9)
    file = tmp_path_factory.mktemp("weights") / "seeded.safetensors"
    save_weights(Bailu(), file)
    return file


@pytest.fixture
def finetuned(tmp_path, weights):
    """A folder as finetuning leaves it."""
    folder = tmp_path / "finetuned"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(weights.read_bytes())
    (folder / "config.json").write_text(json.dumps({"detector": "bailu", "options": {"tiles": 3}}))
    (folder / "card.json").write_text(
        json.dumps({"name": "bailu", "trained_on": ["sd15"], "sha256": sha256(weights), "notes": "mine"})
    )
    return folder


def test_weights_option(weights):
    detector = load_detector("bailu", weights=weights)
    assert not detector.training
    assert (detector.card.weights, detector.card.sha256) == (str(weights), sha256(weights))
    assert detector.card.parameters == sum(p.numel() for p in detector.parameters())
    torch.manual_seed(9)
    torch.testing.assert_close(detector.stem.conv.weight, Bailu().stem.conv.weight, rtol=0, atol=0)


def test_weights_of_another_detector_are_refused(weights):
    with pytest.raises(MaibenchError, match="not the weights of MaiCnn"):
        load_detector("mai_cnn", weights=weights)


@pytest.mark.parametrize("value", [3, True, ["a"]])
def test_weights_that_are_no_path(value):
    with pytest.raises(MaibenchError, match="no weights file there"):
        load_detector("bailu", weights=value)


def test_unknown_option_is_answered_with_the_list():
    with pytest.raises(
        MaibenchError, match=r"bailu has no option 'tile'; its options: input, tiles, crop, resize \(and weights\)"
    ):
        load_detector("bailu", tile=3)
    with pytest.raises(MaibenchError, match=r"metadata has no option 'spec'; its options: none \(and weights\)"):
        load_detector("metadata", **{"spec": 1})


def test_option_of_a_wrong_type():
    with pytest.raises(MaibenchError, match="bailu"):
        load_detector("bailu", tiles="many")


def test_folder(finetuned, weights):
    detector = load_detector(str(finetuned))
    assert detector.tiles == 3
    assert detector.card.trained_on == ("sd15",)
    assert detector.card.notes == "mine"
    assert detector.card.weights == str(finetuned / "model.safetensors")
    torch.manual_seed(9)
    torch.testing.assert_close(detector.stem.conv.weight, Bailu().stem.conv.weight, rtol=0, atol=0)
    assert load_detector(str(finetuned), tiles=2).tiles == 2


def test_folder_without_a_card(finetuned):
    (finetuned / "card.json").unlink()
    assert load_detector(str(finetuned)).card.name == "bailu"


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (None, "its config.json has to name the 'detector'"),
        ("", "its config.json has to name the 'detector'"),
        ("[]", "its config.json has to name the 'detector'"),
        ("{}", "its config.json has to name the 'detector'"),
        ('{"detector": 3}', "unknown detector '3'"),
        ('{"detector": "bailo"}', "did you mean 'bailu'"),
        ('{"detector": "bailu", "options": 3}', r"config\.json"),
        ('{"detector": "bailu", "options": {"tile": 3}}', "bailu has no option 'tile'"),
    ],
)
def test_folder_with_a_wrong_config(finetuned, config, reason):
    (finetuned / "config.json").unlink()
    if config is not None:
        (finetuned / "config.json").write_text(config)
    with pytest.raises(MaibenchError, match=reason):
        load_detector(str(finetuned))


def test_folder_without_weights(finetuned):
    (finetuned / "model.safetensors").unlink()
    with pytest.raises(MaibenchError, match=r"model\.safetensors: no weights file there"):
        load_detector(str(finetuned))


def test_folder_whose_weights_are_not_those_of_its_card(finetuned):
    torch.manual_seed(10)
    save_weights(Bailu(), finetuned / "model.safetensors")
    with pytest.raises(MaibenchError, match="its sha256 is not the one on the card"):
        load_detector(str(finetuned))


def test_a_folder_does_not_hide_a_name(tmp_path, monkeypatch):
    (tmp_path / "metadata").mkdir()
    monkeypatch.chdir(tmp_path)
    assert isinstance(load_detector("metadata"), Metadata)


def test_plug_in():
    assert load_detector(f"{DUMMIES}:Brightness", middle=100).middle == 100
    with pytest.raises(MaibenchError, match=r"has no option 'centre'; its options: middle \(and weights\)"):
        load_detector(f"{DUMMIES}:Brightness", centre=100)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "named as path/to/file.py:ClassName"),
        (":Missing", "'Missing' is not a class derived from maibench.Detector"),
        (":NotADetector", "'NotADetector' is not a class derived from maibench.Detector"),
        (":np", "'np' is not a class derived from maibench.Detector"),
        (":NoCard", "the class NoCard has no card"),
    ],
)
def test_plug_in_that_is_none(name, reason):
    with pytest.raises(MaibenchError, match=reason):
        load_detector(f"{DUMMIES}{name}")


def test_plug_in_without_a_file():
    with pytest.raises(MaibenchError, match="no such detector; a file of your own is named as"):
        load_detector("nowhere.py:Mine")


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import no_such_module", "importing it failed: ModuleNotFoundError: No module named 'no_such_module'"),
        ("class Mine(", "importing it failed: SyntaxError"),
        (
            "import maibench\nclass Mine(maibench.Detector):\n    card = {'name': 'mine'}\n",
            "the class Mine has no card",
        ),
        (
            "import maibench\nclass Mine(maibench.Detector):\n    card = maibench.Card(name='mine')\n"
            "    def __init__(self):\n        1 / 0\n",
            "cannot be built: ZeroDivisionError",
        ),
    ],
)
def test_plug_in_that_fails(tmp_path, source, reason):
    (tmp_path / "mine.py").write_text(source)
    with pytest.raises(MaibenchError, match=reason):
        load_detector(f"{tmp_path / 'mine.py'}:Mine")


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (
            "def __init__(self):\n        raise maibench.errors.ImageError('a first image')",
            "cannot be used: a first image",
        ),
        (
            "def to(self, device):\n        raise torch.OutOfMemoryError('full\\nmore')",
            r"cannot be put on cpu \(.*full\)",
        ),
    ],
)
def test_plug_in_that_is_there_and_cannot_be_used(tmp_path, source, reason):
    head = "import torch, maibench, maibench.errors\nclass Mine(maibench.Detector):\n"
    (tmp_path / "mine.py").write_text(f"{head}    card = maibench.Card(name='mine')\n    {source}\n")
    with pytest.raises(DetectorError, match=reason):
        load_detector(f"{tmp_path / 'mine.py'}:Mine")


PLUG_IN = """
import maibench
class Mine(maibench.Detector):
    card = maibench.Card(name="mine")
    def __init__(self, factor=1.0, names=()):
        super().__init__()
        self.factor, self.names = factor, names
"""


@pytest.fixture
def plug_in(tmp_path):
    def write(source=PLUG_IN, folder="one"):
        file = tmp_path / folder / "mine.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(source)
        return f"{file}:Mine"

    return write


def test_fingerprint_stays(weights, plug_in, tmp_path):
    first = fingerprint(load_detector("bailu", weights=weights))
    copy = tmp_path / "elsewhere.safetensors"
    copy.write_bytes(weights.read_bytes())
    assert fingerprint(load_detector("bailu", weights=copy)) == first
    assert fingerprint(load_detector(plug_in())) == fingerprint(load_detector(plug_in(folder="two")))


def test_fingerprint_changes_with_weights_options_and_code(weights, plug_in, tmp_path):
    detector = load_detector("bailu", weights=weights)
    prints = [fingerprint(detector), fingerprint(load_detector("bailu", weights=weights, tiles=2))]
    with torch.no_grad():
        detector.head[0].bias[0] += 1e-6
    prints.append(fingerprint(detector))
    prints.append(fingerprint(load_detector("bailu", weights=weights, input="rgb")))
    spec = plug_in()
    prints += [fingerprint(load_detector(spec)), fingerprint(load_detector(spec, factor=2.0))]
    prints += [fingerprint(load_detector(spec, names=["a"])), fingerprint(load_detector(spec, names=["b"]))]
    plug_in(PLUG_IN.replace("super().__init__()", "super().__init__()  # and more"))
    prints.append(fingerprint(load_detector(spec)))
    assert len(set(prints)) == len(prints)


def test_fingerprint_of_files_that_are_called_alike(plug_in):
    one, two = plug_in(folder="one"), plug_in(PLUG_IN + "# other\n", folder="two")
    first = load_detector(one)
    second = load_detector(two)
    assert fingerprint(first) != fingerprint(second)
    assert fingerprint(first) == fingerprint(load_detector(one))


def test_the_code_of_a_detector_is_what_it_uses_of_the_package():
    spectrum, npr, bailu = (code_of(detector_class(name)).decode() for name in ("spectrum", "npr", "bailu"))
    assert "class CalibratedLogistic" in spectrum  # another file
    assert "class Npr" in npr and "class CutResNet" in npr and "class FerretNet" not in npr
    assert "def cut_tiles" in bailu and "class Detector(" not in bailu
