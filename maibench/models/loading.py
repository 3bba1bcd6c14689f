"""From a SPEC to a detector that is ready to score."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import json
from pathlib import Path
from typing import Any

from maibench.errors import DetectorError, ImageError, MaibenchError
from maibench.models.base import Detector
from maibench.models.card import Card
from maibench.models.registry import detector_class, names, scheme_of
from maibench.models.source import code_of
from maibench.models.weights import BUNDLED, load_weights, sha256


def load_detector(spec: str, /, *, device: str = "cpu", weights: str | Path | None = None, **options: Any) -> Detector:
    """Build a detector, load its weights, and set it to evaluation mode.

    spec: a name that `maibench models` lists, one of its schemes (hf:OWNER/NAME, mean(bailu,mai_cnn), ...), a folder
    that finetuning wrote, or FILE.py:Class. weights: another safetensors file instead of the bundled one (moondream: a
    folder or a repository). options: the detector's own (`maibench show NAME` lists them).

    Raises MaibenchError for an unknown name, an unknown option, and weights that are missing or do not fit;
    DetectorError for a detector that is there and cannot be used.
    """
    if scheme_of(spec):
        return _of_scheme(spec, options, weights, device)
    if is_file_spec(spec):
        return _filled(_class_from_file(spec), spec, options, weights, device)
    if spec not in names() and "/" in spec and not Path(spec).exists():
        raise MaibenchError(f"'{spec}': no such folder; name one that finetuning wrote, or see 'maibench models'")
    if spec not in names() and Path(spec).is_dir():
        return load_folder(Path(spec), device=device, weights=weights, **options)
    cls = detector_class(spec)
    if "weights" in cls.loads:
        return _finish(build(cls, spec, options | _places(cls, weights, device)), device)
    if weights is None and not cls.fitted and cls.__module__.startswith("maibench."):
        return _bundled(cls, spec, options, device)
    return _filled(cls, spec, options, weights, device)


def load_folder(
    folder: Path, cls: type[Detector] = Detector, /, *, device: str = "cpu", weights: Any = None, **options: Any
) -> Detector:
    """`load_detector` for a folder that finetuning or `save_pretrained` wrote. cls: what it has to hold.

    Raises MaibenchError as `load_detector` does, and for a folder that holds something else.
    """
    name, own = _config_of(folder)
    found = _class_of_folder(folder, name, cls)
    if "weights" in found.loads:
        weights = weights if weights is not None else own.pop("weights", None)
        named = {**own, "adapter": folder, **options}
        return _finish(build(found, name, named | _places(found, weights, device)), device)
    detector = build(found, name, _without_loads(found, {**own, **options}))
    if (folder / "card.json").is_file():
        detector.card = detector.card.read(folder / "card.json")
    if weights is not None:
        return _ready(detector, weights, device)
    return _ready(detector, folder / "model.safetensors", device, detector.card.sha256)


def is_file_spec(spec: str) -> bool:
    """Whether a SPEC is a FILE.py:Class."""
    return spec.partition(":")[0].endswith(".py")


def class_of(spec: str) -> type[Detector]:
    """The class that `load_detector` builds of a SPEC. Raises MaibenchError where there is none."""
    if is_file_spec(spec):
        return _class_from_file(spec)
    if spec in names() or scheme_of(spec) or not Path(spec).is_dir():
        return detector_class(spec)
    return detector_class(_config_of(Path(spec))[0])


def build(cls: type[Detector], spec: str, options: dict[str, Any]) -> Detector:
    """Construct a detector without weights; raises MaibenchError when it refuses its options or has no card."""
    known = options_of(cls)
    free = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in known.values())
    for name in options:
        if name not in known and not free:
            listed = ", ".join(known) or "none"
            raise MaibenchError(f"{spec} has no option '{name}'; its options: {listed} (and weights)")
    try:
        detector = cls(**options)
    except ImageError as error:  # of a first image that it tried itself on: no fault of the request
        raise DetectorError(f"{spec} cannot be used: {error}") from error
    except MaibenchError:
        raise
    except Exception as error:  # a plug-in's constructor, or an option of the wrong type
        raise DetectorError(f"{spec} cannot be built: {type(error).__name__}: {error}") from error
    if not isinstance(getattr(detector, "card", None), Card):
        raise MaibenchError(f"{spec}: the class {cls.__name__} has no card; set card = maibench.Card(name=...)")
    chosen = {name: p.default for name, p in known.items() if p.default is not p.empty} | options
    detector.built_from = spec
    detector.built_with = _without_loads(cls, chosen)
    detector.loaded_with = {name: value for name, value in chosen.items() if name in cls.loads}
    return detector


def build_to_train(spec: str, options: dict[str, Any]) -> Detector:
    """What training begins with: a detector without weights, but for those that a SPEC such as timm:ARCH@FILE names.

    Raises MaibenchError as `load_detector` does.
    """
    cls = detector_class(spec)
    named = _named(cls, spec, options) if scheme_of(spec) else {}
    weights = named.pop("weights", None)
    given = {**named, **options}
    detector = build(cls, spec, given if weights is None else _without_loads(cls, given))
    if weights is not None:
        load_weights(detector, Path(weights))
    return detector


def made_ready(detector: Detector, device: str = "cpu") -> Detector:
    """A detector that somebody has made, on its device and in evaluation mode. Raises MaibenchError without a card."""
    if not isinstance(getattr(detector, "card", None), Card):
        raise MaibenchError(f"the class {type(detector).__name__} has no card; set card = maibench.Card(name=...)")
    return _finish(detector, device)


def options_of(cls: type[Detector]) -> dict[str, inspect.Parameter]:
    """The keyword options that a detector's class takes."""
    if cls.__init__ is Detector.__init__:
        return {}
    return {name: p for name, p in inspect.signature(cls.__init__).parameters.items() if name != "self"}


def fingerprint(detector: Detector) -> str:
    """A hash of what a detector computes: tensors, options, code, the card's input facts; 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for name, tensor in sorted(detector.state_dict().items()):
        array = tensor.detach().cpu().contiguous()
        digest.update(f"{name}{array.dtype}{tuple(array.shape)}".encode())
        digest.update(array.view(-1).view(dtype=_bytes_type()).numpy().tobytes() if array.numel() else b"")
    card = detector.card.model_dump_json(include={"name", "input_size", "input_policy", "mean", "std"})
    digest.update(card.encode())
    for cls in type(detector).__mro__:
        if cls is Detector:
            break
        digest.update(code_of(cls))
    plain = {name: value for name, value in vars(detector).items() if isinstance(value, (int, float, str, tuple))}
    state = {name: value for name, value in plain.items() if name != "built_from"}  # where a file lies does not matter
    digest.update(repr([sorted(detector.built_with.items()), sorted(state.items())]).encode())
    return digest.hexdigest()[:16]


def _places(cls: type[Detector], weights: str | Path | None, device: str) -> dict[str, Any]:
    """What the constructor of a class that loads its own weights is told besides the options."""
    return {"weights": weights} | ({"device": device} if "device" in cls.loads else {})


def _bytes_type() -> Any:
    import torch

    return torch.uint8


def _without_loads(cls: type[Detector], options: dict[str, Any]) -> dict[str, Any]:
    """Options without those that say what the constructor loads: where a file fills every tensor, it loads nothing."""
    return {name: value for name, value in options.items() if name not in cls.loads}


def _bundled(cls: type[Detector], name: str, options: dict[str, Any], device: str) -> Detector:
    file = BUNDLED / f"{name}.safetensors"
    if not file.is_file():
        raise MaibenchError(
            f"'{name}' has no bundled weights; finetune it, then name the folder, or give --set {name}.weights=FILE "
            f"('maibench show {name}' says where its authors' are)"
        )
    detector = build(cls, name, _without_loads(cls, options))
    detector.card = detector.card.read(file.with_suffix(".json"))
    load_weights(detector, file, detector.card.sha256)
    return _finish(detector, device)


def _config_of(folder: Path) -> tuple[str, dict[str, Any]]:
    """The name and the options of the detector that a folder holds."""
    try:
        config = json.loads((folder / "config.json").read_text())
        return str(config["detector"]), dict(config.get("options", {}))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MaibenchError(
            f"{folder}: not a finetuned detector; its config.json has to name the 'detector' ({error})"
        ) from error


def _class_of_folder(folder: Path, name: str, cls: type[Detector]) -> type[Detector]:
    """The class that a folder's config.json names; raises MaibenchError where that is not a `cls`."""
    if is_file_spec(name):  # a folder may come from anywhere: it never says which file is run
        if cls is not Detector and cls.__name__ == name.partition(":")[2]:
            return cls
        raise MaibenchError(
            f"{folder}: weights of a class of somebody's own; where {name.partition(':')[0]} is: "
            f"{name.partition(':')[2]}.from_pretrained(...), or load_detector('path/of/{name}', weights="
            f"'{folder / 'model.safetensors'}') with its options"
        )
    found = detector_class(name)
    if not issubclass(found, cls):
        raise MaibenchError(f"{folder}: holds {name} ({found.__name__}), not a {cls.__name__}")
    return found


def _class_from_file(spec: str) -> type[Detector]:
    file, _, name = spec.partition(":")
    path = Path(file)
    if not name or not path.is_file():
        raise MaibenchError(f"'{spec}': no such detector; a file of your own is named as path/to/file.py:ClassName")
    # the whole path, in the module's name: two files may be called alike
    where = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]
    module_spec = importlib.util.spec_from_file_location(f"maibench_plugin_{path.stem}_{where}", path.resolve())
    if module_spec is None or module_spec.loader is None:
        raise MaibenchError(f"'{spec}': cannot be imported as a Python file")
    module = importlib.util.module_from_spec(module_spec)
    try:
        import sys

        sys.modules[module_spec.name] = module  # inspect.getsource looks the module up by its name
        module_spec.loader.exec_module(module)
    except Exception as error:  # the user's code: whatever it raises, the request cannot be served
        raise DetectorError(f"{file}: importing it failed: {type(error).__name__}: {error}") from error
    cls = getattr(module, name, None)
    if not (inspect.isclass(cls) and issubclass(cls, Detector)):
        raise MaibenchError(f"{file}: '{name}' is not a class derived from maibench.Detector")
    return cls


def _of_scheme(spec: str, options: dict[str, Any], weights: str | Path | None, device: str) -> Detector:
    cls = detector_class(spec)
    named = _named(cls, spec, options if weights is None else {**options, "weights": weights})
    weights = named.pop("weights", weights)
    if "weights" in cls.loads:
        return _finish(build(cls, spec, {**named, **options} | _places(cls, weights, device)), device)
    if weights is None and "pretrained" in cls.loads:
        build(cls, spec, _without_loads(cls, {**named, **options}))  # what is mistyped is told first
        raise DetectorError(
            f"'{spec}' has no weights: finetune it and name the folder, or give a checkpoint, as in '{spec}@FILE' or "
            "--set LABEL.weights=FILE"
        )
    return _filled(cls, spec, {**named, **options}, weights, device)


def _named(cls: type[Detector], spec: str, options: dict[str, Any]) -> dict[str, Any]:
    """What a SPEC with a scheme says; raises MaibenchError where the options say it too."""
    named = cls.options_of_spec(spec)
    if twice := sorted(named.keys() & options.keys()):
        raise MaibenchError(f"{spec}: {', '.join(twice)}: said by the SPEC already; leave the option out")
    return named


def _filled(
    cls: type[Detector], spec: str, options: dict[str, Any], weights: str | Path | None, device: str
) -> Detector:
    return _ready(build(cls, spec, options if weights is None else _without_loads(cls, options)), weights, device)


def _ready(detector: Detector, weights: str | Path | None, device: str, expected_sha256: str = "") -> Detector:
    if weights is not None:
        file = Path(str(weights))
        load_weights(detector, file, expected_sha256)
        detector.card = detector.card.updated(weights=str(file), sha256=sha256(file))
    return _finish(detector, device)


def _finish(detector: Detector, device: str) -> Detector:
    if not (detector.fitted or detector.elsewhere):
        detector.card = detector.card.updated(parameters=detector.parameter_count())
    try:
        return detector.to(device).eval()
    except RuntimeError as error:  # a GPU's memory is full
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise DetectorError(f"{detector.card.name}: cannot be put on {device} ({reason})") from error
