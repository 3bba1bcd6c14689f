"""A comparison from the request to the report: load, fit, score what is missing, summarise."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from maibench.config import RunConfig, label_specs
from maibench.cores import cores
from maibench.datasets.attack_names import is_attack
from maibench.datasets.manifest import Manifest
from maibench.datasets.perturb import parse_perturbation
from maibench.datasets.readers import open_data
from maibench.datasets.suites import expand, named_suites
from maibench.errors import DiskError, MaibenchError
from maibench.evaluation.attacks import VERSION, Attack, art_version, make_attacks
from maibench.evaluation.audit.comparison import audit_comparison
from maibench.evaluation.detectors import Requested, choose_backends, load_detectors, name_training_split
from maibench.evaluation.finished_run import Run
from maibench.evaluation.fitting import SPLIT_NAMES, fit_detector, load_fitted
from maibench.evaluation.gallery import make_gallery
from maibench.evaluation.pipeline import Disturbance
from maibench.evaluation.report import read_evaluated, write_report
from maibench.evaluation.run import check_same_request, git_commit, machine, read_run, versions, write_run
from maibench.evaluation.scoring import Entry, Plan, make_plan, score
from maibench.evaluation.store import KEPT_AT, check_predictions, open_store, remove_other_detectors
from maibench.files import make_folder, remove_parts
from maibench.memory import keep_freed_memory
from maibench.models.backends.choose import Chosen
from maibench.models.base import Detector
from maibench.models.loading import fingerprint
from maibench.progress import Progress


def run_comparison(
    config: RunConfig,
    fresh: bool = False,
    command: list[str] | None = None,
    progress: Progress | None = None,
    made: Mapping[str, Detector] | None = None,
) -> Run:
    """Do what `config` asks, in its folder. Goes on where an earlier call with the same request stopped.

    made: detectors that are there already, by the labels of their rows.

    Raises MaibenchError when the request is wrong; KeyboardInterrupt passes through, with what was scored kept.
    """
    progress = progress or Progress()
    started = time.time()
    specs = label_specs(config.models)
    rows = load_detectors(config, specs, made)
    manifest, plan = _open(config, {label: row.detector for label, row in rows.items()}, progress)
    folder = Path(config.out) if config.out else default_folder(manifest, list(label_specs(config.models)))
    manifest.check_outside(folder)
    before = read_run(folder)
    check_same_request(folder, before, config.identity(), fresh)
    for row in rows.values():
        name_training_split(row.detector, manifest)
    taken = {} if fresh else {entry["label"]: entry.get("backend", "") for entry in before.get("detectors", [])}
    backends = choose_backends(config, rows, plan, taken, progress)
    make_folder(folder)
    predictions = check_predictions(config.predictions, before) if config.predictions else None
    again = time.time_ns() if fresh else before.get("again", 0)
    entries = []
    for label, row in rows.items():
        code = fingerprint(row.detector)
        kept = _kept(label, row, {} if fresh else before)
        key = kept.get("key") or _key(code, row, backends[label], plan, config, again)
        store = open_store(folder, predictions, label, key)
        backend, sweep = backends[label], (row.of, row.point)
        device, failure = row.device, row.failure
        entries.append(Entry(label, row.detector, store, row.spec, code, device, backend, failure, *sweep, kept))
    _say_what_changed(entries, before, fresh, progress)
    record = _record(config, command, manifest, entries)
    record |= {"again": again, "started": before.get("started") or round(started)}
    record |= {KEPT_AT: predictions} if predictions else {}
    write_run(folder, record)
    _fit(entries, manifest, plan, folder, config, progress)
    began = time.time()
    scored = _score(entries, plan, config, progress)
    scoring = time.time() - began
    _tidy(folder, entries, progress)
    earlier = {} if fresh else before
    record |= {
        "seconds": round(earlier.get("seconds", 0.0) + (time.time() - started if scored else 0), 2),
        "seconds_scoring": round(earlier.get("seconds_scoring", 0.0) + (scoring if scored else 0), 2),
        "detectors": [_describe(entry) for entry in entries],
        "status": "done",
    }
    write_run(folder, record)
    _draw_gallery(entries, manifest, folder, config, progress)
    if config.audit:
        source = shlex.quote(config.data) + (f" --columns {shlex.quote(config.columns)}" if config.columns else "")
        audit_comparison(
            manifest, config.split, folder, config.seed, config.workers, config.max_pixels, progress, source
        )
    summary = write_report(folder)
    failed = summary.metrics["n"].eq(0).any() or any(entry.failure for entry in entries) or bool(summary.suspects)
    images_failed = bool((summary.metrics["n_failed"] > 0).any())
    return Run(folder, summary, scored, clean=not (failed or (config.strict and images_failed)))


def default_folder(manifest: Manifest, labels: list[str]) -> Path:
    """results/<data>-<models>."""
    name = "-".join([manifest.name, *labels])
    name = re.sub(r"[^\w.+-]+", "_", name)
    if len(name) > 100:
        name = name[:80] + "-" + hashlib.sha256(name.encode()).hexdigest()[:8]
    return Path("results") / name


def _open(config: RunConfig, detectors: dict[str, Detector], progress: Progress) -> tuple[Manifest, Plan]:
    """The data and what is to be scored of it; a mistake in the perturbations is told before the demo is made."""
    perturbations = _perturbations(config.perturb, detectors)
    if config.data == "demo":
        progress.say("opening the demo (made on first use, under a minute)")
    manifest = open_data(config.data, config.columns)
    if not any(manifest.rows["split"] == config.split):
        there = ", ".join(sorted(set(manifest.rows["split"])))
        raise MaibenchError(f"{config.data}: has no images of split '{config.split}'; it has: {there}")
    manifest.check_there(manifest.split(config.split))
    return manifest, make_plan(manifest, config.split, perturbations, config.batch_size, config.limit, config.seed)


def _tidy(folder: Path, entries: list[Entry], progress: Progress) -> None:
    """Remove what this run has replaced, now that the new predictions are complete."""
    remove_parts(folder)
    remove_other_detectors(folder, [entry.label for entry in entries])
    for entry in entries:
        entry.store.sweep()
        if entry.failure:
            kept = "; what was scored of it before is kept" if entry.kept else ""
            progress.say(f"{entry.label}: {entry.failure.removeprefix(f'{entry.label}: ')}{kept}")


def _draw_gallery(
    entries: list[Entry], manifest: Manifest, folder: Path, config: RunConfig, progress: Progress
) -> None:
    if not config.gallery and not (folder / "gallery").exists():
        return
    able = {entry.label: entry.detector for entry in entries if not entry.failure}
    keys = {entry.label: entry.store.key for entry in entries}
    each, maps = config.gallery, config.evidence
    make_gallery(folder, read_evaluated(folder), manifest, able, keys, each, maps, config.max_pixels, progress=progress)


def _perturbations(texts: list[str], detectors: dict[str, Detector]) -> list[Disturbance]:
    """What is done to every image: an attack that is asked for is made on each detector that can be attacked."""
    names = expand(texts)
    attacks = make_attacks(filter(is_attack, names), detectors)
    disturbances: list[Disturbance] = []
    for name in names:
        disturbances += attacks[name] if name in attacks else [parse_perturbation(name)]
    return disturbances


def _key(code: str, row: Requested, backend: Chosen, plan: Plan, config: RunConfig, again: int) -> str:
    """Names one computation: the same key means the same predictions."""
    disturbances = plan.batches[0][1] if plan.batches else []
    perturbations = [p.name for p in disturbances]
    attacked = [[p.fingerprint, VERSION, art_version()] for p in disturbances if isinstance(p, Attack)]
    rows = hashlib.sha256(json.dumps([rows for rows, _ in plan.batches]).encode()).hexdigest()
    facts = [
        code,
        "torch" if backend.name == "torch" else [backend.name, backend.version],
        _dtype(row.detector),
        row.device,
        plan.manifest.fingerprint,
        perturbations,
        rows,
    ]
    rest = [attacked] if attacked else []
    return hashlib.sha256(json.dumps([*facts, *rest, config.max_pixels, again]).encode()).hexdigest()[:16]


def _dtype(detector: Detector) -> str:
    """What it computes in: the type of its parameters."""
    return str(next((p.dtype for p in detector.parameters()), "float32")).removeprefix("torch.")


def _say_what_changed(entries: list[Entry], before: dict[str, Any], fresh: bool, progress: Progress) -> None:
    keys = {entry["label"]: entry.get("key") for entry in before.get("detectors", [])}
    for entry in entries:
        if not fresh and entry.label in keys and keys[entry.label] != entry.store.key:
            progress.say(f"{entry.label}: its weights, code, device or data changed; scoring it afresh")


def _record(config: RunConfig, command: list[str] | None, manifest: Manifest, entries: list[Entry]) -> dict[str, Any]:
    return {
        "status": "running",
        "command": command,
        "config": config.model_dump(mode="json"),
        "suites": named_suites(config.perturb),
        "data": {
            "source": config.data,
            "name": manifest.name,
            "fingerprint": manifest.fingerprint,
            "split": config.split,
            "images": len(manifest.rows),
            "has_sources": manifest.has_sources,
            "released": _released(manifest),
        },
        "detectors": [_describe(entry) for entry in entries],
        "seeds": {"run": config.seed},
        "versions": versions(),
        "machine": machine(),
        "git_commit": git_commit(),
    }


def _released(manifest: Manifest) -> dict[str, str]:
    """When the data says that its generators came out; the first date where it gives several."""
    if "released" not in manifest.rows:
        return {}
    dated = manifest.rows[manifest.rows["label"].eq(1) & manifest.rows["released"].notna()]
    dates = dated.assign(released=dated["released"].astype(str)).groupby("generator")["released"].min()
    return {str(generator): date.strip()[:10] for generator, date in dates.items() if date.strip()}


def _kept(label: str, row: Requested, before: dict[str, Any]) -> dict[str, Any]:
    """What run.json says of a detector that was scored and cannot be used now, as a server that is gone."""
    scored = [told for told in before.get("detectors", []) if told["label"] == label and not told.get("failure")]
    return scored[0] if row.failure and scored else {}


def _describe(entry: Entry) -> dict[str, Any]:
    if entry.kept:
        return entry.kept
    detector = entry.detector
    return {
        "label": entry.label,
        "spec": entry.spec,
        "key": entry.store.key,
        "fingerprint": entry.code,
        "device": entry.device,
        "dtype": _dtype(detector),
        "backend": entry.backend.name,
        "backend_facts": entry.backend.facts | {"version": entry.backend.version},
        "parameters": None if detector.elsewhere else detector.parameter_count(),
        "failure": entry.failure,
        "card": detector.card.model_dump(mode="json"),
        "facts": detector.facts(),
        **({"of": entry.of, "point": json.loads(json.dumps(entry.point, default=str))} if entry.point else {}),
    }


def _fit(
    entries: list[Entry], manifest: Manifest, plan: Plan, folder: Path, config: RunConfig, progress: Progress
) -> None:
    """Fit the detectors that have something to score, load what was fitted before; one that cannot be fitted becomes a
    failed row."""
    for entry in entries:
        label, detector, code = entry.label, entry.detector, entry.code
        if not detector.fitted or entry.failure:
            continue
        try:
            if load_fitted(label, detector, code, manifest, folder) or len(entry.store.done()) == len(plan.batches):
                continue
            progress.say(f"{label}: fitting on the {SPLIT_NAMES[detector.fit_split]} split")
            workers = config.workers or cores()
            fit_detector(label, detector, code, manifest, folder, workers, config.max_pixels, config.split)
        except DiskError:
            raise
        except MaibenchError as error:
            entry.failure = str(error)


def _score(entries: list[Entry], plan: Plan, config: RunConfig, progress: Progress) -> int:
    """Score what is missing; returns how many batches were computed, summed over detectors."""
    entries = [entry for entry in entries if not entry.kept]
    before = _count(entries)
    with progress.running(plan.images):
        if config.engine == "ray":
            from maibench.evaluation.ray_engine import score_on_ray

            score_on_ray(plan, entries, config.address, config.workers, config.max_pixels, progress)
        else:
            keep_freed_memory()
            score(plan, entries, config.workers or cores(), config.max_pixels, progress.advance)
    return _count(entries) - before


def _count(entries: list[Entry]) -> int:
    return sum(len(entry.store.done()) for entry in entries)
