"""What to say where the columns of a data set are not clear: what there is, and the --columns that would make it so."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from maibench.datasets.meanings import label_meant

LABELS = ("label", "labels", "is_fake", "is_real", "is_ai", "is_synthetic", "is_generated", "is_ai_generated", "fake",
          "real", "synthetic", "generated", "ai_generated", "real_or_fake", "real_fake", "class", "target",
          "cls")  # fmt: skip
GENERATORS = ("generator", "generator_name", "model_name", "model")
PATHS = ("path", "file", "filename", "file_name", "filepath", "file_path", "image_path")
"""Columns that are taken for a label, a generator, a file's place by their names in small letters."""
SHOWN = 10


def missing(rows: pd.DataFrame, absent: Sequence[str]) -> str:
    """What to do about a list without some of the columns `path`, `label` and `generator`."""
    return f'the columns are {listed(rows.columns)}. Say which is which: --columns "{",".join(_wanted(rows, absent))}"'


def words(values: Iterable[object]) -> str:
    """How to say what the words of a label's column mean: `synthetic=AI,real=human`."""
    found = [str(value) for value in values]
    meant = {word: label_meant(word) for word in found}
    unknown = [word for word in found if meant[word] is None]
    if len(found) == 2 and len(unknown) == 1:
        meant[unknown[0]] = 1 - next(label for label in meant.values() if label is not None)
    elif unknown or any(set(word) & set(",|'") for word in found):
        return "synthetic=WORD|WORD,real=WORD"
    sides = {name: [word for word in found if meant[word] == label] for name, label in (("synthetic", 1), ("real", 0))}
    return ",".join(f"{name}={'|'.join(side)}" for name, side in sides.items() if side)


def shown(values: Iterable[object]) -> str:
    """Values in quotes, SHOWN at most."""
    found = [f"'{value}'" for value in values]
    return ", ".join(found[:SHOWN]) + (f" and {len(found) - SHOWN} more" if len(found) > SHOWN else "")


def listed(available: Iterable[object]) -> str:
    """The names of columns."""
    return ", ".join(map(str, available)) or "none"


def described(frame: pd.DataFrame) -> str:
    """The names of columns, and what they hold."""
    return ", ".join(f"{column} ({_kind(frame[column])})" for column in frame.columns) or "none"


def guessed(available: Iterable[object], names: Sequence[str]) -> str:
    """The column that may be meant, else COLUMN."""
    there = {str(column).lower(): str(column) for column in available}
    return next((there[name] for name in names if name in there), "COLUMN")


def _wanted(rows: pd.DataFrame, absent: Sequence[str]) -> list[str]:
    pieces = []
    if "path" in absent:
        pieces.append(f"path={guessed(rows.columns, (*PATHS, 'image', 'img'))}")
    label = guessed(rows.columns, LABELS)
    if "label" in absent:
        says = "generator" in rows and label == "COLUMN" and rows["generator"].eq("real").any()
        pieces.append("real=real" if says else f"label={label}")
    values: Iterable[object] = rows[label].dropna().unique()[: SHOWN + 1] if label in rows else ()
    if any(isinstance(value, str) and not value.isdecimal() for value in values):
        pieces.append(words(values))
    if "generator" in absent:
        generator = guessed(rows.columns, GENERATORS)
        pieces.append("generator='sdxl'" if generator == "COLUMN" else f"generator={generator}")
    return pieces


def _kind(values: pd.Series) -> str:
    dtype: Any = values.dtype
    if pd.api.types.is_bool_dtype(dtype):
        return "bool"
    if pd.api.types.is_integer_dtype(dtype):
        return "int"
    return "float" if pd.api.types.is_float_dtype(dtype) else "text"
