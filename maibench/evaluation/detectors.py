"""The detectors of a comparison: loaded, each under the label of its row, on its device and with its backend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from maibench.config import OF_THE_HARNESS, RunConfig
from maibench.datasets.manifest import SPLITS, Manifest
from maibench.datasets.perturb import Perturbation
from maibench.errors import DetectorError, MaibenchError
from maibench.evaluation.pipeline import Failure, Job, load, prepare
from maibench.evaluation.scoring import Plan
from maibench.models.backends.choose import TORCH, Chosen, use_backend
from maibench.models.base import Detector
from maibench.models.broken import Broken
from maibench.models.device import choose_device
from maibench.models.loading import class_of, load_detector, made_ready
from maibench.models.registry import names
from maibench.points import option_points
from maibench.progress import Progress

PROBES = 32
"""Images that a backend is checked on."""


@dataclass(frozen=True)
class Requested:
    """A detector as it was asked for. options: all that were given for it. device: what it is scored on, which for an
    engine on other machines is not where it lies now. failure: why it cannot be used; the detector is then `Broken`.
    of, point: of a row that is a point of a sweep, what it is a point of, and the options that make it this one."""

    detector: Detector
    spec: str
    options: dict[str, Any]
    device: str
    failure: str = ""
    of: str = ""
    point: dict[str, Any] = field(default_factory=dict)

    def own(self, config: RunConfig, name: str) -> str:
        """What it is told of its own, or what all are told."""
        return str(self.options.get(name, getattr(config, name)))


def load_detectors(
    config: RunConfig, specs: dict[str, str], made: Mapping[str, Detector] | None = None
) -> dict[str, Requested]:
    """The detectors by the labels of their rows. specs: as they were asked for, by label. made: those that are there
    already, which are taken as they are, in evaluation mode. Options that are lists without being taken as such make
    a row of every combination of their values.

    One that is there and cannot be used (DetectorError) stands in its row as `Broken`. Raises MaibenchError for a
    detector that is not there or is not ready, for options that it does not have, where two rows would have one label,
    and where none can be used.
    """
    _check_options(config, specs)
    rows: dict[str, Requested] = {}
    for label, spec in specs.items():
        options = config.options.get(label, {})
        is_given = f"{label}={spec}" in {model.replace(" ", "") for model in config.models}
        of, points = label, _points(spec, {} if made and label in made else options)
        loaded: list[Detector] = []
        for name, point in points.items():
            one = _requested(label, spec, options | point, config, made)
            # a folder may be called like the model that it was made from
            if one.detector.row_name and label in names() and not is_given:
                of = one.detector.row_name
            row = f"{of} {name}".rstrip()
            if row in rows or (of != label and of in specs):
                raise MaibenchError(f"two detectors are called '{row}': name one of them, as in other={spec}")
            if loaded:
                _share_weights(loaded[0], one.detector)
            loaded.append(one.detector)
            rows[row] = replace(one, of=of, point=point)
    if all(row.failure for row in rows.values()):
        raise MaibenchError("; ".join(f"{label}: {row.failure}" for label, row in rows.items()))
    return rows


def _points(spec: str, options: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The points of a detector's options, {"": {}} where there is no sweep."""
    return option_points(class_of(spec), options) if any(isinstance(v, list) for v in options.values()) else {"": {}}


def _requested(
    label: str, spec: str, options: dict[str, Any], config: RunConfig, made: Mapping[str, Detector] | None
) -> Requested:
    """One row; `Broken` where its detector is there and cannot be used."""
    plain = {name: value for name, value in options.items() if name not in OF_THE_HARNESS}
    device = str(options.get("device", config.device))
    try:
        if made and label in made:
            detector, device = _taken(label, made[label], plain, device, config.engine)
        else:
            detector, device = _load(spec, plain, device, config.engine)
        _check_ready(label, detector)
    except DetectorError as error:
        return Requested(Broken(name=spec, reason=str(error)), spec, options, "cpu", str(error))
    return Requested(detector, spec, options, device)


def _share_weights(first: Detector, detector: Detector) -> None:
    """Let two points of a sweep have in memory once what is the same in both: a VLM is gigabytes."""
    if type(first) is not type(detector):
        return
    there = dict(first.named_parameters())
    for name, parameter in detector.named_parameters():
        other = there.get(name)
        alike = other is not None and (other.shape, other.dtype, other.device) == (
            parameter.shape,
            parameter.dtype,
            parameter.device,
        )
        if other is not None and alike and torch.equal(other, parameter):
            parameter.data = other.data


def _check_ready(label: str, detector: Detector) -> None:
    try:
        detector.check_ready()
    except MaibenchError as error:
        raise type(error)(f"{label}: {error}") from error
    except Exception as error:  # a plug-in's own
        raise DetectorError(f"{label}: check_ready raised {type(error).__name__}: {error}") from error


def _taken(label: str, detector: Detector, options: dict[str, Any], device: str, engine: str) -> tuple[Detector, str]:
    """A detector that is there already, and the device that it is scored on."""
    if options:
        raise MaibenchError(f"{label}: '{next(iter(options))}': a detector that is made already takes no options")
    here, device = _devices(device, engine)
    return made_ready(detector, here), device


def _load(spec: str, options: dict[str, Any], device: str, engine: str) -> tuple[Detector, str]:
    """The detector, and the device that it is scored on."""
    here, device = _devices(device, engine)
    detector = load_detector(spec, device=here, **options)
    if engine == "local":
        return detector, device
    # what is fitted is fitted here, in float32
    if device == "cuda" and detector.built_with.get("dtype") == "auto" and not detector.fitted:
        detector.to(torch.bfloat16)  # as it would be where it is loaded on a GPU
    return detector, device


def _devices(device: str, engine: str) -> tuple[str, str]:
    """Where a detector lies in this process, and the kind of device that it is scored on."""
    if engine == "local":
        device = choose_device(device)
        return device, device.partition(":")[0]
    device = "cpu" if device == "auto" else device.partition(":")[0]
    if device not in ("cpu", "cuda"):
        raise MaibenchError(f"unknown device '{device}': use auto, cpu or cuda")
    return "cpu", device


def name_training_split(detector: Detector, manifest: Manifest) -> None:
    """A fitted detector has seen the generators of the split that it is fitted on."""
    if detector.fitted:
        generators = {split: set(manifest.split(split)["generator"]) - {"real"} for split in SPLITS}
        detector.card = detector.card.updated(trained_on=detector.generators_seen(generators))


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
        if row.failure or row.detector.elsewhere:
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
