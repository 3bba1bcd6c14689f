"""transformers without its bars and notices, and its errors on one line."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Neither bars nor notices of transformers: what they warn of is an error here."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def brief(error: BaseException) -> str:
    """An error's type and the beginning of what it says, on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
