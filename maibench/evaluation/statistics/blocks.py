"""Work over resamples, a block at a time, on all cores."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

from maibench.cores import cores

# Weights in hand at a time: what fits the caches of a core, and spares calls where images are few. Results must not
# depend on the machine, not even in their last bit, so this does not either.
_BLOCK = 2**18


def in_blocks(work: Callable[[slice], None], resamples: int, width: int) -> None:
    """Call `work` with slices of 0..resamples, each of so many that `width` numbers a resample are about _BLOCK.

    In threads, as numpy lets go of the interpreter's lock while it counts; a matrix product in one of them starts no
    threads of its own, which would only wait for each other.
    """
    step = max(1, _BLOCK // max(width, 1))
    slices = [slice(start, min(start + step, resamples)) for start in range(0, resamples, step)]
    if len(slices) == 1:
        work(slices[0])
        return
    with _blas().limit(limits=1, user_api="blas"), ThreadPoolExecutor(min(8, cores())) as pool:
        for _ in pool.map(work, slices):
            pass


@cache
def _blas() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
