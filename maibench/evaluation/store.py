"""Predictions: Parquet parts in a run's folder or behind a URL, one folder a detector, each part whole or absent."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from maibench.errors import MaibenchError
from maibench.evaluation.prediction_files import COLUMNS, SCHEMA, read_file
from maibench.evaluation.run import read_run
from maibench.places import Place, open_place
from maibench.remote import is_url

KEPT_AT = "predictions"
"""Key of run.json: where the predictions are, where that is not the run's folder."""
READERS = 8
"""Parts that are read at a time: elsewhere each takes a few trips."""
_NOTE = b"maibench"


@dataclass(frozen=True)
class Part:
    """What a part says of itself. key: of the run that wrote it; first, last: the batches it holds, both included;
    seconds: spent in the detector; rows: scored in them."""

    key: str
    first: int
    last: int
    seconds: float
    rows: int


class PredictionStore:
    """The parts of one detector of a run. Parts with another key belong to another computation: they are neither read
    nor counted, and `sweep` removes them once the new ones are complete.

    A part is called after its batches, so that writing it again replaces it. Two parts may share batches (a batch that
    two machines scored): everything here counts it once, and `sweep` removes it from one of them.
    It can be pickled: another process, on another machine perhaps, then writes to the same place.
    """

    def __init__(self, run: Path, label: str, key: str, predictions: str | None = None) -> None:
        self.place = _place(run, predictions).below(_folder(label))
        self.key = key
        self._notes: dict[str, tuple[str, Part | None]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_notes": {}}

    def parts(self) -> dict[str, Part]:
        """The parts of this computation by the names of their files, in the order of their batches."""
        found = {name: part for name, part in self._read_notes().items() if part and part.key == self.key}
        return dict(sorted(found.items(), key=_order))

    def stale(self) -> list[str]:
        """The files that are no parts of this computation."""
        return [name for name, part in self._read_notes().items() if not part or part.key != self.key]

    def done(self) -> set[int]:
        """The batches that are there."""
        return {batch for part in self.parts().values() for batch in range(part.first, part.last + 1)}

    def write(
        self, rows: pd.DataFrame | pa.Table, first: int, last: int, seconds: float, timed: int | None = None
    ) -> None:
        """Write one part: the rows of batches `first` to `last`, a frame or a table of `SCHEMA`. timed: how many of
        them were scored in `seconds`, all that did not fail by default. Raises DiskError where that is refused."""
        if isinstance(rows, pd.DataFrame):
            rows = pa.Table.from_pandas(rows[list(COLUMNS)], schema=SCHEMA, preserve_index=False)
        table = rows.select(list(COLUMNS)).cast(SCHEMA)
        if timed is None:
            timed = sum(status != "failed" for status in table["status"].to_pylist())
        part = Part(self.key, first, last, seconds, timed)
        table = table.replace_schema_metadata({_NOTE: json.dumps(part.__dict__).encode()})
        filled = pa.BufferOutputStream()
        pq.write_table(table, filled)
        self.place.write(_name(first, last), filled.getvalue().to_pybytes())

    def sweep(self) -> None:
        """Remove the parts of other computations, what was left half written, and what parts hold twice."""
        for name in self.stale():
            self.place.remove(name)
        self.place.tidy()
        parts = self.parts()
        kept = _each_batch_once(parts)
        cut = {name: parts[before].last + 1 for name, before in kept.items() if before}
        for name, first in cut.items():
            part, rows = parts[name], read_file(self.place, name)
            own = _without(rows, read_file(self.place, kept[name]))
            share = len(own) / max(len(rows), 1)  # a batch may have no rows: disturbed alone, for one that reads files
            self.write(own, first, part.last, part.seconds * share, round(part.rows * share))
        whole = {_name(first, parts[name].last) for name, first in cut.items()} | (kept.keys() - cut.keys())
        for name in parts.keys() - whole:  # only now, so that no batch is ever missing
            self.place.remove(name)

    def _read_notes(self) -> dict[str, Part | None]:
        """What every file here says of itself, by name; a file is read again when it has changed."""
        states = {name: state for name, state in self.place.files().items() if name.endswith(".parquet")}
        known = {name: self._notes[name] for name in states.keys() & self._notes.keys()}
        new = [name for name in states if not states[name] or known.get(name, ("",))[0] != states[name]]
        notes = _notes_of(self.place, new)
        self._notes = known | {name: (states[name], note) for name, note in notes.items()}
        return {name: self._notes[name][1] for name in states}


def open_store(run: Path, predictions: str | None, label: str, key: str) -> PredictionStore:
    """The parts of the detector `label` of a run: in its folder `run`, or below `predictions`, a URL or a path."""
    return PredictionStore(run, label, key, predictions)


def check_predictions(predictions: str, before: dict[str, Any]) -> str:
    """Where a run keeps its predictions outside its folder, as its run.json has to say it: a URL or an absolute path.

    before: its run.json as it was, `{}` for a new run. Raises MaibenchError where nothing can be written there, or what
    is there belongs to another run: it would be removed.
    """
    where = predictions.rstrip("/") if is_url(predictions) else str(Path(predictions).expanduser().absolute())
    place = open_place(where)
    if before.get(KEPT_AT) != where and (place.folders() or place.files()):
        raise MaibenchError(f"{where}: holds the predictions of another run, or other files; choose another place")
    place.write(".maibench-check", b"")  # now, and not when the first part is full
    place.remove(".maibench-check")
    return where


def remove_other_detectors(run: Path, labels: Collection[str]) -> None:
    """Remove the parts of detectors that are not among `labels`; files that somebody else wrote stay."""
    place = _place_of(run)
    for name in set(place.folders()) - {_folder(label) for label in labels}:
        folder = place.below(name)
        for file, note in _notes_of(folder, _parquet(folder)).items():
            if note:
                folder.remove(file)
        folder.remove_if_empty()


def read_note(file: Path | IO[bytes]) -> Part | None:
    """What a part says of itself; None where somebody else wrote it, or it is not Parquet."""
    try:
        note = (pq.read_schema(file).metadata or {}).get(_NOTE)
    except (pa.ArrowInvalid, OSError):
        return None
    return Part(**json.loads(note)) if note else None


def read_predictions(run: Path, keys: dict[str, str] | None = None) -> pd.DataFrame:
    """Every prediction of a run, whoever wrote it, in the order of the files; a batch that two parts hold counts once.

    They are in its folder, or where its run.json says. keys: {label: key}: the order of the detectors, and which parts
    count; None: all parts of all folders. Raises MaibenchError when there are none, or a file lacks a column.
    """
    place = _place_of(run)
    folders = place.folders() if keys is None else map(_folder, keys)
    wanted = set(keys.values()) if keys is not None else None
    frames = [frame for name in folders for frame in _read_folder(place.below(name), wanted)]
    if not frames:
        raise MaibenchError(f"{run}: no predictions there; expected predictions/<detector>/*.parquet (Parquet alone)")
    return pd.concat(frames, ignore_index=True)


def images_per_second(run: Path, keys: dict[str, str]) -> dict[str, float]:
    """{label: images a second of one core, or GPU, spent in the detector}, over all parts and sessions that scored
    them."""
    predictions = read_run(run).get(KEPT_AT)
    speeds = {}
    for label, key in keys.items():
        parts = PredictionStore(run, label, key, predictions).parts().values()
        seconds = sum(part.seconds for part in parts)
        if seconds > 0:
            speeds[label] = sum(part.rows for part in parts) / seconds
    return speeds


def _place(run: Path, predictions: str | None) -> Place:
    return open_place(predictions or run / "predictions")


def _place_of(run: Path) -> Place:
    return _place(run, read_run(run).get(KEPT_AT))


def _folder(label: str) -> str:
    return quote(label, safe=" ")


def _name(first: int, last: int) -> str:
    return f"part-{first:07d}-{last:07d}.parquet"


def _parquet(place: Place) -> list[str]:
    return [name for name in place.files() if name.endswith(".parquet")]


def _notes_of(place: Place, names: Collection[str]) -> dict[str, Part | None]:
    with ThreadPoolExecutor(READERS) as threads:
        return dict(zip(names, threads.map(lambda name: _note(place, name), names), strict=True))


def _note(place: Place, name: str) -> Part | None:
    try:
        with place.open(name) as stream:
            return read_note(stream)
    except FileNotFoundError:  # removed since it was listed
        return None


def _order(item: tuple[str, Part]) -> tuple[int, int]:
    """By batches; of two parts that begin alike the longer one is first."""
    return item[1].first, -item[1].last


def _each_batch_once(parts: Mapping[str, Part]) -> dict[str, str]:
    """{part: the one before it that holds its first batches too, "" where none does}; a part of which every batch is in
    others is left out. parts: of any keys; those of one key follow one another by batch."""
    kept: dict[str, str] = {}
    reach: dict[str, tuple[int, str]] = {}  # by key: the last batch so far, and the part that holds it
    for name, part in sorted(parts.items(), key=_order):
        last, holder = reach.get(part.key, (-1, ""))
        if part.last > last:
            # the holder begins no later than this part, so that it holds all that both of them hold
            kept[name] = holder if part.first <= last else ""
            reach[part.key] = part.last, name
    return kept


def _read_folder(place: Place, keys: Collection[str] | None) -> Iterator[pd.DataFrame]:
    """The frames of a detector's folder: of files that somebody else wrote, then of the parts with such keys."""
    notes = _notes_of(place, _parquet(place))
    parts = {name: note for name, note in notes.items() if note and (keys is None or note.key in keys)}
    kept = _each_batch_once(parts)
    names = [*(name for name, note in notes.items() if note is None), *kept]
    with ThreadPoolExecutor(READERS) as threads:
        for name, frame in zip(names, threads.map(lambda name: read_file(place, name), names), strict=True):
            yield _without(frame, read_file(place, kept[name])) if kept.get(name) else frame


def _without(frame: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """The rows whose image and perturbation are not in `other`: within a computation no batch shares them."""
    key = ["path", "perturbation"]
    return frame[~pd.MultiIndex.from_frame(frame[key]).isin(pd.MultiIndex.from_frame(other[key]))]
