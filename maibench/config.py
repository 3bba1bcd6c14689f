"""One YAML file = one run. Flags override the file; unknown keys are refused."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from maibench.errors import MaibenchError


class RunConfig(BaseModel):
    """Everything that decides what a comparison computes.

    models: SPECs or LABEL=SPECs, in the order of the table's rows. options: {label: {option: value}} for detectors.
    resamples: of the bootstrap. max_pixels: larger images become failed rows. workers: threads that decode and
    preprocess (None: one a core).
    """

    model_config = ConfigDict(extra="forbid")

    models: list[str] = Field(min_length=1)
    data: str = "demo"
    split: Literal["train", "validation", "test"] = "test"
    perturb: list[str] = ["none"]
    out: str | None = None
    engine: Literal["local"] = "local"
    backend: Literal["torch"] = "torch"
    device: str = "auto"
    batch_size: int = Field(32, ge=1)
    workers: int | None = Field(None, ge=1)
    limit: int | None = Field(None, ge=1)
    seed: int = Field(0, ge=0)
    strict: bool = False
    resamples: int = Field(1000, ge=2)
    max_pixels: int = Field(100_000_000, ge=1)
    options: dict[str, dict[str, Any]] = {}

    def identity(self) -> dict[str, Any]:
        """What has to be the same for a folder to be gone on with; how fast and where it is computed may differ (a
        changed device changes the detectors' fingerprints)."""
        return self.model_dump(mode="json", exclude={"out", "workers", "strict", "device", "engine", "backend"})


def make_config(file: Path | None, flags: dict[str, Any], settings: list[str]) -> RunConfig:
    """Merge a YAML file, the flags that were given (not None), and `--set key=value` pairs, later ones winning.

    Raises MaibenchError with the key, what was wrong with it, and the nearest known key.
    """
    written = read_yaml(file) if file else {}
    given = {key: value for key, value in flags.items() if value is not None}
    options: list[tuple[str, str, Any]] = []
    for setting in settings:
        key, value = parse_setting(setting)
        label, dot, option = key.rpartition(".")
        if dot:
            options.append((label, option, value))
        else:
            given[key] = value
    values = {"options": {}} | {key: value for key, value in written.items() if value is not None} | given
    for key in ("models", "perturb"):
        if isinstance(values.get(key), str):
            values[key] = split_list(values[key])
    if not values.get("models"):
        raise MaibenchError("no detectors were named: give --models A,B; 'maibench models' lists all")
    try:
        config = RunConfig.model_validate(values)
    except ValidationError as error:
        raise MaibenchError(_explain(error, file, given)) from error
    for label, option, value in options:
        config.options.setdefault(label, {})[option] = value
    return config


def split_list(text: str) -> list[str]:
    """Split at commas outside parentheses: "mean(a,b),c" -> ["mean(a,b)", "c"]."""
    parts, depth, start = [], 0, 0
    for index, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            parts.append(text[start:index])
            start = index + 1
    return [part.strip() for part in [*parts, text[start:]] if part.strip()]


def label_specs(models: list[str]) -> dict[str, str]:
    """LABEL=SPEC or SPEC -> {label: spec} in order; a SPEC that is a path is labelled by its last part.

    Raises MaibenchError when two rows would have one label.
    """
    labelled: dict[str, str] = {}
    for model in models:
        label, equals, spec = (part.strip() for part in model.partition("="))
        if not equals:
            spec, label = label, _default_label(label)
        if label in ("", ".", "..") or not spec:
            raise MaibenchError(f"'{model}' is not SPEC or LABEL=SPEC")
        if label in labelled:
            raise MaibenchError(f"two detectors are called '{label}': name one of them, as in other={spec}")
        labelled[label] = spec
    return labelled


def _default_label(spec: str) -> str:
    file, colon, name = spec.partition(":")
    if colon and file.endswith(".py"):
        return name
    return os.path.basename(os.path.abspath(spec)) if os.path.isdir(spec) else spec


def read_yaml(file: Path) -> dict[str, Any]:
    """The mapping that a YAML file holds. Raises MaibenchError for a file that is missing or holds anything else."""
    import yaml

    try:
        values = yaml.safe_load(file.read_text())
    except OSError as error:
        raise MaibenchError(f"{file}: {error.strerror or error}") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise MaibenchError(f"{file}: cannot be read as YAML: {error}") from error
    if not isinstance(values, dict):
        raise MaibenchError(f"{file}: a configuration is a list of key: value pairs")
    return values


def parse_setting(setting: str) -> tuple[str, Any]:
    """ "key=value" -> (key, the value read as YAML). Raises MaibenchError for anything else."""
    import yaml

    key, equals, text = setting.partition("=")
    if not equals or not key.strip():
        raise MaibenchError(f"--set '{setting}': write key=value, or LABEL.option=value for a detector's option")
    try:
        value = yaml.safe_load(text)
        # "Is it real? Answer: yes or no" is a text, not a mapping
        return key.strip(), text if isinstance(value, dict) and not text.lstrip().startswith("{") else value
    except yaml.YAMLError as error:
        raise MaibenchError(f"--set '{setting}': the value is not YAML: {error}") from error


def _explain(error: ValidationError, file: Path | None, given: dict[str, Any]) -> str:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    where = f"{file}: " if file and first["loc"][0] not in given else ""
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key, list(RunConfig.model_fields), n=1)
        hint = f"; did you mean '{near[0]}'?" if near else f"; known keys: {', '.join(RunConfig.model_fields)}"
        return f"{where}unknown key '{key}'{hint}"
    return f"{where}{key}: {first['msg'][0].lower()}{first['msg'][1:]} (got {first['input']!r})"
