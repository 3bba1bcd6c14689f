"""Run a detector through everything that comparisons rely on."""

from __future__ import annotations

from collections.abc import Callable

from maibench.datasets.manifest import Manifest
from maibench.evaluation.conformance import answers, harness, inputs
from maibench.evaluation.conformance.findings import Finding, Verdict, first_line
from maibench.evaluation.conformance.probes import probe_data
from maibench.evaluation.conformance.subject import Problem, Subject
from maibench.models.base import Detector

SECONDS = 60.0

_LATER: dict[str, Callable[[Subject], Verdict]] = {
    "finite": answers.finite,
    "repeatable": answers.repeats,
    "batch = single": answers.batches,
    "logits": answers.not_probabilities,
    "odd sizes": inputs.odd_sizes,
    "flat images": inputs.flat,
    "image untouched": inputs.untouched,
    "differentiable": inputs.differentiable,
    "threads": harness.threads,
    "pickles": harness.pickles,
    "speed": harness.speed,
    "self untouched": harness.unchanged,
}


def check(
    detector: Detector,
    data: Manifest | None = None,
    seconds: float = SECONDS,
    told: Callable[[Finding], None] = lambda finding: None,
) -> list[Finding]:
    """Everything that a comparison relies on, one finding each; the detector is set to evaluation mode.

    data: what it is tried on, 32 images of the test split at most, and what it is fitted to where it is fitted; None:
    textures that are made here, half of them doubled. seconds: a slow detector is tried on fewer images, so that all of
    it takes about this long. told: hears each finding at once.
    """
    findings: list[Finding] = []

    def add(what: str, found: Callable[[], Verdict]) -> bool:
        try:
            outcome, says = found()
        except Problem as problem:
            outcome, says = "failed", str(problem)
        except Exception as error:  # somebody else's code: whatever it raises is told
            outcome, says = "failed", first_line(error, type(detector))
        findings.append(Finding(what, outcome, says))
        told(findings[-1])
        return outcome != "failed"

    subject = Subject(detector.eval(), data or probe_data())
    add("card", lambda: harness.card(detector))
    if detector.fitted and not add("fit", lambda: _fit(subject)):
        return findings
    if add("answers", lambda: answers.answers(subject, seconds)):
        for what, looked in _LATER.items():
            add(what, lambda looked=looked: looked(subject))  # type: ignore[misc]
    return findings


def _fit(subject: Subject) -> Verdict:
    subject.fit()
    return "ok", f"fitted on the {subject.detector.fit_split} split of the images that it is tried on"
