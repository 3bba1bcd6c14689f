"""http://HOST:PORT/PATH: a detector that runs elsewhere, for models that cannot be had: an image in, a score out.

Each image is one POST. Its body is the image, a PNG of the pixels, or with `send=file` the bytes of the original file
(disturbed images cannot be sent so). The answer is JSON: {"logit": x} or {"score": P(synthetic)}, where a logit goes
before a score; {"error": "why"} for an image that it cannot read; "version" beside them names what answered. After the
answers 408, 425, 429 and 5xx the server is asked again, and so it is where it is late or gone.
"""

from __future__ import annotations

import io
import json
import math
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from maibench.errors import DetectorError, ImageError, MaibenchError
from maibench.models.base import Detector
from maibench.models.card import Card
from maibench.models.probability import logits_of
from maibench.remote import asked, attempt

LONGEST = 1 << 20
"""Bytes of an answer."""
PATIENCE = 30.0
"""Seconds that a server may ask us to wait ("Retry-After") before it is asked again."""


@dataclass(frozen=True)
class _Way:
    """How a server is asked, which does not decide what it answers. headers: may hold a secret."""

    timeout: float
    headers: dict[str, str] = field(repr=False)


class Server(Detector):
    """A running server that scores images.

    send: "pixels" or "file". timeout: seconds that it may take for an image. token: the name of the environment
    variable that holds its secret, sent as `Authorization: Bearer`, or by itself in another `header`; neither the card
    nor run.json ever holds it. Images are asked about by worker threads: `--workers N` has N of them under way.

    Raises MaibenchError for a URL, option or variable that is wrong; DetectorError where the server cannot be reached,
    or does not answer a first image as it has to.
    """

    elsewhere: ClassVar[bool] = True
    concurrent: ClassVar[bool] = True
    loads: ClassVar[tuple[str, ...]] = ("timeout", "token", "header")

    def __init__(
        self,
        *,
        url: str,
        send: str = "pixels",
        timeout: float = 30.0,
        token: str = "",
        header: str = "Authorization",
    ) -> None:
        super().__init__()
        host = _host(url)
        if send not in ("pixels", "file"):
            raise MaibenchError(f"{url}: send is '{send}'; it can be pixels or file")
        if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not timeout > 0:
            raise MaibenchError(f"{url}: timeout is {timeout!r}; it has to be seconds, more than 0")
        self.url = url
        self.reads = "file" if send == "file" else "pixels"
        self._way = _Way(float(timeout), _headers(url, token, header))
        # what answered: another model behind the same URL is scored afresh
        self.version = self._asked_first()
        sent = "the file's bytes are sent as they are" if send == "file" else "all pixels are sent, as PNG"
        self.card = Card(
            name=host,
            summary="a server that is asked over the network",
            weights=f"on the server, {self.version}",
            reference=url,
            input_policy=f"{sent}; what the server does with them is not known",
        )

    @classmethod
    def options_of_spec(cls, spec: str) -> dict[str, Any]:
        """The URL is the whole SPEC."""
        return {"url": spec}

    def preprocess(self, image: Any) -> Tensor:
        """uint8 height x width x 3, or an `ImageFile` -> the server's logit. Raises ImageError where it has none."""
        return torch.tensor(self._logit(*self._body(image))[0], dtype=torch.float64)

    def forward(self, batch: Tensor) -> Tensor:
        """(n,) logits, as they are."""
        return batch

    def _asked_first(self) -> str:
        """What the server calls itself, else what it says of one image. Raises DetectorError."""
        try:
            logit, version = self._logit(_png(_first_image()), "image/png")
        except ImageError as error:
            raise DetectorError(f"a first image was not answered: {error}") from error
        # one decimal: an answer that trembles in the last digits is the same model's
        return f"version {version}" if version else f"a first image has logit {logit:.1f}"

    def _body(self, image: Any) -> tuple[bytes, str]:
        if self.reads == "file":
            return image.data, f"image/{image.format.lower()}"
        return _png(image), "image/png"

    def _logit(self, data: bytes, kind: str) -> tuple[float, str]:
        """(logit, version) of an image; raises ImageError."""
        try:
            answer = attempt(self.url, lambda: self._post(data, kind), what="asked")
        except MaibenchError as error:
            raise ImageError(f"{error} with --fresh") from error  # a failed row is a row: it is not asked for again
        return _parsed(self.url, answer)

    def _post(self, data: bytes, kind: str) -> bytes:
        headers = {"Content-Type": kind, "Accept": "application/json"}
        request = urllib.request.Request(self.url, data=data, headers=headers, method="POST")
        for name, value in self._way.headers.items():
            request.add_unredirected_header(name, value)  # no other server learns the secret
        try:
            with asked(request, self._way.timeout) as answer:
                return answer.read(LONGEST + 1)
        except urllib.error.HTTPError as error:
            time.sleep(_pause(error))
            raise


def _host(url: str) -> str:
    """HOST:PORT. Raises MaibenchError for what is no URL of a server, or holds a password."""
    try:
        parts = urllib.parse.urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise MaibenchError(f"{url}: not a URL: {error}") from error
    if not host:
        raise MaibenchError(f"{url}: not a URL; write http://HOST:PORT/PATH")
    if parts.username or parts.password:
        raise MaibenchError(
            f"{parts.scheme}://…@{host}: a URL is written to run.json, so it may hold no password; put the secret into "
            "an environment variable and name that: --set LABEL.token=VARIABLE"
        )
    return f"{host}:{port}" if port else host


def _headers(url: str, token: str, header: str) -> dict[str, str]:
    if not token:
        return {}
    secret = os.environ.get(token, "").strip()
    if not secret:
        raise MaibenchError(f"{url}: token names an environment variable, and '{token}' is not set")
    if not (secret.isascii() and secret.isprintable()):  # Python's own error would show it
        raise MaibenchError(f"{url}: what '{token}' holds cannot be sent: it has line breaks, or other than ASCII")
    return {header: f"Bearer {secret}" if header.lower() == "authorization" and " " not in secret else secret}


def _parsed(url: str, data: bytes) -> tuple[float, str]:
    """(logit, version or "") of an answer. Raises ImageError where it is none."""
    try:
        answer = json.loads(data) if len(data) <= LONGEST else None
    except ValueError:
        answer = None
    found = answer if isinstance(answer, dict) else {}
    if reason := found.get("error"):
        raise ImageError(f"the server says: {' '.join(str(reason).split())[:200]}")
    version = str(found.get("version") or "")
    logit, score = _number(found.get("logit")), _number(found.get("score"))
    if math.isfinite(logit):
        return logit, version
    if found.get("logit") is None and 0 <= score <= 1:
        return float(logits_of(np.array(score))), version
    shown = " ".join(data[:200].decode("utf-8", "replace").split())[:80]
    raise ImageError(f'{url} answered nonsense: {{"logit": x}} or {{"score": P}} was expected, not {shown!r}')


def _number(value: Any) -> float:
    """NaN for anything else."""
    try:
        return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan
    except OverflowError:  # JSON's whole numbers have no end
        return math.nan


def _pause(error: urllib.error.HTTPError) -> float:
    """The seconds that a server asks us to wait."""
    told = (error.headers.get("Retry-After") or "") if error.code in (429, 503) else ""
    return min(float(told), PATIENCE) if told.isdecimal() else 0.0


def _png(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _first_image() -> NDArray[np.uint8]:
    """A texture of 256 x 256 pixels, always the same."""
    y, x = np.mgrid[:256, :256]
    waves = np.stack([np.sin(x / 5 + y / 9), np.sin(x / 31 - y / 7), np.cos((x * x + y * y) / 900)], axis=2)
    return (128 + 100 * waves).astype(np.uint8)
