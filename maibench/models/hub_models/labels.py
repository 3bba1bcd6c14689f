"""Which classes of an image classifier mean synthetic: told from their names, or by the user."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from maibench.errors import DetectorError, MaibenchError

# fmt: off
SYNTHETIC = frozenset([
    "ai", "aiart", "aigc", "aigen", "aigenerated", "artificial", "dall", "dalle", "deepfake", "diffusion", "fake",
    "gan", "genai", "machine", "midjourney", "sd", "sdxl", "stylegan", "synth", "synthetic",
    # generators of the field's data sets
    "adm", "biggan", "cyclegan", "firefly", "flux", "glide", "ideogram", "kandinsky", "ldm", "pixart", "progan", "vqdm",
    "wukong",
])
REAL = frozenset([
    "authentic", "genuine", "hum", "human", "natural", "nature", "nonai", "notai", "original", "pristine", "real",
    "realart", "realism",
])
# fmt: on
VAGUE_SYNTHETIC = frozenset(["generated", "generative", "gen"])
VAGUE_REAL = frozenset(["photo", "photograph", "photographic", "photography", "picture", "camera"])
"""Vague words decide where a name has no other: "human-generated" is real, "AI photo" is synthetic."""
NEGATIONS = frozenset(["not", "non", "no", "never", "without"])
_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+")
_SHOWN = 12


@dataclass(frozen=True)
class Sides:
    """Indices of the classes that mean synthetic, and of all others, with their names.

    A classifier with one logit has its only class on one side: above 0 it means what that side is.
    """

    synthetic: tuple[int, ...]
    real: tuple[int, ...]
    names: Mapping[int, str]

    def logit(self, logits: Tensor) -> Tensor:
        """(n, classes) -> (n,): log P(synthetic) - log P(real), of softmax; of one logit's sigmoid."""
        if len(self.names) == 1:
            return logits[:, 0] if self.synthetic else -logits[:, 0]
        return logits[:, list(self.synthetic)].logsumexp(1) - logits[:, list(self.real)].logsumexp(1)

    def __str__(self) -> str:
        sides = {"synthetic": self.synthetic, "real": self.real}
        return "; ".join(f"{side}: {_listed(self.names, indices) or 'the rest'}" for side, indices in sides.items())


def read_labels(names: Mapping[int, str], synthetic: object = None) -> Sides:
    """Tell the classes apart. names: {index: name}, `id2label` of the configuration.

    synthetic: the classes that mean synthetic, by name or index, one or a list; "none" for a single logit that means
    real; None: told from the names, of which each has to be understood, and one at least be on either side.

    Raises DetectorError where names do not tell; MaibenchError for a class that there is not.
    """
    names = dict(sorted(names.items()))
    chosen = _told(names) if synthetic is None else _chosen(names, synthetic)
    return Sides(tuple(chosen), tuple(index for index in names if index not in chosen), names)


def meaning(name: str) -> str:
    """ "synthetic", "real", or "" where a name says neither, or both. Words count whole, in any case, with any
    separators; a negation turns all that follows it."""
    found: dict[str, set[str]] = {"plain": set(), "vague": set()}
    sides = ("synthetic", "real")
    for word in _words(name):
        if word in NEGATIONS:
            sides = ("real", "synthetic")
        for kind, words in (("plain", (SYNTHETIC, REAL)), ("vague", (VAGUE_SYNTHETIC, VAGUE_REAL))):
            found[kind] |= {side for side, known in zip(sides, words, strict=True) if {word, word.rstrip("s")} & known}
    decides = found["plain"] or found["vague"]
    return decides.pop() if len(decides) == 1 else ""


def _words(name: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(name)]


def _told(names: Mapping[int, str]) -> list[int]:
    meanings = {index: meaning(name) for index, name in names.items()}
    chosen = [index for index, side in meanings.items() if side == "synthetic"]
    unknown = not all(meanings.values())
    if len(names) == 1 and not unknown:
        return chosen
    if not chosen or unknown or len(chosen) == len(names):
        raise DetectorError(
            f"which of its classes mean synthetic cannot be told from their names ({_listed(names, names)}): "
            "say it with --set ROW.synthetic=CLASS, by name or index, or [ONE,ANOTHER]"
            + ("; none where its logit means real" if len(names) == 1 else "")
        )
    return chosen


def _chosen(names: Mapping[int, str], synthetic: object) -> list[int]:
    if synthetic == "none" and len(names) == 1:
        return []
    wanted = list(synthetic) if isinstance(synthetic, (list, tuple)) else [synthetic]
    chosen = [_index(names, one) for one in wanted]
    if not chosen or (len(names) > 1 and len(set(chosen)) == len(names)):
        raise MaibenchError(f"synthetic={synthetic}: one class at least is synthetic, and one is not")
    return chosen


def _index(names: Mapping[int, str], wanted: object) -> int:
    if isinstance(wanted, int) and not isinstance(wanted, bool) and wanted in names:
        return wanted
    for alike in (str(wanted).__eq__, lambda name: name.casefold() == str(wanted).casefold()):
        found = [index for index, name in names.items() if alike(name)]
        if len(found) == 1:
            return found[0]
    if str(wanted).isdecimal() and int(str(wanted)) in names:
        return int(str(wanted))
    raise MaibenchError(f"synthetic={wanted}: no such class; there are {_listed(names, names)}")


def _listed(names: Mapping[int, str], indices: Sequence[int] | Mapping[int, str]) -> str:
    shown = [f"{index} '{names[index]}'" for index in indices]
    more = f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
    return ", ".join(shown[:_SHOWN]) + more
