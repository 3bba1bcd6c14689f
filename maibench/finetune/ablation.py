"""An ablation: a grid over values of a recipe, its detector or its data; every point finetuned and compared, with
several seeds."""

from __future__ import annotations

import difflib
import itertools
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from maibench.config import RunConfig, make_config, read_yaml
from maibench.datasets.manifest import SPLITS, Manifest, collections_of
from maibench.datasets.readers import open_data
from maibench.datasets.suites import expand
from maibench.errors import DiskError, MaibenchError
from maibench.evaluation.compare import run_comparison
from maibench.evaluation.statistics import metrics
from maibench.files import make_folder, write_text
from maibench.finetune.ablation_report import COLUMNS, write_ablation
from maibench.finetune.recipe import Recipe, make_recipe
from maibench.finetune.samples import Pictures
from maibench.finetune.trainer import train
from maibench.models.device import choose_device
from maibench.models.registry import detector_class
from maibench.progress import Progress

METRICS = ("accuracy", "balanced_accuracy", "tpr", "tnr", "auc", "ap", "eer", "ece", "brier", "nll")
DETECTOR = "detector"
"""What every point is called in its own comparison."""


class Measure(BaseModel):
    """A number of the table. metric: one of metrics.csv. generators, collections: count only these synthetic images
    and only photographs from these collections, [] for all. perturbation: one of the comparison's."""

    model_config = ConfigDict(extra="forbid")

    name: str
    metric: str
    generators: list[str] = []
    collections: list[str] = []
    perturbation: str = "none"

    @model_validator(mode="after")
    def _is_known(self) -> Measure:
        if self.metric not in METRICS:
            raise ValueError(f"unknown metric '{self.metric}'; there are {', '.join(METRICS)}")
        return self

    def of(self, predictions: pd.DataFrame, data: str) -> float:
        """The value on the scored images of a comparison; NaN where it cannot be computed."""
        used = predictions["status"].ne("failed") & predictions["perturbation"].eq(self.perturbation)
        if self.generators:
            used &= predictions["label"].eq(0) | predictions["generator"].isin(self.generators)
        if self.collections:
            used &= predictions["label"].eq(1) | collections_of(predictions, data).isin(self.collections)
        rows = predictions[used]
        return getattr(metrics, self.metric)(rows["label"].to_numpy(), rows["logit"].to_numpy())


class Point(BaseModel):
    """One row of the table. set: changes of the recipe, {"augmentation.jpeg": 0}; data: other training data;
    compare: changes of the comparison; measures: further numbers, which the first point is measured by too."""

    model_config = ConfigDict(extra="forbid")

    set: dict[str, Any] = {}
    data: list[str] = []
    compare: dict[str, Any] = {}
    measures: list[Measure] = []


class Ablation(BaseModel):
    """What is varied, on what, and what is measured.

    recipe: a file, relative to this one; set: changes of it for all points. points: {name: changes}, or grid: {key:
    [values]}, every combination; the first point is what the others are set against. data: SOURCEs that are trained
    on. compare: keys of a comparison; `data` is the first of the training data and `split` is validation where they
    are not given, since choosing by the test split would be tuning on it.
    """

    model_config = ConfigDict(extra="forbid")

    title: str
    recipe: str
    set: dict[str, Any] = {}
    points: dict[str, Point] = {}
    grid: dict[str, list[Any]] = {}
    seeds: list[int] = Field([0, 1, 2], min_length=1)
    data: list[str] = []
    compare: dict[str, Any] = {}
    measures: list[Measure] = [Measure(name="AUC", metric="auc"), Measure(name="accuracy", metric="accuracy")]

    @model_validator(mode="after")
    def _varies_something(self) -> Ablation:
        if bool(self.points) == bool(self.grid):
            raise ValueError("give either points or grid")
        return self

    def all_points(self) -> dict[str, Point]:
        """{name: point} in the order of the table."""
        if self.points:
            return self.points
        combinations = itertools.product(*self.grid.values())
        return {
            ", ".join(f"{key.rpartition('.')[2]} {value}" for key, value in zip(self.grid, values, strict=True)): Point(
                set=dict(zip(self.grid, values, strict=True))
            )
            for values in combinations
        }


@dataclass(frozen=True)
class Cell:
    """One training of the ablation: a point with one seed, and where it lies."""

    point: str
    seed: int
    recipe: Recipe
    data: list[str]
    compare: dict[str, Any]
    folder: Path


def read_ablation(file: Path) -> Ablation:
    """Read a configuration. Raises MaibenchError with the key that is unknown or wrong."""
    try:
        return Ablation.model_validate(read_yaml(file))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            near = difflib.get_close_matches(str(first["loc"][-1]), list(Ablation.model_fields), n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise MaibenchError(f"{file}: unknown key '{key}'{hint}") from error
        raise MaibenchError(f"{file}: {key}: {first['msg']}" if key else f"{file}: {first['msg']}") from error


def parse_part(text: str) -> tuple[int, int]:
    """ "2/4" -> (2, 4). Raises MaibenchError for anything else."""
    part, _, parts = text.partition("/")
    if not (part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        raise MaibenchError(f"--part {text}: write I/N, as in 2/4 for the second of four")
    return int(part), int(parts)


def run_ablation(
    file: Path,
    out: Path,
    data: list[str] | None = None,
    compare: dict[str, Any] | None = None,
    changes: dict[str, Any] | None = None,
    device: str = "auto",
    part: tuple[int, int] = (1, 1),
    say: Callable[[str], None] = lambda text: None,
    progress: Callable[[], Progress] = Progress,
) -> bool:
    """Finetune and compare every point with every seed, then write ablation.csv, summary.csv, table.md, table.tex,
    ablation.svg, ablation.png and ablation.pdf to `out`.

    What is done already is not done again. data, compare, changes: win over the file's `data`, `compare` and `set`.
    part: (i, n): only every n-th training, from the i-th, so that machines that share a folder share the work; whoever
    ends last completes the table. Returns False where a training failed; the others are done all the same, and the
    table says why.

    Raises MaibenchError when the request is wrong, before anything is trained.
    """
    ablation = read_ablation(file)
    if data:
        ablation = ablation.model_copy(update={"data": data})
    ablation = ablation.model_copy(
        update={"set": ablation.set | (changes or {}), "compare": ablation.compare | (compare or {})}
    )
    choose_device(device)
    cells = list(_cells(ablation, file, out))
    sources = dict.fromkeys(source for cell in cells for source in [*cell.data, str(cell.compare["data"])])
    manifests = {source: open_data(source) for source in sources}
    for cell in cells:
        _check(cell, ablation, manifests[str(cell.compare["data"])])
    pictures: Pictures = {}
    for cell in cells:
        _check_same(cell, manifests)
    for number, cell in enumerate(cells):
        if number % part[1] != part[0] - 1:
            continue
        say(f"{number + 1} of {len(cells)}: {cell.point}, seed {cell.seed}")
        try:
            _run(cell, [manifests[source] for source in cell.data], device, progress(), pictures)
        except DiskError:
            raise
        except MaibenchError as error:
            write_text(cell.folder / "failed.txt", f"{error}\n")
            say(f"{cell.point}, seed {cell.seed} failed: {error}")
    values, missing = _collect(ablation, cells, manifests)
    write_ablation(ablation.title, values, missing, out)
    return not any((cell.folder / "failed.txt").is_file() for cell in cells)


def _cells(ablation: Ablation, file: Path, out: Path) -> Iterator[Cell]:
    recipe_file = file.parent / ablation.recipe
    values = read_yaml(recipe_file)
    for name, point in ablation.all_points().items():
        sources = point.data or ablation.data
        if not sources:
            raise MaibenchError(f"{file}: names no data; give --data SOURCE")
        settings: dict[str, Any] = {"data": sources[0], "split": SPLITS[1]} | ablation.compare | point.compare
        for seed in ablation.seeds:
            changes = ablation.set | point.set | {"seed": seed}
            recipe = make_recipe(values, changes, f"{file}: {name}")
            folder = out / re.sub(r"[^\w.+-]+", "_", name) / f"seed{seed}"
            _comparison(settings, folder, file)
            yield Cell(name, seed, recipe, sources, settings, folder)


def _comparison(settings: dict[str, Any], folder: Path, file: Path) -> RunConfig:
    plain = {"figures": False, "gallery": 0}  # of every point; the ablation has a figure of its own
    flags = {"out": str(folder / "compare"), **plain, **settings, "models": [f"{DETECTOR}={folder / 'model'}"]}
    try:
        return make_config(None, flags, [])
    except MaibenchError as error:
        raise MaibenchError(f"{file}: compare: {error}") from error


def _is_done(cell: Cell) -> bool:
    return (cell.folder / "compare/metrics.csv").is_file() and not (cell.folder / "failed.txt").is_file()


def _run(cell: Cell, data: list[Manifest], device: str, progress: Progress, pictures: Pictures) -> None:
    """Train one cell and compare it; nothing is done twice."""
    if _is_done(cell):
        return
    (cell.folder / "failed.txt").unlink(missing_ok=True)
    train(cell.recipe, data, cell.folder / "model", device, progress, pictures=pictures)
    run = run_comparison(_comparison({**cell.compare, "device": device}, cell.folder, cell.folder))
    if not run.clean:
        raise MaibenchError(f"its comparison failed; see {run.folder / 'table.md'}")
    (cell.folder / "model/checkpoint.pt").unlink(missing_ok=True)


def _collect(
    ablation: Ablation, cells: list[Cell], manifests: dict[str, Manifest]
) -> tuple[pd.DataFrame, dict[str, str]]:
    """One row a point, seed and measure; and {point, seed: why there is none}."""
    points = ablation.all_points()
    first = next(iter(points))
    extra = [measure for point in points.values() for measure in point.measures]
    rows, missing = [], {}
    for cell in cells:
        if not _is_done(cell):
            failed = cell.folder / "failed.txt"
            missing[f"{cell.point}, seed {cell.seed}"] = (
                failed.read_text().strip() if failed.is_file() else "not yet run"
            )
            continue
        predictions = _predictions(cell)
        for measure in [*ablation.measures, *(extra if cell.point == first else points[cell.point].measures)]:
            value = measure.of(predictions, manifests[str(cell.compare["data"])].name)
            on = ", ".join([*measure.generators, *measure.collections])
            rows.append((cell.point, cell.seed, measure.name, on, value))
    return pd.DataFrame(rows, columns=list(COLUMNS)), missing


def _predictions(cell: Cell) -> pd.DataFrame:
    from maibench.evaluation.store import read_predictions

    predictions = read_predictions(cell.folder / "compare")
    return predictions[predictions["split"].eq(cell.compare["split"])]


def _check(cell: Cell, ablation: Ablation, compared: Manifest) -> None:
    """Raise MaibenchError for a detector, a split, or a name in a measure that there is not."""
    detector_class(cell.recipe.detector)
    rows = compared.split(cell.compare["split"])
    if rows.empty:
        raise MaibenchError(f"{cell.compare['data']}: has no images of split '{cell.compare['split']}'")
    known = {*rows["generator"], *collections_of(rows, compared.name)}
    perturbations = _comparison(cell.compare, cell.folder, cell.folder).perturb
    for measure in [*ablation.measures, *ablation.all_points()[cell.point].measures]:
        for name in (*measure.generators, *measure.collections):
            if name not in known:
                raise MaibenchError(f"measure '{measure.name}': {cell.compare['data']} has no image of '{name}'")
        if measure.perturbation not in expand(perturbations):
            raise MaibenchError(
                f"measure '{measure.name}': '{measure.perturbation}' is not in the comparison's perturb"
            )


def _check_same(cell: Cell, manifests: dict[str, Manifest]) -> None:
    """Refuse a folder that holds a training of the same name and another request; a new point or seed is welcome."""
    request = {
        "recipe": cell.recipe.model_dump(mode="json"),
        "data": [manifests[source].fingerprint for source in cell.data],
        "compare": cell.compare | {"data": manifests[str(cell.compare["data"])].fingerprint},
    }
    record = cell.folder / "request.json"
    if record.is_file() and json.loads(record.read_text()) != json.loads(json.dumps(request)):
        raise MaibenchError(f"{cell.folder}: holds another training of that name; choose another --out, or remove it")
    make_folder(cell.folder)
    write_text(record, json.dumps(request, indent=2) + "\n")
