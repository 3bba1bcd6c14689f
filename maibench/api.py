"""The Python front door."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from maibench.evaluation.compare import Run


def compare(models: list[str] | str, data: str = "demo", *, fresh: bool = False, **settings: Any) -> Run:
    """Compare detectors, as the command does, and return the run with its frames.

    models: SPECs or LABEL=SPECs. data: a SOURCE. settings: any key of `RunConfig` (split, perturb, out, device,
    batch_size, limit, seed, options, ...). Raises MaibenchError when the request is wrong.
    """
    from maibench.config import make_config
    from maibench.evaluation.compare import run_comparison

    config = make_config(None, {"models": models, "data": str(data), **settings}, [])
    return run_comparison(config, fresh=fresh)
