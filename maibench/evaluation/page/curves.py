"""What the page's script draws: ROC curves with their thresholds, and confusion counts at every threshold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from maibench.evaluation.figures.drawing import COLOURS, DASHES
from maibench.evaluation.tables.formats import EMPTY, Cell, Table
from maibench.evaluation.tables.shown import detectors, is_empty, per_generator_rows, rate, shown_perturbation

if TYPE_CHECKING:
    from maibench.evaluation.statistics.frames import Summary

ALL = "all"

# Points of a curve that a page carries: over all generators, and of one. What an eye can tell apart at 500 pixels.
_POINTS, _POINTS_OF_ONE = 300, 120

# Half the points of a long curve are spread over these decades of false positive rates, for the log axis.
_DECADES = 4

LINE_WIDTH = 1.8
"""Of a curve, in pixels: dashes are measured in it."""

COUNTS = ("TP", "FP", "TN", "FN", "accuracy", "TPR", "TNR")


def curves(summary: Summary) -> dict[str, Any]:
    """What the script of the page needs, ready for JSON; {} where there is neither a curve nor a confusion count.

    detectors: name, colour, dash of each, in the order of the table. generators: "all", then each: name, n_real, auc
    and curve a detector; a curve is {fpr, tpr, cut} with the first cut, infinity, as null, and null where there is
    none. cuts: thresholds of P(synthetic). counts: per detector tp and fp at each cut, n_real, n_synthetic, or null.
    """
    names = detectors(summary)
    generators = _generators(summary, names)
    cuts, counts = _counts(summary, names)
    if not generators and not cuts:
        return {}
    return {
        "detectors": [{"name": name, **_line(place)} for place, name in enumerate(names)],
        "generators": generators,
        "cuts": cuts,
        "counts": counts,
    }


def thinned(fpr: np.ndarray, tpr: np.ndarray, limit: int) -> np.ndarray:
    """Indices of at most `limit` points of a ROC curve, ends kept: even along its length on a linear and a log axis."""
    if len(fpr) <= limit:
        return np.arange(len(fpr))
    lowest = 10.0**-_DECADES
    decades = np.log10(np.maximum(fpr, lowest) / lowest) / _DECADES
    travelled = (fpr + tpr) / 2 + decades
    chosen = np.searchsorted(travelled, np.linspace(travelled[0], travelled[-1], limit))
    return np.unique(np.concatenate([[0], np.minimum(chosen, len(fpr) - 1)]))[-limit:]


def counts_table(data: dict[str, Any], cut: float = 0.5) -> Table | None:
    """Confusion counts of every detector at a threshold: the table that the slider then changes; None without any."""
    if not data.get("cuts"):
        return None
    place = int(np.argmin(np.abs(np.asarray(data["cuts"]) - cut)))
    rows = []
    for detector, counts in zip(data["detectors"], data["counts"], strict=True):
        name = Cell(detector["name"], is_name=True)
        rows.append([name, *(_cells(counts, place) if counts else [Cell(EMPTY)] * len(COUNTS))])
    return Table(["detector", *COUNTS], rows)


def _cells(counts: dict[str, Any], place: int) -> list[Cell]:
    tp, fp, real, synthetic = counts["tp"][place], counts["fp"][place], counts["n_real"], counts["n_synthetic"]
    tn, fn = real - fp, synthetic - tp
    shares = (_share(tp + tn, real + synthetic), _share(tp, synthetic), _share(tn, real))
    return [*(Cell(f"{n:,}", n) for n in (tp, fp, tn, fn)), *(Cell(rate(share), share) for share in shares)]


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def _generators(summary: Summary, names: list[str]) -> list[dict[str, Any]]:
    shown = shown_perturbation(summary)
    roc = summary.roc[summary.roc["perturbation"] == shown].dropna(subset=["fpr", "tpr"])
    found = dict(list(roc.groupby(["generator", "detector"], sort=False)))
    overall = summary.metrics[summary.metrics["perturbation"] == shown].to_dict("records")
    rows = [{**row, "generator": ALL} for row in overall] + per_generator_rows(summary)
    at = {(row["generator"], row["detector"]): row for row in rows}
    generators = []
    for generator in dict.fromkeys([ALL, *(row["generator"] for row in rows)]):
        drawn = [found.get((generator, name)) for name in names]
        if any(part is not None for part in drawn):
            known = [at.get((generator, name), {}) for name in names]
            limit = _POINTS if generator == ALL else _POINTS_OF_ONE
            generators.append(
                {
                    "name": generator,
                    "n_real": int(max((row["n_real"] for row in known if row), default=0)),
                    "auc": [None if is_empty(row.get("auc")) else _short(row["auc"]) for row in known],
                    "curves": [None if part is None else _curve(part, limit) for part in drawn],
                }
            )
    return generators


def _curve(points: pd.DataFrame, limit: int) -> dict[str, list[float | None]]:
    fpr, tpr, cut = (points[column].to_numpy(dtype=np.float64) for column in ("fpr", "tpr", "threshold"))
    kept = thinned(fpr, tpr, limit)
    return {
        "fpr": [_short(x) for x in fpr[kept]],
        "tpr": [_short(y) for y in tpr[kept]],
        "cut": [_short(t) if np.isfinite(t) else None for t in cut[kept]],
    }


def _counts(summary: Summary, names: list[str]) -> tuple[list[float], list[dict[str, Any] | None]]:
    frame = summary.confusion
    by_detector = {name: part.sort_values("threshold") for name, part in frame.groupby("detector", sort=False)}
    cuts = sorted(float(cut) for cut in frame["threshold"].unique())
    counts: list[dict[str, Any] | None] = []
    for name in names:
        part = by_detector.get(name)
        if part is None or len(part) != len(cuts):
            counts.append(None)
            continue
        first = part.iloc[0]
        counts.append(
            {
                "tp": [int(n) for n in part["tp"]],
                "fp": [int(n) for n in part["fp"]],
                "n_real": int(first["fp"] + first["tn"]),
                "n_synthetic": int(first["tp"] + first["fn"]),
            }
        )
    return cuts, counts


def _line(place: int) -> dict[str, str]:
    """Colour and dash of the detector in this place of the table, those of the figures."""
    dash = " ".join(f"{length * LINE_WIDTH:g}" for length in DASHES[place % len(DASHES)])
    return {"colour": COLOURS[place % len(COLOURS)], "dash": dash}


def _short(value: float) -> float:
    """Five digits: more than a page shows."""
    return float(f"{value:.5g}")
