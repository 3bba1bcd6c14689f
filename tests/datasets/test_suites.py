"""Suites: what a request expands to, and what each of those that come with the package does to images of all shapes."""

import numpy as np
import pytest

from maibench.config import split_list
from maibench.datasets.perturb import parse_perturbation
from maibench.datasets.suites import expand, named_suites, read_suite, suite_names
from maibench.errors import MaibenchError

MINE = "description: mine\nperturbations: [jpeg:75, ' resize:0.5 + jpeg:60 ', jpeg:75, attack:fgsm]\n"


@pytest.fixture
def mine(tmp_path):
    (tmp_path / "mine.yaml").write_text(MINE)
    return str(tmp_path / "mine.yaml")


def test_those_that_there_are():
    assert suite_names() == ["codec", "geometry", "paper", "social"]


def test_codec_is_what_it_says():
    qualities = {"jpeg": [95, 90, 85, 80, 75, 70, 60, 50, 40, 30], "webp": [90, 80, 70, 60, 50]}
    names = [f"{kind}:{quality}" for kind, values in qualities.items() for quality in values]
    assert list(read_suite("codec").perturbations) == names


def test_paper_has_the_sweeps():
    names = set(read_suite("paper").perturbations)
    assert {f"jpeg:{quality}" for quality in range(30, 101, 10)} <= names  # CNNDetection
    assert {"blur:0.5", "blur:1", "blur:1.5", "blur:2", "blur:2.5", "blur:3"} <= names
    assert {"jpeg:90", "jpeg:50", "jpeg:30", "blur:2", "blur:4", "blur:2+jpeg:50"} <= names  # SIDBench


def test_social_chains_end_in_a_codec():
    for name in read_suite("social").perturbations:
        steps = [kind for kind, _ in parse_perturbation(name).steps]
        assert steps[0] == "longest"
        assert steps[-1] in ("jpeg", "webp")


@pytest.mark.parametrize("suite", suite_names())
def test_every_suite_explains_itself(suite):
    found = read_suite(suite)
    assert len(found.description) > 40
    assert len(set(found.perturbations)) == len(found.perturbations)
    if suite in ("paper", "social"):
        assert all("arXiv" in reference or "doi" in reference for reference in found.references)


@pytest.mark.parametrize("size", [(256, 256), (50, 50), (2000, 100), (100, 2000)])
@pytest.mark.parametrize("suite", suite_names())
def test_every_suite_runs_on_images_of_all_shapes(texture, suite, size):
    pixels = texture(size, 3)
    for name in read_suite(suite).perturbations:
        result = parse_perturbation(name)(pixels, "id")
        assert result.dtype == np.uint8, name
        assert result.ndim == 3, name
        assert min(result.shape[:2]) >= 1, name
        if name not in ("flip:0", "flip:1") and not name.startswith("rot90"):
            assert result.shape != pixels.shape or (result != pixels).any(), name


def test_expand_keeps_the_order_and_everything_once(mine):
    asked = ["jpeg:60", mine, "codec", "jpeg:60"]
    names = expand(asked)
    assert names[:5] == ["none", "jpeg:60", "jpeg:75", "resize:0.5+jpeg:60", "attack:fgsm:2"]
    assert set(names[5:]) == set(read_suite("codec").perturbations) - {"jpeg:60", "jpeg:75"}
    assert len(names) == len(set(names))


def test_none_is_always_there_and_stays_where_it_was_put():
    assert expand([]) == expand(["none"]) == ["none"]
    assert expand(["jpeg:75"]) == ["none", "jpeg:75"]
    assert expand(["jpeg:75", "none"]) == ["jpeg:75", "none"]


def test_a_list_on_the_command_line():
    assert expand(split_list("social, attack:pgd:4"))[-1] == "attack:pgd:4"


def test_an_unknown_name_says_what_there_is():
    expected = (
        r"unknown perturbation 'socail' in 'socail': there are none, jpeg, .*, rot90; attacks attack:fgsm:2 and "
        r"attack:pgd:2; suites codec, geometry, paper, social \(did you mean 'social'\?\), "
        r"or a file that ends in \.yaml"
    )
    with pytest.raises(MaibenchError, match=expected):
        expand(["codec", "socail"])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("jpeg:0", "the value is the JPEG quality"),
        ("attack:cw:2", "unknown attack"),
        ("attack:pgd:2@bailu", "every detector of the run is attacked; ask for attack:pgd:2"),
        ("jpeg:75+attack:pgd:2", "unknown perturbation 'attack'"),
        ("missing.yaml", "missing.yaml: No such file"),
    ],
)
def test_what_is_refused(name, message):
    with pytest.raises(MaibenchError, match=message):
        expand([name])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- jpeg:75", "list of key: value pairs"),
        ("description: nothing", "perturbations: Field required; a suite has the keys"),
        ("perturbations: []", "perturbations: .* at least 1 item"),
        ("perturbations: [75]", r"perturbations.0: .*string"),
        ("perturbations: [jpeg:75]\nlevel: 3", "level: Extra inputs are not permitted"),
        ("perturbations: [jpg:75]", "mine.yaml: unknown perturbation 'jpg'"),
        ("perturbations: [codec]", "unknown perturbation 'codec'"),
    ],
)
def test_a_file_that_is_no_suite(mine, text, message):
    with open(mine, "w") as file:
        file.write(text)
    with pytest.raises(MaibenchError, match=message):
        expand([mine])


def test_two_suites_of_one_name(mine, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.yaml").write_text("perturbations: [blur:1]")
    with pytest.raises(MaibenchError, match="two suites are called 'mine'"):
        expand([mine, str(tmp_path / "other" / "mine.yaml")])
    assert expand([mine, mine]) == expand([mine])


@pytest.mark.parametrize("name", ["all", "attack"])
def test_names_that_a_report_uses_itself(name, tmp_path):
    (tmp_path / f"{name}.yaml").write_text("perturbations: [blur:1]")
    with pytest.raises(MaibenchError, match=f"a report uses the name '{name}'"):
        expand([str(tmp_path / f"{name}.yaml")])


def test_named_suites_for_a_report(mine):
    found = named_suites(["jpeg:75", "geometry", mine, "attack:pgd:2"])
    assert list(found) == ["geometry", "mine"]
    assert found["geometry"] == read_suite("geometry").perturbations
    assert found["mine"] == ("jpeg:75", "resize:0.5+jpeg:60", "attack:fgsm:2")
