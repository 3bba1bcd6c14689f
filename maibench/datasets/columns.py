"""How the columns of somebody else's data set become those of a manifest: by --columns, by a card, or by their names.

Nothing is guessed that a name does not say: whether 1 means real or synthetic is read off the words of a class, or
off the column's name ("is_fake"), or asked for.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from maibench.datasets.column_hints import GENERATORS, LABELS, PATHS, described, guessed, listed, shown
from maibench.datasets.meanings import label_meant, split_meant
from maibench.errors import MaibenchError

ROLES = ("image", "label", "generator", "source", "split", "released", "licence", "image_id", "path")
KNOWN = {
    "label": LABELS, "generator": GENERATORS,
    "source": ("source",), "split": ("split",), "released": ("released",), "licence": ("licence", "license"),
    "image_id": ("image_id",),
}  # fmt: skip
"""What a column is taken for without being asked, by its name in small letters; the first that is there."""
IMAGES = ("image", "img", "images", "picture", "jpg", "png", "webp", "bytes", "image_bytes")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PIECE = re.compile(r"\s*(\w+)\s*=\s*('[^']*'|[^,']*?)\s*(?:,|$)")


@dataclass(frozen=True)
class Columns:
    """Which column stands for what.

    named: {role: column}. constants: {role: value} for all rows; an empty one leaves the role out. synthetic, real:
    the values of the label's column that mean so; where only one of them is given, all other values mean the other.
    """

    named: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, str] = field(default_factory=dict)
    synthetic: tuple[str, ...] = ()
    real: tuple[str, ...] = ()

    def image(self, images: Sequence[str], available: Sequence[str], where: str) -> str:
        """The column that holds the images. images: those that can hold one; available: all.

        Raises MaibenchError, with the columns there are, when the one asked for is absent, or none or several can be
        meant.
        """
        if (asked := self.named.get("image")) is not None:
            self._check(asked, available, where)
            return asked
        known = [column for column in images if column.lower() in IMAGES]
        found = known or list(images)
        if len(found) == 1 or known:
            return min(found, key=lambda column: IMAGES.index(column.lower()) if known else 0)
        what = f"several columns that hold images ({', '.join(found)})" if found else "no column that holds images"
        raise MaibenchError(f"{where}: {what}; the columns are {listed(available)}. Name one: --columns image=COLUMN")

    def column(self, role: str, available: Sequence[str]) -> str | None:
        """The column that stands for `role`, as it was asked for or by its name; None where there is none."""
        if role in self.constants or role in self.named:
            return self.named.get(role)
        there = {column.lower(): column for column in reversed(available)}
        return next((there[name] for name in KNOWN.get(role, ()) if name in there), None)

    def rows(self, frame: pd.DataFrame, where: str, features: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """The manifest's columns of a data set, in its order, then its own others.

        frame: a row an image, without the images; the reader puts `path`, each row's key, and, if the data has no
        column `split`, the name of the split that it was read from. features: {column: the names of its numbers}, or
        what Hugging Face datasets has under that name. Splits of unknown names become "test"; generators of real images
        become "real", unnamed ones of synthetic images "synthetic". Raises MaibenchError for a column that is absent,
        and where a label's meaning is not clear: it lists the columns and says what to give.
        """
        frame = _with_words(frame.reset_index(drop=True), features or {})
        available = [str(column) for column in frame.columns]
        for column in self.named.values():
            if column != self.named.get("image"):
                self._check(column, available, where)
        if "path" not in {*self.named, *available}:
            raise MaibenchError(
                f"{where}: there is no column 'path'; the columns are {listed(available)}. Name the one that says "
                f"where the files are: --columns path={guessed(available, PATHS)}"
            )
        self._check(self.named.get("path", "path"), available, where)
        labels, words = self._labels(frame, where)
        made = {"path": frame[self.named.get("path", "path")].astype(str), "label": labels}
        made["generator"] = self._generators(frame, labels, words, where)
        for role in ("source", "split", "released", "licence"):
            if (values := self._values(role, frame)) is not None:
                made[role] = _texts(values)
        if "split" in made:
            made["split"] = _each(made["split"], split_meant)
        if (ids := self._ids(frame, where)) is not None:
            made["image_id"] = ids
        used = {self.column(role, available) for role in ROLES}.union(ROLES)
        others = [column for column in available if column not in used]
        return pd.concat([pd.DataFrame(made), frame[others]], axis=1)

    def spelled_out(self, frame: pd.DataFrame) -> pd.DataFrame:
        """A manifest that lacks or renames other columns: its 0 and 1 in `label` as words, unless they were given."""
        if "label" not in frame or "label" in self.constants or self.named.get("label", "label") != "label":
            return frame
        values = _texts(frame["label"])
        if self.synthetic or self.real or not set(values.unique()) <= set(_OURS):
            return frame
        return frame.assign(label=values.map(_OURS))

    def _values(self, role: str, frame: pd.DataFrame) -> pd.Series | None:
        if constant := self.constants.get(role):
            return pd.Series(constant, index=frame.index)
        column = self.column(role, [str(name) for name in frame.columns])
        return None if column is None else frame[column]

    def _labels(self, frame: pd.DataFrame, where: str) -> tuple[pd.Series, pd.Series]:
        """0 and 1, and the words that they were read from."""
        available = [str(name) for name in frame.columns]
        values, generators = self._values("label", frame), self._values("generator", frame)
        if values is not None:
            name, words = self.column("label", available) or "label", _texts(values)
            self._check_words(name, words, where)
            meant = self._meanings(name, words, generators)
        else:
            name = self.column("generator", available) or "generator"
            # "model" alone could be a camera's
            if generators is None or not (name.lower().startswith("generator") or "generator" in self.named):
                raise MaibenchError(
                    f"{where}: no column says which images are synthetic; the columns are {described(frame)}. Name "
                    "it: --columns label=COLUMN, or label='synthetic' (or 'real') where all of them are"
                )
            words = _texts(generators)
            self._check_words(name, words, where)
            meant = {word: self._asked(word) for word in words.unique()}
            meant.update({word: 1 for word, label in meant.items() if label is None and word})
        if unclear := [word for word, label in meant.items() if label is None]:
            raise MaibenchError(_unclear(where, name, list(meant), unclear, frame))
        return _each(words, lambda word: meant[word]).astype(np.int64), words

    def _meanings(self, name: str, words: pd.Series, generators: pd.Series | None) -> dict[str, int | None]:
        """{value of the label's column: its label, or None where that is not clear}."""
        meant = {str(word): self._asked(word) for word in words.unique()}
        yes = label_meant(name)
        if self.synthetic or self.real:
            return meant
        if yes is not None and all(word.lower() in _YES | _NO for word in meant):
            return {word: yes if word.lower() in _YES else 1 - yes for word in meant}
        if set(meant) <= {"0", "1"}:
            is_ours = "label" in self.constants or (
                generators is not None and ((_texts(generators) == "real") == (words == "0")).all()
            )
            return {word: int(word) for word in meant} if is_ours else meant
        return meant

    def _asked(self, word: str) -> int | None:
        """What the user said that a value means; where nothing was said, what the word itself does."""
        if not word:
            return None
        if not (self.synthetic or self.real):
            return label_meant(word)
        for label, asked in ((1, self.synthetic), (0, self.real)):
            if word.lower() in {value.lower() for value in asked}:
                return label
        return None if self.synthetic and self.real else int(not self.synthetic)

    def _generators(self, frame: pd.DataFrame, labels: pd.Series, words: pd.Series, where: str) -> pd.Series:
        values = self._values("generator", frame)
        # a label that is a number names no generator
        named = words.mask(words.str.isdecimal(), "") if values is None else _texts(values)
        generators = _each(named, _generator).mask(labels == 0, "real")
        wrong = (generators == "real") & (labels == 1)
        if wrong.any():
            row = int(np.argmax(wrong))
            raise MaibenchError(
                f"{where}: row {row + 1} is labelled synthetic, its generator is '{named.iloc[row]}'; give the "
                "right columns with --columns label=COLUMN,generator=COLUMN"
            )
        return generators

    def _ids(self, frame: pd.DataFrame, where: str) -> pd.Series | None:
        """sha256 of the bytes; a column that only has the name is passed over unless it was asked for."""
        values = self._values("image_id", frame)
        if values is None or (ids := _texts(values)).str.fullmatch(_SHA256.pattern).all():
            return None if values is None else ids
        if "image_id" in self.named:
            raise MaibenchError(
                f"{where}: the column '{values.name}' holds no image_id: that is the sha256 of an image's bytes, 64 "
                "hexadecimal digits; leave it out and it is computed"
            )
        return None

    def _check_words(self, name: str, words: pd.Series, where: str) -> None:
        """Raise MaibenchError where a word that tells one class from all others occurs nowhere; where both classes'
        words were given, a value that is none of them is told of anyway."""
        there = {word.lower() for word in words.unique()}
        absent = [word for word in (*self.synthetic, *self.real) if word.lower() not in there]
        if absent and not (self.synthetic and self.real):
            raise MaibenchError(
                f"{where}: no row of the column '{name}' holds '{absent[0]}'; it holds {shown(words.unique())}. Give "
                "those of its values in --columns that mean synthetic, or real"
            )

    def _check(self, column: str, available: Sequence[str], where: str) -> None:
        if column not in available:
            near = difflib.get_close_matches(column, available, 1)
            hint = f"did you mean '{near[0]}'? " if near else ""
            raise MaibenchError(f"{where}: there is no column '{column}': {hint}the columns are {listed(available)}")


_OURS = {"0": "real", "1": "synthetic", "false": "real", "true": "synthetic"}
_YES, _NO = frozenset({"1", "true", "yes"}), frozenset({"0", "false", "no"})


def parse_columns(text: str) -> Columns:
    """Read NAME=COLUMN, comma-separated; `synthetic=WORD|WORD` and `real=WORD|WORD`; what is 'quoted' is a constant.

    Raises MaibenchError for an unknown or repeated name and for what cannot be read.
    """
    given: dict[str, str] = {}
    at = 0
    while at < len(text.rstrip()):
        piece = _PIECE.match(text, at)
        if piece is None or not piece[2]:
            raise MaibenchError(
                f"--columns {text}: cannot be read from '{text[at:].strip()}' on; give NAME=COLUMN pairs with commas, "
                "such as image=picture,label=is_fake or generator='sdxl'"
            )
        name, at = piece[1], piece.end()
        if name not in (*ROLES, "synthetic", "real"):
            near = difflib.get_close_matches(name, [*ROLES, "synthetic", "real"], 1)
            hint = f"did you mean '{near[0]}'? " if near else ""
            raise MaibenchError(f"--columns {text}: unknown name '{name}': {hint}{', '.join(ROLES)}, synthetic or real")
        if name in given:
            raise MaibenchError(f"--columns {text}: '{name}' is given twice")
        given[name] = piece[2]
    lists = {name: _words(given.pop(name, "")) for name in ("synthetic", "real")}
    if both := sorted(set(lists["synthetic"]) & set(lists["real"])):
        raise MaibenchError(f"--columns {text}: '{both[0]}' cannot mean synthetic and real")
    constants = {name: value[1:-1] for name, value in given.items() if value.startswith("'")}
    for name in ("image", "path", "image_id"):
        if constants.get(name):
            raise MaibenchError(f"--columns {text}: {name} must be a column; every image has its own")
    return Columns({k: v for k, v in given.items() if k not in constants}, constants, **lists)


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.strip("'").split("|") if word.strip())


def _generator(word: str) -> str:
    """The generator that a value names: "real", or "synthetic" where it names none."""
    if (meant := label_meant(word)) is not None:
        return "synthetic" if meant else "real"
    return "synthetic" if not word or word.lower() in _YES | _NO else word


def _each(values: pd.Series, meaning: Callable[[str], object]) -> pd.Series:
    """What each value means; a value that is there a million times is looked up once."""
    codes, found = pd.factorize(values)
    return pd.Series(np.array([meaning(word) for word in found], dtype=object)[codes], values.index).infer_objects()


def _with_words(frame: pd.DataFrame, features: Mapping[str, Any]) -> pd.DataFrame:
    """Numbers of classes replaced by the classes' names; -1 and empty, which mean unknown, become empty."""
    changed = {}
    for column, feature in features.items():
        names = getattr(feature, "names", feature)
        if column in frame and isinstance(names, (list, tuple)) and pd.api.types.is_numeric_dtype(frame[column]):
            changed[column] = frame[column].map(dict(enumerate(names))).astype("string").fillna("")
    return frame.assign(**changed) if changed else frame


def _texts(values: pd.Series) -> pd.Series:
    """As text: empty where there is nothing, whole numbers without a point, true and false in small letters."""
    if pd.api.types.is_bool_dtype(values.dtype):
        return values.map({True: "true", False: "false"}).fillna("").astype(str)
    if pd.api.types.is_float_dtype(values.dtype):
        whole = values.dropna()
        if (whole == whole.round()).all():
            return values.astype("Int64").astype("string").fillna("").astype(str)
    return values.astype("string").fillna("").str.strip().astype(str)


def _unclear(where: str, name: str, words: list[str], unclear: list[str], frame: pd.DataFrame) -> str:
    if "" in unclear:
        return f"{where}: the column '{name}' is empty in some rows; every image needs a label"
    label = f"label={name}," if name else ""
    word = max(unclear)  # "1" and "true" before "0" and "false"
    return (
        f"{where}: the column '{name}' holds {shown(words)}, which does not say what is real and what is synthetic; "
        f'the columns are {described(frame)}. Say it: --columns "{label}synthetic={word}" (all other values are '
        f'then real), or "{label}real={word}" (all others synthetic)'
    )
