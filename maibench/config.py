"""One YAML file = one run. Flags override the file; unknown keys are refused."""

from __future__ import annotations

import copy
import difflib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from maibench.errors import MaibenchError
from maibench.models.registry import scheme_of
from maibench.points import combinations

TABLE_COLUMNS = (
    "detector", "perturbation", "failed", "unsure", "accuracy", "fitted", "balanced_accuracy", "tpr", "tnr", "auc",
    "seen_auc", "unseen_auc", "ap", "eer", "tpr_at_fpr_1", "tpr_at_fpr_5", "ece", "brier", "nll", "parameters",
    "images_per_second", "ms",
)  # fmt: skip
"""What the main table can show, in the order that it has by itself."""


OF_THE_HARNESS = ("backend", "device")
"""Options of a detector that say how it is computed, not what: its class is not asked about them."""

NOT_SWEPT = ("options", "table", "out", "address", "predictions", "engine", "workers", "strict", "figures", "gallery",
             "evidence", "audit")  # fmt: skip
"""Keys of RunConfig that a sweep has one value of: where and how a run is done and shown. A list among `options` makes
rows of one run."""

OF_THE_REPORT = ("resamples", "interval", "table")
"""Keys of RunConfig that say what the report makes of the predictions: `maibench report` takes others."""


class TableConfig(BaseModel):
    """How the tables of a report look; what they are made of stays the same, so a finished run takes another.

    columns: of the main table, of `TABLE_COLUMNS`, in this order; None: those that there is something to say in. Names
    come first, and `detector` is always among them. detectors, perturbations: the rows, None for all. order: of the
    detectors, "request" (as `detectors` lists them, else as the run does) or the column that they are sorted by, best
    first. precision: decimals of a rate; bounds of intervals have one less from 3 on. intervals: whether they are
    shown.
    """

    model_config = ConfigDict(extra="forbid")

    columns: list[str] | None = Field(default=None, min_length=1)
    detectors: list[str] | None = Field(default=None, min_length=1)
    perturbations: list[str] | None = Field(default=None, min_length=1)
    order: str = "request"
    precision: int = Field(default=3, ge=1, le=6)
    intervals: bool = True

    @field_validator("columns")
    @classmethod
    def _known_columns(cls, names: list[str] | None) -> list[str] | None:
        for name in names or []:
            if name not in TABLE_COLUMNS:
                raise ValueError(f"unknown column '{name}'{_hint(name, TABLE_COLUMNS)}")
            if (names or []).count(name) > 1:
                raise ValueError(f"the column '{name}' is named twice")
        return names

    @field_validator("order")
    @classmethod
    def _known_order(cls, name: str) -> str:
        orders = ("request", *(column for column in TABLE_COLUMNS if column not in ("detector", "perturbation")))
        if name not in orders:
            raise ValueError(f"unknown order '{name}'{_hint(name, orders)}")
        return name


class RunConfig(BaseModel):
    """Everything that decides what a comparison computes.

    models: SPECs or LABEL=SPECs, in the order of the table's rows. options: {label: {option: value}} for detectors; a
    list of values, of an option that takes no list itself, makes a row with each (`points.option_points`).
    columns: which columns of the data mean what, where they have other names (image=img,label=is_fake).
    resamples, interval: of the confidence intervals ("analytic": Wilson's and DeLong's where every source is a single
    image). table: how the tables of the report look; figures: whether it has any; gallery: images of each kind in its
    gallery, 0 for none; evidence: whether with maps of what spoke for a detector's answer. audit: whether the files of
    the scored images are audited. max_pixels: larger images
    become failed rows. workers: threads that decode, preprocess and, on a CPU, run networks (None: one a core).
    engine: "local" scores in this process; "ray" on the machines of a Ray cluster, at `address` (None: RAY_ADDRESS, or
    one that is started here). backend: what runs the networks, one of `BACKENDS`; an option `backend` or `device` of a
    detector is its own. predictions: a URL of fsspec's for the predictions, in place of the run's folder.
    """

    model_config = ConfigDict(extra="forbid")

    models: list[str] = Field(min_length=1)
    data: str = "demo"
    columns: str = ""
    split: Literal["train", "validation", "test"] = "test"
    perturb: list[str] = ["none"]
    out: str | None = None
    engine: Literal["local", "ray"] = "local"
    address: str | None = None
    predictions: str | None = None
    backend: str = "torch"
    device: str = "auto"
    batch_size: int = Field(32, ge=1)
    workers: int | None = Field(None, ge=1)
    limit: int | None = Field(None, ge=1)
    seed: int = Field(0, ge=0)
    strict: bool = False
    resamples: int = Field(1000, ge=2)
    interval: Literal["bootstrap", "bca", "analytic"] = "bootstrap"
    figures: bool = True
    gallery: int = Field(4, ge=0)
    evidence: bool = True
    audit: bool = True
    max_pixels: int = Field(100_000_000, ge=1)
    options: dict[str, dict[str, Any]] = {}
    table: TableConfig = TableConfig()

    def identity(self) -> dict[str, Any]:
        """What has to be the same for a folder to be gone on with; how fast and where it is computed may differ (a
        changed device changes the detectors' fingerprints), and so may what the report makes of the predictions."""
        free = {
            "out",
            "workers",
            "strict",
            "device",
            "engine",
            "address",
            "backend",
            *OF_THE_REPORT,
            "figures",
            "gallery",
            "evidence",
            "audit",
        }
        values = self.model_dump(mode="json", exclude=free)
        return values | {"options": options_of_detectors(self.options)}


def options_of_detectors(options: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """{label: {option: value}} without what is the harness's."""
    own = {label: {k: v for k, v in given.items() if k not in OF_THE_HARNESS} for label, given in options.items()}
    return {label: given for label, given in own.items() if given}


def make_config(file: Path | None, flags: dict[str, Any], settings: list[str]) -> RunConfig:
    """`make_configs` where one run is asked for; raises MaibenchError for a sweep over several, and as it does."""
    configs = make_configs(file, flags, settings)
    if len(configs) > 1:
        raise MaibenchError(f"one run takes one value of each key, and this is a sweep: {'; '.join(configs)}")
    return next(iter(configs.values()))


def make_configs(file: Path | None, flags: dict[str, Any], settings: list[str]) -> dict[str, RunConfig]:
    """Merge a YAML file, the flags that were given (not None), and `--set key=value` pairs, later ones winning.

    `--set LABEL.option=value` is an option of a detector; where none is called `table`, `table.…` is the tables' own.
    Returns the runs of a sweep by the names of their points: one for every combination of the values of keys that are
    lists where one value is expected (`seed: [0, 1]`; of `models` and `perturb`, lists of lists); else {"": the run}.
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
    if "table" not in _labels(values["models"]):
        of_table = {option: value for label, option, value in options if label == "table"}
        options = [option for option in options if option[0] != "table"]
        values["table"] = _updated(values.get("table", {}), of_table)
        given |= {"table": values["table"]} if of_table else {}
    configs = {}
    for name, point in combinations({key: value for key, value in values.items() if _is_swept(key, value)}).items():
        try:
            config = RunConfig.model_validate(copy.deepcopy(values | point))
        except ValidationError as error:
            raise MaibenchError(_explain(error, file, given)) from error
        if config.address and config.engine != "ray":
            raise MaibenchError(f"address {config.address}: of a Ray cluster; add --engine ray to score there")
        for label, option, value in options:
            config.options.setdefault(label, {})[option] = value
        _check_rows(config)
        configs[name] = config
    return configs


def report_settings(flags: dict[str, Any], settings: list[str]) -> dict[str, Any]:
    """What `maibench report` is to do in place of what the run asked for: the keys of `OF_THE_REPORT` that were given,
    as flags (not None) or as `--set key=value` with `table.…` for the tables. Raises MaibenchError as `make_config`."""
    given = {key: value for key, value in flags.items() if value is not None}
    for key, value in map(parse_setting, settings):
        name, dot, nested = key.partition(".")
        if name not in OF_THE_REPORT or (dot and name != "table"):
            raise MaibenchError(
                f"--set {key}: a report takes {', '.join(OF_THE_REPORT[:2])} and table.KEY "
                f"({', '.join(TableConfig.model_fields)})"
            )
        given[name] = _updated(given.get(name, {}), {nested: value}) if dot else value
    try:
        RunConfig.model_validate({"models": ["any"], **given})
    except ValidationError as error:
        raise MaibenchError(_explain(error, None, given)) from error
    return given


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
        label, spec = _label_and_spec(model)
        if label in ("", ".", "..") or not spec:
            raise MaibenchError(f"'{model}' is not SPEC or LABEL=SPEC")
        if label in labelled:
            raise MaibenchError(f"two detectors are called '{label}': name one of them, as in other={spec}")
        labelled[label] = spec
    return labelled


def _is_swept(key: str, value: object) -> bool:
    """Whether a value is a list of those that the key takes."""
    if key not in RunConfig.model_fields or key in NOT_SWEPT or not isinstance(value, list):
        return False
    return key not in ("models", "perturb") or (bool(value) and all(isinstance(each, list) for each in value))


def _labels(models: object) -> set[str]:
    """The labels of `models`, whatever else is wrong with them."""
    return {_label_and_spec(str(model))[0] for model in models} if isinstance(models, list) else set()


def _label_and_spec(model: str) -> tuple[str, str]:
    """LABEL=SPEC, or a SPEC, which may have labels of its own in parentheses."""
    label, equals, spec = (part.strip() for part in model.partition("="))
    # an address may have = in it, as members in parentheses may
    if not equals or "(" in label or scheme_of(model.strip()):
        return _default_label(model.strip()), model.strip()
    return label, spec


def _check_rows(config: RunConfig) -> None:
    """Raise MaibenchError where the tables are to show a detector that the comparison has not. One that was named by
    its SPEC alone may call its row otherwise once it is loaded, so longer names that begin like it pass."""
    labels = label_specs(config.models) if config.table.detectors else {}
    renamed = tuple(label for label, spec in labels.items() if label == spec)
    for name in config.table.detectors or []:
        if name not in labels and not name.startswith((*renamed, *(f"{label} " for label in labels))):
            near = _hint(name, list(labels), "there are")
            raise MaibenchError(f"table.detectors: no detector is called '{name}' here{near}")


def _updated(values: Any, changes: dict[str, Any]) -> Any:
    """`values` with changes; as it is where it is no mapping, which the validation then tells."""
    return {**values, **changes} if isinstance(values, dict) else values


def _default_label(spec: str) -> str:
    """FILE.py:Class -> Class; hf:OWNER/NAME@REV -> NAME; http://HOST:PORT/PATH -> HOST:PORT; a folder or file -> its
    last part; anything else as it is."""
    if spec.endswith(")"):
        return spec
    file, colon, name = spec.partition(":")
    if colon and file.endswith(".py"):
        return name
    if file in ("http", "https"):
        return name.strip("/").partition("/")[0]
    if colon:
        path, _, _ = name.partition("@")
        last = os.path.basename(path.rstrip("/")) or path
        return os.path.splitext(last)[0] if file == "scores" else last
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
        nested = [f"table.{name}" for name in TableConfig.model_fields]
        known = nested if first["loc"][0] == "table" else list(RunConfig.model_fields)
        return f"{where}unknown key '{key}'{_hint(key, known, 'known keys')}"
    text = first["msg"].removeprefix("Value error, ")
    return f"{where}{key}: {text[0].lower()}{text[1:]} (got {first['input']!r})"


def _hint(name: str, known: Sequence[str], title: str = "known") -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean '{near[0]}'?" if near else f"; {title}: {', '.join(known)}"
