"""Names of attacks: there and back, and what is none."""

import pytest

from maibench.datasets.attack_names import AttackName, find_attack, is_attack, parse_attack
from maibench.errors import MaibenchError


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("attack:fgsm:2", AttackName("fgsm", 2)),
        (" attack:pgd:16 ", AttackName("pgd", 16)),
        ("attack:pgd:4@bailu", AttackName("pgd", 4, "bailu")),
        ("attack:pgd:4@hf:owner/name@main", AttackName("pgd", 4, "hf:owner/name@main")),
    ],
)
def test_there_and_back(text, name):
    assert parse_attack(text) == name
    assert str(name) == text.strip()


def test_without_a_number_it_is_two_levels():
    assert str(parse_attack("attack:fgsm")) == "attack:fgsm:2"


def test_request_and_family():
    name = parse_attack("attack:pgd:4@bailu")
    assert (name.request, name.family) == ("attack:pgd:4", "attack:pgd@bailu")
    assert parse_attack("attack:pgd:4").family == "attack:pgd"


@pytest.mark.parametrize("text", ["attack", "attack:", "attack:cw:2", "attack:PGD:2", "attack:2"])
def test_an_unknown_attack(text):
    with pytest.raises(MaibenchError, match=r"unknown attack '.*': there are attack:fgsm:2 and attack:pgd:2"):
        parse_attack(text)


@pytest.mark.parametrize("eps", ["0", "-1", "2.5", "65", "two", "2+jpeg:75", "²"])
def test_eps_is_a_whole_number_of_levels(eps):
    with pytest.raises(MaibenchError, match="in whole levels of 255, from 1 to 64; an attack stands alone"):
        parse_attack(f"attack:pgd:{eps}")


def test_find_attack_forgives():
    assert find_attack("attack:pgd:4@bailu") == AttackName("pgd", 4, "bailu")
    assert find_attack("attack:cw:2") is find_attack("jpeg:75") is None
    assert is_attack("attack:cw:2")
    assert not is_attack("jpeg:75")
