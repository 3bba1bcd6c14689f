"""`wild`: 1,296 labelled crops of images in public git repositories. Its list is shipped, its images are collected."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from maibench.datasets.demo import cache_folder
from maibench.datasets.manifest import Manifest
from maibench.datasets.readers import read_manifest, write_name
from maibench.datasets.wild.crops import BYTE_EQUAL, CLOSE, PIXEL_EQUAL, agreement, cut
from maibench.datasets.wild.git import GITHUB, Clones, Copies, check_copies, remove_clones
from maibench.datasets.wild.listed import MANIFEST_COLUMNS, count_listed, read_list
from maibench.datasets.wild.originals import Original, Place, Read
from maibench.datasets.wild.raw import GITHUB_RAW, RawFiles
from maibench.errors import ImageError, MaibenchError
from maibench.files import make_folder, remove_parts, write_text, write_whole
from maibench.progress import Progress

FETCH = {"git": GITHUB, "raw": GITHUB_RAW}
"""How originals can be downloaded, and from where."""
WORKERS = 4
HOW = (
    "'maibench data import wild --copies DIR' takes the originals out of git copies on this machine, "
    "'--fetch git' or '--fetch raw' downloads them from GitHub (about 200 MB)"
)
_MISSING = ["path", "label", "generator", "split", "origin", "origin_commit", "origin_path", "why"]


@dataclass(frozen=True)
class Summary:
    """What an import came to.

    out: the folder with images/ and manifest.csv. listed: images on the list. counts: how many are there as
    "byte-equal", "pixel-equal" and "within 1 level" (`agreement`). computed: crops made by this call; the
    others were there. missing: a frame, a row for each image that is not there, with `why`; also in out/missing.csv.
    """

    out: Path
    listed: int
    counts: dict[str, int]
    computed: int
    missing: pd.DataFrame

    @property
    def complete(self) -> bool:
        """Whether every listed image is there; the command's exit code is 1 where not."""
        return self.missing.empty

    def described(self) -> str:
        """Lines for the user: what is there and how exact, then what is missing, by repository and reason."""
        there = self.listed - len(self.missing)
        exact = ", ".join(f"{count:,} {name}" for name, count in self.counts.items())
        lines = [f"{there:,} of {self.listed:,} images of wild are in {self.out} ({self.computed:,} new): {exact}"]
        if not self.complete:
            lines.append(f"{len(self.missing):,} are missing, named in {self.out / 'missing.csv'}:")
            for (repository, why), rows in self.missing.groupby(["origin", "why"]):
                splits = ", ".join(f"{split} {count}" for split, count in rows["split"].value_counts().items())
                lines.append(f"  {repository}: {len(rows)} ({splits}): {why}")
        return "\n".join(lines)


def import_wild(
    copies: Sequence[Path],
    fetch: str | None,
    out: Path | None,
    progress: Progress,
    listed: pd.DataFrame | None = None,
    address: str | None = None,
) -> Summary:
    """Collect the originals of `wild` and cut its crops out of them; what is already there is kept.

    copies: folders that hold git copies (`git.LAYOUTS`). fetch: "git" or "raw" to download what they lack,
    from `address` (by default GitHub's); None downloads nothing. out: by default the place where `open_wild` looks.
    listed: as `listed.read_list` gives it.

    An original counts only with the listed sha256, a crop only where it is the listed one (`agreement`).
    out receives images/, manifest.csv (the images that are there, in the list's form and order), its name
    (`write_name`), and missing.csv where some are not there. Nothing else is kept; an interrupted call loses nothing
    and the next goes on.
    Raises MaibenchError where nothing says where to collect from, or `out` holds other data; DiskError.
    """
    rows = read_list() if listed is None else listed
    out = out or wild_folder()
    _check_request(copies, fetch)
    check_copies(copies)
    _check_out(out, rows)
    make_folder(out / "images")
    remove_clones(out)
    remove_parts(out)
    work = _Work(rows, out)
    work.look_around()
    present = len(work.there)
    if present < len(rows):
        places = list(_places(copies, fetch, address, out))
        if fetch is None:
            Copies(copies).check(sorted(work.todo["origin"].unique()))
        with progress.running(len(rows), present):
            for place in places:
                work.collect(place, progress)
    return work.finish(present)


def open_wild(folder: Path | None = None) -> Manifest:
    """The manifest of what was imported; where that is incomplete, its name says how many images it has.

    Raises MaibenchError, saying which command to run, where nothing was.
    """
    folder = folder or wild_folder()
    if not (folder / "manifest.csv").is_file():
        raise MaibenchError(f"the images of 'wild' are not on this machine (only their list is): {HOW}")
    manifest = read_manifest(folder / "manifest.csv")
    there, listed = len(manifest.rows), count_listed()
    return dataclasses.replace(manifest, name="wild" if there == listed else f"wild-{there}-of-{listed}")


def wild_folder() -> Path:
    """Where it is imported to unless another place is named."""
    return cache_folder() / "wild"


@dataclass
class _Work:
    """there: path -> its agreement with the list. why: path -> why it cannot be had, for each place that was tried."""

    rows: pd.DataFrame
    out: Path
    there: dict[str, str] = field(default_factory=dict)
    why: dict[str, list[str]] = field(default_factory=dict)

    @property
    def todo(self) -> pd.DataFrame:
        """The rows of what is not there yet."""
        return self.rows[~self.rows["path"].isin(self.there)]

    def look_around(self) -> None:
        """Find the crops that are there and right."""
        for row in self.rows.itertuples():
            file = self.out / str(row.path)
            if file.is_file():
                try:
                    self.there[str(row.path)] = agreement(file.read_bytes(), row)
                except (OSError, ImageError):
                    continue  # made again

    def collect(self, place: Place, progress: Progress) -> None:
        """Make what is not there yet of the originals that `place` has, four at once."""
        for repository, rows in self.todo.groupby("origin"):
            originals = [_original(row) for row in rows.itertuples()]
            try:
                with place.open(str(repository), originals) as read:
                    self._cut_all(rows, read, progress)
            except ImageError as error:
                for path in rows["path"]:
                    self.why.setdefault(path, []).append(str(error))

    def _cut_all(self, rows: pd.DataFrame, read: Read, progress: Progress) -> None:
        with ThreadPoolExecutor(WORKERS) as pool:
            try:
                for path, reached in pool.map(lambda row: self._cut(row, read), rows.itertuples()):
                    if reached:
                        self.there[path] = reached
                        progress.advance(1)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def _cut(self, row: Any, read: Read) -> tuple[str, str]:
        try:
            crop = cut(read(_original(row)), row)
            reached = agreement(crop, row)
        except ImageError as error:
            self.why.setdefault(row.path, []).append(str(error))
            return row.path, ""
        write_whole(self.out / row.path, lambda part: part.write_bytes(crop))
        return row.path, reached

    def finish(self, present: int) -> Summary:
        there = self.rows["path"].isin(self.there)
        missing = self.rows[~there].copy()
        missing["why"] = ["; ".join(self.why.get(path, [])) for path in missing["path"]]
        write_name(self.out, "wild", count_listed())
        self._write("manifest.csv", self._manifest(self.rows[there]))
        self._write("missing.csv", missing[_MISSING])
        reached = Counter(self.there.values())
        counts = {name: reached[name] for name in (BYTE_EQUAL, PIXEL_EQUAL, CLOSE)}
        return Summary(self.out, len(self.rows), counts, len(self.there) - present, missing[_MISSING])

    def _manifest(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The rows as they are; a crop of other bytes is listed with its own."""
        rows = rows[list(MANIFEST_COLUMNS)].copy()
        for index in rows.index[rows["path"].map(self.there) != BYTE_EQUAL]:
            data = (self.out / str(rows.at[index, "path"])).read_bytes()
            rows.loc[index, ["image_id", "n_bytes"]] = hashlib.sha256(data).hexdigest(), len(data)
        return rows

    def _write(self, name: str, rows: pd.DataFrame) -> None:
        if len(rows):
            write_text(self.out / name, rows.to_csv(index=False))
        else:
            (self.out / name).unlink(missing_ok=True)


def _original(row: Any) -> Original:
    return Original(row.origin, row.origin_commit, row.origin_path, row.origin_sha256)


def _places(copies: Sequence[Path], fetch: str | None, address: str | None, out: Path) -> Iterator[Place]:
    if copies:
        yield Copies(copies)
    if fetch == "git":
        yield Clones(address or GITHUB, out)
    if fetch == "raw":
        yield RawFiles(address or GITHUB_RAW)


def _check_request(copies: Sequence[Path], fetch: str | None) -> None:
    if fetch is not None and fetch not in FETCH:
        raise MaibenchError(f"--fetch {fetch}: give {' or '.join(FETCH)}")
    if not copies and fetch is None:
        raise MaibenchError(f"the images of 'wild' have to be collected, and nothing says from where: {HOW}")


def _check_out(out: Path, rows: pd.DataFrame) -> None:
    """Never write into another data set."""
    file = out / "manifest.csv"
    if file.is_file() and not set(read_manifest(file).rows["path"]) <= set(rows["path"]):
        raise MaibenchError(f"{out}: holds another data set; choose another folder with --out")
