"""Which rows of a summary the tables and pictures show, and how a number is written."""

from __future__ import annotations

import dataclasses
import difflib
import math
from typing import TYPE_CHECKING, Any

import pandas as pd

from maibench.config import TableConfig
from maibench.errors import MaibenchError
from maibench.evaluation.tables.formats import EMPTY

if TYPE_CHECKING:
    from maibench.evaluation.statistics.frames import Summary

PLAIN = TableConfig()
"""How tables look when nobody asked for anything."""

LOWER_IS_BETTER = frozenset({"failed", "unsure", "eer", "ece", "brier", "nll", "parameters", "ms"})
"""Columns of the main table of which the smallest value is the best."""


# --- rows


def detectors(summary: Summary) -> list[str]:
    """The detectors in the order of the table."""
    return list(dict.fromkeys(summary.metrics["detector"]))


def perturbations(summary: Summary) -> list[str]:
    """The perturbations in the order of the table."""
    return list(dict.fromkeys(summary.metrics["perturbation"]))


def shown_perturbation(summary: Summary) -> str | None:
    """The perturbation of what shows only one: "none", or the first; None without rows."""
    names = perturbations(summary)
    return "none" if "none" in names else next(iter(names), None)


def perturbation_suffix(summary: Summary) -> str:
    """ ", perturbation jpeg:75" for titles, empty for undisturbed images."""
    name = shown_perturbation(summary)
    return "" if name in ("none", None) else f", perturbation {name}"


def shown_rows(frame: pd.DataFrame, summary: Summary) -> list[dict]:
    """The rows of a summary's frame that are of the shown perturbation."""
    name = shown_perturbation(summary)
    return [row for row in frame.to_dict("records") if row["perturbation"] == name]


def per_generator_rows(summary: Summary) -> list[dict]:
    """The rows of per_generator.csv of the shown perturbation."""
    return shown_rows(summary.per_generator, summary)


def main_rows(summary: Summary) -> list[dict]:
    """The rows of metrics.csv, each with what other frames and the main table add to it: n_unsure, seen_auc and
    unseen_auc with bounds, ms (milliseconds an image)."""
    unsure = {(row["detector"], row["perturbation"]): row["n_unsure"] for row in summary.unsure.to_dict("records")}
    groups = {
        (row["detector"], row["perturbation"], row["group"]): row for row in summary.aggregates.to_dict("records")
    }
    rows = []
    for row in summary.metrics.to_dict("records"):
        key = (row["detector"], row["perturbation"])
        more = {"n_unsure": unsure.get(key, 0)}
        for group in ("seen", "unseen"):
            known = groups.get((*key, group), {})
            more |= {f"{group}_auc{end}": known.get(f"auc{end}", math.nan) for end in ("", "_lo", "_hi")}
        speed = number(row.get("images_per_second"))
        rows.append(row | more | {"ms": 1000 / speed if speed > 0 else math.nan})
    return rows


def arranged(summary: Summary, style: TableConfig) -> Summary:
    """A summary of the rows that `style` names, in its order; the same one where it names none.

    Detectors are ordered by their value under the shown perturbation, on "request" as `style` lists them. Ranks are
    among the detectors that are left; there are none where the perturbation that they are of is not. Raises
    MaibenchError for a detector or perturbation that is not there.
    """
    if style.detectors is None and style.perturbations is None and style.order == "request":
        return summary
    kept = {
        "detector": named_rows(style.detectors, detectors(summary), "detector"),
        "perturbation": named_rows(style.perturbations, perturbations(summary), "perturbation"),
    }
    frames: dict[str, Any] = {}
    for name, frame in summary.frames().items():
        for column, names in kept.items():
            for found in [c for c in map(str, frame.columns) if c == column or c.startswith(f"{column}_")]:
                frame = frame[frame[found].isin(names)]
        frames[name] = frame
    # "attack:pgd" of a transfer table stands for a perturbation of each detector
    frames["transfer"] = summary.transfer[summary.transfer["detector"].isin(kept["detector"])]
    if len(kept["detector"]) < len(detectors(summary)) or shown_perturbation(summary) not in kept["perturbation"]:
        frames |= _ranked_again(frames["per_generator"], shown_perturbation(summary))
    chosen = dataclasses.replace(summary, **frames)
    order = kept["detector"] if style.order == "request" else _ordered(chosen, style.order)
    for name, frame in chosen.frames().items():
        if "detector" in frame:
            place = frame["detector"].map({detector: i for i, detector in enumerate(order)})
            frames[name] = frame.loc[place.sort_values(kind="stable").index]
    return dataclasses.replace(chosen, **frames)


def named_rows(wanted: list[str] | None, there: list[str], what: str) -> list[str]:
    """`wanted`, or all that are there; raises MaibenchError with the nearest match for one that is not. what: a
    "detector" or "perturbation"."""
    for name in wanted or []:
        if name not in there:
            near = difflib.get_close_matches(name, there, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(there) or 'none'}"
            raise MaibenchError(f"table.{what}s: no {what} is called '{name}' here; {hint}")
    return there if wanted is None else list(dict.fromkeys(wanted))


def _ranked_again(per_generator: pd.DataFrame, perturbation: str | None) -> dict[str, pd.DataFrame]:
    """Ranks and their stability among the detectors of these rows; none without rows of the perturbation."""
    from maibench.evaluation.statistics.frames import empty
    from maibench.evaluation.statistics.ranks import ranks_over_generators

    if perturbation not in set(per_generator["perturbation"]):
        return {"ranks": empty("ranks"), "rank_stability": empty("rank_stability")}
    ranks, stability = ranks_over_generators(per_generator, str(perturbation))
    return {"ranks": ranks, "rank_stability": stability}


def _ordered(summary: Summary, order: str) -> list[str]:
    names = detectors(summary)
    sign = 1 if order in LOWER_IS_BETTER else -1
    values = {row["detector"]: number(row.get(SORTED_BY.get(order, order))) for row in shown_main_rows(summary)}
    return sorted(names, key=lambda name: (math.isnan(values.get(name, math.nan)), sign * values.get(name, 0.0)))


def shown_main_rows(summary: Summary) -> list[dict]:
    """`main_rows` of the shown perturbation."""
    name = shown_perturbation(summary)
    return [row for row in main_rows(summary) if row["perturbation"] == name]


SORTED_BY = {"failed": "n_failed", "unsure": "n_unsure", "fitted": "accuracy_fitted"}
"""The number behind a column of the main table, where it is called otherwise."""


# --- numbers


def was_seen(value: object) -> bool | None:
    """True, False, or None where the card does not say."""
    return None if is_empty(value) else bool(value)


def is_empty(value: Any) -> bool:
    """Whether a value of a frame is None, NaN or pandas' NA."""
    return bool(pd.isna(value))


def number(value: Any) -> float:
    """A value of a frame as a float, NaN for what `is_empty`."""
    return math.nan if is_empty(value) else float(value)


def rate(value: Any, digits: int = 3) -> str:
    """A fraction with `digits` decimals; a dash for what `is_empty`."""
    return EMPTY if is_empty(value) else f"{value:.{digits}f}"


def difference(value: Any, digits: int = 3) -> str:
    """A difference of rates, with its sign: "+0.012"; "0.000" has none."""
    if is_empty(value):
        return EMPTY
    return f"{value:+.{digits}f}" if float(f"{value:.{digits}f}") else f"{0:.{digits}f}"


def p_value(value: Any) -> str:
    """A p-value: "0.013", "<0.001"; a dash for what `is_empty`."""
    return EMPTY if is_empty(value) else "<0.001" if value < 0.001 else f"{value:.3f}"


def with_interval(row: dict, metric: str, digits: int = 3, intervals: bool = True) -> str:
    """A metric with its 95 % interval: "0.712 [0.67, 0.75]"; without one, the metric alone."""
    return rate(row.get(metric), digits) + (bounds(row, metric, digits) if intervals else "")


def difference_with_interval(row: dict, metric: str, digits: int = 3, intervals: bool = True) -> str:
    """A difference with its 95 % interval: "+0.012 [-0.01, +0.03]"; without one, the difference alone."""
    return difference(row.get(metric), digits) + (bounds(row, metric, digits, "+") if intervals else "")


def bounds(row: dict, metric: str, digits: int = 3, sign: str = "") -> str:
    """ " [0.67, 0.75]", of one decimal less than the number where that has more than two; empty without bounds."""
    value, low, high = row.get(metric), row.get(f"{metric}_lo"), row.get(f"{metric}_hi")
    if any(is_empty(bound) for bound in (value, low, high)):
        return ""
    digits = digits - 1 if digits > 2 else digits
    return f" [{low:{sign}.{digits}f}, {high:{sign}.{digits}f}]"


def quantity(value: Any) -> str:
    """A number of parameters: 4827365 is "4.83 M"."""
    if is_empty(value):
        return EMPTY
    for unit, size in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= 0.9995 * size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.0f}"


def speed(value: Any) -> str:
    """A positive number with three digits: "0.0123", "19.6", "2574"."""
    return EMPTY if is_empty(value) else f"{value:.0f}" if value >= 100 else f"{value:.3g}"
