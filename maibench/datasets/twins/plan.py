"""`--dry-run`: how much work and download a request means. Nothing is fetched, generated or written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from maibench.datasets.twins.choose import candidates, licence_of
from maibench.datasets.twins.folder import TwinsFolder
from maibench.datasets.twins.places import Place
from maibench.datasets.twins.presets import Generator
from maibench.datasets.twins.request import Request, read_request
from maibench.errors import MaibenchError

GIGABYTES = {"vikhyatk/moondream2": 3.9, "openai/clip-vit-large-patch14": 1.7}
"""Of models that are often named, about."""
_MARKS = ("model_index.json", "config.json")
"""One of them is in each model's repository, and fetched with it."""
_PATTERNS = ("*.safetensors", "*.json")


@dataclass(frozen=True)
class Download:
    """A model that has to be there. gigabytes: about what is fetched of it; None: not known."""

    role: str
    name: str
    gigabytes: float | None


@dataclass(frozen=True)
class Effort:
    """What a request means. listed: photographs of the source, unlicensed: of them without a licence, where that is no
    matter; photographs: that are chosen at most. images, gated, and
    calls of each generator's denoiser: at least and at most, if all photographs are chosen and pass. done: it is all
    there."""

    listed: int
    unlicensed: int
    photographs: int
    images: tuple[int, int]
    calls: dict[str, tuple[int, int] | None]
    gated: tuple[int, int]
    stored_bytes: int
    downloads: list[Download]
    done: bool

    def described(self) -> list[str]:
        """A line each."""
        if self.done:
            return ["nothing is missing: the folder holds what is asked for"]
        lines = [
            f"photographs: up to {self.photographs:,} of {self.listed:,} that are listed",
            *([f"licences: any are taken; {self.unlicensed:,} photographs have none"] if self.unlicensed else []),
            f"captions: {self.photographs:,}",
            f"images to generate: {_span(self.images)}",
            f"images to put through the gates: {_span(self.gated)}",
        ]
        for name, calls in self.calls.items():
            lines.append(
                f"forward steps of {name}: {_span(calls) if calls else 'as many as the pipeline takes itself'}"
            )
        lines.append(f"on disk: about {self.stored_bytes / 1e9:,.1f} GB, twice that while it is made")
        for download in self.downloads:
            size = "size unknown" if download.gigabytes is None else f"{download.gigabytes:,.1f} GB"
            lines.append(f"download for the {download.role}: {size} ({download.name})")
        known = sum(download.gigabytes or 0 for download in self.downloads)
        unknown = sum(download.gigabytes is None for download in self.downloads)
        more = f", and {unknown} of unknown size" if unknown else ""
        return [*lines, f"downloads in all: {known:,.1f} GB{more}; nothing was fetched or generated"]


def effort_of(request: Request) -> Effort:
    """How much a request means, if nothing of it is there yet. Raises MaibenchError for a wrong request, and for a
    folder that holds something else."""
    from maibench.models.device import choose_device

    plan = read_request(request)
    folder = TwinsFolder(request.out)
    folder.refuse_another(plan.asked() | {"device": choose_device(request.device)})
    rows = candidates(plan.manifest, plan.gate)
    listed = len(rows)
    unlicensed = 0 if plan.gate.licences else sum(not licence_of(row) for row in rows)
    most = min(request.most, listed)
    least = most * len(plan.generators)
    steps = {generator.name: _steps(generator, most, request.candidates) for generator in plan.generators}
    places: list[tuple[str, Place | None, float | None]]
    places = [("captioner", plan.captioner.place, None), ("gates", plan.clip, None)]
    places += [(f"generator {generator.name}", generator.place, generator.gigabytes) for generator in plan.generators]
    return Effort(
        listed=listed,
        unlicensed=unlicensed,
        photographs=most,
        images=(least, least * request.candidates),
        calls=steps,
        gated=(most + least, most + least * request.candidates),
        stored_bytes=(most + least) * request.size**2 * 3 // (1 if plan.storage.format == "PNG" else 8),
        downloads=[_download(role, place, size) for role, place, size in places if place is not None],
        done=folder.finished() is not None,
    )


def _steps(generator: Generator, photographs: int, candidates: int) -> tuple[int, int] | None:
    """Denoising steps at least and at most; None where the pipeline decides."""
    steps = generator.settings.get("num_inference_steps")
    return None if steps is None else (photographs * int(steps), photographs * candidates * int(steps))


def _download(role: str, place: Place, gigabytes: float | None) -> Download:
    if place.is_folder or _is_cached(place):
        return Download(role, str(place), 0.0)
    return Download(role, str(place), gigabytes or GIGABYTES.get(place.where) or _asked(place))


def _is_cached(place: Place) -> bool:
    from huggingface_hub import try_to_load_from_cache

    found = [try_to_load_from_cache(place.where, name, revision=place.revision) for name in _MARKS]
    return any(isinstance(file, str) and Path(file).is_file() for file in found)


def _asked(place: Place) -> float | None:
    """What the Hub says of a repository's size; None where it cannot be asked."""
    from huggingface_hub import snapshot_download

    try:
        files = snapshot_download(place.where, revision=place.revision, allow_patterns=list(_PATTERNS), dry_run=True)
    except (MaibenchError, OSError, ValueError, RuntimeError):  # its own errors are among these
        return None
    return sum(file.file_size or 0 for file in files if file.will_download) / 1e9


def _span(span: tuple[int, int]) -> str:
    return f"{span[0]:,}" if span[0] == span[1] else f"{span[0]:,} to {span[1]:,}"
