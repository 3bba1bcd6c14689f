"""What was found of a detector."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Outcome = Literal["ok", "advice", "failed"]
Verdict = tuple[Outcome, str]


@dataclass(frozen=True)
class Finding:
    """what: was looked at. outcome: "failed" breaks a promise that comparisons rely on, "advice" is worth doing. says:
    what was seen, and what to do about it."""

    what: str
    outcome: Outcome
    says: str


def is_clean(findings: Sequence[Finding]) -> bool:
    """Whether nothing failed."""
    return all(finding.outcome != "failed" for finding in findings)


def first_line(error: BaseException, cls: type) -> str:
    """What an exception says, in one line, with its type, and where in the file of the class `cls` it came up."""
    text = str(error).strip()
    told = f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__
    own = getattr(sys.modules.get(cls.__module__), "__file__", None)
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == own]
    return f"{told} (line {lines[-1]} of {Path(str(own)).name})" if lines else told
