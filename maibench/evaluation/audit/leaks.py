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
from maibench.evaluation.audit.measure import LISTED
from maibench.evaluation.audit.parts import Finding, Grid, Part
from maibench.evaluation.audit.sharing import Across, Alike, Sharing

if TYPE_CHECKING:
    from maibench.evaluation.audit.embedding import Similar

SOURCES = "sources in two splits"
SIMILAR = 0.95
"""Embeddings of a higher cosine are shown to the reader. No proof: the same subject may come as near."""
_ONE_SIDE = "`maibench data split SOURCE --near --out NEW.csv` deals anew, look-alikes and sources on one side"
_BY_SOURCE = "`maibench data split SOURCE --out NEW.csv` deals anew, each source on one side"
_ONE_SOURCE = "look at them below; give those of one picture one source, then `maibench data split SOURCE`"
_OTHERS_UNSEEN = "of other splits the list gives no image_id, and they were not read"
_NO_PICTURES = "no pictures: these images can only be read forward; `maibench data pack` makes a copy that shows them"
_MOST_NAMED = 3


def leaks_part(facts: pd.DataFrame, manifest: Manifest, embeddings: NDArray[np.float32] | None = None) -> Part:
    """Exact copies, near-duplicates and sources that lie in two splits (red), or twice in one (yellow).

    facts: a row an image that was looked at: path, label, generator, source, split, image_id, and what `near.likeness`
    says. manifest: all images, of which copies are found by the image_id that it lists, and sources; and where those of
    the gallery are read. embeddings: (n, d) of unit length, a row an image; with them, images of a cosine above SIMILAR
    in two splits, for the eye (yellow).
    """
    everything, sharing = Sharing(_listed(manifest, facts)), Sharing(facts)
    copies = _known(everything)
    grid = {"exact copies": copies.files_across()}
    findings = _copies(copies, everything)
    pictures = [exact_copies(facts)]
    try:
        alike = Alike.of(facts)
    except MaibenchError as error:
        findings.append(Finding("near-duplicates", "grey", f"could not be measured: {error}"))
    else:
        grid["near-duplicates"] = sharing.pictures_across(alike)
        findings.append(_near(sharing, alike, int(facts["flat"].sum()), everything.splits))
        pictures += [across_splits(facts, alike), within_a_split(facts, alike)]
    grid["one source"] = everything.sources_across()
    findings.append(_sources(everything, manifest))
    if embeddings is not None:
        from maibench.evaluation.audit.embedding import similar_across

        found = similar_across(embeddings, facts["split"].to_numpy(), SIMILAR)
        findings.append(_similar(facts, found))
        pictures.append(found.pairs)
    notes = [_NO_PICTURES] if manifest.images.in_order and any(pairs.ends for pairs in pictures) else []
    return Part("leaks", "Leaks between splits", findings, [_grid(grid, notes)], shots(facts, manifest, pictures))


def ids_part(facts: pd.DataFrame, manifest: Manifest) -> Part:
    """What shows without a look at the pixels: exact copies and sources. facts: as for `leaks_part`, but likeness."""
    everything = Sharing(_listed(manifest, facts))
    copies = _known(everything)
    findings = [*_copies(copies, everything), _sources(everything, manifest)]
    grid = {"exact copies": copies.files_across(), "one source": everything.sources_across()}
    return Part("ids", "Leaks between splits", findings, [_grid(grid, [])])


def _listed(manifest: Manifest, facts: pd.DataFrame) -> pd.DataFrame:
    """LISTED of every row of a manifest, and its image_id: as measured, else as listed, else missing."""
    rows = manifest.rows
    listed = pd.DataFrame({name: rows.get(name, "") for name in LISTED}, index=rows.index)
    listed["source"] = listed["source"].mask(listed["source"] == "", listed["path"])
    known = rows["image_id"].astype("string") if "image_id" in rows else pd.Series(pd.NA, rows.index, dtype="string")
    measured = listed["path"].map(facts.set_index("path")["image_id"]).astype("string")
    return listed.assign(image_id=measured.fillna(known.mask(known == "")))


def _known(everything: Sharing) -> Sharing:
    """Of the images whose bytes are known."""
    return Sharing(everything.facts[everything.facts["image_id"].notna()])


def _copies(sharing: Sharing, everything: Sharing) -> list[Finding]:
    across, within = sharing.files_across(), sharing.files_within()
    todo = "delete all copies but one; " + _ONE_SIDE
    inside = f"{_images(within)} an exact copy in their own split" if within else ""
    if across:
        says = "; ".join(filter(None, [f"in two splits: {_sides(across)}", inside]))
        found = Finding("exact copies", "red", says, todo)
    elif within:
        found = Finding("exact copies", "yellow", inside, "delete all copies but one: each counts as an image now")
    elif len(everything.splits) > len(sharing.splits):
        says = f"no two of {len(sharing.facts):,} files of {_and(sharing.splits)} are the same; {_OTHERS_UNSEEN}"
        found = Finding("exact copies", "grey", says)
    else:
        of = "" if len(sharing.facts) == len(everything.facts) else f", of {len(everything.facts):,} listed,"
        found = Finding("exact copies", "green", f"no two of {len(sharing.facts):,} files{of} are the same")
    wrong = np.flatnonzero(sharing.two_labels())
    if not len(wrong):
        return [found]
    named = _named(sharing.facts["path"].iloc[wrong].tolist())
    says = f"{len(wrong):,} files are listed as real and, byte for byte the same, as synthetic: {named}"
    return [found, Finding("copies with two labels", "red", says, "find out which label is right; delete the others")]


def _near(sharing: Sharing, alike: Alike, n_flat: int, splits: list[str]) -> Finding:
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
    is_partial = len(splits) > len(sharing.splits)
    where = ["no two splits share near-duplicates"] if len(sharing.splits) > 1 else []
    if not (where or n_foreign):
        where = ["no two sources have near-duplicates"]
    where = [f"{text} (at most {DISTANCE} of 64 bits differ)" for text in where]
    says = "; ".join([*where, *inside, *([f"only {_and(sharing.splits)} was looked at"] if is_partial else [])])
    if n_foreign:
        todo = "look at them below; give images of one picture one source, or intervals are too narrow"
        return Finding(name, "yellow", says, todo)
    return Finding(name, "grey" if is_partial else "green", says)


def _sources(sharing: Sharing, manifest: Manifest) -> Finding:
    if not manifest.has_sources:
        says = "the list does not say which images come from one photo or prompt: it has no column source without gaps"
        return Finding(SOURCES, "grey", says, "add a column source, so that splits and intervals can heed it")
    across = sharing.sources_across()
    if across:
        n_sources = sharing.n_sources_across()
        says = f"{n_sources:,} source{'s lie' if n_sources > 1 else ' lies'} in two splits: {_sides(across)}"
        return Finding(SOURCES, "red", says, _BY_SOURCE)
    n_sources = sharing.facts["source"].nunique()
    if len(sharing.splits) == 1:
        return Finding(SOURCES, "green", f"there is one split, of {n_sources:,} sources")
    return Finding(SOURCES, "green", f"no source of {n_sources:,} lies in two splits")


def _similar(facts: pd.DataFrame, found: Similar) -> Finding:
    name = "look-alikes by embedding"
    if not found.pairs.ends:
        says = f"no two images in different splits have embeddings of a cosine above {SIMILAR}"
        return Finding(name, "green", f"{says}; the highest is {found.highest:.3f}")
    says = f"{found.n_images:,} images have one of a cosine above {SIMILAR} in another split"
    return Finding(name, "yellow", f"{says}; the highest is {found.highest:.3f}", _ONE_SOURCE)


def _grid(kinds: dict[str, list[Across]], notes: list[str]) -> Grid:
    rows: list[list[object]] = [
        [kind, f"{one.first} and {one.second}", one.n_first, one.n_second]
        for kind, found in kinds.items()
        for one in found
    ]
    columns = ["shared", "splits", "images in the first", "images in the second"]
    if rows:
        notes = ["an image that has an exact copy in a split is not counted among its near-duplicates there", *notes]
    return Grid("What splits share", columns, rows or [["nothing", "any two", 0, 0]], notes)


def _sides(across: list[Across]) -> str:
    """ "1 image of train and 2 of test, 3 images of validation and 4 of test"."""
    return ", ".join(f"{_n_images(one.n_first)} of {one.first} and {one.n_second:,} of {one.second}" for one in across)


def _images(count: int) -> str:
    return f"{_n_images(count)} {'have' if count > 1 else 'has'}"


def _n_images(count: int) -> str:
    return f"{count:,} image{'s' if count > 1 else ''}"


def _and(splits: list[str]) -> str:
    return " and ".join(splits)


def _named(paths: list[str]) -> str:
    more = f" and {len(paths) - _MOST_NAMED:,} more" if len(paths) > _MOST_NAMED else ""
    return ", ".join(paths[:_MOST_NAMED]) + more
