"""From predictions to numbers: the frames of `metrics.csv`, `per_generator.csv` and `roc.csv`, and what they lack."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from maibench.errors import MaibenchError
from maibench.evaluation import metrics as scores
from maibench.evaluation.bootstrap import Bootstraps
from maibench.evaluation.notes import write_notes
from maibench.evaluation.thresholds import accuracy_at, fit_threshold

METRICS_COLUMNS = [
    "detector", "perturbation", "n", "n_real", "n_synthetic", "n_failed", "accuracy", "accuracy_lo", "accuracy_hi",
    "balanced_accuracy", "tpr", "tnr", "auc", "auc_lo", "auc_hi", "ap", "eer", "tpr_at_fpr_1", "tpr_at_fpr_5", "ece",
    "brier", "nll", "threshold_fitted", "accuracy_fitted", "interval", "parameters", "images_per_second",
]  # fmt: skip
PER_GENERATOR_COLUMNS = [
    "detector", "perturbation", "generator", "n_real", "n_synthetic", "seen", "accuracy", "balanced_accuracy", "tpr",
    "tnr", "auc", "auc_lo", "auc_hi", "ap",
]  # fmt: skip
ROC_COLUMNS = ["detector", "perturbation", "generator", *scores.ROC_COLUMNS]

_NEEDED = ["path", "label", "generator", "split", "perturbation", "detector", "logit", "status"]
_KEY = ["detector", "perturbation"]


@dataclass(frozen=True)
class DetectorFacts:
    """What the tables say of a detector beside its predictions; None is unknown.

    `trained_on` names generators as the card does; an empty tuple says that it was trained on none.
    """

    parameters: int | None = None
    images_per_second: float | None = None
    trained_on: tuple[str, ...] | None = None


@dataclass
class Summary:
    """The frames of DESIGN.md section 7, unrounded, and one sentence for everything in them that is empty."""

    metrics: pd.DataFrame
    per_generator: pd.DataFrame
    roc: pd.DataFrame
    notes: list[str] = field(default_factory=list)


def summarise(
    predictions: pd.DataFrame,
    facts: Mapping[str, DetectorFacts] = MappingProxyType({}),
    resamples: int = 1000,
    seed: int = 0,
    split: str | None = None,
) -> Summary:
    """Turn predictions (columns of DESIGN.md section 7) into tables.

    `split` None means the test split where there is one, that is every row of neither "train" nor "validation", else
    whatever there is. Validation rows of perturbation "none" serve to fit thresholds, unless they are evaluated
    themselves. Rows keep the order in which detectors and perturbations first appear; the order of images has no
    effect. Raises MaibenchError for missing columns, for two predictions of one image by one detector under one
    perturbation, and for a `split` that is not there.
    """
    table = _tidy(predictions)
    evaluated = _evaluated(table, split)
    thresholds = _fitted_thresholds(table, evaluated)
    images = evaluated.drop_duplicates("image").set_index("image")
    bootstraps = Bootstraps(images["source"].to_numpy(), resamples, seed)
    compared = _compared_images(images)
    metrics, per_generator, roc = [], [], []
    for (detector, perturbation), rows in _groups(evaluated, predictions):
        key = {"detector": detector, "perturbation": perturbation}
        known = facts.get(detector, DetectorFacts())
        scored = rows[rows["scored"]]
        counts = {"n": len(scored), "n_failed": len(rows) - len(scored)}
        costs = {"parameters": known.parameters, "images_per_second": known.images_per_second}
        numbers = _metrics(scored, thresholds.get(detector, math.nan), bootstraps)
        metrics.append(key | counts | numbers | costs)
        roc.append(_roc(scored, key | {"generator": "all"}))
        for generator, chosen in compared.items():
            part, named = scored[chosen[scored["image"]]], key | {"generator": generator}
            per_generator.append(named | {"seen": _seen(known, generator)} | _generator_metrics(part, bootstraps))
            roc.append(_roc(part, named))
    summary = Summary(
        pd.DataFrame(metrics, columns=METRICS_COLUMNS).astype({"parameters": "Int64", "images_per_second": "float64"}),
        pd.DataFrame(per_generator, columns=PER_GENERATOR_COLUMNS).astype({"seen": "boolean"}),
        _stack(roc),
    )
    validated = not _validation(table, evaluated).empty
    summary.notes = write_notes(summary.metrics, summary.per_generator, table, evaluated, images, validated)
    return summary


def _tidy(predictions: pd.DataFrame) -> pd.DataFrame:
    """The needed columns sorted by path, with `own_source` (none was given) and `scored` (has a logit) added."""
    missing = [column for column in _NEEDED if column not in predictions]
    if missing:
        raise MaibenchError(f"predictions lack the columns {', '.join(missing)}: DESIGN.md section 7 lists them all")
    table = predictions[_NEEDED].copy()
    if not table["label"].isin([0, 1]).all():
        raise MaibenchError("predictions: column 'label' must be 0 (real) or 1 (synthetic) in every row")
    repeated = table.duplicated(["path", *_KEY])
    if repeated.any():
        raise MaibenchError(f"predictions: {repeated.sum()} rows repeat a path, perturbation and detector; keep one")
    table["logit"] = pd.to_numeric(table["logit"]).astype("float64")
    table["scored"] = table["logit"].notna() & table["status"].ne("failed")
    table["error"] = _texts(predictions, "error")
    table["split"] = _texts(predictions, "split").replace("", "test")
    table["source"] = _texts(predictions, "source")
    table["own_source"] = table["source"].eq("")
    table["source"] = table["source"].mask(table["own_source"], "path:" + table["path"].astype(str))
    return table.sort_values("path", kind="stable")


def _texts(predictions: pd.DataFrame, column: str) -> pd.Series:
    """A column as stripped text; empty where the column or the value is missing."""
    if column not in predictions:
        return pd.Series("", index=predictions.index, dtype="str")
    return predictions[column].astype("str").fillna("").str.strip()


def _evaluated(table: pd.DataFrame, split: str | None) -> pd.DataFrame:
    """The rows that the tables are made of, with `image`: 0, 1, ... in the order of paths."""
    if split is None:
        chosen = ~table["split"].isin(["train", "validation"])
        rows = table[chosen] if chosen.any() else table
    else:
        rows = table[table["split"] == split]
        if rows.empty:
            there = ", ".join(sorted(table["split"].unique())) or "no rows"
            raise MaibenchError(f"predictions have no split '{split}': there is {there}")
    return rows.assign(image=pd.factorize(rows["path"])[0])


def _validation(table: pd.DataFrame, evaluated: pd.DataFrame) -> pd.DataFrame:
    """The rows that thresholds may be fitted on: none where the validation split is evaluated itself."""
    usable = table["split"].eq("validation") & table["perturbation"].eq("none")
    return table[usable] if evaluated["split"].ne("validation").all() else table[:0]


def _fitted_thresholds(table: pd.DataFrame, evaluated: pd.DataFrame) -> dict[str, float]:
    validation = _validation(table, evaluated)
    return {
        str(detector): fit_threshold(*_arrays(rows))
        for detector, rows in validation[validation["scored"]].groupby("detector")
    }


def _groups(evaluated: pd.DataFrame, predictions: pd.DataFrame) -> Iterator[tuple[tuple[str, str], pd.DataFrame]]:
    """Each (detector, perturbation) with its rows, in the order of first appearance."""
    groups = dict(list(evaluated.groupby(_KEY, observed=True)))
    for key in product(predictions["detector"].unique(), predictions["perturbation"].unique()):
        if key in groups:
            yield key, groups[key]


def _compared_images(images: pd.DataFrame) -> dict[str, np.ndarray]:
    """Which images (a mask by `image`) each generator is judged on, by the generator's name in order.

    Its own and the real ones of the same sources, where every one of its sources has a real image; else all real ones.
    Decided on all images, failed ones too, so that it is the same for every detector.
    """
    real = images["label"].eq(0)
    compared: dict[str, np.ndarray] = {}
    for generator, own in images[~real].groupby("generator", observed=True):
        paired = own["source"].isin(images.loc[real, "source"]).all()
        opposite = real & images["source"].isin(own["source"]) if paired else real
        compared[str(generator)] = (opposite | (~real & images["generator"].eq(generator))).to_numpy()
    return compared


def _arrays(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    return rows["label"].to_numpy(dtype=np.int64), rows["logit"].to_numpy()


def _counts(labels: np.ndarray) -> dict[str, int]:
    return {"n_real": int(np.sum(labels == 0)), "n_synthetic": int(np.sum(labels == 1))}


def _metrics(scored: pd.DataFrame, threshold: float, bootstraps: Bootstraps) -> dict[str, Any]:
    labels, logits = _arrays(scored)
    bootstrap = bootstraps.of(scored["image"].to_numpy())
    accuracy_lo, accuracy_hi = bootstrap.accuracy_interval((logits > 0) == labels)
    auc_lo, auc_hi = bootstrap.auc_interval(labels, logits)
    return {
        **_counts(labels),
        **scores.point_metrics(labels, logits),
        "accuracy_lo": accuracy_lo,
        "accuracy_hi": accuracy_hi,
        "auc_lo": auc_lo,
        "auc_hi": auc_hi,
        "threshold_fitted": threshold,
        "accuracy_fitted": accuracy_at(labels, logits, threshold),
        "interval": bootstrap.describe(),
    }


def _generator_metrics(part: pd.DataFrame, bootstraps: Bootstraps) -> dict[str, Any]:
    labels, logits = _arrays(part)
    auc_lo, auc_hi = bootstraps.of(part["image"].to_numpy()).auc_interval(labels, logits)
    named = (scores.accuracy, scores.balanced_accuracy, scores.tpr, scores.tnr, scores.auc, scores.ap)
    rates = {metric.__name__: metric(labels, logits) for metric in named}
    return _counts(labels) | rates | {"auc_lo": auc_lo, "auc_hi": auc_hi}


def _roc(rows: pd.DataFrame, key: dict[str, str]) -> pd.DataFrame:
    return scores.roc_points(*_arrays(rows)).assign(**key).reindex(columns=ROC_COLUMNS)


def _stack(curves: list[pd.DataFrame]) -> pd.DataFrame:
    filled = [curve for curve in curves if len(curve)]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=ROC_COLUMNS)


def _seen(known: DetectorFacts, generator: str) -> bool | None:
    """Whether the card lists the generator; None where it lists nothing."""
    if known.trained_on is None:
        return None
    return generator.strip().casefold() in {name.strip().casefold() for name in known.trained_on}
