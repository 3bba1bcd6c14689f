"""Names of detectors: lazy targets ("module:Class"), entry points, and what `register` adds."""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from maibench.errors import DetectorError, MaibenchError

if TYPE_CHECKING:
    from maibench.models.base import Detector

GROUP = "maibench.detectors"
BUILT_IN = {
    "bailu": "maibench.models.bailu:Bailu",
    "mai_cnn": "maibench.models.mai_cnn:MaiCnn",
    "mai_resnet": "maibench.models.mai_resnet:MaiResnet",
    "timm": "maibench.models.timm_backbone:TimmDetector",
    "moondream": "maibench.models.moondream.detector:Moondream",
    "metadata": "maibench.models.metadata:Metadata",
    "attribution": "maibench.models.attribution:Attribution",
    "attribution-demo": "maibench.models.attribution:AttributionDemo",
    "attribution-wild": "maibench.models.attribution:AttributionWild",
    "cnndetection": "maibench.models.baselines.cnndetection:CnnDetection",
    "npr": "maibench.models.baselines.npr:Npr",
    "ferretnet": "maibench.models.baselines.ferretnet:FerretNet",
    "ladeda": "maibench.models.baselines.ladeda:Ladeda",
    "tiny_ladeda": "maibench.models.baselines.ladeda:TinyLadeda",
    "safe": "maibench.models.baselines.safe:Safe",
    "freqnet": "maibench.models.baselines.freqnet:FreqNet",
    "spectrum": "maibench.models.spectrum:Spectrum",
    "univfd": "maibench.models.baselines.univfd:UnivFD",
    "rine": "maibench.models.baselines.rine:Rine",
    "aeroblade": "maibench.models.baselines.aeroblade:Aeroblade",
    "bilora": "maibench.models.baselines.bilora:BiLora",
}
SCHEMES = {
    "hf": "maibench.models.hub_models.classifier:HubClassifier",
    "hf-vlm": "maibench.models.hub_models.vlm:HubVlm",
    "timm": "maibench.models.timm_backbone:TimmDetector",
    "clip": "maibench.models.clip_probe:ClipProbe",
    "scores": "maibench.models.scores_file:ScoresFile",
    "http": "maibench.models.server:Server",
    "https": "maibench.models.server:Server",
    "mean": "maibench.models.ensemble:Mean",
    "stack": "maibench.models.ensemble:Stack",
}
"""How a SPEC begins that names more than a detector of ours: SCHEME:TEXT, or SCHEME(SPEC,SPEC,...)."""
_registered: dict[str, type[Detector]] = {}

DetectorType = TypeVar("DetectorType", bound="type[Detector]")


def register(name: str) -> Callable[[DetectorType], DetectorType]:
    """Class decorator: make a detector known under `name` in this process.

    Raises MaibenchError when the name belongs to a detector of maibench.
    """
    if name in BUILT_IN:
        raise MaibenchError(f"'{name}' is a detector of maibench; register yours under another name")

    def add(cls: DetectorType) -> DetectorType:
        _registered[name] = cls
        return cls

    return add


def names() -> list[str]:
    """Every known name: built in, from entry points, registered."""
    found = [*BUILT_IN, *(point.name for point in _entry_points()), *_registered]
    return list(dict.fromkeys(found))


def detector_class(name: str) -> type[Detector]:
    """Import and return the class behind a name.

    name: also a SPEC with one of `SCHEMES`. Raises MaibenchError, with the nearest names, when there is none.
    """
    if name in BUILT_IN:
        return _imported(BUILT_IN[name])
    if scheme := scheme_of(name):
        return _imported(SCHEMES[scheme])
    if name in _registered:
        return _registered[name]
    for point in _entry_points():
        if point.name == name:
            return _load(point)
    near = difflib.get_close_matches(name, names(), n=2)
    hint = f"did you mean {' or '.join(repr(n) for n in near)}? " if near else ""
    raise MaibenchError(f"unknown detector '{name}': {hint}'maibench models' lists all")


def scheme_of(spec: str) -> str:
    """Which of `SCHEMES` a SPEC has; "" for none."""
    scheme = spec.partition("(" if spec.endswith(")") else ":")[0]
    return scheme if scheme != spec and scheme in SCHEMES else ""


def _imported(target: str) -> type[Detector]:
    module, attribute = target.split(":")
    found: type[Detector] = getattr(importlib.import_module(module), attribute)
    return found


def _load(point: importlib.metadata.EntryPoint) -> type[Detector]:
    from maibench.models.base import Detector

    try:
        found = point.load()
        if not (isinstance(found, type) and issubclass(found, Detector)):
            raise TypeError("it is not a class derived from maibench.Detector")
    except Exception as error:  # somebody else's import: whatever it raises, the request cannot be served
        raise DetectorError(f"the plug-in '{point.value}' for '{point.name}' does not load: {error}") from error
    return found


def _entry_points() -> importlib.metadata.EntryPoints:
    return importlib.metadata.entry_points(group=GROUP)
