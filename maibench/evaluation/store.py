"""Predictions on disk: Parquet parts, one folder a detector, each part whole or absent."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from maibench.errors import MaibenchError
from maibench.files import make_folder, write_whole

COLUMNS = (
    "image_id",
    "path",
    "label",
    "generator",
    "source",
    "split",
    "perturbation",
    "detector",
    "logit",
    "score",
    "status",
    "error",
)
_TYPES = {"label": pa.int64(), "logit": pa.float64(), "score": pa.float64()}
SCHEMA = pa.schema([(name, _TYPES.get(name, pa.string())) for name in COLUMNS])
_NEEDED = ("path", "label", "generator", "logit")
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
    """The parts of one detector in a run's folder. Parts with another key belong to another computation: they are
    neither read nor counted, and `sweep` removes them once the new ones are complete."""

    def __init__(self, run: Path, label: str, key: str) -> None:
        self.folder = run / "predictions" / quote(label, safe=" ")
        self.key = key

    def parts(self) -> dict[Path, Part]:
        """The parts of this computation, in the order of their batches."""
        found = {file: part for file in _files(self.folder) if (part := read_note(file)) and part.key == self.key}
        return dict(sorted(found.items(), key=lambda item: item[1].first))

    def stale(self) -> list[Path]:
        """Parts of another computation."""
        own = self.parts()
        return [file for file in _files(self.folder) if file not in own]

    def done(self) -> set[int]:
        """The batches that are on disk."""
        return {batch for part in self.parts().values() for batch in range(part.first, part.last + 1)}

    def write(self, rows: pd.DataFrame, first: int, last: int, seconds: float, timed: int | None = None) -> None:
        """Write one part: the rows of batches `first` to `last`. timed: how many of them were scored in `seconds`, all
        that did not fail by default. Raises MaibenchError when the disk refuses."""
        make_folder(self.folder)
        timed = int((rows["status"] != "failed").sum()) if timed is None else timed
        part = Part(self.key, first, last, seconds, timed)
        table = pa.Table.from_pandas(rows[list(COLUMNS)], schema=SCHEMA, preserve_index=False)
        table = table.replace_schema_metadata({_NOTE: json.dumps(part.__dict__).encode()})
        write_whole(self.folder / f"part-{first:07d}-{last:07d}.parquet", lambda file: pq.write_table(table, file))

    def sweep(self) -> None:
        """Remove the parts of other computations."""
        for file in self.stale():
            file.unlink(missing_ok=True)


def remove_other_detectors(run: Path, labels: Collection[str]) -> None:
    """Remove the parts of detectors that are not among `labels`; files that somebody else wrote stay."""
    kept = {quote(label, safe=" ") for label in labels}
    for folder in (run / "predictions").glob("*"):
        if folder.is_dir() and folder.name not in kept:
            for file in _files(folder):
                if read_note(file):
                    file.unlink()
            if not any(folder.iterdir()):
                folder.rmdir()


def read_note(file: Path) -> Part | None:
    """What a part says of itself; None where somebody else wrote it, or it is not Parquet."""
    try:
        note = (pq.read_schema(file).metadata or {}).get(_NOTE)
    except (pa.ArrowInvalid, OSError):
        return None
    return Part(**json.loads(note)) if note else None


def read_predictions(run: Path, keys: dict[str, str] | None = None) -> pd.DataFrame:
    """Every prediction in a run's folder, whoever wrote it, in the order of the files.

    keys: {label: key}: the order of the detectors, and which parts count; None: all parts of all folders.
    Raises MaibenchError when there are none, or a file lacks a column.
    """
    folders = (
        sorted(path for path in (run / "predictions").glob("*") if path.is_dir())
        if keys is None
        else [run / "predictions" / quote(label, safe=" ") for label in keys]
    )
    wanted = set(keys.values()) if keys is not None else None
    frames = []
    for folder in folders:
        notes = {file: read_note(file) for file in _files(folder)}
        for file, note in notes.items():
            if wanted is None or note is None or note.key in wanted:
                frames.append(_read(file))
    if not frames:
        raise MaibenchError(f"{run}: no predictions there; expected predictions/<detector>/*.parquet (Parquet alone)")
    return pd.concat(frames, ignore_index=True)


def images_per_second(run: Path, keys: dict[str, str]) -> dict[str, float]:
    """{label: images a second spent in the detector}, over all parts and sessions that scored them."""
    speeds = {}
    for label, key in keys.items():
        parts = PredictionStore(run, label, key).parts().values()
        seconds = sum(part.seconds for part in parts)
        if seconds > 0:
            speeds[label] = sum(part.rows for part in parts) / seconds
    return speeds


def _files(folder: Path) -> Iterable[Path]:
    return sorted(folder.glob("[!.]*.parquet"))


def _read(file: Path) -> pd.DataFrame:
    try:
        frame = pq.read_table(file, partitioning=None).to_pandas()
    except (pa.ArrowInvalid, OSError) as error:
        raise MaibenchError(f"{file}: not a whole Parquet file ({error}); remove it and run again") from error
    for name in {"logit", "score"} & set(frame):
        frame[name] = _numbers(frame[name], name, file)
    if "logit" not in frame and "score" in frame:  # other tools keep probabilities
        from scipy.special import logit

        if (wrong := frame["score"][~frame["score"].between(0, 1) & frame["score"].notna()]).any():
            raise MaibenchError(f"{file}: a score is P(synthetic), from 0 to 1; found {wrong.iloc[0]:g}")
        frame["logit"] = logit(frame["score"])
    missing = [name for name in _NEEDED if name not in frame]
    if missing:
        raise MaibenchError(
            f"{file}: the column '{missing[0]}' is missing; predictions need {', '.join(_NEEDED)} (or score, a "
            "probability, in place of logit)"
        )
    for name in frame.columns[[isinstance(kind, pd.CategoricalDtype) for kind in frame.dtypes]]:
        frame[name] = frame[name].astype(object).infer_objects()  # a category takes no value that it does not know
    defaults = {
        "image_id": "",
        "source": "",
        "split": "test",
        "perturbation": "none",
        "detector": unquote(file.parent.name),
        "status": "ok",
        "error": "",
    }
    for name, value in defaults.items():
        frame[name] = frame[name].fillna(value) if name in frame else value
    if "score" not in frame:
        from scipy.special import expit

        frame["score"] = expit(frame["logit"])
    return frame[list(COLUMNS)]


def _numbers(values: pd.Series, name: str, file: Path) -> pd.Series:
    try:
        return pd.to_numeric(values).astype("float64")
    except (TypeError, ValueError) as error:
        raise MaibenchError(f"{file}: the column '{name}' must hold numbers ({error})") from error
