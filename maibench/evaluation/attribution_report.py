"""What the answers to "which generator made it" are worth: top-1 and balanced accuracy over the known classes, how well
the unknown is told (open set), a confusion matrix; with intervals over sources."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from maibench.evaluation.figures.drawing import save_pictures, style
from maibench.evaluation.figures.heatmaps import Grid, draw_grids
from maibench.evaluation.statistics.bootstrap import MIN_SOURCES, SourceBootstrap, percentile_interval, too_few
from maibench.evaluation.statistics.metrics import auc
from maibench.evaluation.tables.cells import EMPTY, Cell, Table
from maibench.evaluation.tables.formats import escape_markdown, markdown_table
from maibench.files import write_text, write_whole
from maibench.models.attribution_names import OTHER, UNKNOWN

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MEANINGS = {
    "top1": "share of the images of known classes that are attributed to their class",
    "balanced_accuracy": "mean over the known classes of that share",
    "top1_synthetic": "the same as top1, of synthetic images alone",
    "unknown_auroc": "AUROC of the strangeness: generators never trained on against images of the named classes",
    "unknown_auroc_synthetic": "the same against synthetic images of the named classes alone",
    "unknown_found": "share of the images of generators never trained on that are answered 'unknown'",
    "unknown_false": "share of the images of the named classes that are answered 'unknown'",
    "open_top1": "share of all images with the right answer, 'unknown' among the answers",
    "majority": "share of the largest class among the images of known classes: top1 of always naming it",
}


def write_attribution(
    folder: Path,
    images: pd.DataFrame,
    classes: Sequence[str],
    pooled: Sequence[str],
    data: str,
    model: str,
    has_sources: bool,
    resamples: int,
    seed: int,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Write attribution.csv, metrics.csv, confusion.csv, its pictures, and table.md; returns the metrics and the
    confusion. images: a row an image, with the columns of attribution.csv."""
    scored = images[images["status"] == "ok"].reset_index(drop=True)
    metrics, confusion = attribution_metrics(scored, resamples, seed), confusion_of(scored, classes)
    write_whole(folder / "attribution.csv", lambda file: images.to_csv(file, index=False, float_format="%.6g"))
    write_whole(folder / "metrics.csv", lambda file: metrics.to_csv(file, index=False, float_format="%.6g"))
    write_whole(folder / "confusion.csv", lambda file: confusion.to_csv(file, index=False))
    if len(confusion):
        with style():
            save_pictures(_figure(confusion, classes), folder, "confusion")
    notes = _notes(images, metrics, pooled, data, model, has_sources)
    write_text(folder / "table.md", "\n\n".join([*notes[:1], *_tables(metrics, confusion, classes), *notes[1:]]) + "\n")
    return metrics, confusion


def attribution_metrics(scored: pd.DataFrame, resamples: int = 1000, seed: int = 0) -> pd.DataFrame:
    """A row a metric of `MEANINGS`: metric, value, lo, hi (95 %, resampled sources), n, interval: the method, or why
    there is none.

    scored: `truth`, `attributed`, `answer`, `strangeness`, `label` and `source` of images that were scored. Images of
    generators that are pooled in "other" count for top-1, and on neither side of the unknown.
    """
    truth, source = scored["truth"].to_numpy(), scored["source"].to_numpy()
    known, unseen = truth != UNKNOWN, truth == UNKNOWN
    named, synthetic = known & (truth != OTHER), scored["label"].to_numpy() == 1
    right = (scored["attributed"] == scored["truth"]).to_numpy(dtype=np.float64)
    open_right = (scored["answer"] == scored["truth"]).to_numpy(dtype=np.float64)
    is_unknown = (scored["answer"] == UNKNOWN).to_numpy(dtype=np.float64)
    present = [name for name in dict.fromkeys(truth) if name != UNKNOWN]
    shares = {
        "top1": (right, known),
        "top1_synthetic": (right, known & synthetic),
        "unknown_found": (is_unknown, unseen),
        "unknown_false": (is_unknown, named),
        "open_top1": (open_right, named | unseen),
    }
    columns = [np.where(mask, values, np.nan) for values, mask in shares.values()]
    columns += [np.where(truth == name, right, np.nan) for name in present]
    bootstrap = SourceBootstrap(source, resamples, seed) if len(scored) else None
    draws = bootstrap.means(np.stack(columns, axis=1)) if bootstrap else np.empty((0, len(columns)))
    rows = []

    def add(metric: str, value: float, drawn: np.ndarray, mask: np.ndarray) -> None:
        sources = len(set(source[mask]))
        reason = too_few(sources)
        lo, hi = (math.nan, math.nan) if reason or not len(drawn) else percentile_interval(drawn, sources)
        interval = reason or f"bootstrap of {sources} sources, {resamples} resamples"
        rows.append((metric, value, lo, hi, int(mask.sum()), interval))

    for number, (metric, (values, mask)) in enumerate(shares.items()):
        add(metric, float(values[mask].mean()) if mask.any() else math.nan, draws[:, number], mask)
    recalls = [right[truth == name].mean() for name in present]
    balanced = _mean_of_known(draws[:, len(shares) :])
    add("balanced_accuracy", float(np.mean(recalls)) if recalls else math.nan, balanced, known)
    strangeness = scored["strangeness"].to_numpy(dtype=np.float64)
    for metric, mask in (
        ("unknown_auroc", named | unseen),
        ("unknown_auroc_synthetic", (named & synthetic) | unseen),
    ):
        labels = unseen.astype(np.int64)
        both = 0 < unseen.sum() < mask.sum()
        drawn = bootstrap.ranked(labels, strangeness, {"all": mask})["all"].auc if bootstrap and both else np.empty(0)
        add(metric, auc(labels[mask], strangeness[mask]) if both else math.nan, drawn, mask)
    largest = pd.Series(truth[known]).value_counts(normalize=True).max() if known.any() else math.nan
    rows.append(("majority", float(largest), math.nan, math.nan, int(known.sum()), ""))
    frame = pd.DataFrame(rows, columns=["metric", "value", "lo", "hi", "n", "interval"])
    return frame.sort_values("metric", key=lambda names: names.map(list(MEANINGS).index), ignore_index=True)


def confusion_of(scored: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """A row a generator: generator, truth (its class, or "unknown"), n, how many of its images are attributed to each
    class, and how many are answered "unknown" (whatever they would have been attributed to). In the order of the
    classes; then those that are pooled; then those never trained on."""
    order = {name: place for place, name in enumerate([*classes, UNKNOWN])}
    keys = scored.groupby(["generator", "truth"]).size().index
    rows = []
    for generator, truth in sorted(keys, key=lambda key: (order[key[1]], key[0])):
        group = scored[scored["generator"] == generator]
        counts = {name: int((group["attributed"] == name).sum()) for name in classes}
        unknown = int((group["answer"] == UNKNOWN).sum())
        rows.append({"generator": generator, "truth": truth, "n": len(group), **counts, UNKNOWN: unknown})
    return pd.DataFrame(rows, columns=["generator", "truth", "n", *classes, UNKNOWN])


def _mean_of_known(draws: np.ndarray) -> np.ndarray:
    """The mean of each row's numbers, NaN left out: the classes that a resample drew."""
    there = ~np.isnan(draws)
    counts = there.sum(axis=1)
    totals = np.where(there, draws, 0).sum(axis=1)
    return np.divide(totals, counts, out=np.full(len(draws), np.nan), where=counts > 0)


def _figure(confusion: pd.DataFrame, classes: Sequence[str]) -> Figure:
    columns = [*classes, UNKNOWN]
    shares = confusion[columns].to_numpy(dtype=np.float64) / confusion["n"].to_numpy()[:, None]
    marks = np.full(shares.shape, "")
    for row, truth in enumerate(confusion["truth"]):
        marks[row, columns.index(truth)] = "*"
    names = [f"{name} ({n})" for name, n in zip(confusion["generator"], confusion["n"], strict=True)]
    below = "* the right answer; the last column: answered 'unknown', whatever the nearest class"
    return draw_grids([Grid("", names, columns, shares, marks)], (0, 1), "share of a generator's images", below)


def _tables(metrics: pd.DataFrame, confusion: pd.DataFrame, classes: Sequence[str]) -> list[str]:
    rows = [
        [
            Cell(row["metric"], is_name=True),
            Cell(_interval(row)),
            Cell(f"{row['n']}"),
            Cell(MEANINGS[row["metric"]], is_name=True),
        ]
        for row in metrics.to_dict("records")
    ]
    of_metrics = Table(["metric", "value [95 %]", "images", "what it is"], rows)
    rows = [
        [Cell(row["generator"], is_name=True), Cell(row["truth"], is_name=True), Cell(str(row["n"]))]
        + [Cell(str(row[name])) for name in [*classes, UNKNOWN]]
        for row in confusion.to_dict("records")
    ]
    of_images = Table(["generator", "truth", "n", *classes, UNKNOWN], rows, n_names=2)
    return [markdown_table(of_metrics), markdown_table(of_images)]


def _interval(row: dict) -> str:
    value, lo, hi = row["value"], row["lo"], row["hi"]
    if math.isnan(value):
        return EMPTY
    return f"{value:.3f}" + (f" [{lo:.3f}, {hi:.3f}]" if math.isfinite(lo) else "")


def _notes(
    images: pd.DataFrame, metrics: pd.DataFrame, pooled: Sequence[str], data: str, model: str, has_sources: bool
) -> list[str]:
    failed = int((images["status"] != "ok").sum())
    splits = ", ".join(dict.fromkeys(images["split"]))
    notes = [
        escape_markdown(
            f"Which generator made it: {model} on {data}, split {splits}, {len(images)} images, {failed} failed"
        )
    ]
    if pooled:
        notes.append(escape_markdown(f"'other' stands for {', '.join(pooled)}."))
    if metrics["interval"].str.startswith("none").any():
        notes.append(f"No interval with fewer than {MIN_SOURCES} sources; metrics.csv says how many there are.")
    if not has_sources:
        notes.append("The data names no sources: intervals assume that every image is its own.")
    sources = images[images["label"] == 1].groupby("generator")["source"].agg(lambda names: len(set(names)))
    few = [f"{name} ({count})" for name, count in sources.items() if count < 5]
    if few:
        notes.append(escape_markdown(f"Few sources, so that little follows for others: {', '.join(few)}."))
    notes.append(
        "Real images are attributed to 'real'. A generator whose images all come from one place cannot be told from "
        "what else that place did to its images."
    )
    return notes
