"""The generators that `--generators` names: text-to-image pipelines of diffusers and their settings."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from maibench.datasets.new_generators import check_names
from maibench.datasets.twins.places import Place, parse_place
from maibench.errors import MaibenchError

LISTED = Path(__file__).with_name("presets.yaml")
SETTINGS = (
    "num_inference_steps", "guidance_scale", "width", "height", "negative_prompt", "max_sequence_length",
    "true_cfg_scale",
)  # fmt: skip


class Preset(BaseModel):
    """An entry of presets.yaml. kind ("class" there): diffusers' class. gigabytes: about what is fetched."""

    model_config = ConfigDict(extra="forbid", strict=True)

    kind: str | None = Field(default=None, alias="class")
    repository: str
    revision: str | None = None
    licence: str = ""
    gigabytes: float | None = None
    settings: dict[str, int | float | str] = {}


@dataclass(frozen=True)
class Generator:
    """name: in the manifest. kind: the pipeline's class, where it is known beforehand. settings: what the pipeline is
    called with; empty: its own defaults. gigabytes: about what is fetched, where known."""

    name: str
    place: Place
    kind: str | None
    settings: dict[str, Any]
    licence: str = ""
    gigabytes: float | None = None


def choose_generators(text: str, presets: Path | None = None) -> list[Generator]:
    """What `--generators` names, in its order: [NAME=]SPEC, comma-separated.

    A SPEC is a preset, a folder in diffusers' layout, or OWNER/NAME[@REVISION] of the Hub. Where NAME is a preset, its
    settings go with the SPEC. presets: a file whose entries come before the listed ones. Nothing is fetched yet.
    Raises MaibenchError for what there is not, for a name that occurs twice, and for a file in another form.
    """
    known = {**read_presets(LISTED), **(read_presets(presets) if presets else {})}
    found = [_generator(item, known) for item in map(str.strip, text.split(",")) if item]
    if not found:
        raise MaibenchError(f"--generators names no pipeline; there are {', '.join(known)}, or give NAME=FOLDER")
    check_names([generator.name for generator in found], "generators", "--generators")
    return found


def read_presets(file: Path) -> dict[str, Preset]:
    """The entries of a file in the form of presets.yaml. Raises MaibenchError for another form."""
    try:
        entries = yaml.safe_load(file.read_text(encoding="utf-8"))
        presets = {str(name): Preset.model_validate(entry) for name, entry in entries.items()}
    except (OSError, yaml.YAMLError, AttributeError) as error:
        raise MaibenchError(f"{file}: cannot be read as presets: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        wrong = error.errors()[0]
        raise MaibenchError(f"{file}: {'.'.join(map(str, wrong['loc']))}: {wrong['msg']}; see {LISTED}") from error
    for name, preset in presets.items():
        if unknown := sorted(set(preset.settings) - set(SETTINGS)):
            raise MaibenchError(f"{file}: {name}: unknown setting '{unknown[0]}'; there are {', '.join(SETTINGS)}")
    return presets


def _generator(item: str, known: dict[str, Preset]) -> Generator:
    label, equals, spec = item.partition("=")
    if not equals:
        label, spec = "", item
    if spec in known:
        preset = known[spec]
        place = parse_place(preset.repository, "pipeline")
        if place.is_folder:
            _check_folder(place.folder)
        else:
            place = Place(place.where, preset.revision or place.revision)
        return Generator(label or spec, place, preset.kind, dict(preset.settings), preset.licence, preset.gigabytes)
    if not Path(spec).expanduser().is_dir() and spec.count("/") != 1:
        near = difflib.get_close_matches(spec, known, 1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise MaibenchError(
            f"unknown pipeline '{spec}': {hint}there are {', '.join(known)}, or give NAME=FOLDER (in diffusers' "
            "layout) or NAME=OWNER/NAME of the Hub"
        )
    place = parse_place(spec, "pipeline")
    if place.is_folder:
        _check_folder(place.folder)
    name = label or place.folder.resolve().name
    if name in known:
        return Generator(name, place, known[name].kind, dict(known[name].settings), known[name].licence)
    return Generator(name, place, None, {})


def _check_folder(folder: Path) -> None:
    if not (folder / "model_index.json").is_file():
        raise MaibenchError(
            f"{folder}: no pipeline in diffusers' layout: model_index.json is missing (a single checkpoint file is "
            "turned into a folder with diffusers' from_single_file and save_pretrained)"
        )
