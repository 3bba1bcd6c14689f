"""An audit from the request to what was found: what gives the labels of a data set away, what its splits share."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

import maibench
from maibench.cores import cores
from maibench.datasets.image import MAX_PIXELS
from maibench.datasets.manifest import SPLITS, Manifest
from maibench.errors import MaibenchError
from maibench.evaluation.audit.measure import Measured, measure
from maibench.evaluation.audit.parts import Finding, Part
from maibench.evaluation.audit.verdict import LIMIT_AUC, Verdict, judged
from maibench.evaluation.draw import drawn
from maibench.progress import Progress

PARTS = ("files", "leaks", "history", "balance")
"""What a user can ask for; a comparison looks at "ids", the leaks that show without a look at the pixels, instead."""


@dataclass(frozen=True)
class Request:
    """What is audited and how. parts: of PARTS. split: one of the manifest's, or "all". limit: at most so many images,
    drawn at random with `seed`. limit_auc: see LIMIT_AUC. embed: whose features compare images besides their hashes
    ("" for none). workers: threads that read images (None: one a core)."""

    parts: tuple[str, ...] = PARTS
    split: str = "all"
    limit: int | None = None
    seed: int = 0
    limit_auc: float = LIMIT_AUC
    embed: str = ""
    device: str = "auto"
    workers: int | None = None
    max_pixels: int = MAX_PIXELS
    made_by: str = "data audit"

    def identity(self) -> dict[str, Any]:
        """What decides what is found, as JSON holds it."""
        free = ("device", "workers", "max_pixels")
        facts = {name: value for name, value in asdict(self).items() if name not in free}
        return facts | {"parts": list(self.parts), "maibench": maibench.__version__}


@dataclass(frozen=True)
class Audit:
    """What an audit found. data: which images were audited. failures: those that could not be read (LISTED of measure
    and `error`). notes: what has to be known to read it."""

    data: dict[str, Any]
    parts: list[Part]
    strict: Verdict
    failures: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def findings(self) -> list[Finding]:
        return [finding for part in self.parts for finding in part.findings]


@dataclass(frozen=True)
class _Material:
    """What the parts are made of."""

    manifest: Manifest
    measured: Measured
    request: Request
    embeddings: Any = None


def run_audit(
    manifest: Manifest, request: Request, folder: Path | None = None, progress: Progress | None = None
) -> Audit:
    """Audit a data set.

    folder: where the facts of the images are kept, so that a killed audit goes on. Raises MaibenchError where the
    request is wrong or no image can be read, DiskError where facts cannot be written.
    """
    progress = progress or Progress()
    _check(request, manifest)
    rows = manifest.rows if request.split == "all" else manifest.split(request.split)
    rows = drawn(rows, request.limit, request.seed)
    steps = dict.fromkeys(step for name in request.parts for step in _STEPS[name])
    workers = request.workers or cores()
    measured = measure(manifest, rows, list(steps), folder, workers, request.max_pixels, progress)
    embeddings = _embeddings(manifest, measured.facts, request, progress)
    material = _Material(manifest, measured, request, embeddings)
    parts = []
    for name in request.parts:
        progress.say(f"looking at {_LOOKS_AT[name]}")
        parts.append(_MAKERS[name](material))
    return Audit(
        data=_data(manifest, request, measured),
        parts=parts,
        strict=judged(parts, request.limit_auc, len(measured.failures)),
        failures=[{str(name): row[name] for name in row} for row in measured.failures.to_dict("records")],
        notes=_notes(manifest, request, measured, rows),
    )


def parse_parts(text: str) -> tuple[str, ...]:
    """ "files,leaks" -> its names, in the order of PARTS. Raises MaibenchError for one that is unknown."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names or [text]:
        if name not in PARTS:
            near = difflib.get_close_matches(name, PARTS, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(PARTS)}"
            raise MaibenchError(f"an audit has no part '{name}': {hint}")
    return tuple(name for name in PARTS if name in names)


def _files(material: _Material) -> Part:
    from maibench.evaluation.audit.files import files_part

    return files_part(material.measured.facts, material.request.seed, material.request.limit_auc)


def _leaks(material: _Material) -> Part:
    from maibench.evaluation.audit.leaks import leaks_part

    return leaks_part(material.measured.facts, material.manifest, material.embeddings)


def _ids(material: _Material) -> Part:
    from maibench.evaluation.audit.leaks import ids_part

    return ids_part(material.measured.facts, material.manifest)


def _history(material: _Material) -> Part:
    from maibench.evaluation.audit.history import history_part

    facts = material.measured.facts
    return history_part(facts, material.measured.means, material.request.seed, material.request.limit_auc)


def _balance(material: _Material) -> Part:
    from maibench.evaluation.audit.balance import balance_part

    return balance_part(material.measured.facts, material.embeddings, material.request.seed)


_MAKERS: dict[str, Callable[[_Material], Part]] = {
    "files": _files,
    "leaks": _leaks,
    "ids": _ids,
    "history": _history,
    "balance": _balance,
}
_STEPS: dict[str, tuple[str, ...]] = {
    "files": ("file",),
    "leaks": ("likeness",),
    "ids": (),
    "history": ("file", "history"),
    "balance": ("file",),
}
_LOOKS_AT = {
    "files": "what the files give away",
    "leaks": "what the splits share",
    "ids": "what the splits share by the list",
    "history": "how the images were compressed and resized before",
    "balance": "the balance of classes, generators and sizes",
}


def _embeddings(manifest: Manifest, facts: pd.DataFrame, request: Request, progress: Progress) -> Any:
    if not request.embed:
        return None
    from maibench.evaluation.audit.embedding import embed

    progress.say(f"looking at the images with {request.embed}")
    return embed(manifest, facts["path"].tolist(), request.embed, request.device)


def _check(request: Request, manifest: Manifest) -> None:
    if request.split != "all" and request.split not in SPLITS:
        raise MaibenchError(f"no split is called '{request.split}': there are all, {', '.join(SPLITS)}")
    there = sorted(set(manifest.rows["split"]))
    if request.split not in ("all", *there):
        raise MaibenchError(f"{manifest.name}: has no images of split '{request.split}'; it has: {', '.join(there)}")
    if request.embed:
        from maibench.evaluation.audit.embedding import load_embedder

        if not {"leaks", "balance"} & set(request.parts):
            raise MaibenchError("--embed: embeddings are for the parts leaks and balance; add one of them to --parts")
        load_embedder(request.embed, request.device)  # a wrong name is told before the pass over the images


def _data(manifest: Manifest, request: Request, measured: Measured) -> dict[str, Any]:
    facts = measured.facts
    return {
        "name": manifest.name,
        "fingerprint": manifest.fingerprint,
        **request.identity(),
        "listed": len(manifest.rows),
        "images": len(facts),
        "real": int((facts["label"] == 0).sum()),
        "synthetic": int((facts["label"] == 1).sum()),
        "sources": int(facts["source"].nunique()),
        "has_sources": manifest.has_sources,
        "failed": len(measured.failures),
    }


def _notes(manifest: Manifest, request: Request, measured: Measured, rows: pd.DataFrame) -> list[str]:
    notes = []
    if request.limit is not None and len(rows) == request.limit:
        notes.append(
            f"a sample of {len(rows):,} images, drawn at random with seed {request.seed}: of look-alikes, only those "
            "among them are found"
        )
    if len(measured.failures):
        notes.append(f"{len(measured.failures):,} images could not be read; they are listed at the end")
    if not manifest.has_sources:
        notes.append(
            "the data set does not say which images come from one photo or prompt (no column source): every image "
            "counts as its own source, which makes intervals too narrow where images belong together"
        )
    looked_at = {*request.parts, *(["leaks"] if "ids" in request.parts else [])}
    if left := [name for name in PARTS if name not in looked_at]:
        notes.append(f"not looked at: {', '.join(left)}")
    if "ids" in request.parts:
        notes.append("no pixel was looked at; maibench data audit finds look-alikes and traces of earlier compression")
    return notes
