"""Originals as raw files over HTTP."""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from urllib.parse import quote

from maibench.datasets.wild.originals import Original, Read, verified
from maibench.errors import ImageError
from maibench.remote import asked

GITHUB_RAW = "https://raw.githubusercontent.com"
WAITS = (2.0, 4.0, 8.0, 0.0)
"""Seconds after each attempt that a server failed."""
LONGEST_WAIT = 60.0
TIMEOUT = 30.0
_LATER = (429, 500, 502, 503, 504)
"""Answers after which a server may be asked again."""


class RawFiles:
    """ADDRESS/OWNER/NAME/REVISION/PATH. A server that says so, or fails, is asked again after a while, four times in
    all; once it cannot be reached, it is not asked for the rest."""

    def __init__(self, address: str) -> None:
        self._address, self._unreachable = address.rstrip("/"), ""

    @contextmanager
    def open(self, repository: str, originals: Sequence[Original]) -> Iterator[Read]:
        """See `Place`."""
        yield lambda original: verified(
            original, lambda revision, path: self._get(f"{repository}/{revision}/{path}"), "not found there (HTTP 404)"
        )

    def _get(self, name: str) -> bytes | None:
        """The file's bytes, or None where the server has none. Raises ImageError for any other answer."""
        for wait in WAITS:
            if self._unreachable:
                break
            try:
                return self._ask(name)
            except urllib.error.HTTPError as error:
                if error.code in (404, 410):
                    return None
                why, silent = f"the server answers HTTP {error.code}", ""
                if error.code not in _LATER:
                    break
                after = error.headers.get("Retry-After", "")
                wait = min(float(after), LONGEST_WAIT) if after.isdecimal() and wait else wait
            except (OSError, http.client.HTTPException) as error:
                why = silent = f"{self._address} cannot be reached ({getattr(error, 'reason', error)})"
            time.sleep(wait)
        else:
            self._unreachable = silent
        raise ImageError(self._unreachable or why)

    def _ask(self, name: str) -> bytes:
        request = urllib.request.Request(f"{self._address}/{quote(name)}", headers={"User-Agent": "maibench"})
        with asked(request, TIMEOUT) as answer:
            data: bytes = answer.read()
            return data
