"""Any data set as a few large files: Parquet with the images in it, or WebDataset shards.

The bytes of the images stay as they are. Each split has shards of its own, and the images of a source lie in one of
them: a shard ends at the first source that begins after it is full. Memory does not grow with the number of images but
for their checksums, and a command that was killed goes on with the first shard that is missing, to the same bytes.
"""

from __future__ import annotations

import collections
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from maibench.datasets.data_card import DataCard, versions_of, write_data_card
from maibench.datasets.image import ImageFile
from maibench.datasets.manifest import SPLITS, Manifest
from maibench.datasets.packing.folder import Note, PackFolder
from maibench.datasets.packing.reading import read_ahead, spooled
from maibench.datasets.packing.shards import WRITERS, listed_columns, measured, with_measured
from maibench.datasets.readers import open_data
from maibench.errors import ImageError, MaibenchError
from maibench.files import write_whole
from maibench.progress import Progress

RECIPE = 1
"""Raise it when the same request makes other bytes, so that old folders are not gone on with."""
_CHECKSUM = 16
"""Bytes of an image's sha256 that are kept to find it again."""


@dataclass(frozen=True)
class Request:
    """What is asked for.

    data: a SOURCE. columns: as `open_data` takes them. format: a key of `WRITERS`. shard_mb: a shard is full at so many
    millions of bytes of images. licence: of the whole, for the data card (empty: taken from the rows).
    """

    data: str
    out: Path
    format: str = "parquet"
    shard_mb: float = 500
    columns: str = ""
    licence: str = ""


@dataclass(frozen=True)
class Packed:
    """What was made. shards: {file: bytes}. left_out: {path: why} of the images that could not be read. computed: the
    shards that were not there yet."""

    images: int
    shards: dict[str, int]
    left_out: dict[str, str]
    computed: int

    def described(self) -> str:
        """In one line."""
        left = f"{len(self.left_out):,} could not be read and are left out" if self.left_out else "none left out"
        n_shards = f"{len(self.shards):,} shard" + "s" * (len(self.shards) != 1)
        return f"{self.images:,} images in {n_shards} ({sum(self.shards.values()) / 1e6:,.1f} MB), {left}"


def pack(request: Request, fresh: bool = False, progress: Progress | None = None) -> Packed:
    """Write the shards of a data set and its data card, or what of them is missing.

    fresh: all afresh, also in place of what another command packed. Raises MaibenchError for a wrong request, for a
    folder that holds something else, for one image with two labels, and for data of which no image can be read.
    """
    if request.format not in WRITERS:
        raise MaibenchError(f"--format {request.format}: give {' or '.join(WRITERS)}")
    if request.shard_mb <= 0:
        raise MaibenchError(f"--shard-mb {request.shard_mb}: give millions of bytes, above 0")
    manifest = open_data(request.data, request.columns)
    if fresh and manifest.root.is_relative_to(request.out.resolve()):
        raise MaibenchError(
            f"{request.out}: holds the data to be packed, which --fresh would remove; choose another --out"
        )
    return _Packing(manifest, request, fresh, progress or Progress()).run()


@dataclass(frozen=True)
class _Shard:
    """A shard that is done. size: in bytes; 0 where none of its images could be read."""

    name: str
    split: str
    size: int


class _Packing:
    def __init__(self, manifest: Manifest, request: Request, fresh: bool, progress: Progress) -> None:
        self.manifest, self.request, self.progress = manifest, request, progress
        self.writer = WRITERS[request.format]
        self.order, self.sources = packing_order(manifest.rows)
        self.rows = manifest.rows.iloc[self.order]
        self.listed = listed_columns(self.rows, manifest.name)
        self.paths: list[str] = self.rows["path"].tolist()
        self.splits, self.labels = self.rows["split"].to_numpy(), self.rows["label"].to_numpy()
        self.ids = self.rows["image_id"].astype("string").fillna("").tolist() if "image_id" in self.rows else None
        asked = {
            "recipe": RECIPE, "data": f"{manifest.name} {manifest.fingerprint} {_columns_hash(self.listed)}",
            "format": request.format, "shard_mb": request.shard_mb,
        }  # fmt: skip
        self.folder = PackFolder(request.out, self.writer.suffix, asked, fresh)
        self._seen: dict[bytes, int] = {}
        self._reading: Iterator[ImageFile | ImageError] = iter(())
        self._at = -1

    def run(self) -> Packed:
        if (made := self.folder.made()) is not None:
            if made["licence"] != self.request.licence:  # it is in the card alone
                self._describe(open_data(str(self.folder.path)).rows, made["left_out"])
                self.folder.finish({**made, "licence": self.request.licence})
            return Packed(made["images"], made["shards"], made["left_out"], computed=0)
        self.folder.begin()
        shards: list[_Shard] = []
        numbers: collections.Counter[str] = collections.Counter()
        computed = at = 0
        with self.progress.running(len(self.paths)):
            while at < len(self.paths):
                split = str(self.splits[at])
                name = f"{split}-{numbers[split]:0{self.writer.digits}d}"
                note = self.folder.note(name)
                if note is None:
                    note = self._write(name, at)
                    computed += 1
                else:
                    for row, image_id, *_ in note.members:
                        self._check_label(row, image_id)
                    self.progress.advance(note.stop - at)
                shards.append(_Shard(name, split, note.size))
                numbers[split] += 1
                at = note.stop
        return self._finish(shards, computed)

    def _write(self, name: str, start: int) -> Note:
        """Write the shard that begins with a row, and its note."""
        notes: list[Note] = []
        write_whole(self.folder.shard(name), lambda part: notes.append(self._fill(part, start)))
        note = notes[0]
        file = self.folder.shard(name)
        if note.members:
            note = Note(note.split, note.start, note.stop, note.members, note.left_out, file.stat().st_size)
        else:
            file.unlink()
        self.folder.done(name, note)
        return note

    def _fill(self, part: Path, start: int) -> Note:
        shard = self.writer(part, self.listed)
        note, n_bytes, at = Note(self.splits[start], start, start), 0, start
        try:
            while at < len(self.paths) and self.splits[at] == note.split:
                if n_bytes >= self.request.shard_mb * 1e6 and self.sources[at] != self.sources[at - 1]:
                    break
                found = self._image(at)
                if isinstance(found, ImageFile) and self.ids and self.ids[at] not in ("", found.image_id):
                    found = ImageError("its bytes are not those that the manifest lists (another image_id)")
                if isinstance(found, ImageFile):
                    self._check_label(at, found.image_id)
                    note.members.append([at, *measured(found), shard.add(at, found)])
                    n_bytes += len(found.data)
                else:
                    note.left_out[self.paths[at]] = str(found)
                at += 1
                self.progress.advance(1)
        finally:
            shard.close()
        return Note(note.split, start, at, note.members, note.left_out)

    def _image(self, at: int) -> ImageFile | ImageError:
        """A row's image. Rows are asked for in order, but for those of shards that are there."""
        if at != self._at:
            if self.manifest.images.in_order and (np.diff(self.order[at:]) < 0).any():
                self.progress.say("the images can only be read in their own order: keeping them in a file meanwhile")
                own_order = [self.paths[row] for row in at + np.argsort(self.order[at:])]
                self.manifest = spooled(self.manifest, own_order, self.folder.path)
            self._reading = read_ahead(self.manifest, self.paths[at:])
        self._at = at + 1
        return next(self._reading)

    def _check_label(self, row: int, image_id: str) -> None:
        other = self._seen.setdefault(bytes.fromhex(image_id)[:_CHECKSUM], row)
        if self.labels[other] != self.labels[row]:
            raise MaibenchError(
                f"{self.manifest.name}: '{self.paths[other]}' and '{self.paths[row]}' are one image (image_id "
                f"{image_id[:16]}) with two labels; take the wrong one out of the list"
            )

    def _finish(self, shards: list[_Shard], computed: int) -> Packed:
        """Name the shards, write the list of them and the data card."""
        counts = collections.Counter(shard.split for shard in shards if shard.size)
        tables, final, left_out = [], {}, {}
        for shard in shards:
            note = self.folder.note(shard.name)
            assert note is not None, shard.name
            left_out.update(note.left_out)
            if shard.size:
                final[shard.name] = self._final(shard, counts[shard.split])
                tables.append(self._table(note, final[shard.name]))
        if not tables:
            path, reason = next(iter(left_out.items()))
            raise MaibenchError(f"none of the {len(left_out):,} images can be read; the first is {path}: {reason}")
        table = pa.concat_tables(tables)
        self.folder.place(final)
        if self.request.format == "wds":
            write_whole(self.folder.path / "manifest.parquet", lambda part: pq.write_table(table, part))
        rows = table.to_pandas()
        self._describe(rows, left_out)
        sizes = {final[shard.name]: shard.size for shard in shards if shard.size}
        made = {"images": len(rows), "shards": sizes, "left_out": left_out, "licence": self.request.licence}
        self.folder.finish(made)
        return Packed(len(rows), sizes, left_out, computed)

    def _table(self, note: Note, shard: str) -> pa.Table:
        """The rows of a shard, and of WebDataset where their images lie."""
        table = with_measured(self.listed, [m[0] for m in note.members], [m[1:-1] for m in note.members])
        if self.request.format == "parquet":
            return table
        table = table.append_column("shard", pa.array([shard] * len(table)))
        return table.append_column("offset", pa.array([m[-1] for m in note.members], pa.int64()))

    def _final(self, shard: _Shard, count: int) -> str:
        if self.request.format == "parquet":
            return f"{shard.name}-of-{count:05d}.parquet"
        return f"{shard.name}{self.writer.suffix}"

    def _describe(self, rows: pd.DataFrame, left_out: dict[str, str]) -> None:
        """Write the data card of what was packed."""
        request, limits, n_real = self.request, [], int((rows["label"] == 0).sum())
        data = request.data if not Path(request.data).expanduser().is_absolute() else Path(request.data).name
        command = f"maibench data pack {data} --out {request.out.name} --format {request.format}"
        command += f" --shard-mb {request.shard_mb:g}" + (f' --columns "{request.columns}"' if request.columns else "")
        if left_out:
            limits.append(f"{len(left_out):,} images could not be read and are left out; pack.json names them.")
        formats = sorted(rows["format"].unique())
        if request.format == "wds" and len(formats) > 1:
            limits.append(
                f"The images are {', '.join(formats)}: Hugging Face datasets wants shards of one format, and refuses "
                "these or leaves images out; `--format parquet` holds them all."
            )
        card = DataCard(
            title=self.manifest.name,
            summary=f"{n_real:,} real and {len(rows) - n_real:,} synthetic images",
            made=[
                f"Packed from `{data}`: the bytes of every image file are as they were there.",
                "The images of a source lie in one shard.",
            ],
            command=command,
            licence=request.licence,
            limits=limits,
            tags=["webdataset"] if request.format == "wds" else [],
            data_files={split: f"{split}-*{self.writer.suffix}" for split in SPLITS if (rows["split"] == split).any()},
            versions=versions_of("pyarrow"),
        )
        write_data_card(self.folder.path, card, rows)


def packing_order(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """(positions of a manifest's rows in the order of packing, and in that order the number of each one's source).

    Splits, and in them sources, follow in the order in which they first occur; the images of a source stay in theirs.
    """
    sources = rows["source"].astype(str) if "source" in rows else pd.Series("", index=rows.index)
    sources = sources.where(sources != "", "\0" + rows["path"])
    split = pd.factorize(rows["split"])[0]
    source = pd.factorize(pd.Series(split, index=rows.index).astype(str) + "\0" + sources)[0]
    order = np.lexsort((source, split))  # stable: what is equal stays in order
    return order, source[order]


def _columns_hash(listed: pa.Table) -> str:
    """Of all that is packed besides the images, so that a folder is not gone on with when a licence has changed."""
    digest = hashlib.sha256(str(listed.schema.to_string()).encode())
    for name in listed.column_names:
        digest.update(pd.util.hash_array(listed[name].to_pandas().astype(str).to_numpy(dtype=object)).tobytes())
    return digest.hexdigest()[:16]
