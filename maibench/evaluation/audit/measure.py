"""The one pass over the images that an audit needs: a row of facts an image, kept in parts so that a killed pass goes
on where it stopped."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from maibench.datasets.image import MAX_PIXELS, ImageFile, Pixels, decode
from maibench.datasets.images import FolderImages
from maibench.datasets.manifest import Manifest
from maibench.errors import ImageError, MaibenchError
from maibench.files import make_folder, write_whole
from maibench.progress import Progress

if TYPE_CHECKING:
    from maibench.evaluation.audit.history import MeanImages

LISTED = ("path", "label", "generator", "source", "split")
"""Columns of the facts that come from the manifest; an image without a source is its own."""
IMAGES_A_PART = 500
_NOTE = b"maibench audit"


def _of_file(file: ImageFile, pixels: Callable[[], Pixels]) -> dict[str, Any]:
    from maibench.evaluation.audit.header import file_facts

    try:
        return file_facts(file)
    except Exception as error:  # Pillow's readers raise OSError, SyntaxError, ValueError, struct.error and others
        raise ImageError(f"its header cannot be read: {error}") from error


def _of_likeness(file: ImageFile, pixels: Callable[[], Pixels]) -> dict[str, Any]:
    from maibench.datasets.near import likeness

    return likeness(pixels())


def _of_history(file: ImageFile, pixels: Callable[[], Pixels]) -> dict[str, Any]:
    from maibench.evaluation.audit.history import history, thumbnail

    return {**history(pixels()), _THUMBNAIL: thumbnail(pixels())}


STEPS: dict[str, tuple[Callable[..., dict[str, Any]], tuple[str, ...]]] = {
    "file": (_of_file, ("maibench.evaluation.audit.header",)),
    "likeness": (_of_likeness, ("maibench.datasets.near",)),
    "history": (
        _of_history,
        tuple(f"maibench.evaluation.audit.{name}" for name in ("history", "luma", "means", "traces", "resizing")),
    ),
}
"""What can be measured of an image, and the modules whose code decides what comes out."""
_THUMBNAIL = "thumbnail"


@dataclass
class Measured:
    """What a pass found. facts: a row an image that could be read: LISTED, `image_id`, and what the steps say of it.
    failures: the others: LISTED and `error`. means: mean images by generator, with the step "history"."""

    facts: pd.DataFrame
    failures: pd.DataFrame
    means: MeanImages | None = None


def measure(
    manifest: Manifest,
    rows: pd.DataFrame,
    steps: Sequence[str],
    folder: Path | None = None,
    workers: int = 1,
    max_pixels: int = MAX_PIXELS,
    progress: Progress | None = None,
) -> Measured:
    """Measure these rows of a manifest, each image read once, in the order of the rows.

    steps: keys of STEPS. folder: where the facts are kept, in parts of IMAGES_A_PART images; parts of the same images
    (files of the same size and time), steps and code are taken as they are. An image that cannot be read is a failure,
    never an error. Raises MaibenchError when no image can be read, DiskError when a part cannot be written.
    """
    progress = progress or Progress()
    key = _key(manifest, rows, steps, max_pixels) if folder else ""
    parts = _Parts(folder, key, "history" in steps)
    chunks = [rows.iloc[start : start + IMAGES_A_PART] for start in range(0, len(rows), IMAGES_A_PART)]
    measure_one = partial(_measure_one, manifest, [STEPS[name][0] for name in steps], max_pixels)
    done = min(len(rows), parts.count * IMAGES_A_PART)
    with progress.running(len(rows), done), ThreadPoolExecutor(workers, thread_name_prefix="measure") as pool:
        try:
            for chunk in chunks[parts.count :]:
                listed = chunk.to_dict("records")
                manifest.images.expect([row["path"] for row in listed])
                found: list[dict[str, Any]] = []
                failed: list[dict[str, Any]] = []
                for facts in pool.map(measure_one, listed):
                    (failed if "error" in facts else found).append(facts)
                    parts.add_thumbnail(facts)
                    progress.advance(1)
                parts.write(found, failed)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    measured = parts.all()
    if measured.facts.empty:
        row = measured.failures.iloc[0]
        raise MaibenchError(f"{manifest.name}: no image can be read; the first, '{row['path']}': {row['error']}")
    return measured


def listed_facts(row: Mapping[Hashable, Any]) -> dict[str, Any]:
    """LISTED of a row of a manifest."""
    facts = {name: row.get(name) for name in LISTED}
    return facts | {"source": facts["source"] or facts["path"]}


def _measure_one(
    manifest: Manifest, steps: Sequence[Callable[..., dict[str, Any]]], max_pixels: int, row: Mapping[Hashable, Any]
) -> dict[str, Any]:
    facts = listed_facts(row)
    try:
        file = manifest.read(facts["path"], max_pixels)
        decoded: list[Pixels] = []

        def pixels() -> Pixels:
            if not decoded:
                decoded.append(decode(file.data))
            return decoded[0]

        facts["image_id"] = file.image_id
        for step in steps:
            facts |= step(file, pixels)
    except ImageError as error:
        return listed_facts(row) | {"error": str(error)}
    return facts


def _key(manifest: Manifest, rows: pd.DataFrame, steps: Sequence[str], max_pixels: int) -> str:
    """Names one pass: the same key means the same facts. Who mends a file and audits again is told of the new one."""
    positions = hashlib.sha256(rows.index.to_numpy(dtype=np.int64).tobytes()).hexdigest()
    modules = [__name__, *(module for name in steps for module in STEPS[name][1])]
    code = hashlib.sha256(b"".join(Path(str(import_module(name).__file__)).read_bytes() for name in modules))
    stamps = hashlib.sha256()
    if isinstance(manifest.images, FolderImages):
        stamps.update(
            np.fromiter(manifest.images.stamps(rows["path"].tolist()), dtype="2i8", count=len(rows)).tobytes()
        )
    facts = [manifest.fingerprint, positions, list(steps), max_pixels, code.hexdigest(), stamps.hexdigest()]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


class _Parts:
    """The parts of a pass, on disk where it has a folder. Beside the last one lies the state of the mean images, whose
    size does not grow with the number of images."""

    def __init__(self, folder: Path | None, key: str, with_means: bool) -> None:
        self._folder, self._key = folder, key
        self._tables: list[pa.Table] = []
        self._failures: list[dict[str, Any]] = []
        self._means = _new_means() if with_means else None
        self.count = 0
        if folder is not None:
            self._take_up(folder)

    def add_thumbnail(self, facts: dict[str, Any]) -> None:
        if self._means is not None and _THUMBNAIL in facts:
            self._means.add(facts["generator"], facts["source"], facts.pop(_THUMBNAIL))

    def write(self, found: list[dict[str, Any]], failed: list[dict[str, Any]]) -> None:
        """Keep the next part. Raises DiskError."""
        table = pa.Table.from_pandas(pd.DataFrame(found), preserve_index=False)
        note = {"key": self._key, "failures": failed}
        table = table.replace_schema_metadata({**(table.schema.metadata or {}), _NOTE: json.dumps(note).encode()})
        if self._folder is not None:
            make_folder(self._folder)
            if self._means is not None:  # before the part, which says that both are whole
                _write_state(self._state(self.count), self._means)
            write_whole(self._part(self.count), partial(pq.write_table, table))
            if self.count:
                self._state(self.count - 1).unlink(missing_ok=True)
        self._take(table, failed)

    def all(self) -> Measured:
        """Every part as one frame."""
        tables = [table.replace_schema_metadata(None) for table in self._tables if table.num_rows]
        facts = pa.concat_tables(tables, promote_options="permissive").to_pandas() if tables else pd.DataFrame()
        return Measured(facts, pd.DataFrame(self._failures, columns=[*LISTED, "error"]), self._means)

    def _take_up(self, folder: Path) -> None:
        """Take the parts that an earlier pass left, from the first on; those of another pass are removed."""
        while (file := self._part(self.count)).is_file() and (read := _read_part(file, self._key)):
            self._take(*read)
        if self.count and self._means is not None:
            state = self._state(self.count - 1)
            if state.is_file():
                self._means = _read_state(state)
            else:  # taken away by hand: the means cannot be gone on with
                self._tables, self._failures, self.count = [], [], 0
        for file in (*folder.glob("part-*.parquet"), *folder.glob("means-*.npz")):
            if int(file.stem.rpartition("-")[2]) >= self.count:
                file.unlink()

    def _take(self, table: pa.Table, failed: list[dict[str, Any]]) -> None:
        self._tables.append(table)
        self._failures += failed
        self.count += 1

    def _part(self, number: int) -> Path:
        return Path(str(self._folder)) / f"part-{number:07d}.parquet"

    def _state(self, number: int) -> Path:
        return Path(str(self._folder)) / f"means-{number:07d}.npz"


def _read_part(file: Path, key: str) -> tuple[pa.Table, list[dict[str, Any]]] | None:
    """A part and its failures; None where it is not whole, or of another pass."""
    try:
        table = pq.read_table(file)
        note = json.loads((table.schema.metadata or {})[_NOTE])
        return (table, note["failures"]) if note["key"] == key else None
    except (pa.ArrowInvalid, OSError, KeyError, ValueError):
        return None


def _new_means() -> MeanImages:
    from maibench.evaluation.audit.history import MeanImages

    return MeanImages()


def _write_state(file: Path, means: MeanImages) -> None:
    stream = io.BytesIO()
    np.savez(stream, **means.state())  # type: ignore[arg-type]  # the names are the state's own
    write_whole(file, lambda part: part.write_bytes(stream.getvalue()))


def _read_state(file: Path) -> MeanImages:
    from maibench.evaluation.audit.history import MeanImages

    with np.load(file, allow_pickle=False) as arrays:
        return MeanImages.from_state(dict(arrays))
