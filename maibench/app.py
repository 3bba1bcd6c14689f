"""`maibench app`: a page on this machine that says of dropped images what every detector says.

Nothing leaves the machine: the page is served on the loopback address alone, to a browser that is told to load nothing
from elsewhere; gradio's telemetry, public link, fonts of Google and run history are off. Uploads lie in a folder of
gradio's for an hour at most and are removed with it when the page is stopped, or its terminal closed; what a killed
process leaves is removed when the next page starts. Other websites get no answer, so that none can fill the disk.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from maibench.app_uploads import uploads_folder
from maibench.errors import MaibenchError
from maibench.models.base import Detector
from maibench.models.device import choose_device
from maibench.models.loading import load_detector

HOSTS = ("127.0.0.1", "localhost")
KEPT_SECONDS = 3600
"""How long an upload lies on the disk at most."""
_QUIET = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1"}
_LARGEST_UPLOAD = "200mb"
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; "
    "frame-ancestors 'none'; form-action 'self'"
)
"""The Content-Security-Policy: gradio's page needs inline scripts, and nothing from elsewhere."""
_REFUSED = "Another website asked for this. To open the page, type its address into the browser."


def run_app(
    models: list[str],
    options: dict[str, dict[str, Any]] | None = None,
    device: str = "auto",
    host: str = "127.0.0.1",
    port: int = 7860,
    open_browser: bool = False,
    say: Callable[[str], None] = lambda text: print(text, file=sys.stderr, flush=True),
) -> None:
    """Serve the page until it is interrupted.

    models: SPECs or LABEL=SPECs. options: {label: {option: value}} of detectors. device: auto, cpu or cuda. host: one
    of HOSTS. port: 0 for any that is free. say: is told the page's address.
    Raises MaibenchError where gradio is not installed, for a detector that cannot score, a host that others reach, and
    a port that is taken.
    """
    if host not in HOSTS:
        raise MaibenchError(f"--host {host}: the page is for this machine alone; use {', '.join(HOSTS)}")
    with contextlib.ExitStack() as stack:
        stack.enter_context(_tidied_when_terminated())
        uploads = stack.enter_context(uploads_folder())
        stack.enter_context(_environment(_QUIET | {"GRADIO_TEMP_DIR": uploads}))
        _gradio()
        listening = stack.enter_context(_listen(host, port))
        detectors = load_detectors(models, options or {}, device)
        app = make_app(detectors)
        address = f"http://{host}:{listening.getsockname()[1]}"
        say(f"maibench app: {address} (Ctrl-C ends it)")
        if open_browser:
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
        _serve(app, listening)


def load_detectors(models: list[str], options: dict[str, dict[str, Any]], device: str) -> dict[str, Detector]:
    """The detectors by label, ready to score. Raises MaibenchError where one is not, or has to be fitted first."""
    from maibench.config import label_specs
    from maibench.models.registry import names

    specs = label_specs(models)
    if unknown := [label for label in options if label not in specs]:
        raise MaibenchError(
            f"--set {unknown[0]}.…: no detector is called '{unknown[0]}'; there are: {', '.join(specs)}"
        )
    if clashing := [label for label, given in options.items() if "device" in given]:
        raise MaibenchError(f"--set {clashing[0]}.device=…: the device is chosen for all detectors: --device")
    place = choose_device(device)
    detectors: dict[str, Detector] = {}
    for label, spec in specs.items():
        detector = load_detector(spec, device=place, **options.get(label, {}))
        if detector.fitted:
            raise MaibenchError(
                f"{label}: it is fitted on the data of a comparison, and the page has none; leave it out"
            )
        try:
            detector.check_ready()
        except MaibenchError as error:
            raise MaibenchError(f"{label}: {error}") from error
        is_given = f"{label}={spec}" in {model.replace(" ", "") for model in models}
        # as in a comparison: a folder may be called like the model that it was made from
        row = detector.row_name if detector.row_name and label in names() and not is_given else label
        if row in detectors or (row != label and row in specs):
            raise MaibenchError(f"two detectors are called '{row}': name one of them, as in other={spec}")
        detectors[row] = detector
    return detectors


def make_app(detectors: dict[str, Detector]) -> Any:
    """The page as an ASGI application (FastAPI), which answers requests to this machine's own names alone. Raises
    MaibenchError where gradio is not installed."""
    gradio = _gradio()
    from fastapi import FastAPI
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    from maibench.app_page import STYLE, make_page, theme

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    # a page elsewhere that gives its own name this machine's address gets no answer
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(HOSTS))
    app.add_middleware(_OnlyFromHere)
    return gradio.mount_gradio_app(
        app,
        make_page(detectors, delete_cache=(KEPT_SECONDS // 6, KEPT_SECONDS)),
        path="",
        footer_links=[],
        run_history=False,
        max_file_size=_LARGEST_UPLOAD,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=theme(),
        css=STYLE,
    )


class _OnlyFromHere:
    """Refuses what another website asks for, and adds the Content-Security-Policy to every answer.

    A browser posts a form with files to any address without asking first, and says in `origin` for whom; of what it
    fetches without an `origin` it says in `sec-fetch-site` whether another site wanted it.
    """

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        from starlette.responses import PlainTextResponse

        async def send_with_policy(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message.get("headers", []),
                    (b"content-security-policy", _POLICY.encode()),
                    (b"referrer-policy", b"same-origin"),  # without one, browsers hide the page's origin from itself
                ]
            await send(message)

        app = self.app
        if scope["type"] in ("http", "websocket") and _from_elsewhere(scope):
            app = PlainTextResponse(_REFUSED, status_code=403)
        await app(scope, receive, send_with_policy if scope["type"] == "http" else send)


def _from_elsewhere(scope: Any) -> bool:
    """Whether a website that is not this page made the browser ask. scope: of ASGI, "http" or "websocket"."""
    given: dict[bytes, list[bytes]] = {}
    for name, value in scope["headers"]:
        given.setdefault(name.lower(), []).append(value.strip().lower())
    scheme = b"https" if scope["scheme"] in ("https", "wss") else b"http"
    own = [scheme + b"://" + host for host in given.get(b"host", [])]
    foreign = any(origin not in own for origin in given.get(b"origin", []))
    return foreign or b"cross-site" in given.get(b"sec-fetch-site", [])


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Set environment variables, and set them back."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _gradio() -> Any:
    try:
        import gradio
    except ImportError as error:
        raise MaibenchError(f"the page needs gradio ({error}): pip install 'maibench[app]'") from error
    return gradio


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port))
    except OSError as error:
        raise MaibenchError(f"port {port} of {host}: {error.strerror or error}; choose another with --port") from error


def _serve(app: Any, listening: socket.socket) -> None:
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))
    for number in _terminations():
        if signal.getsignal(number) is _stop:
            signal.signal(number, server.handle_exit)
    with contextlib.suppress(KeyboardInterrupt):  # how the page is stopped
        server.run(sockets=[listening])


@contextlib.contextmanager
def _tidied_when_terminated() -> Iterator[None]:
    """Make a terminated process, and one whose terminal is closed, unwind as at Ctrl-C; a second signal does not
    cut that short. What is ignored (`nohup`) stays so."""
    before: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():
        wanted = [number for number in _terminations() if signal.getsignal(number) is not signal.SIG_IGN]
        before = {number: signal.signal(number, _stop) for number in wanted}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _terminations() -> list[signal.Signals]:
    return [signal.Signals[name] for name in ("SIGTERM", "SIGHUP") if name in signal.Signals.__members__]


def _stop(number: int, frame: FrameType | None) -> None:
    for other in _terminations():
        signal.signal(other, signal.SIG_IGN)
    raise KeyboardInterrupt
