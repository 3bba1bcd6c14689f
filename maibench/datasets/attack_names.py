"""Names of adversarial attacks: `attack:fgsm:2`, `attack:pgd:4`, and `attack:pgd:4@bailu` for one that is on bailu."""

from __future__ import annotations

from dataclasses import dataclass

from maibench.errors import MaibenchError

PREFIX = "attack"
METHODS = ("fgsm", "pgd")
DEFAULT_EPS = 2
MOST_EPS = 64


@dataclass(frozen=True)
class AttackName:
    """method: one of METHODS. eps: the most that a value may change, in levels of 255. made_on: the label of the
    detector that is attacked; "" in a request, which stands for every one."""

    method: str
    eps: int
    made_on: str = ""

    def __str__(self) -> str:
        return self.request + (f"@{self.made_on}" if self.made_on else "")

    @property
    def request(self) -> str:
        """The name without the detector."""
        return f"{PREFIX}:{self.method}:{self.eps}"

    @property
    def family(self) -> str:
        """What attacks of several eps have in common: attack:pgd@bailu."""
        return f"{PREFIX}:{self.method}" + (f"@{self.made_on}" if self.made_on else "")


def is_attack(name: str) -> bool:
    """Whether a perturbation's name is that of an attack."""
    return name.strip().partition(":")[0] == PREFIX


def parse_attack(text: str) -> AttackName:
    """`attack:pgd:4` -> an AttackName; without a number, eps is DEFAULT_EPS.

    Raises MaibenchError for an unknown attack or an eps that is not a whole number from 1 to MOST_EPS.
    """
    request, _, made_on = text.strip().partition("@")
    _, _, rest = request.partition(":")
    method, _, eps = rest.partition(":")
    if method not in METHODS:
        raise MaibenchError(f"unknown attack '{text.strip()}': there are {known_attacks()}")
    if eps and not (eps.isascii() and eps.isdigit() and 1 <= int(eps) <= MOST_EPS):
        raise MaibenchError(
            f"attack '{text.strip()}': the value is the most that a colour may change, in whole levels of 255, "
            f"from 1 to {MOST_EPS}; an attack stands alone, not in a chain"
        )
    return AttackName(method, int(eps) if eps else DEFAULT_EPS, made_on)


def find_attack(name: str) -> AttackName | None:
    """`parse_attack`, None for what is no attack of ours, as a perturbation that another tool named."""
    try:
        return parse_attack(name) if is_attack(name) else None
    except MaibenchError:
        return None


def known_attacks() -> str:
    """The attacks as they are asked for, for messages."""
    return " and ".join(f"{PREFIX}:{method}:{DEFAULT_EPS}" for method in METHODS)
