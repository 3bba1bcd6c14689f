"""How the C library hands memory back."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # malloc.h
_LARGEST = 32 << 20
"""glibc takes no larger threshold for mmap (half of a thread's heap)."""


def keep_freed_memory() -> bool:
    """Let glibc keep what a pass of a network frees for the next one, where it would ask the kernel for fresh pages and
    zero them each time. Returns whether this was possible: elsewhere than under glibc there is nothing to set.

    mallopt(3); the same as MALLOC_MMAP_THRESHOLD_, MALLOC_TRIM_THRESHOLD_ and MALLOC_TOP_PAD_, without a second start
    of the process. Measured in benchmarks/malloc.py.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # musl
        return False
    return all([mallopt(_MMAP_THRESHOLD, _LARGEST), mallopt(_TRIM_THRESHOLD, 1 << 30), mallopt(_TOP_PAD, 64 << 20)])
