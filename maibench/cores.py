"""How many cores there are, and threads that keep to one of them."""

from __future__ import annotations

import os
from functools import cache
from typing import Any


def cores() -> int:
    """How many cores this process may use: on a cluster often fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def stay_on_one_core() -> None:
    """What torch computes in the calling thread uses no other thread from now on."""
    one_core()  # which is not undone


def one_core() -> Any:
    """A context manager: what torch computes in the calling thread uses no other thread until it is left."""
    import torch

    torch.get_num_threads()  # which sets it, in a thread that is new to torch
    return _controller().limit(limits=1, user_api="openmp")


@cache
def _controller() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
