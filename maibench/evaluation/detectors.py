"""The detectors of a comparison: loaded, each under the label of its row, on its device and with its backend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from maibench.config import OF_THE_HARNESS, RunConfig
from maibench.datasets.manifest import Manifest
from maibench.datasets.perturb import Perturbation
from maibench.errors import DetectorError, MaibenchError
from maibench.evaluation.pipeline import Failure, Job, load, prepare
from maibench.evaluation.scoring import Plan
from maibench.models.backends.choose import TORCH, Chosen, use_backend
from maibench.models.base import Detector
from maibench.models.broken import Broken
from maibench.models.device import choose_device
from maibench.models.loading import load_detector
from maibench.models.registry import names
from maibench.progress import Progress

PROBES = 32
"""Images that a backend is checked on."""


@dataclass(frozen=True)
class Requested:
    """A detector as it was asked for. options: all that were given for it. device: what it is scored on, which for an
    engine on other machines is not where it lies now. failure: why it cannot be used; the detector is then `Broken`."""

    detector: Detector
    spec: str
    options: dict[str, Any]
    device: str
    failure: str = ""

    def own(self, config: RunConfig, name: str) -> str:
        """What it is told of its own, or what all are told."""
        return str(self.options.get(name, getattr(config, name)))


def load_detectors(config: RunConfig, specs: dict[str, str]) -> dict[str, Requested]:
    """The detectors by the labels of their rows. specs: as they were asked for, by label.

    One that is there and cannot be used (DetectorError) stands in its row as `Broken`. Raises MaibenchError for a
    detector that is not there or is not ready, for options that it does not have, where two rows would have one label,
    and where none can be used.
    """
    _check_options(config, specs)
    rows: dict[str, Requested] = {}
    for label, spec in specs.items():
        options = config.options.get(label, {})
        plain = {name: value for name, value in options.items() if name not in OF_THE_HARNESS}
        try:
            detector, device = _load(spec, plain, str(options.get("device", config.device)), config.engine)
            _check_ready(label, detector)
        except DetectorError as error:
            rows[label] = Requested(Broken(name=spec, reason=str(error)), spec, options, "cpu", str(error))
            continue
        is_given = f"{label}={spec}" in {model.replace(" ", "") for model in config.models}
        # a folder may be called like the model that it was made from
        row = detector.row_name if detector.row_name and label in names() and not is_given else label
        if row in rows or (row != label and row in specs):
            raise MaibenchError(f"two detectors are called '{row}': name one of them, as in other={spec}")
        rows[row] = Requested(detector, spec, options, device)
    if all(row.failure for row in rows.values()):
        raise MaibenchError("; ".join(f"{label}: {row.failure}" for label, row in rows.items()))
    return rows


def _check_ready(label: str, detector: Detector) -> None:
    try:
        detector.check_ready()
    except MaibenchError as error:
        raise type(error)(f"{label}: {error}") from error


def _load(spec: str, options: dict[str, Any], device: str, engine: str) -> tuple[Detector, str]:
    """The detector, and the device that it is scored on."""
    if engine == "local":
        device = choose_device(device)
        return load_detector(spec, device=device, **options), device.partition(":")[0]
    device = "cpu" if device == "auto" else device.partition(":")[0]
    if device not in ("cpu", "cuda"):
        raise MaibenchError(f"unknown device '{device}': use auto, cpu or cuda")
    detector = load_detector(spec, device="cpu", **options)
    if device == "cuda" and detector.built_with.get("dtype") == "auto":
        detector.to(torch.bfloat16)  # as it would be where it is loaded on a GPU
    return detector, device


def name_training_split(detector: Detector, manifest: Manifest) -> None:
    """A fitted detector has seen the generators of the training split that it is fitted on."""
    if detector.fitted:
        generators = set(manifest.split("train")["generator"]) - {"real"}
        detector.card = detector.card.updated(trained_on=sorted(generators))


def choose_backends(
    config: RunConfig, rows: dict[str, Requested], plan: Plan, before: dict[str, str], progress: Progress
) -> dict[str, Chosen]:
    """Let each detector compute in the backend that was asked for, checked on the first images of the plan; says what
    `auto` took.

    before: what an earlier call of the same run took, by label; `auto` takes it again, so that its predictions count.
    Raises MaibenchError where a backend that was named is not installed, or does not compute what torch does.
    """
    chosen: dict[str, Chosen] = {}
    for label, row in rows.items():
        if row.failure:
            chosen[label] = TORCH
            continue
        wanted = row.own(config, "backend")
        probes = probe_items(label, row.detector, plan, config.max_pixels) if wanted != "torch" else []
        again = before.get(label, "") if wanted == "auto" else ""
        taken = _taken_again(row.detector, again, probes) if again else None
        try:
            chosen[label] = taken or use_backend(row.detector, wanted, probes)
        except MaibenchError as error:
            raise MaibenchError(f"{label}: {error}") from error
        if wanted == "auto":
            progress.say(f"{label}: {chosen[label].says}")
    return chosen


def _taken_again(detector: Detector, name: str, probes: list[Any]) -> Chosen | None:
    try:
        return use_backend(detector, name, probes)
    except MaibenchError:
        return None  # `auto` then looks for another, and says which


def probe_items(label: str, detector: Detector, plan: Plan, max_pixels: int) -> list[Any]:
    """Preprocess results of the first images of the plan, those that can be had."""
    indices = [index for rows, _ in plan.batches for index in rows][:PROBES]
    records = plan.manifest.rows.loc[indices].to_dict("records")
    job = Job(0, records, [Perturbation("none", ())], [label])
    plan.manifest.images.expect([record["path"] for record in records])
    items = []
    for record in records:
        prepared = prepare(load(plan.manifest.images, record, max_pixels), record, job, {label: detector})
        items += [item for item in prepared.items.values() if not isinstance(item, Failure)]
    return items


def _check_options(config: RunConfig, specs: dict[str, str]) -> None:
    for label in config.options:
        if label not in specs:
            called = [name for name, spec in specs.items() if spec == label]
            hint = f"; '{label}' is called '{called[0]}' in this run" if called else ""
            raise MaibenchError(
                f"--set {label}.…: no detector is called '{label}' here; there are: {', '.join(specs)}{hint}"
            )
