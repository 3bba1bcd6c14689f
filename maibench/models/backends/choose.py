"""Choose what computes a detector's network: by name, or the fastest; only what gives the same answers is used."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from maibench.errors import MaibenchError
from maibench.models.backends.backend import BACKENDS, NAMES, Backend, Unsuitable
from maibench.models.backends.check import Probes
from maibench.models.backends.speed import times_as_fast
from maibench.models.base import Detector

WORTH = 1.05
"""`auto` leaves torch for what is at least this many times as fast."""


@dataclass(frozen=True)
class Chosen:
    """What computes a detector from now on: the backend's name and the version of its package. facts: for run.json.
    says: which, and why, for a line to the user."""

    name: str
    version: str
    facts: dict[str, str]
    says: str


TORCH = Chosen("torch", str(torch.__version__), {}, "torch")
"""In float32, the default."""


def use_backend(detector: Detector, name: str, probes: Sequence[Any]) -> Chosen:
    """Have `detector` computed by a backend (it sets `detector.compiled`), after a check on real images.

    name: "torch", a key of BACKENDS, or "auto": the fastest float32 backend that is installed and passes; torch where
    none does. probes: some 32 results of the detector's preprocess.

    Raises MaibenchError for a name that there is not and, where a backend is asked for by name, when it is not
    installed, cannot compute this detector, or has other answers than torch in float32: another label on any probe, or
    a logit further off than the backend's `bound`.
    """
    detector.compiled = None
    if name not in NAMES:
        near = difflib.get_close_matches(name, NAMES, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise MaibenchError(f"unknown backend '{name}': {hint}there are {', '.join(NAMES)}")
    if name == "torch":
        return TORCH
    if name == "auto":
        return _fastest(detector, probes)
    try:
        compiled, facts = _checked(detector, BACKENDS[name], Probes(detector, probes))
    except Unsuitable as error:
        hint = "for this detector alone: --set LABEL.backend=torch"
        raise MaibenchError(f"the backend {name} cannot be used: {error}; {hint}") from error
    detector.compiled = compiled
    return _chosen(BACKENDS[name], facts)


def _fastest(detector: Detector, items: Sequence[Any]) -> Chosen:
    wanted = [b for b in BACKENDS.values() if not b.bfloat16 and detector.device.type in b.devices and not b.missing]
    if not wanted:
        return replace(TORCH, says="torch (no other backend is installed)")
    try:
        probes = Probes(detector, items)
    except Unsuitable as error:
        return replace(TORCH, says=f"torch ({error})")
    passed: dict[str, tuple[Callable[[Tensor], Tensor], dict[str, str]]] = {}
    refused: list[str] = []
    for backend in wanted:
        try:
            passed[backend.name] = _checked(detector, backend, probes)
        except Unsuitable as error:
            refused.append(f"not {backend.name}: {error}")
    ways = {"torch": detector.run_in_torch} | {name: compiled for name, (compiled, _) in passed.items()}
    speeds = times_as_fast(ways, "torch", probes.inputs[0])
    best = max(passed, key=lambda name: speeds[name], default="")
    if not best or speeds[best] < WORTH:
        reasons = [f"{name} {speeds[name]:.2f} times as fast" for name in passed] + refused
        return replace(TORCH, says=f"torch ({'; '.join(reasons)})")
    detector.compiled, facts = passed[best]
    chosen = _chosen(BACKENDS[best], facts | {"times torch": f"{speeds[best]:.2f}"})
    return replace(chosen, says="; ".join([chosen.says, *refused]))


def _checked(detector: Detector, backend: Backend, probes: Probes) -> tuple[Callable[[Tensor], Tensor], dict[str, str]]:
    """What the backend compiled, and the facts of its check. Raises Unsuitable."""
    if backend.missing:
        raise Unsuitable(f'{backend.missing} is not installed: pip install "maibench[{backend.extra}]"')
    if detector.device.type not in backend.devices:
        raise Unsuitable(f"it computes on {' or '.join(backend.devices)}, and the detector is on {detector.device}")
    compiled = backend.compile_network(detector, probes.inputs[0])
    difference = probes.check(compiled, backend.bound)
    return compiled, {"images": str(probes.count), "largest difference": f"{difference:.1e}"}


def _chosen(backend: Backend, facts: dict[str, str]) -> Chosen:
    speed = f"{facts['times torch']} times torch, " if "times torch" in facts else ""
    same = f"the same labels and logits within {facts['largest difference']} on {facts['images']} images"
    return Chosen(backend.name, backend.version, facts, f"{backend.name} ({speed}{same})")
