"""A file of predictions, ours or somebody else's: its columns, and what it may leave out."""

from __future__ import annotations

from urllib.parse import unquote

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from maibench.errors import MaibenchError
from maibench.places import Place

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


def read_file(folder: Place, name: str) -> pd.DataFrame:
    """The rows of a file in a detector's folder, with all of `COLUMNS`. Raises MaibenchError when it is no Parquet
    file, lacks a column that cannot be left out, or holds something that is no prediction."""
    where = f"{folder}/{name}"
    try:
        frame = pq.read_table(pa.BufferReader(folder.read(name)), partitioning=None).to_pandas()
    except (pa.ArrowInvalid, OSError) as error:
        raise MaibenchError(f"{where}: not a whole Parquet file ({error}); remove it and run again") from error
    for column in {"logit", "score"} & set(frame):
        frame[column] = _numbers(frame[column], column, where)
    if "logit" not in frame and "score" in frame:  # other tools keep probabilities
        from scipy.special import logit

        if (wrong := frame["score"][~frame["score"].between(0, 1) & frame["score"].notna()]).any():
            raise MaibenchError(f"{where}: a score is P(synthetic), from 0 to 1; found {wrong.iloc[0]:g}")
        frame["logit"] = logit(frame["score"])
    missing = [column for column in _NEEDED if column not in frame]
    if missing:
        raise MaibenchError(
            f"{where}: the column '{missing[0]}' is missing; predictions need {', '.join(_NEEDED)} (or score, a "
            "probability, in place of logit)"
        )
    for column in frame.columns[[isinstance(kind, pd.CategoricalDtype) for kind in frame.dtypes]]:
        frame[column] = frame[column].astype(object).infer_objects()  # a category takes no value that it does not know
    defaults = {
        "image_id": "",
        "source": "",
        "split": "test",
        "perturbation": "none",
        "detector": unquote(str(folder).replace("\\", "/").rpartition("/")[2]),
        "status": "ok",
        "error": "",
    }
    for column, value in defaults.items():
        frame[column] = frame[column].fillna(value) if column in frame else value
    if "score" not in frame:
        from scipy.special import expit

        frame["score"] = expit(frame["logit"])
    return frame[list(COLUMNS)]


def _numbers(values: pd.Series, name: str, where: str) -> pd.Series:
    try:
        return pd.to_numeric(values).astype("float64")
    except (TypeError, ValueError) as error:
        raise MaibenchError(f"{where}: the column '{name}' must hold numbers ({error})") from error
