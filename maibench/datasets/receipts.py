"""A receipt: how one sample of a made data set came to be, step by step, in a column of its manifest."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from maibench.errors import MaibenchError

COLUMN = "receipt"


def receipt_text(steps: Sequence[Mapping[str, Any]]) -> str:
    """The JSON text of a receipt; the same steps make the same text.

    steps: in the order in which they were done; each has "step", its name, and what is known of it: "model",
    "revision", "weights" (a hash), "seed", "settings", "scores", "versions". What is None is left out.
    Raises ValueError for a step without a name, and for numbers that JSON does not have.
    """
    for step in steps:
        if not isinstance(step.get("step"), str) or not step["step"]:
            raise ValueError(f"a step of a receipt needs the name 'step': {dict(step)}")
    known = [{key: value for key, value in step.items() if value is not None} for step in steps]
    return json.dumps(known, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def read_receipt(text: str) -> list[dict[str, Any]]:
    """The steps of a receipt. Raises MaibenchError for a text that is none."""
    try:
        steps = json.loads(text)
        if all(isinstance(step["step"], str) for step in steps):
            return list(steps)
    except (ValueError, TypeError, LookupError):
        pass
    raise MaibenchError(f"not a receipt: {text[:80]!r}; a receipt is a JSON list of steps, each with its name 'step'")
