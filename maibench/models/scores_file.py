"""scores:FILE.csv: a detector that answered elsewhere, whose scores stand in a file."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from maibench.errors import DetectorError, ImageError, MaibenchError
from maibench.models.base import Detector
from maibench.models.card import Card
from maibench.models.probability import logits_of
from maibench.models.weights import sha256

if TYPE_CHECKING:
    import pandas as pd

KEYS = ("image_id", "path")
"""Columns that an image is looked up by, in this order."""
KINDS = ("logit", "score")
SAME = 1e-4
"""Two logits of one image that differ by no more are one answer, computed in batches of two sizes."""


@dataclass(frozen=True)
class Scores:
    """What a file says. logits: {image_id or path: logit} for each key column that it has. clipped: scores of exactly 0
    or 1. example: one of its paths, "" where it has none."""

    logits: dict[str, dict[str, float]]
    clipped: int
    example: str


class ScoresFile(Detector):
    """Logits or probabilities of a .csv or .parquet file, looked up by the sha256 of an image's bytes (`image_id`),
    then by its `path` in the manifest.

    column: the column that holds them; "" for `logit`, else `score`. kind: "logit" or "score" (P of synthetic), "" for
    what the column is called, a score where that says nothing. Of a file with a column `perturbation` only the rows
    "none" are read; a disturbed image has no score.

    Raises MaibenchError for a file that is not there; DetectorError for one that cannot be used: columns missing,
    numbers out of range, two different scores for one image.
    """

    reads = "file"
    elsewhere: ClassVar[bool] = True
    concurrent: ClassVar[bool] = True

    def __init__(self, *, model: str, column: str = "", kind: str = "") -> None:
        super().__init__()
        file = Path(model).expanduser()
        if file.suffix.lower() not in (".csv", ".parquet") or not file.is_file():
            raise MaibenchError(f"scores:{model}: no such .csv or .parquet file")
        if kind not in ("", *KINDS):
            raise MaibenchError(f"scores:{model}: kind is '{kind}'; it can be {' or '.join(KINDS)}")
        self.name = file.name
        self.sha256 = sha256(file)  # of what it answers, so that another file of the same name is scored afresh
        self._scores = read_scores(file, column, kind)
        clipped = self._scores.clipped
        self.card = Card(
            name=file.stem,
            summary="scores that were made elsewhere",
            weights=f"none here: scores read from {model}",
            sha256=self.sha256,
            input_policy="not known: images are looked up by the sha256 of their bytes, then by path",
            notes=f"{clipped} scores of exactly 0 or 1 are taken as 1e-12 from there" if clipped else "",
        )

    def preprocess(self, image: Any) -> Tensor:
        """An `ImageFile` -> its logit. Raises ImageError where the file has none."""
        names = {"image_id": image.image_id, "path": _plain(image.path)}
        for key, logits in self._scores.logits.items():
            if (logit := logits.get(names[key])) is not None:
                return torch.tensor(logit, dtype=torch.float64)
        like = f" (its paths are like '{self._scores.example}')" if self._scores.example else ""
        raise ImageError(f"{self.name} has no score for it{like}")

    def forward(self, batch: Tensor) -> Tensor:
        """(n,) logits, as they are."""
        return batch


def read_scores(file: Path, column: str = "", kind: str = "") -> Scores:
    """Read and check a file of scores. Raises DetectorError, which says what is wrong with it."""
    rows = _read(file)
    keys = [key for key in KEYS if key in rows]
    column = column or next((name for name in KINDS if name in rows), "")
    if not keys or column not in rows:
        wanted = f"{column or 'logit or score'}, and path or image_id"
        raise DetectorError(f"{file}: needs the columns {wanted}; it has {', '.join(map(str, rows.columns))}")
    if "perturbation" in rows:
        rows = rows[rows["perturbation"].fillna("none").isin(["none", ""])]
    numbers = _numbers(rows, column, file)
    rows, values = rows[numbers.notna()], numbers.dropna().to_numpy(dtype=np.float64)
    if not len(rows):
        raise DetectorError(f"{file}: holds no score")
    is_score = (kind or column) != "logit"
    _check(rows, values, column, is_score, file)
    clipped = int(np.isin(values, (0.0, 1.0)).sum()) if is_score else 0
    rows = rows.assign(logit=logits_of(values) if is_score else values)
    found = {key: _by_key(rows, key, file) for key in keys}
    return Scores(found, clipped, next(iter(found.get("path", {})), ""))


def _read(file: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        if file.suffix.lower() == ".parquet":
            return pd.read_parquet(file)
        return pd.read_csv(file, dtype=dict.fromkeys(KEYS, str))
    except (OSError, ValueError) as error:  # pandas' and pyarrow's own are ValueErrors
        raise DetectorError(f"{file}: cannot be read as a table: {' '.join(str(error).split())}") from error


def _numbers(rows: pd.DataFrame, column: str, file: Path) -> pd.Series:
    import pandas as pd

    try:
        return pd.to_numeric(rows[column]).astype("float64")
    except (ValueError, TypeError) as error:
        raise DetectorError(f"{file}: column '{column}' has to hold numbers ({error})") from error


def _check(rows: pd.DataFrame, values: np.ndarray, column: str, is_score: bool, file: Path) -> None:
    wrong = ~((values >= 0) & (values <= 1)) if is_score else ~np.isfinite(values)
    if wrong.any():
        at = int(np.argmax(wrong))
        image = next(str(rows[key].iloc[at]) for key in ("path", "image_id") if key in rows)
        bound = "between 0 and 1; if these are logits: --set LABEL.kind=logit" if is_score else "finite"
        raise DetectorError(f"{file}: the {column} of '{image}' is {values[at]:g}, which is not {bound}")


def _by_key(rows: pd.DataFrame, key: str, file: Path) -> dict[str, float]:
    """{key: logit}; raises DetectorError where a key has two."""
    rows = rows[rows[key].notna() & (rows[key] != "")]
    names = rows[key].astype(str).map(_plain) if key == "path" else rows[key].astype(str)
    groups = rows["logit"].groupby(names)
    low, high = groups.min(), groups.max()
    if (high - low > SAME).any():
        name = str((high - low).idxmax())
        raise DetectorError(
            f"{file}: {key} '{name}' has two answers, logits {low[name]:g} and {high[name]:g}; it has to have one row "
            "an image, of one detector"
        )
    return {str(name): float(logit) for name, logit in groups.first().items()}


def _plain(path: str) -> str:
    """One spelling of a relative path."""
    return posixpath.normpath(path.replace("\\", "/"))
