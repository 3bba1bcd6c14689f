"""How images were compressed, resized and framed before they were stored, and whether that tells the label."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from maibench.datasets.image import Pixels
from maibench.evaluation.audit.by_generator import is_most, judged_of
from maibench.evaluation.audit.found import TELLS, as_finding, exclusive, telling_text
from maibench.evaluation.audit.luma import SMALLEST, luma
from maibench.evaluation.audit.means import MIN_SOURCES, REAL, Mark, MeanImages, thumbnail
from maibench.evaluation.audit.parts import Finding, Grid, Part, Shot
from maibench.evaluation.audit.resizing import frame_width, resizing_traces
from maibench.evaluation.audit.telling import CHANCE, LIMIT, Telling, light, telling, telling_of
from maibench.evaluation.audit.traces import jpeg_traces
from maibench.evaluation.statistics.bootstrap import MIN_SOURCES as FEWEST

__all__ = ["MeanImages", "history", "history_part", "thumbnail"]

TOGETHER = "all traces together"
MARKS = "marks at a fixed place"
_SHOWN = 60
"""Mean images in the contact sheet: those with marks first, then those of most images."""
_MEASURES = (
    "aligned", "quality", "shifted", "twice", "first_quality", "resampled", "wave", "sharpness",
)  # fmt: skip
_HELPS = (
    "nothing takes the past out of pixels. What helps: collect both classes again, from the same places and with the "
    "same steps in between; or keep only real and synthetic images of the same origin; report each collection by "
    "itself; and look whether a detector is best on just those generators that are told best below, by generator: "
    "then it may have learned the past of the files"
)
_ALIKE = (
    "`maibench data match` stores both classes alike but keeps what was before: take synthetic images as their "
    "generator wrote them and compress both classes alike from there, or reduce both by the same factor first"
)


def history(pixels: Pixels) -> dict[str, float]:
    """The traces of an image's past: `jpeg_traces`, `resizing_traces` and `frame_width`, named history_...

    All but the frame look at the middle of a large image, and are NaN for one with a side under SMALLEST pixels.
    """
    facts = dict.fromkeys((f"history_{name}" for name in _MEASURES), math.nan)
    facts["history_frame"] = float(frame_width(pixels))
    if min(pixels.shape[:2]) >= SMALLEST:
        grey = luma(pixels)
        found = {**jpeg_traces(grey)._asdict(), **resizing_traces(grey)._asdict()}
        facts |= {f"history_{name}": float(value) for name, value in found.items()}
    return facts


def history_part(facts: pd.DataFrame, means: MeanImages | None, seed: int = 0, limit: float = LIMIT) -> Part:
    """What each trace tells of the label, alone and together; what stands still in a generator's images.

    facts: a row an image: label, generator, source, format and what `history` says. means: of the same images.
    TOGETHER leaves sharpness out, which is as much content and generator as it is history.
    """
    labels, sources = facts["label"].to_numpy(), pd.factorize(facts["source"], sort=True)[0]
    counted = {trace.name: trace.counted(facts).to_numpy(dtype=bool) for trace in _TRACES}
    columns = {trace.name: facts[list(trace.columns)].to_numpy(dtype=np.float64) for trace in _TRACES}
    past = [_without(columns[trace.name], ~counted[trace.name]) for trace in _TRACES if not trace.is_content]
    joint = telling(np.hstack(past), labels, sources, seed)
    findings = [_together(joint, limit)]
    for trace in _TRACES:
        chosen = counted[trace.name]
        known = columns[trace.name][chosen], labels[chosen], sources[chosen]
        told = telling(*known, seed) if chosen.any() else None
        findings.append(_finding(trace, facts[chosen], told, labels[chosen], sources[chosen], limit))
    marks = means.marks() if means is not None else []
    findings.append(_marks_finding(means, marks))
    grids = [_by_class(facts, counted), _by_generator(facts, counted, joint, labels, sources)]
    grids += [_mark_grid(marks)] if marks else []
    return Part("history", "Compression and resizing before", findings, grids, _shots(means, marks))


@dataclass(frozen=True)
class _Trace:
    """One kind of trace. columns: of the facts, the first its strength; unit: of the second, where it has one; counted:
    the images that can have it, and skipped: the others; is_content: a generator's own hand or the scene may have it as
    well."""

    name: str
    columns: tuple[str, ...]
    todo: str
    unit: str = ""
    counted: Callable[[pd.DataFrame], pd.Series] = lambda facts: facts["format"].notna()
    skipped: str = ""
    is_content: bool = False


_TRACES = (
    _Trace(
        "earlier JPEG",
        ("history_aligned", "history_quality"),
        _ALIKE,
        "quality",
        lambda facts: ~facts["format"].isin(["JPEG", "MPO"]),
        "JPEG files",
    ),
    _Trace("earlier JPEG, cropped since", ("history_shifted",), _ALIKE),
    _Trace("two JPEG compressions", ("history_twice", "history_first_quality"), _ALIKE, "first quality"),
    _Trace(
        "resampling",
        ("history_resampled", "history_wave"),
        "take images at the size that the camera or the generator made, and crop instead of resizing; or resize both "
        "classes by factors from one distribution",
        "cycles a pixel",
    ),
    _Trace(
        "frames",
        ("history_frame",),
        "cut the frames off, or leave those images out",
    ),
    _Trace(
        "sharpness",
        ("history_sharpness",),
        "see whether one class was enlarged (compare the sizes that generators make with those here); else it is what "
        "detectors are meant to find",
        is_content=True,
    ),
)


def _without(columns: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """As if the images of `hidden` had no trace; NaN would say how they are stored."""
    columns = columns.copy()
    columns[hidden & ~np.isnan(columns[:, 0]), 0] = 0
    columns[hidden, 1:] = np.nan
    return columns


def _together(told: Telling, limit: float) -> Finding:
    found = light(told, limit)
    says = f"all but sharpness {telling_text(told, limit, 'tell')}"
    return as_finding(TOGETHER, found, says, _HELPS if found in TELLS else "", told)


def _finding(
    trace: _Trace, rows: pd.DataFrame, told: Telling | None, labels: np.ndarray, sources: np.ndarray, limit: float
) -> Finding:
    if told is None:
        return Finding(trace.name, "green", "every image is a JPEG: see what its own tables and quality tell")
    found = light(told, limit)
    if math.isnan(told.lo):
        missing = [name for label, name in enumerate(("real", "synthetic")) if not (labels == label).any()]
        why = f"there is no {missing[0]} image but {trace.skipped}" if missing and trace.skipped else told.reason
        return Finding(trace.name, found, f"could not be measured: {why}")
    has = (rows[trace.columns[0]] > 0).to_numpy()
    if not (trace.is_content or has.any()):
        return as_finding(trace.name, "green", "no image has any", "", told)
    described = "; ".join(
        f"{name}: {_described(trace, rows[labels == label])}" for label, name in enumerate(("real", "synthetic"))
    )
    only = "" if trace.is_content or not round(told.lo, 3) > CHANCE else exclusive(has, labels, sources)
    if only and found == "green":
        found = "yellow"
    alone = f", and only {only} images have traces" if only else ""
    says = f"{telling_text(told, limit)}{alone}; {described}"
    if trace.is_content and found in TELLS:
        found, says = "yellow", f"{says}; enlarging does this, and so do blur, the scene and generators themselves"
    return as_finding(trace.name, found, says, trace.todo if found in TELLS else "", told)


def _described(trace: _Trace, rows: pd.DataFrame) -> str:
    strength = rows[trace.columns[0]]
    if trace.is_content:
        return f"{strength.median():.1f} dB"
    share = f"{100 * _share(strength):.1f} % have traces"
    values = rows.loc[strength > 0, trace.columns[-1]]
    if not trace.unit or values.empty:
        return share
    return f"{share} (median {trace.unit} {values.median():.3g})"


def _share(strength: pd.Series) -> float:
    return float((strength > 0).sum()) / max(1, int(strength.notna().sum()))


def _marks_finding(means: MeanImages | None, marks: list[Mark]) -> Finding:
    counts = {name: n for name, n in (means.counts() if means is not None else {}).items() if name != REAL}
    judged = means.judged() if means is not None else []
    is_judged = {name: name in judged for name in counts}
    if not any(is_judged.values()) or REAL not in judged:
        why = f"it takes a generator and real images of {MIN_SOURCES} sources each, counted as if they had equally many"
        return Finding(MARKS, "grey", f"could not be measured: {why}")
    if not marks:
        if is_most(is_judged, counts):
            return Finding(MARKS, "green", f"nothing stands still; {judged_of(is_judged, counts)}")
        says = f"only {judged_of(is_judged, counts)}: nothing stands still in these"
        return Finding(MARKS, "grey", f"{says}; it takes {MIN_SOURCES} sources each")
    in_corners = [mark for mark in marks if mark.where != "anywhere"]
    named = [f"{mark.generator} ({mark.where})" for mark in (in_corners or marks)]
    listed = ", ".join(named[:6]) + (f" and {len(named) - 6} more" if len(named) > 6 else "")
    says = f"something stands still in {listed}; {judged_of(is_judged, counts)}"
    if in_corners:
        todo = "look at the mean images: cut a watermark or border off both classes, or leave those images out"
    else:
        says += "; that can be a mark, or pictures that are composed alike"
        todo = "look at the mean images"
    return Finding(MARKS, "red" if in_corners else "yellow", says, todo)


def _by_class(facts: pd.DataFrame, counted: dict[str, np.ndarray]) -> Grid:
    def cell(trace: _Trace, label: int) -> str:
        of_class = facts["label"] == label
        rows = facts[counted[trace.name] & of_class]
        if not of_class.any():
            return "no image"
        return f"not looked for: all are {trace.skipped}" if rows.empty else _described(trace, rows)

    rows: list[list[object]] = [[trace.name, *(cell(trace, label) for label in (0, 1))] for trace in _TRACES]
    notes = ["strengths and qualities are estimates from the pixels; sharpness is the finest detail over coarser one"]
    return Grid("Traces of the past", ["trace", "real", "synthetic"], rows, notes)


def _by_generator(
    facts: pd.DataFrame, counted: dict[str, np.ndarray], joint: Telling, labels: np.ndarray, sources: np.ndarray
) -> Grid:
    """Shares of images with traces, and what all traces together tell of each generator against all real images."""
    rows: list[list[object]] = []
    looked_for = [trace for trace in _TRACES if counted[trace.name].any()]
    codes, names = pd.factorize(facts["generator"].mask(facts["label"] == 0, REAL), sort=True)
    for code, name in enumerate(names):
        own = codes == code
        row: list[object] = [name, int(own.sum()), None, None]
        if name != REAL:
            told = telling_of(joint.scores, labels, sources, own | (labels == 0), joint.folds)
            row[2:] = [told.auc, None if math.isnan(told.lo) else f"[{told.lo:.3f}, {told.hi:.3f}]"]
        for trace in looked_for:
            strength = facts.loc[own & counted[trace.name], trace.columns[0]]
            row.append(None if strength.empty else float(strength.median()) if trace.is_content else _share(strength))
        rows.append(row)
    rows.sort(key=lambda row: (row[0] != REAL, -np.nan_to_num(float(str(row[2] or 0)))))
    columns = ["generator", "images", TOGETHER, "95 % interval"]
    columns += [f"{trace.name} (dB)" if trace.is_content else trace.name for trace in looked_for]
    notes = [
        f"{TOGETHER}: AUC of a generator's images against all real ones; then the share of images with each trace, and "
        "the median sharpness",
        f"no interval: fewer than {FEWEST} sources of the generator or of real images; no share: all are JPEG",
    ]
    return Grid("Traces by generator", columns, rows, notes)


def _mark_grid(marks: list[Mark]) -> Grid:
    rows: list[list[object]] = [[mark.generator, mark.where, mark.n, mark.times, mark.strength] for mark in marks]
    columns = ["generator", "where", "images", "times", "grey levels"]
    notes = [
        "times: how much larger the squared mean fine detail is than by chance (which stays under 5); grey levels: "
        "how strong it is at most; corners are 48 x 48 pixels of the image as it is, anywhere is all of it squeezed to "
        "96 x 96"
    ]
    return Grid("What stands still", columns, rows, notes)


def _shots(means: MeanImages | None, marks: list[Mark]) -> list[Shot]:
    counts = means.counts() if means is not None else {}
    enough = [name for name, n in counts.items() if n >= MIN_SOURCES]
    if means is None or not enough:
        return []
    marked = {mark.generator for mark in marks}
    order = sorted(enough, key=lambda name: (name != REAL, name not in marked, -counts[name], name))
    caption = "Each: the mean image, and beside it the mean fine detail of its four corners, eight times as strong"
    caption += "; what stands out against the other class is red." if marked & set(order[:_SHOWN]) else "."
    if few := len(counts) - len(enough):
        whose = f"{few} generator{'s' if few > 1 else ''}"
        caption += f" Not shown: {whose} of fewer than {MIN_SOURCES} images, as a mean of so few shows what they show."
    if len(order) > _SHOWN:
        caption += f" Nor {len(order) - _SHOWN} more, of fewer images than these."
    return [Shot("Mean images", means.sheet(order[:_SHOWN], marks), caption)]
