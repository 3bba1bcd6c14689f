"""What the splits of a data set share: files, look-alikes and sources."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from maibench.datasets.manifest import Manifest
from maibench.datasets.near import DISTANCE
from maibench.errors import MaibenchError
from maibench.evaluation.audit.look_alikes import across_splits, exact_copies, shots, within_a_split
from maibench.evaluation.audit.parts import Finding, Grid, Part
from maibench.evaluation.audit.sharing import Across, Alike, Sharing

if TYPE_CHECKING:
    from maibench.evaluation.audit.embedding import Similar

SIMILAR = 0.95
"""Embeddings of a higher cosine are shown to the reader. No proof: the same subject may come as near."""
_ONE_SIDE = "`maibench data split --near` puts each source and all its look-alikes on one side"
_MOST_NAMED = 3


def leaks_part(facts: pd.DataFrame, manifest: Manifest, embeddings: NDArray[np.float32] | None = None) -> Part:
    """Exact copies, near-duplicates and sources that lie in two splits (red), or twice in one (yellow).

    facts: a row an image: path, label, generator, source, split, image_id, and what `near.likeness` says. manifest:
    where the images of the gallery are read. embeddings: (n, d) of unit length, a row an image; with them, images of a
    cosine above SIMILAR in two splits, for the eye (yellow).
    """
    sharing = Sharing(facts)
    grid = {"exact copies": sharing.files_across()}
    findings = _copies(sharing)
    pictures = [exact_copies(facts)]
    try:
        alike = Alike.of(facts)
    except MaibenchError as error:
        findings.append(Finding("near-duplicates", "grey", f"could not be measured: {error}"))
    else:
        grid["near-duplicates"] = sharing.pictures_across(alike)
        findings.append(_near(sharing, alike, int(facts["flat"].sum())))
        pictures += [across_splits(facts, alike), within_a_split(facts, alike)]
    grid["one source"] = sharing.sources_across()
    findings.append(_sources(sharing, manifest))
    if embeddings is not None:
        from maibench.evaluation.audit.embedding import similar_across

        found = similar_across(embeddings, facts["split"].to_numpy(), SIMILAR)
        findings.append(_similar(facts, found))
        pictures.append(found.pairs)
    return Part("leaks", "Leaks between splits", findings, [_grid(grid)], shots(facts, manifest, pictures))


def ids_part(facts: pd.DataFrame, manifest: Manifest) -> Part:
    """What shows without a look at the pixels: exact copies and sources. facts: as for `leaks_part`, but likeness;
    image_id is missing where it is not known."""
    files, sources = Sharing(facts[facts["image_id"].notna()]), Sharing(facts)
    findings = [*_copies(files), _sources(sources, manifest)]
    grid = {"exact copies": files.files_across(), "one source": sources.sources_across()}
    return Part("ids", "Leaks between splits", findings, [_grid(grid)])


def _copies(sharing: Sharing) -> list[Finding]:
    across, within = sharing.files_across(), sharing.files_within()
    todo = "delete all copies but one; " + _ONE_SIDE
    inside = f"{_images(within)} an exact copy in their own split" if within else ""
    if across:
        says = "; ".join(filter(None, [f"in two splits: {_sides(across)}", inside]))
        found = Finding("exact copies", "red", says, todo)
    elif within:
        found = Finding("exact copies", "yellow", inside, "delete all copies but one: each counts as an image now")
    else:
        found = Finding("exact copies", "green", f"no two of {len(sharing.facts):,} files are the same")
    wrong = np.flatnonzero(sharing.two_labels())
    if not len(wrong):
        return [found]
    named = _named(sharing.facts["path"].iloc[wrong].tolist())
    says = f"{len(wrong):,} files are listed as real and, byte for byte the same, as synthetic: {named}"
    return [found, Finding("copies with two labels", "red", says, "find out which label is right; delete the others")]


def _near(sharing: Sharing, alike: Alike, n_flat: int) -> Finding:
    across = sharing.pictures_across(alike)
    foreign, every = sharing.pictures_within(alike)
    n_foreign, n_own = int(foreign.sum()), int((every & ~foreign).sum())
    inside = []
    if n_foreign:
        inside.append(f"{_images(n_foreign)} a look-alike of another source in their own split")
    if n_own:
        inside.append(f"{_images(n_own)} one of their own source there, as pairs and versions do")
    if n_flat:
        inside.append(f"{n_flat:,} too flat to be compared")
    name = "near-duplicates"
    if across:
        says = "; ".join([f"in two splits: {_sides(across)}", *inside])
        return Finding(name, "red", says, "look at them below; " + _ONE_SIDE)
    where = "no two splits share near-duplicates" if len(sharing.splits) > 1 else "there is one split"
    says = "; ".join([f"{where} (at most {DISTANCE} of 64 bits differ)", *inside])
    if n_foreign:
        todo = "look at them below; give images of one picture one source, or intervals are too narrow"
        return Finding(name, "yellow", says, todo)
    return Finding(name, "green", says)


def _sources(sharing: Sharing, manifest: Manifest) -> Finding:
    if not manifest.has_sources:
        says = "the data set does not say which images come from one photo or prompt: it has no whole column source"
        return Finding("sources", "grey", says, "add a column source, so that splits and intervals can heed it")
    across = sharing.sources_across()
    if across:
        says = f"{sharing.n_sources_across():,} sources lie in two splits: {_sides(across)}"
        return Finding("sources", "red", says, "`maibench data split` puts each source on one side")
    return Finding("sources", "green", f"no source of {sharing.facts['source'].nunique():,} lies in two splits")


def _similar(facts: pd.DataFrame, found: Similar) -> Finding:
    name = "look-alikes by embedding"
    if not found.pairs.ends:
        says = f"no two images in different splits have embeddings of a cosine above {SIMILAR}"
        return Finding(name, "green", f"{says}; the highest is {found.highest:.3f}")
    says = f"{found.n_images:,} images have one of a cosine above {SIMILAR} in another split"
    return Finding(name, "yellow", f"{says}; the highest is {found.highest:.3f}", "look at them below; " + _ONE_SIDE)


def _grid(kinds: dict[str, list[Across]]) -> Grid:
    rows: list[list[object]] = [
        [kind, f"{one.first} and {one.second}", one.n_first, one.n_second]
        for kind, found in kinds.items()
        for one in found
    ]
    columns = ["shared", "splits", "images in the first", "images in the second"]
    notes = ["an image that has an exact copy in a split is not counted among its near-duplicates there"]
    return Grid("What splits share", columns, rows or [["nothing", "any two", 0, 0]], notes if rows else [])


def _sides(across: list[Across]) -> str:
    return ", ".join(f"{one.n_first:,} of {one.first} and {one.n_second:,} of {one.second}" for one in across)


def _images(count: int) -> str:
    return f"{count:,} image{'s have' if count > 1 else ' has'}"


def _named(paths: list[str]) -> str:
    more = f" and {len(paths) - _MOST_NAMED:,} more" if len(paths) > _MOST_NAMED else ""
    return ", ".join(paths[:_MOST_NAMED]) + more
