"""Checks of what the harness relies on: the card, threads, pickling, speed."""

from __future__ import annotations

import copy
import pickle
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch

from maibench.cores import one_core, stay_on_one_core
from maibench.evaluation.conformance.findings import Verdict, first_line
from maibench.evaluation.conformance.subject import Problem, Subject
from maibench.models.base import Detector

ADVISED = ("summary", "licence", "reference", "input_policy", "trained_on")
THREADS = 4
PIECE = 8
SECONDS = 0.5
"""How long speed is measured, at least once."""


def card(detector: Detector) -> Verdict:
    """What is known of it."""
    if not detector.card.name:
        return "failed", "the card has no name"
    missing = [name for name in ADVISED if getattr(detector.card, name) in ("", None)]
    if missing:
        return "advice", f"the card does not say: {', '.join(missing)}"
    return "ok", f"{detector.card.name}: {', '.join(ADVISED)} are said"


def unchanged(subject: Subject) -> Verdict:
    """Scoring left its tensors as they were."""
    now = subject.detector.state_dict()
    other = [name for name, tensor in subject.state.items() if name not in now or not _same(tensor, now[name])]
    other += [name for name in now if name not in subject.state]
    if other:
        return "failed", (
            f"scoring changed {', '.join(other[:3])}: answers then depend on what was scored before (batch "
            "normalisation in training mode?)"
        )
    return "ok", "scoring changes no parameter and no buffer"


def threads(subject: Subject) -> Verdict:
    """`preprocess` runs in several threads at once; `answer` too, where `concurrent` says so."""
    detector, images = subject.detector, subject.images[:PIECE]

    def asked(order: list[int]) -> list[tuple[int, Any]]:
        found = []
        for index in order:
            item = subject.item(images[index])
            found.append((index, subject.ask([item])[0] if detector.concurrent else item))
        return found

    orders = [np.roll(np.arange(len(images)), turn).tolist() for turn in range(THREADS)]
    with ThreadPoolExecutor(THREADS, initializer=stay_on_one_core) as pool:
        told = [pair for pairs in pool.map(asked, orders) for pair in pairs]
    logits = [(index, found if detector.concurrent else subject.ask([found])[0]) for index, found in told]
    at, values = (np.array(column) for column in zip(*logits, strict=True))
    if subject.differences(values, at).max() > subject.tolerance:
        what = "answer (concurrent = True)" if detector.concurrent else "preprocess"
        return "failed", f"{what} has other results in {THREADS} threads at once: it must not change self"
    if not detector.concurrent and detector.device.type == "cpu":
        return "advice", (
            "preprocess may run in threads; where answer changes nothing of self, concurrent = True lets every core "
            "run it too"
        )
    return "ok", f"the same logits from {THREADS} threads at once"


def pickles(subject: Subject) -> Verdict:
    """It can be sent to another process (`--engine ray`)."""
    try:
        copied = pickle.loads(pickle.dumps(subject.detector))
    except Exception as error:
        if find_spec("ray") is None:
            return "failed", _unsent(error, subject)
        from ray import cloudpickle

        try:
            copied = pickle.loads(cloudpickle.dumps(subject.detector))
        except Exception as second:  # whatever a plug-in's members raise
            return "failed", _unsent(second, subject)
    other = copy.copy(subject)
    other.detector = copied
    if subject.differences(other.ask([other.item(subject.images[0])]))[0] > subject.tolerance:
        raise Problem("its copy, pickled and read again, has other logits: __getstate__ leaves something out")
    return "ok", "a copy that was pickled has the same logits"


def speed(subject: Subject) -> Verdict:
    """Preprocessing and network on one core, or the GPU; decoding apart."""
    given = [subject.given(image) for image in subject.images[:PIECE]]
    with one_core():
        alone = _seconds(subject, given[:1])
        together = _seconds(subject, given) / len(given)
    ms, rate = 1000 * alone, 1 / together
    if subject.detector.elsewhere:
        return "ok", f"{ms:.3g} ms from the question to the answer"
    where = "a core" if subject.detector.device.type == "cpu" else f"on {subject.detector.device}"
    return "ok", f"{rate:.3g} images/s {where} in batches of {len(given)}; {ms:.3g} ms for one alone"


def _seconds(subject: Subject, given: list[Any]) -> float:
    """The median of a few turns."""
    taken: list[float] = []
    while not taken or (sum(taken) < SECONDS and len(taken) < 20):
        started = time.perf_counter()
        subject.ask([subject.detector.preprocess(each) for each in given])
        taken.append(time.perf_counter() - started)
    return float(np.median(taken))


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.shape == other.shape and bool(((one == other) | ((one != one) & (other != other))).all())


def _unsent(error: Exception, subject: Subject) -> str:
    reason = first_line(error, type(subject.detector))
    return f"cannot be pickled, so --engine ray cannot send it: {reason}; keep that out of self"
