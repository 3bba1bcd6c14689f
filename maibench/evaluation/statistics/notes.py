"""Why what is empty in a summary is empty, and what is not to be trusted in it, in words, each reason once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pandas as pd

from maibench.evaluation.statistics.bootstrap import MIN_SOURCES
from maibench.evaluation.statistics.comparisons import notes as notes_on_comparisons
from maibench.evaluation.statistics.evaluated import Split
from maibench.evaluation.statistics.frames import Summary
from maibench.evaluation.statistics.suspects import suspicion


def write_notes(summary: Summary, split: Split) -> list[str]:
    """summary: with every frame finished. split: the predictions that it was made of."""
    metrics, per_generator, evaluated = summary.metrics, summary.per_generator, split.evaluated
    if evaluated.empty:
        return ["every table is empty: no predictions"]
    images = evaluated.drop_duplicates("image").set_index("image")
    present = metrics[metrics["n"] > 0]
    lines = [
        *map(suspicion, summary.suspects),
        *_notes_on_images(images.loc[evaluated.loc[evaluated["scored"], "image"].unique()]),
        *(f"no interval: {text.removeprefix('none: ')}" for text in present["interval"] if text.startswith("none")),
        *_notes_on_certainty(present),
        *notes_on_comparisons(summary.comparisons),
        *_notes_on_generators(per_generator, present),
        *_notes_on_classes(present, images),
        *_notes_on_tpr_at_fpr(present),
        *_notes_on_thresholds(metrics, split),
        *_notes_on_failures(evaluated),
        *_notes_on_unsure(evaluated),
        *_naming(
            "no row: the evaluated split was not scored by", set(split.table["detector"]) - set(metrics["detector"])
        ),
        *_naming_empty("seen is empty: unknown what it was trained on:", per_generator, "seen"),
        *_naming_empty("parameters are unknown:", metrics, "parameters"),
        *_naming_empty("images per second were not measured:", metrics, "images_per_second"),
        *_notes_on_speed(metrics),
    ]
    return list(dict.fromkeys(lines))


def _naming(text: str, names: Iterable[str]) -> list[str]:
    """The text followed by the names, sorted, each once; nothing where there are none."""
    joined = ", ".join(sorted(set(names)))
    return [f"{text} {joined}"] if joined else []


def _naming_empty(text: str, frame: pd.DataFrame, column: str) -> list[str]:
    return _naming(text, frame["detector"][frame[column].isna()])


def _notes_on_speed(metrics: pd.DataFrame) -> list[str]:
    known = metrics["images_per_second"].notna().any()
    return ["images per second are those of one core, or one GPU: preprocessing and network"] if known else []


def _notes_on_images(images: pd.DataFrame) -> list[str]:
    if images.empty:
        return []
    synthetic, alone = images["label"].mean(), int(images["own_source"].sum())
    lines = [f"the majority class is {100 * max(synthetic, 1 - synthetic):.1f} % of the scored images"]
    if alone:
        lines.append(f"{alone} of {len(images)} images have no source: each is its own, and the intervals assume so")
    return lines


def _notes_on_certainty(present: pd.DataFrame) -> list[str]:
    """An interval without width looks surer than any sample can be (the rule of three)."""
    sure = present["accuracy_lo"].notna() & present["accuracy_lo"].eq(present["accuracy_hi"])
    return _naming(
        "an interval without width says that every resample is alike, not that there is no doubt; with N sources, an "
        "error rate of up to 3 / N cannot be excluded:",
        present["detector"][sure],
    )


def _notes_on_generators(per_generator: pd.DataFrame, present: pd.DataFrame) -> list[str]:
    if per_generator.empty:
        return ["per-generator results are empty: no synthetic images"]
    if present["auc_lo"].isna().all():
        return []
    bare = per_generator["auc"].notna() & per_generator["auc_lo"].isna()
    return _naming(f"no AUC interval, fewer than {MIN_SOURCES} sources, for", per_generator["generator"][bare])


def _notes_on_classes(present: pd.DataFrame, images: pd.DataFrame) -> list[str]:
    lines = []
    for label, name, rate in ((0, "real", "TNR"), (1, "synthetic", "TPR")):
        text = f"AUC is empty, and AP, EER, balanced accuracy and {rate} with it: no {name} images"
        if images["label"].eq(label).any():
            lines += _naming(f"{text} were scored by", present["detector"][present[f"n_{name}"] == 0])
        else:
            lines.append(text)
    return lines


def _notes_on_tpr_at_fpr(present: pd.DataFrame) -> list[str]:
    lines = []
    for percent, needed in ((1, 100), (5, 20)):
        few = present["n_real"][present["n_real"].between(1, needed - 1)]
        there = " to ".join(f"{n}" for n in sorted({few.min(), few.max()})) if len(few) else ""
        if there:
            lines.append(f"tpr_at_fpr_{percent} needs at least {needed} real images, there are {there}")
    return lines


def _notes_on_thresholds(metrics: pd.DataFrame, split: Split) -> list[str]:
    if split.evaluated["split"].eq("validation").any():
        return ["thresholds and calibration not fitted: the validation split is what is evaluated"]
    if split.validation.empty:
        return ["thresholds and calibration not fitted: no validation split"]
    return _naming_empty(
        "threshold not fitted: no scored validation images of both classes for", metrics, "threshold_fitted"
    )


def _notes_on_unsure(evaluated: pd.DataFrame) -> list[str]:
    unsure = evaluated[evaluated["status"].eq("unsure")]
    return [
        line
        for detector, rows in unsure.groupby("detector", observed=True)
        for line in _naming(
            f"{len(rows)} of {evaluated['detector'].eq(detector).sum()} answers are unsure, with little probability on "
            "yes and no together; they are scored and counted:",
            [str(detector)],
        )
    ]


def _notes_on_failures(evaluated: pd.DataFrame) -> list[str]:
    """How many predictions failed and the three commonest reasons, with the detectors of which that is true."""
    detectors: dict[str, list[str]] = {}
    for detector, rows in evaluated.groupby("detector", observed=True):
        reasons = Counter(sorted(rows.loc[~rows["scored"], "error"].replace("", "no reason given")))
        if reasons:
            common = "; ".join(f"{count} x {reason}" for reason, count in reasons.most_common(3))
            text = f"{reasons.total()} of {len(rows)} predictions failed ({common}):"
            detectors.setdefault(text, []).append(str(detector))
    return [line for text, names in detectors.items() for line in _naming(text, names)]
