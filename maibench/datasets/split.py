"""Splits that keep what belongs together on one side, and stay as they are when images are added."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from maibench.datasets.image import decode
from maibench.datasets.images import FolderImages
from maibench.datasets.manifest import SPLITS, Manifest
from maibench.datasets.readers import read_manifest
from maibench.errors import ImageError, MaibenchError
from maibench.files import make_folder, write_whole
from maibench.progress import Progress

DEFAULT = (0.7, 0.15, 0.15)
"""Shares of train, validation and test."""
_GOLDEN = (5**0.5 - 1) / 2


def parse_shares(text: str) -> tuple[float, float, float]:
    """ "0.7,0.15,0.15": train, validation, test. Raises MaibenchError unless they are three, none negative, and sum to
    one."""
    try:
        shares = tuple(float(part) for part in text.split(","))
    except ValueError:
        shares = ()
    if len(shares) != 3 or min(shares) < 0 or not abs(sum(shares) - 1) <= 1e-6:
        raise MaibenchError(
            f"--shares {text}: give three that sum to one, for train, validation and test: 0.7,0.15,0.15"
        )
    return shares


def split_rows(
    rows: pd.DataFrame,
    shares: Sequence[float] = DEFAULT,
    seed: int = 0,
    hold_out: Sequence[str] = (),
    groups: NDArray[np.int64] | None = None,
    kept: Mapping[str, str] | None = None,
) -> pd.Series:
    """The split of every row, the same for all rows of a source.

    The sources of a generator are dealt out one after the other, in the order of the list, along the golden ratio's
    sequence from a seeded start (H. Weyl's equidistribution): every generator is cut in the asked shares, its first n
    sources as well as all. A source belongs to the generator of its first synthetic row. When rows are added at the end
    no source moves but one of photographs alone that gets its first synthetic row; with `kept`, none does, wherever
    rows are added.

    rows: a manifest's; where a row has no source it is its `image_id`, else its path. hold_out: generators that come in
    the test split alone; all that shares a source with them goes there too. groups: (n,) numbers of what belongs
    together beyond that (near-duplicates); sources that share one are one source. kept: {source, or what stands for it:
    its split}; one that has to be held out moves, as does one that is joined to a source that was kept elsewhere.
    Raises MaibenchError for a generator that is not there.
    """
    there = set(rows["generator"])
    if unknown := [name for name in hold_out if name not in there or name == "real"]:
        known = ", ".join(sorted(there - {"real"}))
        raise MaibenchError(f"--hold-out {unknown[0]}: there is no such generator; there are {known}")
    keys = _keys(rows)
    own = keys if groups is None else _joined(keys, groups)
    frame = pd.DataFrame({"key": own.to_numpy(), "generator": rows["generator"].to_numpy()})
    is_synthetic = frame["generator"] != "real"
    frame["held"] = frame["generator"].isin(list(hold_out))
    frame["kept"] = keys.map(dict(kept or {})).to_numpy()
    frame["synthetic"] = frame["generator"].where(is_synthetic)
    frame["first"] = np.arange(len(frame))
    frame["first_synthetic"] = frame["first"].where(is_synthetic)
    sources = frame.groupby("key", sort=False).agg("first")
    sources["held"] = frame.groupby("key", sort=False)["held"].any()
    starts = {name: _uniform(f"{seed}:{name}") for name in rows["generator"].unique()}
    stratum = sources["synthetic"].fillna("real")
    dealt = (stratum.map(starts) + _places(sources, stratum) * _GOLDEN) % 1
    splits = np.array(SPLITS, dtype=object)[np.searchsorted(np.cumsum(shares)[:2], dealt, side="right")]
    found = sources["kept"].where(sources["kept"].notna(), splits).mask(sources["held"], "test")
    return pd.Series(found.loc[frame["key"]].to_numpy(dtype=object), index=rows.index, name="split").astype(str)


@dataclass(frozen=True)
class Shares:
    """What became of a split.

    counts: images, a row a generator, a column a split. without: generators that have no image in a split that was
    asked for, in words; far: those of at least ten sources whose share of a split is further than 10 points from what
    was asked. empty: splits that were asked for and got nothing. joined: sources that near-duplicates joined. kept:
    sources that kept their splits; moved: those that could not.
    """

    counts: pd.DataFrame
    without: list[str]
    far: list[str]
    empty: list[str]
    joined: int = 0
    kept: int = 0
    moved: int = 0

    def described(self) -> list[str]:
        """What has to be known of it, a line each."""
        joined = [f"{self.joined:,} sources were joined to others that look alike"] if self.joined else []
        kept = [f"{self.kept:,} sources keep their splits"] if self.kept else []
        moved = [f"{self.moved:,} sources moved, held out or joined to others"] if self.moved else []
        empty = [
            f"nothing is left for {name}: the sources are few, or shared with a generator that is held out"
            for name in self.empty
        ]
        return joined + kept + moved + empty + self.without + self.far


def write_split(
    manifest: Manifest,
    out: Path,
    shares: Sequence[float] = DEFAULT,
    seed: int = 0,
    hold_out: Sequence[str] = (),
    near: bool = False,
    keep: Path | None = None,
    fresh: bool = False,
    progress: Progress | None = None,
) -> Shares:
    """Write the manifest with new splits to `out`, a .csv or .parquet in the data's folder or above it.

    near: read all images and keep near-duplicates (`maibench.datasets.near`) on one side. keep: a manifest whose
    sources keep their splits. Raises MaibenchError where the images lie in no files of their own, where `out` lies
    elsewhere, and where it is there already, unless it is kept or `fresh` replaces it.
    """
    if not isinstance(manifest.images, FolderImages):
        raise MaibenchError(
            f"'{manifest.name}' has its images in shards, whose split is that of their file; split the data before it "
            "is packed, or derive a folder from it with 'maibench data match'"
        )
    if out.suffix not in (".csv", ".parquet"):
        raise MaibenchError(f"--out {out}: a manifest is a .csv or a .parquet file")
    folder = out.resolve().parent
    if not manifest.root.is_relative_to(folder):
        raise MaibenchError(
            f"--out {out}: a manifest lists images below its own folder; write it to {manifest.root} or above"
        )
    if out.exists() and not fresh and (keep is None or keep.resolve() != out.resolve()):
        raise MaibenchError(
            f"--out {out}: is there already; --keep {out} adds to it and moves no source that it lists, --fresh "
            "replaces it"
        )
    kept = _kept(keep, manifest) if keep else {}
    groups = _near_groups(manifest, progress or Progress()) if near else None
    rows = manifest.rows.assign(split=split_rows(manifest.rows, shares, seed, hold_out, groups, kept))
    found = _described(rows, shares, hold_out, groups, kept)
    below = manifest.root.relative_to(folder).as_posix()
    if below != ".":
        rows["path"] = f"{below}/" + rows["path"]
    make_folder(folder)
    if out.suffix == ".csv":
        write_whole(out, lambda part: rows.to_csv(part, index=False))
    else:
        write_whole(out, lambda part: rows.to_parquet(part, index=False))
    return found


def _places(sources: pd.DataFrame, stratum: pd.Series) -> pd.Series:
    """The place of each source in the deal of its stratum: by its first synthetic row, else by its first row. What got
    a synthetic row later keeps its place among the photographs, so that the others do not move up."""
    # those that have a split come first, so that new ones go on where they ended
    ordered = sources.assign(new=sources["kept"].isna()).sort_values(["new", "first"], kind="stable")
    of_photographs = (ordered["generator"] == "real").cumsum() - 1
    ordered = ordered.sort_values(["new", "first_synthetic"], kind="stable")
    of_generator = ordered.groupby(stratum.loc[ordered.index]).cumcount()
    return of_generator.loc[sources.index].where(stratum != "real", of_photographs.loc[sources.index])


def _keys(rows: pd.DataFrame) -> pd.Series:
    keys = pd.Series("", index=rows.index)
    for column in ("source", "image_id", "path"):
        if column in rows:
            keys = keys.where(keys != "", rows[column].astype("string").fillna("").astype(str))
    return keys


def _kept(file: Path, manifest: Manifest) -> dict[str, str]:
    """{source: split} of an earlier manifest, as far as its sources are in this one."""
    earlier = read_manifest(file)
    whole = [f"{earlier.root}/{path}" for path in earlier.rows["path"]]  # it may lie elsewhere than this one
    rows = earlier.rows.assign(path=[path.removeprefix(f"{manifest.root}/") for path in whole])
    splits = pd.DataFrame({"key": _keys(rows), "split": rows["split"]}).drop_duplicates()
    splits = splits[splits["key"].isin(_keys(manifest.rows))]
    if splits.empty or splits["split"].nunique() == 1:
        what = "no source of the data" if splits.empty else f"the data's sources in '{splits['split'].iloc[0]}' alone"
        raise MaibenchError(f"--keep {file}: lists {what}, so there is nothing to be kept; leave it out")
    if splits["key"].duplicated().any():
        source = splits["key"][splits["key"].duplicated()].iloc[0]
        raise MaibenchError(f"--keep {file}: the source '{source}' lies in two splits there; split it anew first")
    return dict(zip(splits["key"], splits["split"], strict=True))


def _joined(keys: pd.Series, groups: NDArray[np.int64]) -> pd.Series:
    """Sources that share a group under one name, the first of theirs."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    codes, names = pd.factorize(keys, sort=True)
    numbers = np.unique(groups, return_inverse=True)[1]
    size = len(names) + int(numbers.max()) + 1
    edges = coo_array((np.ones(len(codes)), (codes, len(names) + numbers)), shape=(size, size))
    part = connected_components(edges, directed=False)[1][: len(names)]
    first = pd.Series(np.arange(len(names))).groupby(part).transform("min").to_numpy()
    return pd.Series(np.asarray(names, dtype=object)[first[codes]], index=keys.index)


def _near_groups(manifest: Manifest, progress: Progress) -> NDArray[np.int64]:
    """A number for every row, the same for near-duplicates; an image that cannot be read stands alone."""
    from maibench.datasets.near import likeness, near_groups

    paths = manifest.rows["path"].tolist()
    across, down = (np.zeros(len(paths), dtype=np.uint64) for _ in range(2))
    flat = np.ones(len(paths), dtype=bool)  # until it is read
    with progress.running(len(paths)):
        for index, path in enumerate(paths):
            with contextlib.suppress(ImageError):  # it belongs to nothing that can be seen
                alike: dict[str, Any] = likeness(decode(manifest.read(path).data))
                across[index], down[index] = alike["dhash"], alike["dhash_down"]
                flat[index] = bool(alike["flat"])
            progress.advance(1)
    return near_groups(across, down, flat)


def _uniform(text: str) -> float:
    """A number in [0, 1) that the text alone decides."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big") / 2**56


def _described(
    rows: pd.DataFrame,
    shares: Sequence[float],
    hold_out: Sequence[str],
    groups: NDArray[np.int64] | None,
    kept: Mapping[str, str],
) -> Shares:
    counts = pd.crosstab(rows["generator"], rows["split"]).reindex(columns=list(SPLITS), fill_value=0)
    keys = _keys(rows)
    joined = 0 if groups is None else keys.nunique() - _joined(keys, groups).nunique()
    dragged = keys.isin(keys[rows["generator"].isin(list(hold_out))])
    asked = [split for split, share in zip(SPLITS, shares, strict=True) if share]
    without, far = [], []
    for name in counts.index.astype(str):
        if name in hold_out:
            continue
        is_its = rows["generator"] == name
        got = (counts.loc[name] / counts.loc[name].sum()).to_numpy()
        sizes = keys[is_its].value_counts()
        why = f"{len(sizes):,} sources, the largest of {sizes.iloc[0]:,} of {sizes.sum():,} images"
        if shared := int((is_its & dragged).sum()):
            why += f"; {shared:,} images share theirs with a generator that is held out"
        if missing := [split for split in asked if not counts.loc[name, split] and counts[split].sum()]:
            without.append(f"{name} has no image in {' and '.join(missing)} ({why})")
        worst = int(np.abs(got - np.asarray(shares)).argmax())
        if not missing and len(sizes) >= 10 and abs(got[worst] - shares[worst]) > 0.1:
            far.append(
                f"{name} has {got[worst]:.0%} of its images in {SPLITS[worst]}, asked {shares[worst]:.0%} ({why})"
            )
    empty = [name for name, share in zip(SPLITS, shares, strict=True) if share and not counts[name].sum()]
    were = keys.map(dict(kept))
    moved = keys[were.notna() & (were != rows["split"])].nunique()
    return Shares(counts, without, far, empty, joined, keys[were.notna()].nunique() - moved, moved)
