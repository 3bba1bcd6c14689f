"""The images of the evaluated split and what every detector said of them, as arrays: what all numbers are made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from maibench.datasets.manifest import AGGREGATES, check_generators
from maibench.errors import MaibenchError

Key = tuple[str, str]
"""(detector, perturbation): one row of metrics.csv."""

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]
Mask = NDArray[np.bool_]

ALL, SEEN, UNSEEN = AGGREGATES
_NEEDED = ["path", "label", "generator", "split", "perturbation", "detector", "logit", "status"]


@dataclass(frozen=True, eq=False)
class Evaluated:
    """n images, sorted by path, and the answers to them.

    images: path, label (0 or 1), generator, source, own_source (none was given: the image is its own). logits: (n,) of
    each detector under each perturbation, NaN where it did not score; their order is that of the tables' rows. unsure:
    (n,), scored with little mass on yes and no. failed: how many predictions failed. validation: per detector, labels
    and logits of the undisturbed validation images that it scored, absent where none may be used. seen: per detector,
    the generators of these images that its card lists as trained on; None where it lists nothing.
    """

    images: pd.DataFrame
    logits: dict[Key, Floats]
    unsure: dict[Key, Mask] = field(default_factory=dict)
    failed: dict[Key, int] = field(default_factory=dict)
    validation: dict[str, tuple[Labels, Floats]] = field(default_factory=dict)
    seen: dict[str, frozenset[str] | None] = field(default_factory=dict)

    @cached_property
    def labels(self) -> Labels:
        """(n,): 0 real, 1 synthetic."""
        return self.images["label"].to_numpy(dtype=np.int64)

    @cached_property
    def generators(self) -> list[str]:
        """The synthetic images' generators, in order."""
        return sorted(self.images.loc[self.labels == 1, "generator"].unique())

    @cached_property
    def compared(self) -> dict[str, Mask]:
        """Which images (n,) each generator is judged on: its own and the real ones of the same sources, where every
        one of its sources has a real image; else all real ones. The same for every detector."""
        real = self.labels == 0
        sources = pd.factorize(self.images["source"])[0]
        names = self.images["generator"].to_numpy()
        has_real = np.bincount(sources[real], minlength=sources.max(initial=-1) + 1) > 0
        masks = {}
        for generator in self.generators:
            own = ~real & (names == generator)
            paired = np.zeros(len(has_real), dtype=bool)
            paired[sources[own]] = True
            opposite = real & paired[sources] if has_real[paired].all() else real
            masks[generator] = opposite | own
        return masks

    @property
    def detectors(self) -> list[str]:
        """In the order of the tables."""
        return list(dict.fromkeys(detector for detector, _ in self.logits))

    @property
    def perturbations(self) -> list[str]:
        """In the order of the tables."""
        return list(dict.fromkeys(perturbation for _, perturbation in self.logits))

    @property
    def shown(self) -> str:
        """The perturbation of what shows only one: "none", or the first; "none" too where there is nothing."""
        return "none" if "none" in self.perturbations else next(iter(self.perturbations), "none")

    def scored(self, key: Key, mask: Mask | None = None) -> tuple[Labels, Floats]:
        """Labels and logits of the images that a detector scored, (m,) each, among those of `mask`."""
        logits = self.logits[key]
        chosen = ~np.isnan(logits) if mask is None else mask & ~np.isnan(logits)
        return self.labels[chosen], logits[chosen]

    def trained_on(self, detector: str) -> tuple[Mask, Mask] | None:
        """Masks (n,) of all real images with the synthetic ones of seen, and of unseen, generators; None: unknown."""
        seen = self.seen.get(detector)
        if seen is None:
            return None
        is_seen = self.images["generator"].isin(seen).to_numpy()
        return is_seen | (self.labels == 0), ~is_seen


def groups(evaluated: Evaluated, detector: str) -> dict[str, Mask]:
    """The sets of images that a detector is judged on, (n,) each: "all", "seen" and "unseen" where its card tells
    them apart and there are such generators, then every generator."""
    named = {ALL: np.ones(len(evaluated.images), dtype=bool)}
    if masks := evaluated.trained_on(detector):
        for name, mask in zip((SEEN, UNSEEN), masks, strict=True):
            if (mask & (evaluated.labels == 1)).any():
                named[name] = mask
    return named | evaluated.compared


@dataclass(frozen=True, eq=False)
class Split:
    """Predictions made tidy. table: all of them; evaluated: those that the tables are made of, with `image`: 0, 1, ...
    in the order of paths. `own_source` (none was given) and `scored` (has a logit) are added to both."""

    table: pd.DataFrame
    evaluated: pd.DataFrame

    @property
    def validation(self) -> pd.DataFrame:
        """The rows that thresholds may be fitted on: none where the validation split is evaluated itself."""
        usable = self.table["split"].eq("validation") & self.table["perturbation"].eq("none")
        return self.table[usable] if self.evaluated["split"].ne("validation").all() else self.table[:0]


def choose(predictions: pd.DataFrame, split: str | None = None) -> Split:
    """The predictions (columns of DESIGN.md section 7) of one split; None: the test split where there is one, that is
    every row of neither "train" nor "validation", else whatever there is.

    Raises MaibenchError for missing columns, a label outside {0, 1}, logits that are no numbers, a synthetic image
    without generator, two predictions of one image by one detector under one perturbation, detectors whose predictions
    disagree on an image's label, generator or source, and for a `split` that is not there.
    """
    table = _tidy(predictions)
    if split is None:
        chosen = ~table["split"].isin(["train", "validation"])
        rows = table[chosen] if chosen.any() else table
    else:
        rows = table[table["split"] == split]
        if rows.empty:
            there = ", ".join(sorted(table["split"].unique())) or "no rows"
            raise MaibenchError(f"predictions have no split '{split}': there is {there}")
    return Split(table, rows.assign(image=pd.factorize(rows["path"])[0]))


def as_arrays(split: Split, trained_on: Mapping[str, tuple[str, ...] | None]) -> Evaluated:
    """Predictions as arrays. trained_on: per detector, the generators that its card lists; None or absent: unknown."""
    rows = split.evaluated
    images = rows.drop_duplicates("image")[["path", "label", "generator", "source", "own_source"]]
    evaluated = Evaluated(images.reset_index(drop=True), {})
    for key, group in _grouped(rows, split.table):
        at, scored = group["image"].to_numpy(), group["scored"].to_numpy()
        evaluated.logits[key] = np.full(len(images), np.nan)
        evaluated.logits[key][at[scored]] = group["logit"].to_numpy()[scored]
        evaluated.unsure[key] = np.zeros(len(images), dtype=bool)
        evaluated.unsure[key][at] = scored & group["status"].eq("unsure").to_numpy()
        evaluated.failed[key] = int((~scored).sum())
    validation = split.validation
    for detector, group in validation[validation["scored"]].groupby("detector", observed=True):
        labels = group["label"].to_numpy(dtype=np.int64)
        evaluated.validation[str(detector)] = labels, group["logit"].to_numpy()
    for detector in evaluated.detectors:
        listed = trained_on.get(detector)
        evaluated.seen[detector] = None if listed is None else _present(listed, evaluated.generators)
    return evaluated


def _tidy(predictions: pd.DataFrame) -> pd.DataFrame:
    missing = [column for column in _NEEDED if column not in predictions]
    if missing:
        raise MaibenchError(f"predictions lack the columns {', '.join(missing)}: DESIGN.md section 7 lists them all")
    table = predictions[_NEEDED].copy()
    if not table["label"].isin([0, 1]).all():
        raise MaibenchError("predictions: column 'label' must be 0 (real) or 1 (synthetic) in every row")
    repeated = table.duplicated(["path", "detector", "perturbation"])
    if repeated.any():
        raise MaibenchError(f"predictions: {repeated.sum()} rows repeat a path, perturbation and detector; keep one")
    table["logit"] = _numbers(table["logit"])
    table["scored"] = table["logit"].notna() & table["status"].ne("failed")
    table["error"] = _texts(predictions, "error").mask(lambda text: text.eq("") & table["logit"].isna(), "no logit")
    table["split"] = _texts(predictions, "split").str.casefold().replace(_SPLITS)
    table["generator"] = _generators(predictions, table["label"])
    table["source"] = _texts(predictions, "source")
    table["order"] = np.arange(len(table))
    return _one_truth(table.sort_values("path", kind="stable"))


_SPLITS = {"": "test", "val": "validation", "valid": "validation", "dev": "validation", "training": "train"}


def _numbers(values: pd.Series) -> pd.Series:
    try:
        return pd.to_numeric(values).astype("float64")
    except (TypeError, ValueError) as error:
        raise MaibenchError(f"predictions: column 'logit' must hold numbers ({error})") from error


def _generators(predictions: pd.DataFrame, labels: pd.Series) -> pd.Series:
    """Their names as text, "real" for real images. Raises MaibenchError where a synthetic image has none, or one that
    the report uses for several."""
    names = _texts(predictions, "generator").mask(labels.eq(0), "real")
    nameless = names.eq("") | predictions["generator"].isna() & labels.eq(1)
    if nameless.any():
        raise MaibenchError(f"predictions: {nameless.sum()} synthetic images have no generator; name it, or 'unknown'")
    check_generators(names.unique(), "predictions")
    return names


def _one_truth(table: pd.DataFrame) -> pd.DataFrame:
    """The table, sorted by path, with `own_source`, and one source for all rows of an image: a detector whose
    predictions name none takes it from the others. Raises MaibenchError where two detectors' predictions disagree on
    what an image is."""
    image, paths = pd.factorize(table["path"])
    first = np.unique(image, return_index=True)[1]
    source = table["source"].replace("", None)
    table["source"] = source if source.isna().all() else source.groupby(image).transform("first")
    for column, said in (("label", table["label"]), ("generator", table["generator"]), ("source", source)):
        truth = table[column].to_numpy()[first][image]
        wrong = said.notna().to_numpy() & (said.to_numpy() != truth)
        if wrong.any():
            at = int(np.argmax(wrong))
            raise MaibenchError(
                f"predictions: the {column} of '{paths[image[at]]}' is '{truth[at]}' and '{said.iloc[at]}'; all "
                "detectors have to be judged by the same"
            )
    table["own_source"] = table["source"].isna()
    table["source"] = table["source"].where(~table["own_source"], "path:" + table["path"].astype(str))
    return table


def _texts(predictions: pd.DataFrame, column: str) -> pd.Series:
    """A column as stripped text; empty where the column or the value is missing."""
    if column not in predictions:
        return pd.Series("", index=predictions.index, dtype="str")
    return predictions[column].astype("str").fillna("").str.strip()


def _grouped(rows: pd.DataFrame, table: pd.DataFrame) -> Iterator[tuple[Key, pd.DataFrame]]:
    """Each (detector, perturbation) with its rows; detectors and perturbations in the order of first appearance."""
    found = dict(list(rows.groupby(["detector", "perturbation"], observed=True)))
    first = [table.groupby(column, observed=True)["order"].min().sort_values().index for column in _GROUPS]
    for detector, perturbation in product(*first):
        if (detector, perturbation) in found:
            yield (str(detector), str(perturbation)), found[detector, perturbation]


_GROUPS = ("detector", "perturbation")


def _present(listed: tuple[str, ...], generators: list[str]) -> frozenset[str]:
    named = {name.strip().casefold() for name in listed}
    return frozenset(name for name in generators if name.strip().casefold() in named)
