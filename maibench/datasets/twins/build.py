"""A data set of twins: real photographs, and beside each what generators make of its caption.

After MAI (https://github.com/athen-lab/mai, docs/dataset-pipeline.md): choose photographs, caption them, generate from
the caption's content, put both sides through the same gates, keep a photograph only with all its twins. One model is
held at a time, the judge aside. The tests run all of it with tiny pipelines of the published classes and random
weights; the published weights are too large for them. A command that was killed goes on where it stopped and ends in
the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from maibench.datasets.twins.captioners import find_captioner, load_captioner
from maibench.datasets.twins.choose import Photo, choose_photos
from maibench.datasets.twins.finish import finish
from maibench.datasets.twins.folder import TwinsFolder
from maibench.datasets.twins.gates import Judge
from maibench.datasets.twins.generate import Maker, find_pipeline
from maibench.datasets.twins.places import Found, found_at
from maibench.datasets.twins.request import Plan, Request, read_request
from maibench.datasets.twins.stages import (
    CAPTIONER,
    CAPTIONS,
    JUDGE,
    JUDGED,
    Work,
    caption_all,
    is_done,
    judge_all,
    make_all,
    note_model,
    remaining,
    stage_of,
)
from maibench.progress import Progress


@dataclass(frozen=True)
class Summary:
    """What was made. photographs, images: in the data set. quarantined: {stage: groups} of the chosen photographs that
    were left out; refused: photographs that were never chosen. computed: whether anything was missing."""

    photographs: int
    images: int
    quarantined: dict[str, int]
    refused: int
    computed: bool

    def described(self) -> str:
        """In one line."""
        left = sum(self.quarantined.values())
        stages = ", ".join(f"{count} at {stage}" for stage, count in self.quarantined.items())
        why = f"{left} quarantined ({stages})" if left else "none quarantined"
        return f"{self.images} images of {self.photographs} photographs; {why}; {self.refused} refused beforehand"


def make_twins(request: Request, fresh: bool = False, progress: Progress | None = None) -> Summary:
    """Write the data set that is asked for to its folder, or what of it is missing there.

    fresh: all afresh, also in place of what another command made. Raises MaibenchError for a wrong request, models
    that cannot be had, a folder that holds something else, and where no photograph is left.
    """
    from maibench.models.device import choose_device

    progress = progress or Progress()
    plan, device = read_request(request), choose_device(request.device)
    folder = TwinsFolder(request.out)
    asked = plan.asked() | {"device": device}
    if not fresh:
        folder.refuse_another(asked)
        if (made := folder.finished()) is not None:
            return _summary(made, computed=False)
    models = _find(plan, progress)
    asked["weights"] = {name: found.weights for name, found in models.items()}
    if fresh:
        folder.clear()
    folder.refuse_another(asked)
    folder.begin(asked)
    work = Work(folder, plan.storage, request.size, request.seed, request.candidates, progress)

    photos, refused = choose_photos(plan.manifest, plan.gate, folder, plan.storage, progress)
    _caption(work, photos, plan, models[CAPTIONER], device)
    left = _generate(work, remaining(work, photos, CAPTIONS), plan, models, device)
    return _summary(finish(work, plan, photos, left, refused), computed=True)


def _find(plan: Plan, progress: Progress) -> dict[str, Found]:
    """All models, before the first of them is used: what is missing is known now, and not after days."""
    models = {CAPTIONER: find_captioner(plan.captioner), JUDGE: found_at(plan.clip)}
    models |= {stage_of(generator.name): find_pipeline(generator) for generator in plan.generators}
    for name, found in models.items():
        progress.say(f"{name}: {found.name} ({found.weights})")
    return models


def _caption(work: Work, photos: list[Photo], plan: Plan, found: Found, device: str) -> None:
    if is_done(work, photos, CAPTIONS):
        return
    work.progress.say(f"captions of {len(photos)} photographs")
    captioner = load_captioner(plan.captioner, found, device)
    note_model(work, CAPTIONER, captioner.facts)
    caption_all(work, photos, captioner)


def _generate(work: Work, photos: list[Photo], plan: Plan, models: dict[str, Found], device: str) -> list[Photo]:
    """The photographs that pass the gates, and have a twin that does by each generator."""
    if not photos:
        return photos
    judge = Judge(models[JUDGE], plan.request.limits, device)
    note_model(work, JUDGE, judge.facts)
    work.progress.say(f"gates of {len(photos)} photographs")
    judge_all(work, photos, judge)
    photos = remaining(work, photos, JUDGED)
    for generator in plan.generators:
        stage = stage_of(generator.name)
        if not is_done(work, photos, stage):
            work.progress.say(f"twins by {generator.name} of {len(photos)} photographs")
            maker = Maker(generator, models[stage], device)
            note_model(work, stage, maker.facts)
            make_all(work, photos, maker, judge)
            maker.close()
        photos = remaining(work, photos, stage)
    return photos


def _summary(made: dict[str, Any], computed: bool) -> Summary:
    return Summary(made["photographs"], made["images"], made["quarantined"], made["refused"], computed)
