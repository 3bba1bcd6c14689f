"""The page in a real browser, and what stands behind it."""

from __future__ import annotations

import io
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maibench import load_detector
from maibench.errors import MaibenchError

gradio = pytest.importorskip("gradio", reason="gradio is not installed (the extra `app`)")

from maibench.app import load_detectors, make_app, run_app  # noqa: E402
from maibench.app_page import explain, judge  # noqa: E402

CHROMIUM = Path("/usr/bin/chromium")
DUMMIES = Path(__file__).parent / "dummy_detectors.py"

_SERVE = """
import sys

def note(event, args):
    # AF_INET(6) alone: asyncio and the browser's starter use sockets of files
    if event == "socket.connect" and isinstance(args[1], tuple) and args[1][0] not in ("127.0.0.1", "::1"):
        print("outside:", args[1], file=sys.stderr, flush=True)
    if event == "socket.getaddrinfo" and args[0] not in (None, "127.0.0.1", "localhost"):
        print("outside:", args[0], file=sys.stderr, flush=True)

sys.addaudithook(note)
from maibench.app import run_app
run_app(sys.argv[1:], {}, "cpu", port=0)
"""


def png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG")
    return stream.getvalue()


def grey(value: int, side: int = 80) -> bytes:
    return png(np.full((side, side, 3), value, dtype=np.uint8))


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The page of two detectors, in a process of its own: (its address, the process, its stderr, its TMPDIR)."""
    folder = tmp_path_factory.mktemp("app")
    (folder / "tmp").mkdir()
    log = folder / "stderr"
    with open(log, "w") as stream:
        process = subprocess.Popen(
            [sys.executable, "-c", _SERVE, "bailu", f"bright={DUMMIES}:Brightness"],
            stderr=stream,
            stdout=stream,
            env={**os.environ, "TMPDIR": str(folder / "tmp")},
        )
    try:
        deadline = time.monotonic() + 120
        while not (found := re.search(r"http://[\d.]+:\d+", log.read_text())):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield found[0], process, log, folder / "tmp"
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM.is_file():
        pytest.skip(f"{CHROMIUM} is missing")
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        yield chromium
        chromium.close()


@pytest.fixture(params=[(1280, 900), (360, 740)], ids=["desktop", "phone"])
def page(request, browser, served):
    """The page, loaded; it fails the test on an error of the console and on a request to elsewhere."""
    context = browser.new_context(viewport=dict(zip(("width", "height"), request.param, strict=True)))
    page = context.new_page()
    page.set_default_timeout(60_000)
    errors, requests = [], []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda asked: requests.append(asked.url))
    page.goto(served[0])
    page.wait_for_selector("input[type=file]", state="attached")
    yield page
    context.close()
    assert errors == []
    assert [url for url in requests if not url.startswith((served[0], "data:", "blob:"))] == []


def upload(page, *images: tuple[str, bytes]) -> None:
    page.set_input_files(
        "input[type=file]", [{"name": name, "mimeType": "image/png", "buffer": data} for name, data in images]
    )


def test_dropped_images_are_answered_side_by_side(page, texture):
    pixels = texture((120, 100))
    upload(page, ("one.png", png(pixels)), ("dark.png", grey(20)), ("broken.png", b"no image"))
    page.wait_for_selector(".mb-failed")
    cards = page.locator(".mb-card")
    assert cards.count() == 3
    first = cards.nth(0).inner_text()
    expected = judge({"bailu": load_detector("bailu")}, "one.png", png(pixels)).answers["bailu"]
    for word in ("one.png", "120 × 100 pixels, PNG", "bailu", "bright", *(each.text for each in expected)):
        assert word in first
    assert "real" in cards.nth(1).locator("tr", has_text="bright").inner_text()
    assert "not an image" in cards.nth(2).inner_text()
    assert "no evidence by itself" in page.inner_text(".mb-disclaimer")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")

    page.click("#draw")
    page.wait_for_selector(".mb-pair img")
    assert page.locator(".mb-pair img").evaluate_all("all => all.every(one => one.naturalWidth > 0)")
    assert "no proof" in page.inner_text("#evidence")


def test_names_of_files_are_text(page):
    upload(page, ("<img src=x onerror=alert(1)>&amp;.png", grey(250)))
    page.wait_for_selector(".mb-card")
    assert page.locator(".mb-card img").count() == 1
    assert page.locator(".mb-card h2 *").count() == 0


def test_the_page_is_for_this_machine_alone(served):
    import httpx

    answer = httpx.get(served[0], trust_env=False)
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert not re.search(r"fonts\.g|cdnjs|jsdelivr|unpkg", answer.text)
    assert httpx.get(served[0], headers={"Host": "evil.example"}, trust_env=False).status_code == 400


def test_stopping_it_removes_the_uploads_and_nothing_went_elsewhere(served, browser):
    """The last test of this page: it is stopped."""
    address, process, log, folder = served
    page = browser.new_page()
    page.goto(address)
    page.wait_for_selector("input[type=file]", state="attached")
    upload(page, ("one.png", grey(100)))
    page.wait_for_selector(".mb-card")
    assert list(folder.glob("maibench-app-*/*/one.png"))
    page.close()
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert list(folder.iterdir()) == []
    assert "outside:" not in log.read_text()
    assert "Traceback" not in log.read_text()


class TestJudge:
    def test_each_detector_before_and_after_jpeg(self):
        detectors = load_detectors([f"a={DUMMIES}:Brightness", f"b={DUMMIES}:Broken"], {}, "cpu")
        judged = judge(detectors, "x.png", grey(200))
        plain, disturbed = judged.answers["a"]
        assert (plain.verdict, plain.text, disturbed.verdict) == ("synthetic", "> 0.99", "synthetic")
        assert plain.score == pytest.approx(1 / (1 + np.exp(-7.25)))
        assert judged.answers["b"][0].error == "RuntimeError: out of order"
        assert judged.picture.startswith("data:image/jpeg;base64,")

    def test_a_middle_score_is_real(self):
        detectors = load_detectors([f"a={DUMMIES}:Brightness"], {"a": {"middle": 100}}, "cpu")
        assert judge(detectors, "x.png", grey(100)).answers["a"][0].verdict == "real"

    @pytest.mark.parametrize("data", [b"", b"text", grey(9)[:60]])
    def test_what_is_no_image_is_a_row(self, data):
        judged = judge({}, "x.png", data)
        assert judged.error and not judged.answers

    def test_huge_pictures_are_refused_before_they_are_decoded(self, monkeypatch):
        monkeypatch.setattr("maibench.app_page.MAX_PIXELS", 80 * 80 - 1)
        assert "at most" in judge({}, "x.png", grey(9)).error

    def test_no_map_says_why(self):
        detectors = load_detectors([f"b={DUMMIES}:Broken"], {}, "cpu")
        shown = explain(detectors["b"], "b", "<b>x</b>", grey(9))
        assert "out of order" in shown and "&lt;b&gt;" in shown and "<img" not in shown


class TestRequest:
    def test_a_host_that_others_reach_is_refused(self):
        with pytest.raises(MaibenchError, match="this machine alone"):
            run_app(["bailu"], host="0.0.0.0")

    def test_a_taken_port(self):
        with (
            socket.create_server(("127.0.0.1", 0)) as taken,
            pytest.raises(MaibenchError, match="choose another with --port"),
        ):
            run_app(["bailu"], port=taken.getsockname()[1])

    def test_without_gradio(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "gradio", None)
        with pytest.raises(MaibenchError, match=r"pip install 'maibench\[app\]'"):
            make_app({})

    def test_detectors_that_cannot_answer(self):
        with pytest.raises(MaibenchError, match="fitted"):
            load_detectors(["metadata"], {}, "cpu")
        with pytest.raises(MaibenchError, match="no detector is called 'bailo'"):
            load_detectors(["bailu"], {"bailo": {}}, "cpu")
        with pytest.raises(MaibenchError, match="chosen for all"):
            load_detectors(["bailu"], {"bailu": {"device": "cpu"}}, "cpu")

    def test_the_nano_model_says_that_it_is_nano(self):
        assert list(load_detectors(["moondream"], {}, "cpu")) == ["moondream-nano"]
        assert list(load_detectors(["vlm=moondream"], {}, "cpu")) == ["vlm"]
