"""What the files of each generator give away, against all real images."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd

from maibench.evaluation.audit.found import as_finding, auc_text
from maibench.evaluation.audit.parts import Finding, Grid
from maibench.evaluation.audit.telling import Telling, light, telling_of, won_pairs
from maibench.evaluation.audit.verdict import TOGETHER
from maibench.evaluation.statistics.bootstrap import MIN_SOURCES

SINGLE = "single generators"
_MOST_NAMED = 3


def of_generators(facts: pd.DataFrame, known: Telling) -> dict[str, Telling]:
    """What given scores tell of each generator's images against all real ones."""
    labels, sources = facts["label"].to_numpy(), pd.factorize(facts["source"], sort=True)[0]
    codes, names = pd.factorize(facts["generator"].where(labels == 1, None), sort=True)
    return {
        str(name): telling_of(known.scores, labels, sources, (codes == code) | (labels == 0), known.folds)
        for code, name in enumerate(names)
    }


def single_finding(name: str, of_each: Mapping[str, Telling], counts: Mapping[str, int], limit: float) -> Finding:
    """Whether the files of one generator give it away, though those of all together do not.

    counts: images of each. Grey where none is seen to, and most images are of generators that are grey themselves.
    """
    ordered = sorted(of_each.items(), key=lambda item: -np.nan_to_num(item[1].lo))
    found = {generator: light(told, limit) for generator, told in ordered}
    red = [f"{generator}, {auc_text(told)}" for generator, told in ordered if found[generator] == "red"]
    if red:
        more = f" and {len(red) - _MOST_NAMED} more" if len(red) > _MOST_NAMED else ""
        says = f"{name} tell from the real images: {'; '.join(red[:_MOST_NAMED])}{more}"
        todo = "store its images as the others are, by `maibench data match`, or report no number of it alone"
        return as_finding(SINGLE, "red", says, todo, ordered[0][1])
    generator, told = ordered[0]
    if math.isnan(told.lo):
        few = "no generator and the real images against it have enough sources for an interval"
        return Finding(SINGLE, "grey", f"could not be measured: {few}")
    is_judged = {generator: light != "grey" for generator, light in found.items()}
    none = f"is told from the real images by an AUC surely above {limit:g}; the most: {generator}, {auc_text(told)}"
    if is_most(is_judged, counts):
        return as_finding(SINGLE, "green", f"none {none}; {judged_of(is_judged, counts)}", "", told)
    return as_finding(SINGLE, "grey", f"only {judged_of(is_judged, counts)}; none of these {none}", "", told)


def is_most(is_judged: Mapping[str, bool], counts: Mapping[str, int]) -> bool:
    """Whether most images are of generators of which something could be told."""
    return _share(is_judged, counts) > 0.5


def judged_of(is_judged: Mapping[str, bool], counts: Mapping[str, int]) -> str:
    """ "6 of 21 generators could be judged, with 44 % of the synthetic images"."""
    generators = f"{sum(is_judged.values()):,} of {len(is_judged):,} generator{'s' if len(is_judged) > 1 else ''}"
    return f"{generators} could be judged, with {100 * _share(is_judged, counts):.0f} % of the synthetic images"


def _share(is_judged: Mapping[str, bool], counts: Mapping[str, int]) -> float:
    of = sum(counts[name] for name in is_judged)
    return sum(counts[name] for name, judged in is_judged.items() if judged) / max(1, of)


def generator_grid(facts: pd.DataFrame, together: Mapping[str, Telling], told: Mapping[str, Telling]) -> Grid:
    """The AUC of each generator's images against all real ones, from one set of scores."""
    labels = facts["label"].to_numpy()
    codes, names = pd.factorize(facts["generator"].where(labels == 1, None), sort=True)
    counts = np.bincount(codes[labels == 1], minlength=len(names))
    aucs = {}
    for fact, known in told.items():
        scored = ~np.isnan(known.scores)
        wins, pairs = won_pairs(known.scores[scored], labels[scored], known.folds[scored])
        synthetic, of = labels[scored] == 1, codes[scored]
        won, all_ = (np.bincount(of[synthetic], part[synthetic], minlength=len(names)) for part in (wins, pairs))
        aucs[fact] = np.divide(won, all_, out=np.full(len(names), np.nan), where=all_ > 0)
    rows: list[list[object]] = []
    for code, name in enumerate(names):
        own = together[str(name)]
        interval = None if math.isnan(own.lo) else f"[{own.lo:.3f}, {own.hi:.3f}]"
        rows.append([name, int(counts[code]), aucs[TOGETHER][code], interval])
        rows[-1] += [aucs[fact][code] for fact in told if fact != TOGETHER]
    rows.sort(key=lambda row: -np.nan_to_num(float(str(row[2]))))
    columns = ["generator", "images", TOGETHER, "95 % interval", *(name for name in told if name != TOGETHER)]
    notes = [
        "AUC of a generator's images against all real ones; what is the same in all files has no column",
        f"no interval: fewer than {MIN_SOURCES} sources of the generator or of real images; no AUC: it has no JPEG",
    ]
    return Grid("What the files give away, by generator", columns, rows, notes)
