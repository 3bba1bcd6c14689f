"""The Python front door."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from maibench.evaluation.compare import Run


def compare(
    models: list[str] | str,
    data: str | Path = "demo",
    *,
    out: str | Path | None = None,
    fresh: bool = False,
    **settings: Any,
) -> Run:
    """Compare detectors, as the command does, and return the run with its frames.

    models: SPECs or LABEL=SPECs. data: a SOURCE. out: the run's folder. settings: any key of `RunConfig` (split,
    perturb, device, batch_size, limit, seed, options, ...). Raises MaibenchError when the request is wrong.
    """
    from maibench.config import make_config
    from maibench.evaluation.compare import run_comparison

    flags = {"models": models, "data": str(data), "out": None if out is None else str(out), **settings}
    config = make_config(None, flags, [])
    return run_comparison(config, fresh=fresh)
