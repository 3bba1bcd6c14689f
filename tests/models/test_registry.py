"""Names of detectors: built in, registered, from another package."""

import importlib
import sys

import pytest

from maibench import Card, Detector, load_detector, register
from maibench.errors import MaibenchError
from maibench.models import registry
from maibench.models.registry import detector_class, names

BUILT_IN = ["bailu", "mai_cnn", "mai_resnet", "metadata"]


@pytest.fixture(autouse=True)
def nothing_is_left_registered(monkeypatch):
    monkeypatch.setattr(registry, "_registered", {})


@pytest.fixture
def package(tmp_path, monkeypatch):
    """package(name, entry points, source): an installed package, as pip leaves it."""

    def install(name, points, source):
        (tmp_path / f"{name}.py").write_text(source)
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[maibench.detectors]\n{points}\n")
        monkeypatch.syspath_prepend(tmp_path)
        importlib.invalidate_caches()

    yield install
    for name in [name for name in sys.modules if name.startswith("maibench_test_")]:
        del sys.modules[name]


def test_built_in_names_lead_to_their_cards():
    assert [name for name in names() if name in BUILT_IN] == BUILT_IN
    assert [detector_class(name).card.name for name in BUILT_IN] == BUILT_IN


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("bailo", "bailu"), ("mai-cnn", "mai_cnn"), ("Metadata", "metadata"), ("mai_resnt", "mai_resnet")],
)
def test_did_you_mean(wrong, right):
    with pytest.raises(MaibenchError, match=f"unknown detector '{wrong}': did you mean '{right}'"):
        load_detector(wrong)


def test_nothing_near():
    with pytest.raises(MaibenchError, match=r"unknown detector 'zzz': 'maibench models' lists all"):
        load_detector("zzz")


def test_register():
    @register("mine")
    class Mine(Detector):
        card = Card(name="mine")

    assert names()[-1] == "mine"
    assert type(load_detector("mine")) is Mine
    with pytest.raises(MaibenchError, match="did you mean 'mine'"):
        load_detector("mime")


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_names_are_taken(name):
    with pytest.raises(MaibenchError, match=f"'{name}' is a detector of maibench"):
        register(name)


def test_entry_point(package):
    package(
        "maibench_test_good",
        "theirs = maibench_test_good:Theirs\nbailu = maibench_test_good:Theirs",
        "import maibench\nclass Theirs(maibench.Detector):\n    card = maibench.Card(name='theirs')\n",
    )
    assert "theirs" in names()
    assert load_detector("theirs").card.name == "theirs"
    assert detector_class("bailu").card.name == "bailu"  # nobody takes a name of ours
    assert names().count("bailu") == 1


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import no_such_module", "No module named 'no_such_module'"),
        ("", "has no attribute 'Theirs'"),
        ("def Theirs(): pass", "not a class derived from maibench.Detector"),
    ],
)
def test_entry_point_that_does_not_load(package, source, reason):
    package("maibench_test_bad", "theirs = maibench_test_bad:Theirs", source)
    with pytest.raises(
        MaibenchError, match=f"the plug-in 'maibench_test_bad:Theirs' for 'theirs' does not load: .*{reason}"
    ):
        load_detector("theirs")
