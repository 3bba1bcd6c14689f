# ruff: noqa: RUF009 (_frame makes a field)
"""Every frame of a report and its columns, each a CSV file; DESIGN.md, section 7, promises those of the first four."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import pandas as pd

from maibench.files import write_whole

COLUMNS: dict[str, tuple[str, ...]] = {
    "metrics": (
        "detector", "perturbation", "n", "n_real", "n_synthetic", "n_failed", "accuracy", "accuracy_lo", "accuracy_hi",
        "balanced_accuracy", "tpr", "tnr", "auc", "auc_lo", "auc_hi", "ap", "eer", "tpr_at_fpr_1", "tpr_at_fpr_5",
        "ece", "brier", "nll", "threshold_fitted", "accuracy_fitted", "interval", "parameters", "images_per_second",
    ),
    "per_generator": (
        "detector", "perturbation", "generator", "n_real", "n_synthetic", "seen", "accuracy", "balanced_accuracy",
        "tpr", "tnr", "auc", "auc_lo", "auc_hi", "ap",
    ),
    "comparisons": (
        "detector_a", "detector_b", "perturbation", "n", "delta_accuracy", "delta_accuracy_lo", "delta_accuracy_hi",
        "p_accuracy", "delta_auc", "delta_auc_lo", "delta_auc_hi", "p_auc", "p_holm", "p_mcnemar", "p_delong",
        "p_accuracy_holm", "p_auc_holm", "n_sources",
    ),
    "roc": ("detector", "perturbation", "generator", "fpr", "tpr", "threshold"),
    "intervals": ("detector", "perturbation", "generator", "metric", "value", "lo", "hi", "interval"),
    "aggregates": (
        "detector", "perturbation", "group", "n_generators", "n_real", "n_synthetic", "accuracy", "accuracy_lo",
        "accuracy_hi", "balanced_accuracy", "tpr", "tnr", "auc", "auc_lo", "auc_hi", "ap",
    ),
    "spread": ("detector", "perturbation", "over", "metric", "n", "mean", "sd", "worst", "worst_name", "best"),
    "ranks": (
        "blocks", "metric", "detector", "n_blocks", "mean_rank", "critical_difference", "friedman", "p_friedman",
    ),
    "rank_stability": ("metric", "data_a", "data_b", "n", "spearman"),
    "thresholds": (
        "detector", "perturbation", "rule", "threshold", "n_validation", "accuracy", "balanced_accuracy", "tpr", "tnr",
    ),
    "calibration": (
        "detector", "perturbation", "method", "slope", "intercept", "ece", "brier", "reliability", "resolution",
        "uncertainty", "nll",
    ),
    "reliability": ("detector", "perturbation", "method", "bin", "lo", "hi", "n", "mean_score", "share_synthetic"),
    "coverage": ("detector", "perturbation", "coverage", "n", "accuracy", "score_margin"),
    "histograms": ("detector", "perturbation", "label", "generator", "lo", "hi", "n"),
    "confusion": ("detector", "threshold", "tp", "fp", "tn", "fn"),
    "unsure": ("detector", "perturbation", "n_unsure", "n"),
    "robustness": (
        "detector", "suite", "family", "perturbation", "severity", "accuracy", "accuracy_lo", "accuracy_hi", "auc",
        "auc_lo", "auc_hi",
    ),
    "robustness_scores": (
        "detector", "suite", "n_perturbations", "accuracy_relative", "accuracy_relative_lo", "accuracy_relative_hi",
        "auc_relative", "auc_relative_lo", "auc_relative_hi", "worst_perturbation", "worst_auc",
    ),
    "transfer": ("perturbation", "made_on", "detector", "n", "accuracy", "tpr", "tnr", "auc"),
}  # fmt: skip


_EXACT = ("threshold", "threshold_fitted")


def empty(name: str) -> pd.DataFrame:
    """A frame with the columns of `name` and no rows."""
    return pd.DataFrame(columns=list(COLUMNS[name]))


def write_csv(frame: pd.DataFrame, file: Path) -> None:
    """Write a frame, whole or not at all. Raises DiskError.

    Numbers have ten digits: the same text on machines that differ in the last bits of a sum. Thresholds have all of
    theirs, since a detector that is very sure has cuts that differ in the last digits of P alone.
    """
    exact = [column for column in frame if column in _EXACT]
    text = frame.assign(**{column: frame[column].map(repr, na_action="ignore") for column in exact})
    write_whole(file, lambda part: text.to_csv(part, index=False, float_format="%.10g", lineterminator="\n"))


def frame(name: str, rows: list[dict]) -> pd.DataFrame:
    """Rows under the columns of `name`, in their order; a key that is no column is an error."""
    columns = list(COLUMNS[name])
    if unknown := {key for row in rows for key in row} - set(columns):
        raise KeyError(f"{name}.csv has no columns {sorted(unknown)}")
    return pd.DataFrame(rows, columns=columns)


def _frame(name: str) -> Any:
    return field(default_factory=lambda: empty(name))


@dataclass
class Summary:
    """The frames of a report, unrounded, under the columns of `COLUMNS`; each is written as <name>.csv.

    released: when each generator came out ("2022-08"), where that is known. suspects: detectors that very likely return
    probabilities in place of logits. notes: one sentence for everything that is empty, and for each of these.
    """

    metrics: pd.DataFrame
    per_generator: pd.DataFrame
    roc: pd.DataFrame
    notes: list[str] = field(default_factory=list)
    comparisons: pd.DataFrame = _frame("comparisons")
    intervals: pd.DataFrame = _frame("intervals")
    aggregates: pd.DataFrame = _frame("aggregates")
    spread: pd.DataFrame = _frame("spread")
    ranks: pd.DataFrame = _frame("ranks")
    rank_stability: pd.DataFrame = _frame("rank_stability")
    thresholds: pd.DataFrame = _frame("thresholds")
    calibration: pd.DataFrame = _frame("calibration")
    reliability: pd.DataFrame = _frame("reliability")
    coverage: pd.DataFrame = _frame("coverage")
    histograms: pd.DataFrame = _frame("histograms")
    confusion: pd.DataFrame = _frame("confusion")
    unsure: pd.DataFrame = _frame("unsure")
    robustness: pd.DataFrame = _frame("robustness")
    robustness_scores: pd.DataFrame = _frame("robustness_scores")
    transfer: pd.DataFrame = _frame("transfer")
    released: dict[str, str] = field(default_factory=dict)
    suspects: list[str] = field(default_factory=list)

    def frames(self) -> dict[str, pd.DataFrame]:
        """Every frame by its name."""
        return {item.name: getattr(self, item.name) for item in fields(self) if item.name in COLUMNS}
