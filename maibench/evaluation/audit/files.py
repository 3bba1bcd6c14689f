"""Does what a file says of itself tell whether its image is real? Each fact alone, and all of them together."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from maibench.evaluation.audit.by_generator import generator_grid, of_generators, single_finding
from maibench.evaluation.audit.found import TELLS, as_finding, exclusive, telling_text
from maibench.evaluation.audit.header import file_facts as file_facts
from maibench.evaluation.audit.parts import Finding, Grid, Part
from maibench.evaluation.audit.telling import CHANCE, DISTINCT, LIMIT, Telling, light, telling
from maibench.evaluation.audit.verdict import TOGETHER, WITHOUT_BYTES

BYTES = "bytes per pixel"
_ALIKE = "store both classes alike"
_QUALITY = "draw the quality of both classes from one distribution (traces of the earlier compression stay)"
_BY = "`maibench data match`"
_CONTENT = (
    "nothing is wrong with the files: compare detectors with the row of `metadata`, which is what smoothness alone is "
    "worth here"
)


def files_part(facts: pd.DataFrame, seed: int = 0, limit: float = LIMIT) -> Part:
    """What each fact tells of the label, alone and together, for all images and for each generator.

    facts: a row an image: label, generator, source, and what `file_facts` says. TOGETHER has all that the `metadata`
    detector reads and more; WITHOUT_BYTES is there where those tell something that no other fact explains: then they
    say what a picture shows, not how it was stored, and it is the number to judge a data set by. SINGLE, of that
    number, is there where it lets the data set pass: among many generators, the files of one may give it away.
    """
    labels, sources = facts["label"].to_numpy(), pd.factorize(facts["source"], sort=True)[0]
    columns = {fact.name: fact.columns(facts) for fact in _FACTS}
    has_jpeg = facts["jpeg_tables"].ne("").to_numpy()
    told = {
        fact.name: _told(columns[fact.name], labels, sources, seed, has_jpeg if fact.of_jpeg else None)
        for fact in _FACTS
    }
    stored = [column for name, group in columns.items() if name != BYTES for column in group]
    joint = {
        TOGETHER: _told([*columns[BYTES], *stored], labels, sources, seed),
        WITHOUT_BYTES: _told(stored, labels, sources, seed),
    }
    only = {fact.name: _only(fact, facts, told[fact.name], sources) for fact in _FACTS}
    lights = {name: light(known, limit) for name, known in (joint | told).items()}
    lights |= {name: "yellow" for name, says in only.items() if says and lights[name] == "green"}
    is_content = _is_content(lights, facts)
    if not is_content:
        del joint[WITHOUT_BYTES]
    findings = [_joint_finding(name, known, lights[name], is_content, limit) for name, known in joint.items()]
    by_generator = {name: of_generators(facts, known) for name, known in joint.items()}
    name, of_each = list(by_generator.items())[-1]
    if lights[name] != "red" and not math.isnan(joint[name].lo) and len(of_each) > 1:
        listed = facts.loc[facts["label"] == 1, "generator"].value_counts()
        counts = {str(generator): int(n) for generator, n in listed.items()}
        findings.append(single_finding(name, of_each, counts, limit))
    findings += [
        _finding(fact, facts, told[fact.name], lights, _Context(is_content, limit, only[fact.name])) for fact in _FACTS
    ]
    varied = {fact.name: told[fact.name] for fact in _FACTS if fact.shown(facts).nunique() > 1}
    grids = [_described(facts), generator_grid(facts, by_generator[TOGETHER], joint | varied)]
    return Part("files", "What the files give away", findings, grids)


@dataclass(frozen=True)
class _Fact:
    """One thing that a file says: its columns of numbers for `telling`, a column to show (None: texts as they are), and
    what to do where it tells. of_jpeg: only JPEG files have it, and only they are compared."""

    name: str
    columns: Callable[[pd.DataFrame], list[np.ndarray]]
    shown: Callable[[pd.DataFrame], pd.Series]
    todo: str
    of_jpeg: bool = False


def _number(*names: str) -> Callable[[pd.DataFrame], list[np.ndarray]]:
    return lambda facts: [facts[name].to_numpy(dtype=np.float64) for name in names]


def _category(*names: str) -> Callable[[pd.DataFrame], list[np.ndarray]]:
    """Each column as numbers: 0 for the most frequent text, and so on; the rare ones share the last."""

    def coded(facts: pd.DataFrame) -> list[np.ndarray]:
        columns = []
        for name in names:
            counts = facts[name].value_counts().rename_axis("text").reset_index(name="count")
            order = counts.sort_values(["count", "text"], ascending=[False, True])["text"]
            known = {text: min(rank, DISTINCT - 1) for rank, text in enumerate(order)}
            columns.append(facts[name].map(known).to_numpy(dtype=np.float64))
        return columns

    return coded


def _sizes(facts: pd.DataFrame) -> list[np.ndarray]:
    sides = _number("width", "height", "megapixels")(facts)
    return [*sides, ((facts["width"] % 64 == 0) & (facts["height"] % 64 == 0)).to_numpy(dtype=np.float64)]


def _size_text(facts: pd.DataFrame) -> pd.Series:
    return facts["width"].astype(str) + " x " + facts["height"].astype(str)


def _exif_text(facts: pd.DataFrame) -> pd.Series:
    known = [
        facts[name].map({True: text, False: ""}) for name, text in (("maker", " camera"), ("software", " program"))
    ]
    return facts["exif"].map({True: "EXIF", False: "none"}) + known[0] + known[1]


def _text(name: str) -> Callable[[pd.DataFrame], pd.Series]:
    return lambda facts: facts[name].mask(facts[name] == "", "none")


def _sampling_text(facts: pd.DataFrame) -> pd.Series:
    return facts["subsampling"] + facts["progressive"].map({True: " progressive", False: ""})


_FACTS = (
    _Fact("format", _category("format", "mode"), lambda facts: facts["format"] + " " + facts["mode"], _ALIKE),
    _Fact("size", _sizes, _size_text, "crop both classes to one size"),
    _Fact("aspect", _number("aspect"), lambda facts: facts["aspect"], "crop both classes to one shape"),
    _Fact(BYTES, _number("bytes_per_pixel"), lambda facts: facts["bytes_per_pixel"], _ALIKE),
    _Fact("JPEG tables", _category("jpeg_tables"), _text("jpeg_tables"), "write both classes by one encoder", True),
    _Fact("JPEG quality", _number("jpeg_quality"), lambda facts: facts["jpeg_quality"], _QUALITY, True),
    _Fact("chroma subsampling", _category("subsampling", "progressive"), _sampling_text, _ALIKE, True),
    _Fact("EXIF", _category("exif", "maker", "software"), _exif_text, "take EXIF off both classes"),
    _Fact("texts", _category("texts"), _text("texts"), "take texts off both classes"),
    _Fact("colour profile", _category("icc"), _text("icc"), "take colour profiles off both classes"),
)
_STORED = ("format", "size", "aspect", "JPEG tables", "JPEG quality", "chroma subsampling")
"""What decides how many bytes a picture takes, beside what it shows."""
_CARRIED = ("EXIF", "texts", "colour profile")


@dataclass(frozen=True)
class _Context:
    """What else decides what is said of a fact. only: what one class alone has."""

    is_content: bool
    limit: float
    only: str


def _told(
    columns: list[np.ndarray], labels: np.ndarray, sources: np.ndarray, seed: int, mask: np.ndarray | None = None
) -> Telling:
    """`telling`, with scores and folds for all images; those outside of `mask` have none."""
    if mask is None or mask.all():
        return telling(np.stack(columns, axis=1), labels, sources, seed)
    told = telling(np.stack(columns, axis=1)[mask], labels[mask], sources[mask], seed)
    scores, folds = np.full(len(labels), np.nan), np.zeros(len(labels), dtype=np.int64)
    scores[mask], folds[mask] = told.scores, told.folds
    return replace(told, scores=scores, folds=folds)


def _is_content(lights: Mapping[str, str], facts: pd.DataFrame) -> bool:
    """Whether bytes per pixel, alone or given the rest, tell something that no header explains. A WebP's quality is in
    no header."""
    tells = {lights[BYTES], lights[TOGETHER]} & TELLS
    told_without = _reasons(lights) or lights[WITHOUT_BYTES] == "red"
    return bool(tells and not told_without and facts["format"].eq("WEBP").mean() < 0.01)


def _reasons(lights: Mapping[str, str]) -> list[str]:
    """What else bytes per pixel may follow from: how a picture is stored, and much of what is carried beside it."""
    stored = [name for name in _STORED if lights[name] in TELLS]
    return stored + [name for name in _CARRIED if lights[name] == "red"]


def _joint_finding(name: str, told: Telling, found: str, is_content: bool, limit: float) -> Finding:
    says = telling_text(told, limit, "tell")
    if name == TOGETHER and is_content and found in TELLS:
        return as_finding(name, "yellow", f"{says}; not without {BYTES}, which are content", _CONTENT, told)
    if found == "red":
        says += "; that good is a detector without a look at a pixel"
    todo = f"{_ALIKE}: {_BY}; then audit the result" if found in TELLS else ""
    return as_finding(name, found, says, todo, told)


def _finding(fact: _Fact, facts: pd.DataFrame, told: Telling, lights: Mapping[str, str], context: _Context) -> Finding:
    rows = facts[facts["jpeg_tables"] != ""] if fact.of_jpeg else facts
    found, todo = lights[fact.name], f"{fact.todo}: {_BY}"
    classes = {name: rows[rows["label"] == label] for label, name in ((0, "real"), (1, "synthetic"))}
    values = {name: fact.shown(chosen) for name, chosen in classes.items()}
    described = "; ".join(f"{name}: {_describe(shown)}" for name, shown in values.items())
    if rows.empty:
        return Finding(fact.name, "green", "no image is a JPEG")
    missing = [name for name, chosen in classes.items() if chosen.empty]
    if fact.of_jpeg and missing:
        return as_finding(fact.name, found, f"could not be measured: no {missing[0]} image is a JPEG", "", told)
    if math.isnan(told.lo):
        return as_finding(fact.name, found, telling_text(told, context.limit), "", told)
    if found == "green" and fact.shown(rows).nunique() == 1:
        return as_finding(fact.name, found, f"the same in all: {_describe(values['real'])}", "", told)
    says = f"{telling_text(told, context.limit)}{context.only}; {described}"
    if found not in TELLS:
        return as_finding(fact.name, found, says, "", told)
    if fact.name == BYTES:
        if reasons := _reasons(lights):
            found, says = "yellow", f"{says}; they follow from {', '.join(reasons)}, or from content"
            todo = "repair those first, audit again: what is left is content (a smoother picture makes a smaller file)"
        elif context.is_content:
            found, says, todo = "yellow", f"{says}; {_why_content(lights)}", _CONTENT
        elif facts["format"].eq("WEBP").any():
            says = f"{says}; no header says the quality of a WebP: this is that, or content"
    return as_finding(fact.name, found, says, todo, told)


def _why_content(lights: Mapping[str, str]) -> str:
    untold = [name for name in _STORED if lights[name] == "grey"]
    if untold:
        return f"content (a smoother picture makes a smaller file), or {', '.join(untold)}, which cannot be told yet"
    return (
        "as no format, size or quality tells, this is content, not format: a smoother picture makes a smaller file "
        "(unless one class was packed by a more thorough encoder)"
    )


def _only(fact: _Fact, facts: pd.DataFrame, told: Telling, sources: np.ndarray) -> str:
    """What one class alone has, where it surely tells: ", and only real images have comment"."""
    shown, labels = fact.shown(facts), facts["label"].to_numpy()
    if not round(told.lo, 3) > CHANCE or pd.api.types.is_numeric_dtype(shown):
        return ""
    names = [str(name) for name in shown[shown != ""].value_counts().head(DISTINCT).index]
    only = {name: exclusive((shown == name).to_numpy(), labels, sources) for name in names}
    said = [f"only {label} images have {name}" for name, label in only.items() if label and name != "none"]
    return "".join(f", and {text}" for text in said[:2])


def _describe(values: pd.Series) -> str:
    """The two most frequent texts and their shares, or the median and where 90 % of the numbers lie."""
    values = values[values.notna() & (values != "")]
    if values.empty:
        return "none"
    if pd.api.types.is_numeric_dtype(values):
        low, middle, high = values.quantile([0.05, 0.5, 0.95])
        return f"{middle:.3g}" if low == high else f"{middle:.3g} ({low:.3g} to {high:.3g})"
    counts = values.value_counts()
    named = [f"{text} ({_share(count, len(values))})" for text, count in counts.head(2).items()]
    return ", ".join(named) + (f" and {len(counts) - 2} more" if len(counts) > 2 else "")


def _share(count: int, of: int) -> str:
    return f"{100 * count / of:.0f} %" if count >= 0.01 * of else f"{100 * count / of:.1f} %"


def _described(facts: pd.DataFrame) -> Grid:
    rows: list[list[object]] = []
    for fact in _FACTS:
        shown = fact.shown(facts)
        rows.append([fact.name, *(_describe(shown[facts["label"] == label]) for label in (0, 1))])
    notes = ["texts with the share of the images; of numbers the median and where the middle 90 % lie"]
    return Grid("What the files say", ["fact", "real", "synthetic"], rows, notes)
