"""The runs that a merged report is made of: what each folder says, and whether they fit together."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from maibench.errors import MaibenchError
from maibench.evaluation.run import read_run
from maibench.evaluation.statistics.frames import empty, write_csv
from maibench.evaluation.store import KEPT_AT
from maibench.files import PART

RECORD = "merged.json"
"""The file by which a merged report is known."""

NEEDED = ("detector", "perturbation", "n", "accuracy", "balanced_accuracy", "auc", "tpr")


@dataclass(frozen=True, eq=False)
class Part:
    """The report of one folder. data: name, fingerprint and split of what was scored, see `read_parts`; "" for what is
    unknown. codes: fingerprint of each detector, where known. notes: what a reader has to know of the folder."""

    folder: Path
    data: tuple[str, str, str]
    metrics: pd.DataFrame
    intervals: pd.DataFrame
    codes: dict[str, str]
    notes: tuple[str, ...] = ()


def check_folders(folders: Sequence[Path], out: Path) -> None:
    """Raise MaibenchError for a single folder, one given twice and an `out` that holds anything but a merged report."""
    if not folders:
        raise MaibenchError("no folders were named; give those that 'maibench compare' wrote")
    known: set[Path] = set()
    for folder in folders:
        if folder.resolve() in known:
            raise MaibenchError(f"{folder}: is named twice; a run counts once")
        known.add(folder.resolve())
    if len(folders) == 1:
        raise MaibenchError(
            f"{folders[0]}: one folder is reported in place, by itself: leave out --out, or name more to merge it with"
        )
    if out.resolve() in known:
        raise MaibenchError(f"{out}: is one of the runs; choose another folder with --out")
    holds = [path.name for path in out.iterdir() if not path.name.startswith(PART)] if out.is_dir() else []
    if holds and RECORD not in holds:
        raise MaibenchError(f"{out}: holds files but no merged report; choose another folder with --out")


def read_parts(folders: Sequence[Path], settings: dict[str, Any]) -> list[Part]:
    """What the folders say, in their order.

    Numbers are those of metrics.csv; a folder without one gets its report first. They are made again from the
    predictions, and nothing is written, where `settings` has `resamples` or `interval`, or where predictions are newer
    than metrics.csv. What was scored is named by run.json. Without one, the same images with the same labels are the
    same data, called by the end of the path of their first folder, as short as it is no other data's; without
    predictions either, folders of one name are.
    """
    parts = [_read_part(folder, settings) for folder in folders]
    return [replace(part, data=(_name(part, parts), *part.data[1:])) for part in parts]


def _read_part(folder: Path, settings: dict[str, Any]) -> Part:
    if not folder.is_dir():
        raise MaibenchError(f"{folder}: no such folder; give one that 'maibench compare' wrote")
    file = folder / "metrics.csv"
    asked = {name: value for name, value in settings.items() if name != "table" and value is not None}
    predicted = sorted((folder / "predictions").glob("*/[!.]*.parquet"))
    run, notes = read_run(folder), []
    if not file.is_file():
        from maibench.evaluation.report import write_report

        write_report(folder, asked)
        asked = {}
    if asked and not predicted and KEPT_AT not in run:
        raise MaibenchError(
            f"{folder}: has no predictions to make its numbers again from; leave out {' and '.join(map(_flag, asked))}"
        )
    written = file.stat().st_mtime_ns
    is_old = any(part.stat().st_mtime_ns > written for part in predicted)
    metrics, intervals = _made_again(folder, run, asked) if asked or is_old else _read_tables(folder)
    if missing := set(NEEDED) - set(metrics):
        raise MaibenchError(
            f"{file}: has no column '{sorted(missing)[0]}'; make it again with 'maibench report {folder}'"
        )
    if metrics.empty:
        raise MaibenchError(f"{folder}: no predictions there; expected predictions/<detector>/*.parquet")
    if run.get("status", "done") != "done":
        notes.append("its run was not finished when it was reported")
    if is_old:
        notes.append("predictions are newer than its metrics.csv; the numbers here are made from them")
    data = run.get("data") or {}
    name, code = data.get("name") or data.get("source") or "", data.get("fingerprint") or ""
    if not name and predicted:
        code = code or _fingerprint(folder)
    elif not name:
        name = folder.resolve().name
        notes.append(f"nothing says on which images it was made; taken for those of every folder called {name}")
    codes = {str(entry.get("label")): str(entry.get("fingerprint")) for entry in run.get("detectors") or []}
    lines = tuple(f"{folder}: {note}" for note in notes)
    return Part(folder, (str(name), str(code), str(data.get("split") or "")), metrics, intervals, codes, lines)


def _flag(name: str) -> str:
    return f"--{name}"


def _made_again(folder: Path, run: dict[str, Any], settings: dict[str, Any]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """metrics.csv and intervals.csv as a report of these settings would write them."""
    from maibench.evaluation.report import summarise_folder

    summary = summarise_folder(folder, run, settings)
    with TemporaryDirectory() as place:  # so that equal numbers stay equal, whichever folder has them written
        write_csv(summary.metrics, Path(place) / "metrics.csv")
        write_csv(summary.intervals, Path(place) / "intervals.csv")
        return _read_tables(Path(place))


def _read_tables(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    intervals = folder / "intervals.csv"
    return _read_csv(folder / "metrics.csv"), _read_csv(intervals) if intervals.is_file() else empty("intervals")


def _fingerprint(folder: Path) -> str:
    """Of the evaluated images' paths, labels and generators, whoever scored them, in whatever order."""
    from maibench.evaluation.report import read_evaluated

    images = read_evaluated(folder).images
    listed = sorted(zip(images["path"].map(str), images["label"].map(int), images["generator"], strict=True))
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest()


def _name(part: Part, parts: list[Part]) -> str:
    """What a part's data is called: its name, else the end of a path."""
    if part.data[0]:
        return part.data[0]
    same = [other for other in parts if other.data == part.data]
    others = [other.folder.resolve().parts for other in parts if not other.data[0] and other.data != part.data]
    path = same[0].folder.resolve().parts
    length = next((n for n in range(1, len(path)) if all(path[-n:] != other[-n:] for other in others)), len(path))
    return Path(*path[-length:]).as_posix()


def check_perturbations(parts: list[Part]) -> None:
    """Raise MaibenchError unless all runs are under the same perturbations."""
    first, *others = parts
    known = set(first.metrics["perturbation"])
    for part in others:
        if differing := known ^ set(part.metrics["perturbation"]):
            name = sorted(differing)[0]
            has, lacks = (first, part) if name in known else (part, first)
            raise MaibenchError(
                f"runs under different perturbations cannot be merged: {has.folder} has '{name}', {lacks.folder} does "
                "not; give both the same --perturb"
            )


def data_names(parts: list[Part]) -> dict[tuple[str, str, str], str]:
    """What each data set is called: its name, with split and fingerprint where another has the same."""
    found = list(dict.fromkeys(part.data for part in parts))
    names = {}
    for name, code, split in found:
        alike = [key for key in found if key[0] == name]
        more = [split] if len({key[2] for key in alike}) > 1 else []
        more += [code[:8]] if len({key[1] for key in alike if key[2] == split}) > 1 else []
        names[name, code, split] = f"{name} ({', '.join(part or 'unknown' for part in more)})" if more else name
    return names


def _read_csv(file: Path) -> pd.DataFrame:
    try:
        # a detector may be called "NA"
        return pd.read_csv(file, keep_default_na=False, na_values=[""], dtype={"detector": str, "perturbation": str})
    except (OSError, ValueError) as error:
        raise MaibenchError(f"{file}: cannot be read ({error}); make it again with 'maibench report'") from error
