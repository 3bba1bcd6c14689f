"""Whether a data set passes `--strict`, and of what such a pass says nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from maibench.evaluation.audit.parts import Finding, Part

LIMIT_AUC = 0.65
"""Where the lower bound of what the files' metadata tell of the labels exceeds it, the data set fails `--strict`."""
TOGETHER = "all facts together"
WITHOUT_BYTES = "all facts but bytes per pixel"


@dataclass(frozen=True)
class Verdict:
    """Whether a data set passes `--strict`. why: what it fails by, each the name of a finding, a colon and a sentence.
    unjudged: what was not looked at, or could not be measured: a pass says nothing of it."""

    passed: bool
    why: list[str] = field(default_factory=list)
    unjudged: list[str] = field(default_factory=list)


def judged(parts: Sequence[Part], limit: float = LIMIT_AUC, n_failed: int = 0) -> Verdict:
    """Whether a data set passes: the lower bound of what all metadata together tell is at most `limit`, no two splits
    share an image or a source, and every image can be read (n_failed: those that cannot)."""
    by_name = {part.name: part for part in parts}
    why, unjudged = [], []
    joint = joint_finding(by_name["files"]) if "files" in by_name else None
    if joint is None or joint.lo is None or joint.light == "grey":
        unjudged.append("what the files tell of the labels" + (f" ({joint.name}: {joint.says})" if joint else ""))
    elif round(joint.lo, 3) > limit:
        why.append(
            f"{joint.name}: the files tell the label without a look at the pixels, AUC {joint.value:.3f}, at least "
            f"{joint.lo:.3f}, where {limit:g} is allowed"
        )
    leaks = by_name.get("leaks", by_name.get("ids"))
    if leaks is None:
        unjudged.append("leaks between splits")
    else:
        why += [f"{finding.name}: {finding.says}" for finding in leaks.findings if finding.light == "red"]
        unjudged += [f"{finding.name} ({finding.says})" for finding in leaks.findings if finding.light == "grey"]
    if n_failed:
        why.append(f"unreadable images: {n_failed:,} cannot be read")
    return Verdict(not why, why, unjudged)


def joint_finding(part: Part) -> Finding | None:
    """The finding of the part "files" that `--strict` looks at: all metadata together, without the bytes per pixel
    where they say what a picture shows and not how it was stored."""
    by_name = {finding.name: finding for finding in part.findings}
    return by_name.get(WITHOUT_BYTES, by_name.get(TOGETHER))
