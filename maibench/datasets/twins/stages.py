"""The stages between choosing and packing: captions, the gates of the photographs, twins. Each keeps a note of every
photograph, so that what is done is never done again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maibench.datasets.data_card import versions_of
from maibench.datasets.image import decode
from maibench.datasets.storage import Storage
from maibench.datasets.twins.captioners import Captioner
from maibench.datasets.twins.choose import STAGE as PHOTOGRAPHS
from maibench.datasets.twins.choose import Photo, fitted
from maibench.datasets.twins.content import content_of
from maibench.datasets.twins.folder import TwinsFolder
from maibench.datasets.twins.gates import Judge, blankness
from maibench.datasets.twins.generate import Maker, candidate_seed
from maibench.errors import ImageError
from maibench.progress import Progress

CAPTIONS, JUDGED, MODELS = "captions", "gates", "models"
"""Where the notes of the stages are, and those of the models that they used."""
CAPTIONER, JUDGE = "captioner", "judge"
"""Roles of models; a generator's is the name of its stage."""


@dataclass(frozen=True)
class Work:
    """What the stages work with. size, storage: of the stored images. seed: of the candidates; candidates: how many
    are tried for a twin."""

    folder: TwinsFolder
    storage: Storage
    size: int
    seed: int
    candidates: int
    progress: Progress


def caption_all(work: Work, photos: list[Photo], captioner: Captioner) -> None:
    """Note what the captioner says of each stored photograph, and its content; or why there is none."""
    for photo in _missing(work, CAPTIONS, photos):
        raw = captioner.caption(stored_pixels(work, photo))
        try:
            facts = {"raw": raw, "caption": content_of(raw)}
        except ImageError as error:
            facts = {"raw": raw, "failed": str(error)}
        work.folder.write_note(CAPTIONS, photo.name, facts)


def judge_all(work: Work, photos: list[Photo], judge: Judge) -> None:
    """Note of each photograph that has a caption what the judge makes of it."""
    for photo in _missing(work, JUDGED, photos):
        scores, failures = judge.judge(stored_pixels(work, photo), caption_of(work, photo))
        work.folder.write_note(JUDGED, photo.name, {"scores": scores.as_dict(), "failed": "; ".join(failures)})


def make_all(work: Work, photos: list[Photo], maker: Maker, judge: Judge) -> None:
    """Generate a twin of each photograph: the first candidate that passes the gates; or note why none does."""
    for photo in _missing(work, stage_of(maker.name), photos):
        prompt = caption_of(work, photo)
        tried: list[dict[str, Any]] = []
        images = {}
        for candidate in range(work.candidates):
            seed = candidate_seed(work.seed, photo.image_id, maker.name, candidate)
            data, facts = _candidate(work, maker, judge, prompt, seed)
            tried.append({"candidate": candidate, "seed": seed, **facts})
            if data is not None:
                images[f"{photo.name}{work.storage.suffix}"] = data
                break
        failed = "" if images else _summary(tried)
        work.folder.write_note(stage_of(maker.name), photo.name, {"candidates": tried, "failed": failed}, images)


def stage_of(generator: str) -> str:
    """Where the twins by a generator are noted."""
    return f"twins-{generator}"


def remaining(work: Work, photos: list[Photo], stage: str) -> list[Photo]:
    """The photographs that passed a stage. What is noted of all of them is read."""
    notes = ((photo, work.folder.note(stage, photo.name)) for photo in photos)
    return [photo for photo, note in notes if note is not None and not note.get("failed")]


def note_model(work: Work, role: str, facts: dict[str, Any]) -> None:
    """Keep what receipts will say of a model: of the one that began the stage."""
    if work.folder.note(MODELS, role) is None:
        versions = versions_of("maibench", "torch", "transformers", "diffusers", "pillow")
        work.folder.write_note(MODELS, role, {**facts, "versions": versions})


def is_done(work: Work, photos: list[Photo], stage: str) -> bool:
    """Whether a stage needs no model any more."""
    return all(work.folder.note(stage, photo.name) is not None for photo in photos)


def stored_pixels(work: Work, photo: Photo) -> NDArray[np.uint8]:
    """A photograph as it is stored."""
    return decode((work.folder.work / PHOTOGRAPHS / f"{photo.name}{work.storage.suffix}").read_bytes())


def caption_of(work: Work, photo: Photo) -> str:
    """The content of a photograph, which its twins are generated from."""
    return (work.folder.note(CAPTIONS, photo.name) or {})["caption"]


def _candidate(work: Work, maker: Maker, judge: Judge, prompt: str, seed: int) -> tuple[bytes | None, dict[str, Any]]:
    """The file of a candidate that passes, else None; and what is noted of it."""
    try:
        made = maker.make(prompt, seed)
        data = work.storage.encode(fitted(made, work.size))
        if why := blankness(pixels := decode(data)):
            raise ImageError(why)
    except ImageError as error:
        return None, {"failed": [str(error)]}
    scores, failures = judge.judge(pixels, prompt)
    facts = {"scores": scores.as_dict(), "failed": failures, "made": [made.shape[1], made.shape[0]]}
    return (None if failures else data), facts


def _summary(tried: list[dict[str, Any]]) -> str:
    reasons = dict.fromkeys(reason for facts in tried for reason in facts["failed"])
    return f"none of {len(tried)} candidates passed: {'; '.join(reasons)}"


def _missing(work: Work, stage: str, photos: list[Photo]) -> Iterator[Photo]:
    """The photographs without a note at this stage, with progress."""
    todo = [photo for photo in photos if work.folder.note(stage, photo.name) is None]
    with work.progress.running(len(photos), len(photos) - len(todo)):
        for photo in todo:
            yield photo
            work.progress.advance(1)
