"""How even a data set is: classes, generators, splits, sizes and, with embeddings, what its images show."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from maibench.datasets.manifest import SPLITS
from maibench.evaluation.audit.found import as_finding, telling_text
from maibench.evaluation.audit.parts import LIGHTS, Finding, Grid, Part
from maibench.evaluation.audit.telling import light, telling
from maibench.evaluation.statistics.bootstrap import MIN_SOURCES

FEWEST = 0.2
"""A class with less than this share of a split is rare there."""
MIN_IMAGES = 10
SOURCES, SIZES = "number of sources", "shared sizes"
COMPONENTS = 16
_CLASSES = ("real", "synthetic")


def balance_part(facts: pd.DataFrame, embeddings: np.ndarray | None = None, seed: int = 0) -> Part:
    """What there is how often, and where that is too little or too uneven to say much.

    facts: a row an image: label, generator, source, split, width, height. embeddings: (n, d), what a vision model makes
    of each image; with them, whether the classes show the same things.
    """
    findings = [_splits(facts), _generators(facts), _sources(facts), _sizes(facts)]
    if embeddings is not None:
        findings.append(_content(facts, embeddings, seed))
    grids = [_split_grid(facts), _generator_grid(facts), _size_grid(facts)]
    return Part("balance", "Balance", findings, grids)


def _splits(facts: pd.DataFrame) -> Finding:
    """One class alone is red, as nothing can be measured there."""
    said, lights = [], []
    for split, rows in _of_splits(facts):
        n_real, n_synthetic = (int((rows["label"] == label).sum()) for label in (0, 1))
        said.append(f"{split}: {n_real:,} real, {n_synthetic:,} synthetic")
        fewer = min(n_real, n_synthetic)
        lights.append("red" if not fewer else "yellow" if fewer < FEWEST * len(rows) else "green")
    order = sorted(range(len(said)), key=lambda i: LIGHTS.index(lights[i]))  # the first is what a summary shows
    worst = lights[order[0]]
    todo = {
        "red": "add the class that is missing: neither AUC nor balanced accuracy exists with one",
        "yellow": "read balanced accuracy and AUC, not accuracy: the larger class alone makes most of it",
        "green": "",
    }[worst]
    return Finding("classes", worst, "; ".join(said[i] for i in order), todo)


def _generators(facts: pd.DataFrame) -> Finding:
    judged, where = _judged(facts)
    counts = judged.loc[judged["label"] == 1, "generator"].value_counts()
    every = facts.loc[facts["label"] == 1, "generator"].unique()
    counts = counts.reindex(sorted(every), fill_value=0)
    few = counts[counts < MIN_IMAGES]
    if not len(every):
        return Finding("generators", "grey", "no image is synthetic")
    says = f"{len(every)} generator{'s' if len(every) > 1 else ''}, {_range(counts)} images each in {where}"
    if few.empty:
        return Finding("generators", "green", says)
    rare = f"{len(few)} of {len(every)} have fewer than {MIN_IMAGES} images in {where}: {_listed(few)}"
    return Finding("generators", "yellow", f"{rare}; {says}", "collect more of them, or report them together")


def _sources(facts: pd.DataFrame) -> Finding:
    judged, where = _judged(facts)
    counts = judged[judged["label"] == 1].groupby("generator")["source"].nunique().sort_index()
    n_real = judged.loc[judged["label"] == 0, "source"].nunique()
    few = counts[counts < MIN_SOURCES]
    says = f"{n_real:,} of real images{f', {_range(counts)} of each generator' if len(counts) else ''} in {where}"
    if few.empty and n_real >= MIN_SOURCES:
        return Finding(SOURCES, "green", says)
    rare = f"fewer than {MIN_SOURCES}, so that they have no interval: {_listed(few)}; " if len(few) else ""
    return Finding(SOURCES, "yellow", rare + says, "collect images of more photographs, prompts or collections")


def _sizes(facts: pd.DataFrame) -> Finding:
    """Sides in steps of a quarter of an octave: photographs have a thousand sizes, hardly two the same."""
    steps = [np.round(4 * np.log2(facts[side])).astype(int).astype(str) for side in ("width", "height")]
    sizes = steps[0] + " x " + steps[1]
    shares = [sizes[facts["label"] == label].value_counts(normalize=True) for label in (0, 1)]
    if any(share.empty for share in shares):
        return Finding(SIZES, "grey", "could not be measured: there is one class only")
    real, synthetic = (share.reindex(sizes.unique(), fill_value=0).to_numpy() for share in shares)
    shared = float(np.minimum(real, synthetic).sum())
    says = f"{100 * shared:.0f} % of the two classes' sizes agree, to about a fifth of each side"
    todo = "" if shared >= 0.8 else "`maibench data match --size` crops both classes to one size"
    return Finding(SIZES, "green" if shared >= 0.8 else "yellow", says, todo, shared)


def _content(facts: pd.DataFrame, embeddings: np.ndarray, seed: int) -> Finding:
    """Never red: such a model sees traces of generators, too, not only what an image shows."""
    from sklearn.decomposition import PCA

    components = min(COMPONENTS, *embeddings.shape)
    reduced = PCA(components, svd_solver="randomized", random_state=seed).fit_transform(embeddings)
    told = telling(reduced, facts["label"].to_numpy(), facts["source"].to_numpy(), seed)
    found = light(told)
    says = f"by the {components} main directions of the embeddings: {telling_text(told)}"
    if found in ("green", "grey"):
        return as_finding("content", found, says, "", told)
    todo = "look whether both classes show the same things; `maibench data pairs` makes a twin of each photograph"
    return as_finding("content", "yellow", says, todo, told)


def _of_splits(facts: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    return [(split, rows) for split in SPLITS if len(rows := facts[facts["split"] == split])]


def _judged(facts: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The images that detectors are judged by: those of the test split, else all."""
    is_test = facts["split"] == "test"
    return (facts[is_test], "the test split") if is_test.any() else (facts, "all splits")


def _range(counts: pd.Series) -> str:
    return f"{counts.min():,}" if counts.min() == counts.max() else f"{counts.min():,} to {counts.max():,}"


def _listed(counts: pd.Series, most: int = 8) -> str:
    named = ", ".join(f"{name} ({count})" for name, count in counts.sort_values(kind="stable").head(most).items())
    return named + (f" and {len(counts) - most} more" if len(counts) > most else "")


def _split_grid(facts: pd.DataFrame) -> Grid:
    rows: list[list[object]] = []
    for split, chosen in _of_splits(facts):
        counts = [int((chosen["label"] == label).sum()) for label in (0, 1)]
        generators = chosen.loc[chosen["label"] == 1, "generator"].nunique()
        rows.append([split, *counts, counts[1] / len(chosen), int(generators), int(chosen["source"].nunique())])
    return Grid("Splits", ["split", *_CLASSES, "share synthetic", "generators", "sources"], rows)


def _generator_grid(facts: pd.DataFrame) -> Grid:
    splits = [split for split, _ in _of_splits(facts)]
    counts = pd.crosstab(facts["generator"], facts["split"]).reindex(columns=splits)
    sources = facts.groupby("generator")["source"].nunique()
    medians = facts.groupby("generator")[["width", "height"]].median()
    rows: list[list[object]] = []
    for name in sorted(counts.index, key=lambda name: (name != "real", name)):
        size = f"{medians['width'][name]:.0f} x {medians['height'][name]:.0f}"
        row = counts.loc[name]
        rows.append([name, int(row.sum()), *(int(row[split]) for split in splits), int(sources[name]), size])
    return Grid("Generators", ["generator", "images", *splits, "sources", "median size"], rows)


def _size_grid(facts: pd.DataFrame) -> Grid:
    return Grid("Sizes", ["class", "size", "images", "share"], list(_size_rows(facts)), ["the five most frequent"])


def _size_rows(facts: pd.DataFrame) -> Iterator[list[object]]:
    for label, name in enumerate(_CLASSES):
        chosen = facts[facts["label"] == label]
        sizes = chosen["width"].astype(str) + " x " + chosen["height"].astype(str)
        for size, count in sizes.value_counts().head(5).items():
            yield [name, size, int(count), count / len(chosen)]
