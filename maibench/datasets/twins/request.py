"""What `maibench data pairs` is asked for, checked."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from maibench.datasets.manifest import Manifest
from maibench.datasets.photographs import SMALLEST, open_photographs
from maibench.datasets.storage import Storage, parse_storage
from maibench.datasets.twins.captioners import CaptionerSpec, choose_captioner
from maibench.datasets.twins.choose import Gate, check_photographs, shares_of
from maibench.datasets.twins.content import POLICY
from maibench.datasets.twins.gates import Limits
from maibench.datasets.twins.places import Place, parse_place
from maibench.datasets.twins.presets import Generator, choose_generators
from maibench.errors import MaibenchError

RECIPE = 1
"""Raise it when the same request makes other images, so that old folders are not gone on with."""


@dataclass(frozen=True)
class Request:
    """What is asked for.

    data: a SOURCE; columns: which of its columns mean what. generators: as `choose_generators` reads them; presets: a
    file that adds to the listed ones. captioner: as `choose_captioner` reads it. clip: a folder or a repository of a
    CLIP-type model. most: photographs at most. candidates: images that are tried for a twin. size: pixels a side of
    the stored images. smallest: pixels of the shorter side that a photograph must have (never less than size).
    licences: comma-separated; empty: any. shares: as `shares_of` reads them. store: as `parse_storage` reads it.
    """

    data: str
    generators: str
    captioner: str
    clip: str
    out: Path
    most: int = 1000
    candidates: int = 2
    size: int = 512
    smallest: int = 0
    licences: str = ""
    shares: str = "auto"
    store: str = "png"
    limits: Limits = field(default_factory=Limits)
    seed: int = 0
    presets: Path | None = None
    columns: str = ""
    device: str = "auto"


@dataclass(frozen=True)
class Plan:
    """A request whose parts are all there; nothing is fetched or loaded yet."""

    request: Request
    manifest: Manifest
    generators: list[Generator]
    captioner: CaptionerSpec
    clip: Place
    gate: Gate
    storage: Storage

    def asked(self) -> dict[str, Any]:
        """What decides of the images, for the folder: another request is not gone on with."""
        return {
            "recipe": RECIPE, "data": f"{self.manifest.name} {self.manifest.fingerprint}",
            "photographs": asdict(self.gate) | {"licences": list(self.gate.licences), "shares": self._shares()},
            "captioner": self.captioner.name, "content": POLICY, "clip": str(self.clip),
            "limits": asdict(self.request.limits),
            "generators": {
                generator.name: {"model": str(generator.place), "settings": generator.settings}
                for generator in self.generators
            },
            "candidates": self.request.candidates, "store": self.storage.name,
        }  # fmt: skip

    def _shares(self) -> list[float] | None:
        return None if self.gate.shares is None else list(self.gate.shares)


def read_request(request: Request) -> Plan:
    """Check a request and open its data. Raises MaibenchError for what is wrong with it."""
    storage = parse_storage(request.store)
    generators = choose_generators(request.generators, request.presets)
    captioner = choose_captioner(request.captioner)
    clip = parse_place(request.clip, "CLIP-type model")
    if request.size < SMALLEST:
        raise MaibenchError(f"--size {request.size}: give at least {SMALLEST} pixels a side")
    for generator in generators:
        sides = [int(generator.settings[side]) for side in ("width", "height") if side in generator.settings]
        if sides and min(sides) < request.size:
            raise MaibenchError(
                f"--size {request.size}: '{generator.name}' makes images of {min(sides)} pixels, and nothing is "
                f"enlarged; give --size {min(sides)} or less"
            )
    manifest = open_photographs(request.data, request.out, request.columns)
    licences = tuple(filter(None, (text.strip() for text in request.licences.split(","))))
    check_photographs(manifest, licences)
    shares = shares_of(manifest, request.shares)
    gate = Gate(request.most, request.size, max(request.smallest, request.size), licences, shares, request.seed)
    return Plan(request, manifest, generators, captioner, clip, gate, storage)
