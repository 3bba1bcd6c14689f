"""How much accuracy and AUC are left under perturbations: curves, one number a suite, and how far attacks transfer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from maibench.datasets.attack_names import AttackName, find_attack
from maibench.evaluation.statistics import metrics as scores
from maibench.evaluation.statistics.bootstrap import MIN_SOURCES, SourceBootstrap, percentile_interval
from maibench.evaluation.statistics.evaluated import ALL, Evaluated, Floats, Mask
from maibench.evaluation.statistics.frames import frame

CLEAN = "none"
CHAIN = "chain"
ATTACK = "attack"

CLEAN_SEVERITY = {"jpeg": 100.0, "webp": 100.0, "resize": 1.0, "crop": 1.0, "blur": 0.0, "noise": 0.0, "sharpen": 0.0,
                  "rot90": 0.0, CHAIN: 0.0, ATTACK: 0.0}  # fmt: skip
"""Where a family's undisturbed point is drawn: the value that changes nothing, 100 for codecs, which have none (the row
is called "none" all the same). Kinds without such a value (longest, flip) have NaN there."""


def robustness(
    evaluated: Evaluated, bootstrap: SourceBootstrap, suites: Mapping[str, Sequence[str]]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The frames `robustness` (curves) and `robustness_scores` (one row per detector and suite).

    bootstrap: of all images of `evaluated`. suites: name -> perturbations; those that were not scored are left out.
    "all", every perturbation but attacks, is added where no suite covers them; attacks are the suite
    "attack", which has curves alone.

    Curves: within a suite, a family is a kind of perturbation, "chain", or "attack:pgd@LABEL"; the undisturbed point
    comes first in each. severity is the number as it is asked for (quality, factor, sigma, share, percent, pixels), of
    chains the place in the suite: 1, 2, ..., of attacks eps. See CLEAN_SEVERITY for the undisturbed point.

    Scores: on the images that a detector scored under all perturbations of the suite and undisturbed, the mean over the
    suite of its accuracy (AUC) divided by that of the undisturbed images; the interval is of the same quotient in each
    resample. worst_auc: on these images too. All intervals are NaN with fewer than MIN_SOURCES sources.
    """
    named = _suites(evaluated, suites)
    curves: list[dict[str, Any]] = []
    relative: list[dict[str, Any]] = []
    for detector in evaluated.detectors:
        answers = _Answers(evaluated, bootstrap, detector)
        for suite, perturbations in named.items():
            present = [name for name in perturbations if answers.has(name)]
            if not present:
                continue
            for family, perturbation, severity in _families(present, CLEAN in answers.logits):
                point = {"detector": detector, "suite": suite, "family": family, "perturbation": perturbation}
                curves.append(point | {"severity": severity} | answers.point(perturbation))
            if suite != ATTACK and CLEAN in answers.logits:
                relative.append({"detector": detector, "suite": suite} | answers.relative(present))
    return frame("robustness", curves), frame("robustness_scores", relative)


def transfer(evaluated: Evaluated) -> pd.DataFrame:
    """The frame `transfer`: what each detector makes of images that were attacked on each detector.

    Rows come in the order of attack, made_on ("none", the undisturbed images, first) and detector. All rows of an
    attack and a detector are on the same images: those that it scored undisturbed and under every one of them.
    """
    rows = []
    for request, made_on in _attacks(evaluated).items():
        columns = {CLEAN: CLEAN} | {name.made_on: str(name) for name in made_on}
        common = {detector: _common(evaluated, detector, list(columns.values())) for detector in evaluated.detectors}
        for origin, perturbation in columns.items():
            for detector, mask in common.items():
                if (detector, perturbation) not in evaluated.logits or not _is_attacked(evaluated, detector, made_on):
                    continue
                labels, logits = evaluated.scored((detector, perturbation), mask)
                rows.append(
                    {
                        "perturbation": request,
                        "made_on": origin,
                        "detector": detector,
                        "n": len(labels),
                        "accuracy": scores.accuracy(labels, logits),
                        "tpr": scores.tpr(labels, logits),
                        "tnr": scores.tnr(labels, logits),
                        "auc": scores.auc(labels, logits),
                    }
                )
    return frame("transfer", rows)


def unchanged(evaluated: Evaluated) -> list[str]:
    """The perturbations under which every detector said of every image what it says of it undisturbed: those that did
    nothing, as `longest:2048` on small images. A perturbation that nobody scored is not among them."""
    found = []
    for perturbation in evaluated.perturbations:
        pairs = [
            (evaluated.logits[detector, CLEAN], evaluated.logits[detector, perturbation])
            for detector in evaluated.detectors
            if {(detector, CLEAN), (detector, perturbation)} <= evaluated.logits.keys()
        ]
        scored = any(not np.isnan(disturbed).all() for _, disturbed in pairs)
        if perturbation != CLEAN and scored and all(np.array_equal(*pair, equal_nan=True) for pair in pairs):
            found.append(perturbation)
    return found


def robustness_notes(evaluated: Evaluated) -> list[str]:
    """What a reader of these tables has to be told, in sentences."""
    notes = []
    for detector in evaluated.detectors:
        answers = {name: logits for (own, name), logits in evaluated.logits.items() if own == detector}
        if failed := [name for name, logits in answers.items() if name != CLEAN and np.isnan(logits).all()]:
            notes.append(f"{detector} scored nothing under {', '.join(failed)}: left out of its robustness.")
    if len(evaluated.perturbations) > 1:
        spared = [name for name in evaluated.detectors if {p for own, p in evaluated.logits if own == name} == {CLEAN}]
        if spared:
            notes.append(f"{', '.join(spared)}: undisturbed only, as what reads the file does not see its pixels.")
    if names := unchanged(evaluated):
        verb = "changes" if len(names) == 1 else "change"
        notes.append(
            f"{', '.join(names)} {verb} nothing in these images: every detector's logits are the undisturbed ones."
        )
    if requests := _attacks(evaluated):
        attacked = dict.fromkeys(name.made_on for made in requests.values() for name in made)
        notes.append(
            f"Attacks ({', '.join(requests)}: the last number is the most that a colour changes, of 255) are white-box "
            f"on {', '.join(attacked)} and push every image, real or synthetic, away from its label."
        )
        if spared := [detector for detector in evaluated.detectors if detector not in attacked]:
            notes.append(f"Not attacked themselves: {', '.join(spared)}.")
    return notes


def family_of(perturbation: str) -> tuple[str, float]:
    """A perturbation's name -> its family and severity; of a chain NaN, of what is no perturbation's name too."""
    if attack := find_attack(perturbation):
        return attack.family, float(attack.eps)
    if "+" in perturbation:
        return CHAIN, math.nan
    kind, _, value = perturbation.partition(":")
    try:
        return kind, float(value)
    except ValueError:  # predictions of another tool name them as they like
        return kind, math.nan


def _suites(evaluated: Evaluated, suites: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """The suites of which something was scored, "all" where it is needed, and the attacks."""
    there = [name for name in evaluated.perturbations if name != CLEAN]
    attacks = [name for name in there if find_attack(name)]
    plain = [name for name in there if name not in attacks]
    named = {suite: [name for name in names if name in plain] for suite, names in suites.items()}
    named = {suite: list(dict.fromkeys(names)) for suite, names in named.items() if names}
    if plain and not any(set(names) == set(plain) for names in named.values()):
        named[ALL] = plain
    return named | ({ATTACK: attacks} if attacks else {})


def _families(perturbations: Sequence[str], has_clean: bool) -> Iterator[tuple[str, str, float]]:
    """(family, perturbation, severity) of each point of a suite's curves, family by family."""
    found = {name: family_of(name) for name in perturbations}
    for family in dict.fromkeys(family for family, _ in found.values()):
        members = [name for name, (own, _) in found.items() if own == family]
        if has_clean:
            kind = ATTACK if find_attack(members[0]) else family
            yield family, CLEAN, CLEAN_SEVERITY.get(kind, math.nan)
        for place, name in enumerate(members, start=1):
            yield family, name, float(place) if family == CHAIN else found[name][1]


class _Answers:
    """One detector's logits (n,) under each perturbation, with points and intervals that are computed once."""

    def __init__(self, evaluated: Evaluated, bootstrap: SourceBootstrap, detector: str) -> None:
        self._labels, self._bootstrap = evaluated.labels, bootstrap
        self.logits = {name: values for (own, name), values in evaluated.logits.items() if own == detector}
        self._points: dict[str, dict[str, float]] = {}

    def has(self, perturbation: str) -> bool:
        """Whether anything was scored under it."""
        return perturbation in self.logits and not np.isnan(self.logits[perturbation]).all()

    def point(self, perturbation: str) -> dict[str, float]:
        """Accuracy and AUC under a perturbation, with their intervals, of all images scored under it."""
        if perturbation not in self._points:
            mask = ~np.isnan(self.logits[perturbation])
            accuracy, auc = self._value(perturbation, mask)
            drawn, counts = self._draws([perturbation], mask), self._sources(mask)
            limits = [percentile_interval(values[:, 0], n) for values, n in zip(drawn, counts, strict=True)]
            self._points[perturbation] = dict(zip(_POINT, (accuracy, *limits[0], auc, *limits[1]), strict=True))
        return self._points[perturbation]

    def relative(self, perturbations: Sequence[str]) -> dict[str, Any]:
        """The row of `robustness_scores` for a suite."""
        names = [CLEAN, *perturbations]
        mask: Mask = np.logical_and.reduce([~np.isnan(self.logits[name]) for name in names])
        values = np.array([self._value(name, mask) for name in names]).T
        row: dict[str, Any] = {"n_perturbations": len(perturbations)}
        drawn, counts = self._draws(names, mask), self._sources(mask)
        for metric, value, draws, n_sources in zip(("accuracy", "auc"), values, drawn, counts, strict=True):
            lo, hi = percentile_interval(_quotients(draws), n_sources)
            row |= {f"{metric}_relative": float(_quotients(value[None])[0])}
            row |= {f"{metric}_relative_lo": lo, f"{metric}_relative_hi": hi}
        aucs = values[1, 1:]
        known = bool(mask.any()) and not np.isnan(aucs).all()
        row["worst_perturbation"] = perturbations[int(np.nanargmin(aucs))] if known else ""
        row["worst_auc"] = float(np.nanmin(aucs)) if known else math.nan
        return row

    def _value(self, name: str, mask: Mask) -> tuple[float, float]:
        labels, logits = self._labels[mask], self.logits[name][mask]
        return scores.accuracy(labels, logits), scores.auc(labels, logits)

    def _draws(self, names: Sequence[str], mask: Mask) -> tuple[Floats, Floats]:
        """Accuracies and AUCs of each resample, (resamples, names) each; NaN with too few sources."""
        nothing = np.full((1, len(names)), np.nan)
        if self._sources(mask)[0] < MIN_SOURCES:
            return nothing, nothing
        right = np.stack([(self.logits[name] > 0) == self._labels for name in names], axis=1).astype(np.float64)
        right[~mask] = np.nan
        aucs = [self._bootstrap.aucs(self._labels, np.where(mask, self.logits[name], np.nan)) for name in names]
        enough = self._sources(mask)[1] >= MIN_SOURCES
        return self._bootstrap.means(right), np.stack(aucs, axis=1) if enough else nothing

    def _sources(self, mask: Mask) -> tuple[int, int]:
        """How many the accuracy rests on, and the AUC: those of the class that has fewer."""
        of_class = [self._bootstrap.n_sources_of(mask & (self._labels == label)) for label in (0, 1)]
        return self._bootstrap.n_sources_of(mask), min(of_class)


_POINT = ("accuracy", "accuracy_lo", "accuracy_hi", "auc", "auc_lo", "auc_hi")


def _quotients(values: NDArray[np.float64]) -> Floats:
    """(m, 1 + perturbations), the first column undisturbed -> (m,): the mean of the others divided by it; NaN for 0."""
    clean, disturbed = values[:, 0], values[:, 1:].mean(axis=1)
    return np.divide(disturbed, clean, out=np.full(len(values), np.nan), where=clean > 0)


def _attacks(evaluated: Evaluated) -> dict[str, list[AttackName]]:
    """The attacks that were scored, by request: attack:pgd:4 -> one for each attacked detector."""
    requests: dict[str, list[AttackName]] = {}
    for attack in filter(None, map(find_attack, evaluated.perturbations)):
        requests.setdefault(attack.request, []).append(attack)
    return requests


def _is_attacked(evaluated: Evaluated, detector: str, attacks: Sequence[AttackName]) -> bool:
    return any((detector, str(attack)) in evaluated.logits for attack in attacks)


def _common(evaluated: Evaluated, detector: str, perturbations: Sequence[str]) -> Mask:
    """The images (n,) that a detector scored under each of these; one under which it scored nothing is left out."""
    mask = np.ones(len(evaluated.images), dtype=bool)
    for perturbation in perturbations:
        scored = ~np.isnan(evaluated.logits.get((detector, perturbation), np.full(len(mask), np.nan)))
        if scored.any():
            mask &= scored
    return mask
