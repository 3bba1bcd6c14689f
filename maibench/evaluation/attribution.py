"""Which generator made each image of a data set: asked of a detector that can say so, and told in a folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from maibench.cores import cores
from maibench.datasets.image import MAX_PIXELS
from maibench.datasets.manifest import Manifest
from maibench.datasets.perturb import Perturbation, parse_perturbation
from maibench.datasets.readers import open_data
from maibench.errors import MaibenchError
from maibench.evaluation.attribution_report import write_attribution
from maibench.evaluation.pipeline import Failure, Job, Prepared, Workers, stream
from maibench.files import make_folder
from maibench.models.attribution import Attribution
from maibench.models.attribution_names import UNKNOWN
from maibench.models.base import Detector
from maibench.models.device import choose_device, to_device
from maibench.models.loading import load_detector
from maibench.progress import Progress

BATCH = 32
PIECE = 8
_LABEL = "attribution"


@dataclass(frozen=True)
class AttributionRun:
    """folder: where everything lies. images: a row an image (attribution.csv). metrics: top-1 and the like with their
    intervals (metrics.csv). confusion: a row a generator, a column a class (confusion.csv)."""

    folder: Path
    images: pd.DataFrame
    metrics: pd.DataFrame
    confusion: pd.DataFrame


def attribute(
    model: str | Attribution,
    data: str | Path = "demo",
    out: str | Path = "results/attribution",
    *,
    split: str = "test",
    columns: str = "",
    perturb: str = "none",
    device: str = "auto",
    workers: int | None = None,
    limit: int | None = None,
    resamples: int = 1000,
    seed: int = 0,
    progress: Progress | None = None,
) -> AttributionRun:
    """Ask which generator made each image of a split, and write attribution.csv, metrics.csv, confusion.csv,
    confusion.svg, .png and .pdf, and table.md.

    model: attribution-demo, attribution-wild, a folder that finetuning wrote, or one that is loaded. perturb: what is
    done to the pixels first. limit: at most so many images, drawn at random. An image that cannot be read is a row that
    says why. Raises MaibenchError for a model that cannot tell generators apart, for data without such a split, and for
    a wrong perturbation.
    """
    progress, folder = progress or Progress(), Path(out)
    network = _loaded(model, device)
    perturbation = parse_perturbation(perturb)
    manifest = open_data(str(data), columns)
    rows = manifest.split(split)
    if rows.empty:
        there = ", ".join(sorted(set(manifest.rows["split"])))
        raise MaibenchError(f"{data}: has no images of split '{split}'; it has: {there}")
    manifest.check_there(rows)
    manifest.check_outside(folder)
    if limit is not None and limit < len(rows):
        rows = rows.loc[np.sort(np.random.default_rng(seed).permutation(rows.index)[:limit])]
    make_folder(folder)
    with progress.running(len(rows)):
        parts = _answers(network, manifest, rows, perturbation, workers or cores(), progress)
        images = pd.DataFrame([row for part in parts for row in part])
    if not manifest.has_sources:
        images["source"] = images["path"]
    metrics, confusion = write_attribution(
        folder, images, network.classes, network.pooled, manifest.name, network.card.name, manifest.has_sources,
        resamples, seed,
    )  # fmt: skip
    return AttributionRun(folder, images, metrics, confusion)


def _loaded(model: str | Attribution, device: str) -> Attribution:
    """Raises MaibenchError for a detector that answers real or synthetic alone."""
    name = choose_device(device)
    found: Detector = load_detector(model, device=name) if isinstance(model, str) else model.to(name).eval()
    if not isinstance(found, Attribution):
        raise MaibenchError(
            f"'{model}' tells synthetic from real and no more; name attribution-demo, attribution-wild, or a folder of "
            "maibench finetune configs/finetune/attribution.yaml"
        )
    return found


def _answers(
    network: Attribution,
    manifest: Manifest,
    rows: pd.DataFrame,
    perturbation: Perturbation,
    workers: int,
    progress: Progress,
) -> Iterator[list[dict[str, Any]]]:
    """A row an image, batch by batch, in order."""
    records = rows.to_dict("records")
    jobs = (
        Job(start, records[start : start + BATCH], [perturbation], [_LABEL]) for start in range(0, len(records), BATCH)
    )
    with Workers(workers) as pool:

        def ask(job: Job, images: list[Any]) -> list[Any]:
            pieces = range(0, len(images), PIECE)
            return [pool.submit(_ask, network, images[at : at + PIECE], perturbation.name) for at in pieces]

        for job, images, asked in stream(manifest.images, jobs, {_LABEL: network}, pool, MAX_PIXELS, ask):
            said = [answer for future in asked for answer in future.result()]
            prepared = [image.result() for image in images]
            yield [_row(*each, network) for each in zip(job.rows, prepared, said, strict=True)]
            progress.advance(len(job.rows))


def _ask(network: Attribution, images: Sequence[Any], perturbation: str) -> list[tuple[np.ndarray, float] | str]:
    """(probabilities, strangeness) of each image, or why there is none. In a worker, which is one core."""
    prepared: list[Prepared] = [image.result() for image in images]
    items: list[Any] = [image.error or image.items[_LABEL, perturbation] for image in prepared]
    said: list[Any] = [str(item) for item in items]
    usable = [place for place, item in enumerate(items) if not isinstance(item, (str, Failure))]
    if usable:
        with torch.inference_mode():
            batch = to_device(network.collate([items[place] for place in usable]), network.device)
            found = network.attribute(batch)
            probabilities = found.logits.double().softmax(dim=1).cpu().numpy()
        for place, values, strangeness in zip(usable, probabilities, found.strangeness.tolist(), strict=True):
            said[place] = (values, strangeness)
    return said


def _row(row: Any, prepared: Prepared, said: tuple[np.ndarray, float] | str, network: Attribution) -> dict[str, Any]:
    known = {name: row.get(name, "") for name in ("path", "label", "generator", "source", "split")}
    told: dict[str, Any] = {"image_id": prepared.image_id, **known, "truth": network.truth_of(row["generator"])}
    if isinstance(said, str):
        empty = dict.fromkeys(("attributed", "answer"), "")
        return told | empty | {"probability": np.nan, "strangeness": np.nan, "status": "failed", "error": said}
    probabilities, strangeness = said
    best = network.classes[int(probabilities.argmax())]
    answer = UNKNOWN if strangeness > float(network.threshold) else best
    told |= {"attributed": best, "answer": answer, "probability": float(probabilities.max())}
    told |= {"strangeness": strangeness, "status": "ok", "error": ""}
    return told | {f"p_{name}": float(p) for name, p in zip(network.classes, probabilities, strict=True)}
