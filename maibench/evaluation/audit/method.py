"""How an audit measures, in words: for who reads its page and has not read the code."""

from __future__ import annotations

from typing import Any

from maibench.datasets.near import DISTANCE, DISTANCE_DOWN
from maibench.evaluation.audit.luma import SMALLEST
from maibench.evaluation.audit.means import MIN_SOURCES as MARK_SOURCES
from maibench.evaluation.audit.telling import BINS, CHANCE, FOLDS, LITTLE, MUCH
from maibench.evaluation.audit.verdict import LIMIT_AUC
from maibench.evaluation.statistics.bootstrap import MIN_SOURCES

_SOURCES = "sources in two splits, by the list's column source"
_PARTS = {
    "files": (
        "headers alone: format and mode, size, aspect, bytes per pixel; of JPEGs tables, quality (the nearest of "
        "libjpeg's) and chroma subsampling; EXIF, texts (also XMP and C2PA), colour profile; each alone, and all "
        "together. Where only bytes per pixel tell, that is content: a smoother picture makes a smaller file"
    ),
    "leaks": (
        f"copies by sha256; look-alikes by two 64-bit difference hashes (at most {DISTANCE} bits differ across, "
        f"{DISTANCE_DOWN} down); {_SOURCES}; with --embed, also embeddings of a high cosine (never red)"
    ),
    "ids": f"copies by sha256; {_SOURCES}",
    "history": (
        f"the decoded pixels of the middle of each image of {SMALLEST} pixels a side or more: blocks and quantisation "
        "of earlier JPEG compression, on the present grid and off it; periodic traces of resampling; frames of one "
        "colour; sharpness (fine detail over coarser); and what stands at the same place in all images of a generator "
        f"that has {MARK_SOURCES} sources or more"
    ),
    "balance": "counts of classes, generators, splits, sizes and sources; with --embed, what the images show",
}


def method(data: dict[str, Any]) -> list[tuple[str, str]]:
    """What is measured how, a title and a sentence each, for an audit's `data`."""
    limit = f"{data.get('limit_auc', LIMIT_AUC):g}"
    parts = [(f"part {name}", _PARTS[name]) for name in data.get("parts", []) if name in _PARTS]
    return [
        (
            "does it tell?",
            "the label (real or synthetic) is predicted from what is looked at, by logistic regression: a number is "
            f"cut into about {BINS} bins of equal counts, a text is a category, what is missing is a bin of its own",
        ),
        (
            "folds",
            f"{FOLDS}, by source: no image is judged by a model that saw an image of its source (one photograph, "
            "prompt or collection). The AUC is that of the pairs of a real and a synthetic image in one fold: 0.5 is "
            "chance, 1 tells all",
        ),
        (
            "interval",
            "95 %, DeLong's with images summed by source (Obuchowski 1997), its variance doubled as the folds' models "
            f"share images; none with fewer than {MIN_SOURCES} sources in one class. N sources: of the class that has "
            "fewer",
        ),
        ("words", f"by the AUC: under {LITTLE:g} it hardly tells the label, under {MUCH:g} a little"),
        ("red", f"the interval lies above {limit}; or a leak, or what makes numbers impossible"),
        (
            "yellow",
            f"the interval lies above {CHANCE:g} and the AUC is {LITTLE:g} or more, or one class alone has the thing; "
            "or it is content; or a count is low",
        ),
        ("green", f"neither, and the interval ends at {limit} or below"),
        (
            "grey",
            f"it cannot be told: the interval reaches from {CHANCE:g} or less to above {limit}, or there is none, or "
            "most images are of generators of too few sources; more sources would help",
        ),
        *parts,
        (
            "limits",
            "green is about these measures alone. With many measures one may be yellow by chance. Traces of the past "
            "are estimates: light compression, reduction, and what later compression wiped out go unseen. That "
            "something tells the label does not say that a detector uses it",
        ),
    ]
