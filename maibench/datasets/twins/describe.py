"""What the data card of a data set of twins says."""

from __future__ import annotations

import shlex
from pathlib import Path

import pandas as pd

from maibench.datasets.data_card import DataCard, versions_of
from maibench.datasets.manifest import SPLITS
from maibench.datasets.receipts import read_receipt
from maibench.datasets.twins.captioners import NANO
from maibench.datasets.twins.choose import Photo
from maibench.datasets.twins.folder import DATA, QUARANTINE
from maibench.datasets.twins.request import Plan


def described(plan: Plan, kept: list[Photo], rows: pd.DataFrame, quarantined: dict[str, int]) -> DataCard:
    """The card of the photographs that are kept and their twins. rows: of the data set, with receipts."""
    request, limits = plan.request, plan.request.limits
    names = [generator.name for generator in plan.generators]
    left = ", ".join(f"{count} at {stage}" for stage, count in quarantined.items()) or "none"
    splits = "those of the source" if plan.gate.shares is None else "drawn from a hash of each photograph's source"
    licences = f"licences {', '.join(plan.gate.licences)}; " if plan.gate.licences else ""
    return DataCard(
        title=f"Real photographs of {plan.manifest.name} and their twins by {', '.join(names)}",
        summary="Real photographs, and for each the images that text-to-image models make of its caption",
        made=[
            f"{len(kept)} photographs of `{plan.manifest.name}` ({licences}at least {plan.gate.smallest} pixels a "
            "side, not blank, no near-duplicates), in an order that the seed drew",
            f"Splits: {splits}, before anything was generated",
            f"Captions: {plan.captioner.name}, temperature 0, reduced to their content",
            *(f"Twins: {one.name} ({one.place}), {_settings(one.settings)}" for one in plan.generators),
            f"Gates, the same for both sides: {_last(str(plan.clip))}; alignment at least {limits.alignment}, "
            f"photograph at least {limits.photo}, unsafe at most {limits.unsafe}; the first of {request.candidates} "
            "candidates that passed was taken, never the best",
            f"Photographs left out with all their twins: {left} (`{QUARANTINE}` says why)",
            f"Both sides stored alike: the middle {request.size} x {request.size} pixels after reducing the shorter "
            f"side to {request.size}, as {plan.storage.name}; no metadata",
            "The column `receipt` says of each image how it came to be: models, revisions, seeds, settings, scores, "
            "checksums",
        ],
        command=_command(plan),
        limits=[
            _reduced(kept, rows, request.size),
            "A twin shows what the captioner said of its photograph, and nothing else of it",
            "The gates are a model's scores, not facts: they favour what that model knows",
            *(["The captions are those of the bundled nano model: this data set is for trying out"]
              if plan.captioner.name == NANO else []),
        ],
        tags=["text-to-image", *names],
        data_files={split: f"{DATA}/{split}-*.parquet" for split in SPLITS if (rows["split"] == split).any()},
        versions=versions_of("torch", "transformers", "diffusers", "pillow", "pyarrow"),
    )  # fmt: skip


def _reduced(kept: list[Photo], rows: pd.DataFrame, size: int) -> str:
    """How far either side was reduced: resampling leaves traces, which may tell them apart."""
    real = [min(photo.original["width"], photo.original["height"]) / size for photo in kept]
    parts = [f"photographs {min(real):.2f} to {max(real):.2f} times"]
    for name, members in rows[rows["label"] == 1].groupby("generator"):
        steps = (step for receipt in members["receipt"] for step in read_receipt(receipt))
        made = [min(step["made"]) / size for step in steps if step["step"] == "generate"]
        parts.append(f"{name} {min(made):.2f} to {max(made):.2f} times")
    return f"Reduced: {', '.join(parts)}; traces of resampling may tell the sides apart (see 'maibench data audit')"


def _settings(settings: dict[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items()) or "the pipeline's own settings"


def _command(plan: Plan) -> str:
    """The command without --out, and paths by their last part: where things lie here says nothing to a reader."""
    request = plan.request
    words = [
        "maibench", "data", "pairs", "--data", _last(request.data), "--captioner", _last(request.captioner),
        "--clip", _last(request.clip), "--generators", ",".join(map(_last, request.generators.split(","))),
        "--most", str(request.most), "--candidates", str(request.candidates), "--size", str(request.size),
        "--smallest", str(request.smallest), "--shares", request.shares, "--store", request.store,
        "--seed", str(request.seed), "--alignment", str(request.limits.alignment),
        "--photo", str(request.limits.photo), "--unsafe", str(request.limits.unsafe),
    ]  # fmt: skip
    if request.licences:
        words += ["--licences", request.licences]
    if request.columns:
        words += ["--columns", request.columns]
    if request.presets:
        words += ["--presets", request.presets.name]
    return shlex.join(words)


def _last(text: str) -> str:
    name, equals, where = text.rpartition("=")
    place = Path(where).expanduser()
    return f"{name}{equals}{place.resolve().name}" if place.is_absolute() or place.exists() else text
