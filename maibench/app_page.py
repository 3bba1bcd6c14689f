"""The page of `maibench app`: what it shows, and what happens when images are dropped on it."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import torch
from jinja2 import Environment, PackageLoader, Template
from PIL import Image
from scipy.special import expit

from maibench.datasets.image import ImageFile, Pixels, decode, parse_file
from maibench.datasets.perturb import parse_perturbation
from maibench.errors import ImageError
from maibench.evaluation import evidence
from maibench.evaluation.picks import probability
from maibench.models.base import Detector
from maibench.models.device import to_device

MAX_PIXELS = 50_000_000
"""Larger images are refused before they are decoded."""
AFTER = "jpeg:75"
_SIDE = 480
"""Pixels of a shown picture's longest side."""
_PATIENCE = 10
"""A map that was asked for may cost this many galleries' operations: about a minute on two cores."""
DISCLAIMER = (
    "A score is no evidence by itself that an image is synthetic or real: it is the estimate of a model that errs, and "
    "how often it errs on images like these is unknown. maibench compare measures it on images whose origin is known."
)
_HINT = "Nothing is sent anywhere: the detectors run on this machine, and uploads are removed when the page is stopped."


@dataclass(frozen=True)
class Answer:
    """What a detector says of an image: P(synthetic), or why there is none."""

    score: float | None = None
    unsure: bool = False
    error: str = ""

    @property
    def text(self) -> str:
        return "–" if self.score is None else probability(self.score)

    @property
    def verdict(self) -> str:
        """At P = 0.5, as in the tables."""
        return "" if self.score is None else "synthetic" if self.score > 0.5 else "real"


@dataclass(frozen=True)
class Judged:
    """An image and the answers to it: {detector: (as it is, after AFTER)}. error: why it could not be read."""

    name: str
    facts: str = ""
    picture: str = ""
    answers: dict[str, tuple[Answer, Answer]] = field(default_factory=dict)
    error: str = ""


def judge(detectors: dict[str, Detector], name: str, data: bytes) -> Judged:
    """Ask every detector; what fails is told, never raised."""
    try:
        file, pixels = _read(name, data)
        picture = _data_uri(_fit(pixels, 160))
    except (ImageError, MemoryError) as error:
        return Judged(name, error=_reason(error))
    disturbed, undisturbed = None, ""
    try:
        disturbed = parse_perturbation(AFTER)(pixels, file.image_id)
    except (ImageError, MemoryError) as error:  # a size that JPEG does not hold: the answers to the image itself stay
        undisturbed = _reason(error)
    answers = {}
    for label, detector in detectors.items():
        if detector.reads == "pixels":
            after = Answer(error=undisturbed) if disturbed is None else _ask(detector, disturbed)
            answers[label] = _ask(detector, pixels), after
        else:
            answers[label] = _ask(detector, file), Answer(error="reads the file, not the pixels")
    height, width = pixels.shape[:2]
    return Judged(name, f"{width} × {height} pixels, {file.format}", picture, answers)


def judge_upload(detectors: dict[str, Detector], path: Path) -> Judged:
    """`judge` of an uploaded file, which may have been removed since."""
    try:
        data = _upload(path)
    except ImageError as error:
        return Judged(path.name, error=str(error))
    return judge(detectors, path.name, data)


def explain(detector: Detector, label: str, name: str, data: bytes) -> str:
    """The evidence map of one image, as HTML; or why there is none."""
    context: dict[str, Any] = {"name": name, "label": label, "error": "", "caution": evidence.CAUTION}
    try:
        _, pixels = _read(name, data)
        device = detector.device.type
        cost = evidence.pass_cost(detector, pixels)
        cells = evidence.choose_cells(cost, pixels, device)
        needed = evidence.map_cost(cost, pixels, cells)
        if needed > _PATIENCE * evidence.PER_GALLERY.get(device, evidence.PER_GALLERY["cuda"]):
            raise ImageError(f"a map would take {needed / 1e9:,.0f} billion operations: too many for this {device}")
        found = evidence.evidence_map(detector, pixels, cells)
        small = _fit(pixels, _SIDE)
        context |= {
            "picture": _data_uri(small),
            "map": _data_uri(evidence.overlay(small, found.values)),
            "strongest": f"{found.strongest:.2f}",
            "method": evidence.METHOD,
        }
    except Exception as error:  # whatever a plug-in raises: a line on the page
        context["error"] = _reason(error)
    return _template("evidence").render(context)


def explain_upload(detector: Detector, label: str, path: Path) -> str:
    """`explain` of an uploaded file, which may have been removed since."""
    try:
        data = _upload(path)
    except ImageError as error:
        return _template("evidence").render(name=path.name, label=label, error=str(error))
    return explain(detector, label, path.name, data)


def theme() -> gr.themes.Base:
    """gradio's looks with the fonts of the reader's machine, so that none is fetched."""
    return gr.themes.Default(
        font=["system-ui", "-apple-system", "Segoe UI", "sans-serif"],
        font_mono=["ui-monospace", "Consolas", "monospace"],
        primary_hue="blue",
    )


def make_page(detectors: dict[str, Detector], delete_cache: tuple[int, int]) -> gr.Blocks:
    """The page. delete_cache: how often, and from which age, uploads are removed, in seconds."""
    explainable = [label for label, detector in detectors.items() if evidence.has_evidence(detector)]

    def answer(paths: list[str] | None) -> Iterator[tuple[Any, Any, Any, Any]]:
        """Show each image's answers as soon as they are there."""
        paths = paths or []
        judged: list[Judged] = []
        for path in paths:
            judged.append(judge_upload(detectors, Path(path)))
            yield _answers(judged, len(paths)), gr.skip(), gr.skip(), gr.skip()
        choices = [(f"{number}. {each.name}", number - 1) for number, each in enumerate(judged, 1) if not each.error]
        chosen = choices[0][1] if choices else None
        yield (
            _answers(judged, len(paths)),
            gr.Column(visible=bool(choices and explainable)),
            gr.Dropdown(choices=choices, value=chosen),
            "",
        )

    def draw(paths: list[str] | None, image: int | None, label: str | None) -> str:
        if not paths or image is None or image >= len(paths) or label not in detectors:
            return ""
        return explain_upload(detectors[label], label, Path(paths[image]))

    with gr.Blocks(title="maibench", analytics_enabled=False, delete_cache=delete_cache) as page:
        gr.HTML(_template("head").render(detectors=list(detectors), hint=_HINT), padding=False)
        files = gr.File(label="Drop images here", file_count="multiple", file_types=["image"], height=150)
        shown = gr.HTML(elem_id="answers", padding=False)
        with gr.Column(visible=False) as column:
            gr.HTML('<h2 class="mb-title">What did the answer hang on?</h2>', padding=False)
            with gr.Row():
                image = gr.Dropdown(label="Image", choices=[], interactive=True, min_width=240)
                label = gr.Dropdown(
                    label="Detector", choices=explainable, value=next(iter(explainable), None), min_width=240
                )
            button = gr.Button("Draw the evidence map", variant="primary", elem_id="draw")
            drawn = gr.HTML(elem_id="evidence", padding=False)
        gr.HTML(_template("foot").render(disclaimer=DISCLAIMER), padding=False)
        one_at_a_time: dict[str, Any] = {
            "concurrency_limit": 1,
            "concurrency_id": "detectors",
            "api_visibility": "private",
        }
        files.change(answer, files, [shown, column, image, drawn], **one_at_a_time)
        button.click(draw, [files, image, label], drawn, **one_at_a_time)
    return page


def _answers(judged: list[Judged], total: int) -> str:
    return _template("answers").render(judged=judged, total=total, after=AFTER)


def _upload(path: Path) -> bytes:
    """Raises ImageError where the file is gone, which `delete_cache` sees to."""
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ImageError("the upload was removed after an hour; drop the image again") from error
    except OSError as error:
        raise ImageError(f"cannot be read: {error.strerror or error}") from error


def _reason(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "there is not enough memory for it"
    return str(error) if isinstance(error, ImageError) else f"{type(error).__name__}: {error}"


def _read(name: str, data: bytes) -> tuple[ImageFile, Pixels]:
    file = parse_file(name, data, max_pixels=2**62)
    if file.width * file.height > MAX_PIXELS:
        raise ImageError(f"{file.width} x {file.height} pixels: the page takes at most {MAX_PIXELS:,}")
    return file, decode(data)


def _ask(detector: Detector, image: Any) -> Answer:
    try:
        with torch.inference_mode():
            batch = detector.collate([detector.preprocess(image)])
            logits, unsure = detector.answer(to_device(batch, detector.device))
        logit = float(logits[0])
    except Exception as error:  # whatever a plug-in raises: a row on the page
        return Answer(error=_reason(error))
    if np.isnan(logit):
        return Answer(error="the detector returned NaN")
    return Answer(float(expit(logit)), bool(unsure[0]))


def _fit(pixels: Pixels, side: int) -> Pixels:
    image = Image.fromarray(pixels)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return np.asarray(image)


def _data_uri(pixels: Pixels) -> str:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()


@cache
def _template(name: str) -> Template:
    """One of the page's parts; text from data is escaped."""
    return Environment(loader=PackageLoader("maibench", "app_parts"), autoescape=True).get_template(f"{name}.html.j2")


STYLE = (Path(__file__).parent / "app_parts" / "style.css.j2").read_text(encoding="utf-8")
