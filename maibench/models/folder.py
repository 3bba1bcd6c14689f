"""A folder that holds one detector: its weights, config.json, card.json, README.md. `load_detector` and
`Detector.from_pretrained` read it, and it can be put on the Hub as it is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maibench.errors import MaibenchError
from maibench.files import disk_error, make_folder, write_text, write_whole
from maibench.models.card import Card
from maibench.models.loading import is_file_spec
from maibench.models.registry import detector_class, names, scheme_of
from maibench.models.weights import sha256

if TYPE_CHECKING:
    from maibench.models.base import Detector
    from maibench.models.moondream.detector import Moondream


def write_folder(detector: Detector, folder: Path, name: str = "", card: Card | None = None) -> None:
    """Write model.safetensors (or a PEFT adapter), config.json, card.json and README.md, each whole or not at all.

    name: what config.json calls the detector (empty: the SPEC that it was built from; of a FILE.py:Class the file's
    name alone). card: what is known of these weights (None: the detector's own card); sha256 and parameters are filled
    in.

    Raises MaibenchError for a detector that config.json cannot name or whose options are not JSON, and where there is
    no adapter to write; DiskError where the disk refuses.
    """
    name = name or _name(detector)
    config: dict[str, Any] = {"detector": name, "options": _options(detector)}
    try:
        json.dumps(config)
    except TypeError as error:
        raise MaibenchError(f"{name}: an option cannot be written to config.json ({error})") from error
    make_folder(folder)
    try:
        config |= _save(detector, folder)
    except OSError as error:
        raise disk_error(folder, error) from error
    holds_all = "weights" not in detector.loads
    base = config["options"].get("weights") or config["options"].get("model", "that maibench bundles")
    # where they lie is known when they are loaded
    card = card or detector.card.updated(weights="" if holds_all else f"an adapter of the base {base}")
    card = card.updated(parameters=None if detector.fitted else detector.parameter_count())
    if holds_all:
        card = card.updated(sha256=sha256(folder / "model.safetensors"))
    write_text(folder / "config.json", json.dumps(config, indent=2) + "\n")
    write_text(folder / "card.json", card.written_over(type(detector).card) + "\n")
    write_text(folder / "README.md", model_card(card, name, () if holds_all else ("lora", "peft")))


def model_card(card: Card, name: str = "", tags: Sequence[str] = ()) -> str:
    """The README of a folder of weights, as the Hub shows it. name: what config.json calls the detector (empty: the
    card's name). tags: those of the Hub, besides our own."""
    name = name or card.name
    lines = ["import maibench", "", 'detector = maibench.Detector.from_pretrained("OWNER/NAME")  # or a folder']
    compare = "bailu,path/of/this/folder"
    if is_file_spec(name):
        file, _, cls = name.partition(":")
        lines = [f"from {Path(file).stem} import {cls}  # {file} is not part of this folder", ""]
        lines += [f'detector = {cls}.from_pretrained("OWNER/NAME")  # or a folder']
        compare = f"mine=path/of/{name} --set mine.weights=path/of/this/folder/model.safetensors"
    code = "\n".join(lines)
    facts = {
        "weights": card.weights,
        "parameters": f"{card.parameters:,}" if card.parameters else "",
        "trained on": "unknown" if card.trained_on is None else ", ".join(card.trained_on) or "no generator",
        "training data": card.training_data,
        "input": card.input_policy,
        "licence": card.licence,
        "reference": card.reference,
        "notes": card.notes,
        "recipe": f"`{card.recipe}`" if card.recipe else "",
    }
    listed = "\n".join(f"- {fact}: {value}" for fact, value in facts.items() if value)
    rows = "".join(f"\n| {measure} | {value} |" for measure, value in card.validation.items())
    table = f"| validation | |\n|---|---|{rows}\n\n" if rows else ""
    return f"""---
library_name: maibench
pipeline_tag: image-classification
tags: [{", ".join(["ai-generated-image-detection", "maibench", *tags])}]
---

# {card.name}

{card.summary or "A detector of AI-generated images"}.

```python
{code}
```

    python compare.py --models {compare}

{table}{listed}

A score is no evidence by itself: detectors err, and err more on generators and compressions that they have not seen.
"""


def _name(detector: Detector) -> str:
    """What config.json calls a detector. Raises MaibenchError where there is no name to find it by."""
    spec = detector.built_from
    if is_file_spec(spec):  # where the file lies on this machine is nobody's business
        file, _, cls = spec.partition(":")
        return f"{Path(file).name}:{cls}"
    if (scheme := scheme_of(spec)) in names():  # timm:ARCH@FILE: what it says are options, and where a file lies
        return scheme
    if spec:
        return spec
    name = detector.card.name
    if name in names() and detector_class(name) is type(detector):
        return name
    raise MaibenchError(
        f"{type(detector).__name__} has no name that config.json could call it by: build it with load_detector, or put "
        f'@maibench.register("{name}") above the class'
    )


def _options(detector: Detector) -> dict[str, Any]:
    """The options to build a detector with again. The folder takes the place of what it was loaded from, a base that
    an adapter belongs to aside."""
    given = _given(detector)
    options = {name: value for name, value in given.items() if name not in detector.loads}
    if "weights" in detector.loads:
        kept = [name for name in detector.loads if name not in ("adapter", "device")]
        options |= {name: str(given[name]) for name in kept if given.get(name) is not None}
    return options


def _given(detector: Detector) -> dict[str, Any]:
    """Every option that a detector was built with."""
    if detector.built_from:
        return {**detector.built_with, **detector.loaded_with}
    # its constructor was called by hand, which huggingface_hub's mixin takes note of
    return dict(detector._hub_mixin_config or {})  # type: ignore[arg-type]


def _save(detector: Detector, folder: Path) -> dict[str, Any]:
    """`Detector.save`; of a moondream that was loaded with an adapter, the adapter as it lies: it is taken into the
    weights, and cannot be told from them."""
    if "adapter" in detector.loads:
        from maibench.models.moondream.detector import Moondream

        if isinstance(detector, Moondream) and not hasattr(detector, "lora"):
            return _copy_adapter(detector, folder)
    return detector.save(folder)


def _copy_adapter(detector: Moondream, folder: Path) -> dict[str, Any]:
    """Copy the adapter that was loaded; returns what config.json says of its base and of how it was trained."""
    from maibench.models.moondream.checkpoint import bundled_adapter, find_adapter, trained_options

    if not detector.adapter_sha256:
        raise MaibenchError(
            f"{detector.card.name} was loaded without an adapter, and its base is not copied: finetune one, or load "
            "one with the option adapter"
        )
    place = _given(detector).get("adapter") or "bundled"
    source = bundled_adapter() if str(place) == "bundled" else find_adapter(place)
    tensors, settings = source / "adapter_model.safetensors", source / "adapter_config.json"
    if " ".join(map(sha256, (tensors, settings))) != detector.adapter_sha256:
        raise MaibenchError(f"{source}: is not the adapter any more that was loaded; load it again")
    for file in (tensors, settings):
        write_whole(folder / file.name, partial(shutil.copyfile, file))
    options, trained = _options(detector), trained_options(source)
    options |= {name: trained[name] for name, value in options.items() if value is None and name in trained}
    return {"base_sha256": detector.checkpoint.sha256, "options": options}
