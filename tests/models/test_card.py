"""Cards: strict, frozen, and read from the file beside a set of weights."""

import json

import pytest
from pydantic import ValidationError

from maibench import Card
from maibench.errors import MaibenchError
from maibench.models.card import Reported


def test_only_the_name_is_required():
    assert Card(name="mine").name == "mine"
    with pytest.raises(ValidationError):
        Card()


def test_unknown_facts_and_changes_are_refused():
    with pytest.raises(ValidationError):
        Card(name="mine", colour="red")
    with pytest.raises(ValidationError):
        Card(name="mine").name = "yours"


def test_updated_is_checked_and_leaves_the_original():
    card = Card(name="mine")
    assert card.updated(parameters=7).parameters == 7
    assert card.parameters is None
    with pytest.raises(ValidationError):
        card.updated(parameters="many")


def test_reads_the_facts_of_a_set_of_weights(tmp_path):
    file = tmp_path / "mine.json"
    file.write_text(json.dumps({"name": "mine", "trained_on": ["sd15"], "validation": {"auc": 0.9}}))
    card = Card(name="mine", licence="MIT").read(file)
    assert (card.trained_on, card.validation, card.licence) == (("sd15",), {"auc": 0.9}, "MIT")


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"name": "mine", "colour": "red"}', "\udcff"])
def test_what_is_no_card(tmp_path, text):
    file = tmp_path / "mine.json"
    file.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(MaibenchError, match=r"mine\.json: not a detector's card"):
        Card(name="mine").read(file)


def test_card_of_another_detector(tmp_path):
    file = tmp_path / "mine.json"
    file.write_text('{"name": "yours"}')
    with pytest.raises(MaibenchError, match="the card of 'yours', not of 'mine'"):
        Card(name="mine").read(file)


def test_missing_card(tmp_path):
    with pytest.raises(MaibenchError, match="not a detector's card"):
        Card(name="mine").read(tmp_path / "mine.json")


def test_written_over_its_class_also_what_it_says_nothing_of(tmp_path):
    base = Card(name="x", summary="of the class", reported=Reported(accuracy=0.9, on="theirs"))
    card = base.updated(reported=None, trained_on=("a",))
    (tmp_path / "card.json").write_text(card.written_over(base))
    assert base.read(tmp_path / "card.json") == card
