"""What `maibench models` and `maibench show` say."""

import subprocess
import sys

import pytest
from rich.console import Console

from maibench import Card, Detector, register
from maibench.errors import MaibenchError
from maibench.models import registry
from maibench.models.listing import OTHERS, list_models, show_card


@pytest.fixture(autouse=True)
def nothing_is_left_registered(monkeypatch):
    monkeypatch.setattr(registry, "_registered", {})


def printed(renderable):
    console = Console(width=250, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(renderable)
    return console.export_text()


def test_every_scheme_is_listed_below_all_names_alone():
    below = printed(list_models("*")).partition("or ")[2]
    assert {spec.replace("(", ":").partition(":")[0] for spec in OTHERS if spec[0].islower()} == {
        scheme for scheme in registry.SCHEMES if scheme != "https"
    }
    assert all(spec in below for spec in OTHERS)
    assert "hf:" not in printed(list_models("bai*"))


def test_list_names_parameters_and_the_authors_number():
    lines = {line.split()[0]: line for line in printed(list_models("*")).splitlines() if line}
    assert {"bailu", "mai_cnn", "mai_resnet", "metadata"} <= set(lines)
    assert "4,827,365" in lines["mai_cnn"]
    assert "21,287,425" in lines["mai_resnet"]
    assert "0.9588" in lines["bailu"]
    assert "training split" in lines["metadata"]


def test_list_makes_no_network_of_an_optional_library():
    code = """
import sys
from rich.console import Console
from maibench.models.listing import list_models
Console(width=200).print(list_models("*"))
print([name for name in ("timm", "transformers", "torchvision") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *table, imported = done.stdout.splitlines()
    assert imported == "[]"
    assert "a backbone of timm with one logit" in next(line for line in table if line.startswith("timm"))


def test_pattern():
    text = printed(list_models("mai_*"))
    assert "mai_cnn" in text
    assert "bailu" not in text
    with pytest.raises(MaibenchError, match=r"no detector matches 'z\*': there are bailu"):
        list_models("z*")


def test_somebody_elses_broken_detector_does_not_hide_the_others():
    @register("needs")
    class Needs(Detector):
        card = Card(name="needs")

        def __init__(self, path):
            super().__init__()

    @register("bare")
    class Bare(Detector):
        pass

    lines = {line.split()[0]: line for line in printed(list_models("*")).splitlines() if line}
    assert "4,827,365" in lines["mai_cnn"]
    assert "path" in lines["needs"]
    assert "has no card" in lines["bare"]


def test_show_lists_facts_and_options():
    text = printed(show_card("bailu"))
    assert "native resolution" in text
    assert "tiles (default 5)" in text
    assert "input (default both)" in text
    with pytest.raises(MaibenchError, match="did you mean 'bailu'"):
        show_card("bailo")


def test_list_and_show_tell_of_the_vlm_that_it_is_the_nano_one():
    line = next(line for line in printed(list_models("moon*")).splitlines() if line.startswith("moondream"))
    assert "nano" in line
    assert "bundled" in line
    assert " 0 generators" not in line  # the adapter's, which is what is scored


def test_show_prints_the_prompt_and_the_tokens_that_count_as_answers():
    text = printed(show_card("moondream", {"adapter": "none", "question": "Is this image blurred?"}))
    rows = {line.split()[0]: line for line in text.splitlines()}
    assert "Is this image blurred?" in rows["question"]
    assert "'Yes' (" in rows["yes"]
    assert "'No' (" in rows["no"]
    assert "adapter" not in rows["weights"]
    with pytest.raises(MaibenchError, match="moondream has no option 'colour'"):
        show_card("moondream", {"colour": 1})
