"""The last stage: the groups that passed, as Parquet with the images in it; the others, with reasons; the data card."""

from __future__ import annotations

import collections
import functools
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from maibench.datasets.data_card import write_data_card
from maibench.datasets.generators import release_date
from maibench.datasets.image import parse_file
from maibench.datasets.manifest import SPLITS
from maibench.datasets.packing.shards import ParquetShard, listed_columns
from maibench.datasets.receipts import COLUMN, receipt_text
from maibench.datasets.twins.choose import STAGE as PHOTOGRAPHS
from maibench.datasets.twins.choose import Photo
from maibench.datasets.twins.content import POLICY
from maibench.datasets.twins.describe import described
from maibench.datasets.twins.folder import CARD, DATA, QUARANTINE
from maibench.datasets.twins.request import Plan
from maibench.datasets.twins.stages import CAPTIONER, CAPTIONS, JUDGE, JUDGED, MODELS, Work, caption_of, stage_of
from maibench.errors import MaibenchError
from maibench.files import make_folder, write_whole

SHARD_BYTES = 500_000_000
_FILE = "_file"


def finish(work: Work, plan: Plan, photos: list[Photo], kept: list[Photo], refused: dict[str, str]) -> dict[str, Any]:
    """Write the data set of the photographs that are kept, and what became of the others; returns what was made.

    Raises MaibenchError where none is kept; the quarantine is written all the same.
    """
    folder = work.folder
    groups = list(_quarantined(work, plan, photos, kept))
    folder.write_quarantine({"groups": groups, "refused": refused})
    stages = collections.Counter(group["stage"] for group in groups)
    if not kept:
        counts = ", ".join(f"{count} at {stage}" for stage, count in stages.items())
        reason, times = collections.Counter(group["reason"] for group in groups).most_common(1)[0]
        raise MaibenchError(
            f"none of {len(photos)} photographs is left ({counts}; {times} x {reason}); see "
            f"{folder.path / QUARANTINE}, change what fails, and run it again with --fresh"
        )
    rows = pd.DataFrame([row for photo in kept for row in _rows(work, plan, photo)])
    files = _write_shards(work, rows)
    write_data_card(folder.path, described(plan, kept, rows, dict(stages)), rows.drop(columns=_FILE))
    made = {
        "photographs": len(kept), "images": len(rows), "quarantined": dict(stages), "refused": len(refused),
        "files": {name: (folder.path / name).stat().st_size for name in [*files, CARD, QUARANTINE]},
    }  # fmt: skip
    folder.finish(made)
    return made


def _quarantined(work: Work, plan: Plan, photos: list[Photo], kept: list[Photo]) -> Iterator[dict[str, Any]]:
    """The chosen photographs that are left out: at which stage, why, and what was tried."""
    names = {photo.name for photo in kept}
    stages = [CAPTIONS, JUDGED, *(stage_of(generator.name) for generator in plan.generators)]
    for photo in photos:
        if photo.name in names:
            continue
        facts: dict[str, Any] = {
            "photograph": photo.path, "image_id": photo.image_id, "source": photo.source, "split": photo.split
        }  # fmt: skip
        for stage in stages:
            note = {key: value for key, value in _note(work, stage, photo).items() if key != "images"}
            failed = note.pop("failed", "")
            facts |= note
            if failed:
                yield {**facts, "stage": stage, "reason": failed}
                break


def _rows(work: Work, plan: Plan, photo: Photo) -> Iterator[dict[str, Any]]:
    """The photograph and its twins as a manifest lists them, each with its file and its receipt."""
    begun = [
        {
            "step": "choose", "data": f"{plan.manifest.name} {plan.manifest.fingerprint}", "path": photo.path,
            "image_id": photo.image_id, "licence": photo.licence or None, "original": photo.original,
        },
        {
            "step": "caption", **_model(work, CAPTIONER), "said": _note(work, CAPTIONS, photo)["raw"],
            "content": caption_of(work, photo), "policy": POLICY,
        },
    ]  # fmt: skip
    gates = {"step": "gates", **_model(work, JUDGE), "scores": _note(work, JUDGED, photo)["scores"]}
    yield _row(work, plan, photo, "real", photo.licence, "", _stored(work, photo), [*begun, gates])
    for generator in plan.generators:
        note = _note(work, stage_of(generator.name), photo)
        taken = note["candidates"][-1]
        made = {
            "step": "generate", **_model(work, stage_of(generator.name)), "seed": taken["seed"],
            "candidate": taken["candidate"], "prompt": caption_of(work, photo), "made": taken["made"],
            "refused": note["candidates"][:-1],
        }  # fmt: skip
        gates = {"step": "gates", **_model(work, JUDGE), "scores": taken["scores"]}
        released = release_date(generator.name) or ""
        steps = [*begun, made, gates]
        yield _row(work, plan, photo, generator.name, generator.licence, released, note["images"][0], steps)


def _row(
    work: Work, plan: Plan, photo: Photo, generator: str, licence: str, released: str, image: dict[str, Any],
    steps: list[dict[str, Any]],
) -> dict[str, Any]:  # fmt: skip
    store = {
        "step": "store", "settings": {"size": work.size, "store": work.storage.name}, "image_id": image["image_id"]
    }  # fmt: skip
    return {
        "path": f"images/{photo.name}.{generator}{work.storage.suffix}", "label": int(generator != "real"),
        "generator": generator, "source": photo.source, "split": photo.split, "pair": photo.name,
        "released": released, "licence": licence, "caption": caption_of(work, photo),
        COLUMN: receipt_text([*steps, store]), "n_bytes": image["n_bytes"], _FILE: image["path"],
    }  # fmt: skip


def _write_shards(work: Work, rows: pd.DataFrame) -> list[str]:
    """The files of each split, photographs and their twins together in one; those that are there are kept."""
    make_folder(work.folder.path / DATA)
    listed = listed_columns(rows.drop(columns=_FILE), work.folder.path.name)
    files: dict[str, list[int]] = {}
    for split in SPLITS:
        cuts = list(_cut(rows[rows["split"] == split]))
        files |= {f"{DATA}/{split}-{n:05d}-of-{len(cuts):05d}.parquet": members for n, members in enumerate(cuts)}
    missing = [name for name in files if not (work.folder.path / name).is_file()]
    with work.progress.running(len(files), len(files) - len(missing)):
        for name in missing:
            write_whole(work.folder.path / name, functools.partial(_write_shard, work, listed, rows, files[name]))
            work.progress.advance(1)
    return list(files)


def _write_shard(work: Work, listed: pa.Table, rows: pd.DataFrame, members: list[int], part: Path) -> None:
    shard = ParquetShard(part, listed)
    try:
        for row in members:
            path, file = (str(rows.at[row, column]) for column in ("path", _FILE))
            shard.add(row, parse_file(path, (work.folder.work / file).read_bytes()))
    finally:
        shard.close()


def _cut(rows: pd.DataFrame) -> Iterator[list[int]]:
    """The rows of each file: a source is never in two of them."""
    members: list[int] = []
    size = 0
    for _, group in rows.groupby("source", sort=False):
        more = int(group["n_bytes"].sum())
        if members and size + more > SHARD_BYTES:
            yield members
            members, size = [], 0
        members += [int(row) for row in group.index]
        size += more
    if members:
        yield members


def _stored(work: Work, photo: Photo) -> dict[str, Any]:
    path = f"{PHOTOGRAPHS}/{photo.name}{work.storage.suffix}"
    data = (work.folder.work / path).read_bytes()
    return {"path": path, "n_bytes": len(data), "image_id": sha256(data).hexdigest()}


def _note(work: Work, stage: str, photo: Photo) -> dict[str, Any]:
    return work.folder.note(stage, photo.name) or {}


def _model(work: Work, role: str) -> dict[str, Any]:
    """What a receipt says of a model that was used."""
    facts = work.folder.note(MODELS, role) or {}
    return {key: value for key, value in facts.items() if key != "images"}
