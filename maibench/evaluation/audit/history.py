"""How images were compressed, resized and framed before they were stored, and whether that tells the label."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from maibench.datasets.image import Pixels
from maibench.evaluation.audit.found import as_finding, auc_text
from maibench.evaluation.audit.luma import SMALLEST, luma
from maibench.evaluation.audit.means import MIN_SOURCES, REAL, Mark, MeanImages, thumbnail
from maibench.evaluation.audit.parts import Finding, Grid, Part, Shot
from maibench.evaluation.audit.resizing import frame_width, resizing_traces
from maibench.evaluation.audit.telling import LIMIT, Telling, light, telling, telling_of
from maibench.evaluation.audit.traces import jpeg_traces

__all__ = ["MeanImages", "history", "history_part", "thumbnail"]

TOGETHER = "all traces together"
MARKS = "marks at a fixed place"
_SHOWN = 60
"""Mean images in the contact sheet: those with marks first, then those of most images."""
_MEASURES = (
    "aligned", "quality", "shifted", "twice", "first_quality", "resampled", "wave", "sharpness",
)  # fmt: skip
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
        told = telling(columns[trace.name][chosen], labels[chosen], sources[chosen], seed) if chosen.any() else None
        findings.append(_finding(trace, facts[chosen], told, limit))
    marks = means.marks() if means is not None else []
    findings.append(_marks_finding(means, marks))
    grids = [_by_class(facts, counted), _by_generator(facts, counted, joint, labels, sources)]
    grids += [_mark_grid(marks)] if marks else []
    return Part("history", "Compression and resizing before", findings, grids, _shots(means, marks))


@dataclass(frozen=True)
class _Trace:
    """One kind of trace. columns: of the facts, the first its strength; unit: of the second, where it has one; counted:
    the images that can have it; is_content: a generator's own hand or the scene may have it as well."""

    name: str
    columns: tuple[str, ...]
    todo: str
    unit: str = ""
    counted: Callable[[pd.DataFrame], pd.Series] = lambda facts: facts["format"].notna()
    is_content: bool = False


_TRACES = (
    _Trace(
        "earlier JPEG",
        ("history_aligned", "history_quality"),
        _ALIKE,
        "quality",
        lambda facts: ~facts["format"].isin(["JPEG", "MPO"]),
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
    if found == "grey":
        return Finding(TOGETHER, found, f"could not be measured: {told.reason}")
    how = {"red": "tell the label", "yellow": "tell the label a little", "green": "do not tell the label"}[found]
    todo = "" if found == "green" else "see which below; a detector may learn the past of the files and not generators"
    return as_finding(TOGETHER, found, f"all but sharpness {how}: {auc_text(told)}", todo, told)


def _finding(trace: _Trace, rows: pd.DataFrame, told: Telling | None, limit: float) -> Finding:
    if told is None:
        return Finding(trace.name, "green", "every image is a JPEG: see what its own tables and quality tell")
    found = light(told, limit)
    if found == "grey":
        missing = [name for label, name in enumerate(("real", "synthetic")) if not (rows["label"] == label).any()]
        why = f"no {missing[0]} image can have it" if missing else told.reason
        return Finding(trace.name, found, f"could not be measured: {why}")
    described = "; ".join(
        f"{name}: {_described(trace, rows[rows['label'] == label])}" for label, name in enumerate(("real", "synthetic"))
    )
    if found == "green":
        if not trace.is_content and not (rows[trace.columns[0]] > 0).any():
            return as_finding(trace.name, found, "no image has any", "", told)
        return as_finding(trace.name, found, f"does not tell: {auc_text(told)}; {described}", "", told)
    says = f"tells the label: {auc_text(told)}; {described}"
    if trace.is_content:
        found, says = "yellow", f"{says}; enlarging does this, and so do blur, the scene and generators themselves"
    return as_finding(trace.name, found, says, trace.todo, told)


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
    counts = means.counts() if means is not None else {}
    judged = means.judged() if means is not None else []
    enough = [name for name in judged if name != REAL]
    if not enough or REAL not in judged:
        why = f"it takes a generator and real images of {MIN_SOURCES} sources each, counted as if they had equally many"
        return Finding(MARKS, "grey", f"could not be measured: {why}")
    measured = f"in {len(enough)} of {len(counts) - 1} generators, those of {MIN_SOURCES} sources or more"
    if not marks:
        return Finding(MARKS, "green", f"nothing stands still {measured}")
    in_corners = [mark for mark in marks if mark.where != "anywhere"]
    named = [f"{mark.generator} ({mark.where})" for mark in (in_corners or marks)]
    listed = ", ".join(named[:6]) + (f" and {len(named) - 6} more" if len(named) > 6 else "")
    says = f"something stands still {measured}: {listed}"
    if in_corners:
        todo = "look at the mean images: cut a watermark or border off both classes, or leave those images out"
    else:
        says += "; that can be a mark, or pictures that are composed alike"
        todo = "look at the mean images"
    return Finding(MARKS, "red" if in_corners else "yellow", says, todo)


def _by_class(facts: pd.DataFrame, counted: dict[str, np.ndarray]) -> Grid:
    rows: list[list[object]] = []
    for trace in _TRACES:
        chosen = facts[counted[trace.name]]
        classes = [chosen[chosen["label"] == label] for label in (0, 1)]
        rows.append([trace.name, *(_described(trace, rows) if len(rows) else "none can" for rows in classes)])
    notes = ["strengths and qualities are estimates from the pixels; sharpness is the finest detail over coarser one"]
    return Grid("Traces of the past", ["trace", "real", "synthetic"], rows, notes)


def _by_generator(
    facts: pd.DataFrame, counted: dict[str, np.ndarray], joint: Telling, labels: np.ndarray, sources: np.ndarray
) -> Grid:
    """Shares of images with traces, and what all traces together tell of each generator against all real images."""
    rows: list[list[object]] = []
    codes, names = pd.factorize(facts["generator"].mask(facts["label"] == 0, REAL), sort=True)
    for code, name in enumerate(names):
        own = codes == code
        row: list[object] = [name, int(own.sum()), None, ""]
        if name != REAL:
            told = telling_of(joint.scores, labels, sources, own | (labels == 0), joint.folds)
            row[2:] = [told.auc, "" if math.isnan(told.lo) else f"[{told.lo:.3f}, {told.hi:.3f}]"]
        for trace in _TRACES:
            strength = facts.loc[own & counted[trace.name], trace.columns[0]]
            row.append(None if strength.empty else float(strength.median()) if trace.is_content else _share(strength))
        rows.append(row)
    rows.sort(key=lambda row: (row[0] != REAL, -np.nan_to_num(float(str(row[2] or 0)))))
    columns = ["generator", "images", TOGETHER, "95 % interval"]
    columns += [f"{trace.name} (dB)" if trace.is_content else trace.name for trace in _TRACES]
    notes = [
        f"{TOGETHER}: AUC of a generator's images against all real ones; then the share of images with each trace, and "
        "the median sharpness"
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
    if means is None or not means.counts():
        return []
    counts = means.counts()
    marked = {mark.generator for mark in marks}
    order = sorted(counts, key=lambda name: (name != REAL, name not in marked, -counts[name], name))
    caption = (
        "Each: the mean image (left), and the mean fine detail of its four corners, eight times as strong (right); "
        "what stands out against the other class is red."
    )
    if len(order) > _SHOWN:
        caption += f" {len(order) - _SHOWN} generators of fewer images are not shown."
    return [Shot("Mean images", means.sheet(order[:_SHOWN], marks), caption)]
