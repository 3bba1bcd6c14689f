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
    if len(shares) != 3 or min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
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
    sources as well as all, and a source keeps its split when rows are added at the end. rows: a manifest's; where a
    row has no source it is its `image_id`, else its path. A source belongs to the generator of its first synthetic row.
    hold_out: generators that come in the test split alone; all that shares a source with them goes there too. groups:
    (n,) numbers of what belongs together beyond that (near-duplicates); sources that share one are one source. kept:
    sources (or what stands for them) that have a split already. Raises MaibenchError for a generator that is not there.
    """
    there = set(rows["generator"])
    if unknown := [name for name in hold_out if name not in there or name == "real"]:
        known = ", ".join(sorted(there - {"real"}))
        raise MaibenchError(f"--hold-out {unknown[0]}: there is no such generator; there are {known}")
    keys = _keys(rows)
    own = keys if groups is None else _joined(keys, groups)
    frame = pd.DataFrame({"key": own.to_numpy(), "generator": rows["generator"].to_numpy()})
    frame["held"] = frame["generator"].isin(list(hold_out))
    frame["kept"] = keys.map(dict(kept or {})).to_numpy()
    frame["synthetic"] = frame["generator"].where(frame["generator"] != "real")
    sources = frame.groupby("key", sort=False).agg({"synthetic": "first", "held": "any", "kept": "first"})
    stratum = sources["synthetic"].fillna("real")
    # those that have a split come first, so that new ones go on where they ended
    order = sources["kept"].isna().groupby(stratum).rank(method="first").astype(int) - 1
    starts = stratum.map({name: _uniform(f"{seed}:{name}") for name in stratum.unique()})
    dealt = (starts + order * _GOLDEN) % 1
    splits = np.array(SPLITS, dtype=object)[np.searchsorted(np.cumsum(shares)[:2], dealt, side="right")]
    found = sources["kept"].where(sources["kept"].notna(), splits).mask(sources["held"], "test")
    return pd.Series(found.loc[frame["key"]].to_numpy(dtype=object), index=rows.index, name="split").astype(str)


@dataclass(frozen=True)
class Shares:
    """What became of a split. counts: images, a row a generator, a column a split. far: generators of at least ten
    sources whose share of a split is further than 10 points from what was asked, in words. joined: sources that
    near-duplicates joined."""

    counts: pd.DataFrame
    far: list[str]
    joined: int

    def described(self) -> list[str]:
        """What has to be known of it, a line each."""
        joined = [f"{self.joined} sources were joined to others that look alike"] if self.joined else []
        far = [f"{line}: its sources are few, of uneven size, or kept" for line in self.far]
        return joined + far


def write_split(
    manifest: Manifest,
    out: Path,
    shares: Sequence[float] = DEFAULT,
    seed: int = 0,
    hold_out: Sequence[str] = (),
    near: bool = False,
    keep: Path | None = None,
    progress: Progress | None = None,
) -> Shares:
    """Write the manifest with new splits to `out`, a .csv or .parquet in the data's folder or above it.

    near: read all images and keep near-duplicates (`maibench.datasets.near`) on one side. keep: a manifest whose
    sources keep their splits. Raises MaibenchError where
    the images lie in no files of their own, and where `out` lies elsewhere.
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
    groups = _near_groups(manifest, progress or Progress()) if near else None
    kept = _kept(keep) if keep else None
    rows = manifest.rows.assign(split=split_rows(manifest.rows, shares, seed, hold_out, groups, kept))
    rows["path"] = [(manifest.root / path).relative_to(folder).as_posix() for path in rows["path"]]
    make_folder(folder)
    if out.suffix == ".csv":
        write_whole(out, lambda part: rows.to_csv(part, index=False))
    else:
        write_whole(out, lambda part: rows.to_parquet(part, index=False))
    return _described(rows, shares, hold_out, groups)


def _keys(rows: pd.DataFrame) -> pd.Series:
    keys = pd.Series("", index=rows.index)
    for column in ("source", "image_id", "path"):
        if column in rows:
            keys = keys.where(keys != "", rows[column].astype("string").fillna("").astype(str))
    return keys


def _kept(file: Path) -> dict[str, str]:
    """{source: split} of an earlier manifest."""
    rows = read_manifest(file).rows
    splits = pd.DataFrame({"key": _keys(rows), "split": rows["split"]}).drop_duplicates()
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
    rows: pd.DataFrame, shares: Sequence[float], hold_out: Sequence[str], groups: NDArray[np.int64] | None
) -> Shares:
    counts = pd.crosstab(rows["generator"], rows["split"]).reindex(columns=list(SPLITS), fill_value=0)
    keys = _keys(rows)
    joined = 0 if groups is None else keys.nunique() - _joined(keys, groups).nunique()
    sources = keys.groupby(rows["generator"]).nunique()
    far = []
    for name, line in zip(counts.index.astype(str), counts.to_numpy(), strict=True):
        got = line / line.sum()
        worst = int(np.abs(got - np.asarray(shares)).argmax())
        if name not in hold_out and sources[name] >= 10 and abs(got[worst] - shares[worst]) > 0.1:
            far.append(f"{name} has {got[worst]:.0%} of its images in {SPLITS[worst]} (asked {shares[worst]:.0%})")
    return Shares(counts, far, joined)
