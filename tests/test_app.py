"""The page in a real browser, and what stands behind it."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import re
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maibench import load_detector
from maibench.errors import MaibenchError

gradio = pytest.importorskip("gradio", reason="gradio is not installed (the extra `app`)")

from maibench.app import load_detectors, make_app, run_app  # noqa: E402
from maibench.app_page import explain, judge, judge_upload, make_page  # noqa: E402

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


@contextlib.contextmanager
def serving(folder: Path, *models: str):
    """The page, in a process of its own: (its address, the process, its stderr, its TMPDIR)."""
    (folder / "tmp").mkdir(exist_ok=True)
    log = folder / "stderr"
    with open(log, "w") as stream:
        process = subprocess.Popen(
            [sys.executable, "-c", _SERVE, *models],
            stderr=stream,
            stdout=stream,
            # torch makes its compiler's folder in TMPDIR when it counts operations
            env={**os.environ, "TMPDIR": str(folder / "tmp"), "TORCHINDUCTOR_CACHE_DIR": str(folder / "torch")},
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


def post_file(address: str, name: str = "one.png", **headers: str):
    import httpx

    given = {name.replace("_", "-"): value for name, value in headers.items()}
    url, files = f"{address}/gradio_api/upload", {"files": (name, grey(100), "image/png")}
    return httpx.post(url, files=files, headers=given, trust_env=False)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The page of two detectors, in a process of its own: (its address, the process, its stderr, its TMPDIR)."""
    with serving(tmp_path_factory.mktemp("app"), "bailu", f"bright={DUMMIES}:Brightness") as started:
        yield started


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


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
        {"sec_fetch_site": "cross-site"},
        {"origin": "http://evil.example", "sec_fetch_site": "same-origin"},
    ],
)
def test_another_website_cannot_send_files(served, headers):
    refused = post_file(served[0], "evil.png", **headers)
    assert refused.status_code == 403 and "content-security-policy" in refused.headers
    assert not list(served[3].rglob("evil.png"))


def test_the_page_itself_can_send_files(served):
    own = {"origin": served[0], "sec_fetch_site": "same-origin"}
    assert post_file(served[0], "mine.png", **own).status_code == 200
    assert post_file(served[0], "script.png").status_code == 200
    assert len(list(served[3].rglob("mine.png"))) == 1


@pytest.mark.parametrize(("origin", "reached"), [("http://localhost:7", True), ("http://localhost:8", False)])
def test_a_websocket_of_another_website_is_refused(origin, reached):
    from maibench.app import _OnlyFromHere

    headers = [(b"host", b"localhost:7"), (b"origin", origin.encode())]
    scope, seen, sent = {"type": "websocket", "scheme": "ws", "headers": headers, "extensions": {}}, [], []

    async def inner(scope, receive, send):
        seen.append(scope)

    async def send(message):
        sent.append(message)

    with ThreadPoolExecutor(1) as thread:  # the browser's loop runs in this one
        thread.submit(lambda: asyncio.run(_OnlyFromHere(inner)(scope, None, send))).result()
    assert bool(seen) == reached
    assert [message.get("status") for message in sent if "status" in message] == ([] if reached else [403])


def test_an_upload_that_was_removed_says_so(page, served):
    upload(page, ("early.png", grey(90)), ("late.png", grey(91)))
    page.wait_for_selector("#draw")
    for file in served[3].glob("maibench-app-*/*/early.png"):
        file.unlink()
    page.click("#draw")
    page.wait_for_function("document.querySelector('#evidence').innerText.includes('removed after an hour')")
    assert "early.png" in page.inner_text("#evidence")


@pytest.mark.slow
def test_closing_the_terminal_removes_the_uploads_and_what_a_killed_page_left(tmp_path):
    with serving(tmp_path, f"bright={DUMMIES}:Brightness") as (address, process, _, folder):
        assert post_file(address).status_code == 200
        process.kill()
        process.wait()
    assert list(folder.glob("maibench-app-*/*/one.png"))
    with serving(tmp_path, f"bright={DUMMIES}:Brightness") as (address, process, log, folder):
        assert not list(folder.glob("maibench-app-*/*/one.png"))
        assert post_file(address, "two.png").status_code == 200
        assert list(folder.glob("maibench-app-*/*/two.png"))
        for _ in range(2):  # the shell and the kernel both tell
            process.send_signal(signal.SIGHUP)
        assert process.wait(20) == 0
        assert list(folder.iterdir()) == []
        assert "Traceback" not in log.read_text()


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

    def test_an_image_that_jpeg_cannot_hold_keeps_its_first_answer(self):
        detectors = load_detectors([f"a={DUMMIES}:Brightness"], {}, "cpu")
        judged = judge(detectors, "long.png", png(np.full((210, 66_000, 3), 200, dtype=np.uint8)))
        plain, disturbed = judged.answers["a"]
        assert plain.verdict == "synthetic" and judged.picture and not judged.error
        assert disturbed.score is None and "66000 x 210 pixels cannot be stored as JPEG" in disturbed.error

    def test_no_memory_for_the_disturbed_image_is_told_in_its_column(self, monkeypatch):
        def exhausted(pixels, image_id):
            raise MemoryError

        monkeypatch.setattr("maibench.app_page.parse_perturbation", lambda name: exhausted)
        detectors = load_detectors([f"a={DUMMIES}:Brightness"], {}, "cpu")
        plain, disturbed = judge(detectors, "x.png", grey(200)).answers["a"]
        assert plain.verdict == "synthetic" and "memory" in disturbed.error

    def test_an_upload_that_was_removed_costs_no_other_image(self, tmp_path):
        detectors = load_detectors([f"a={DUMMIES}:Brightness"], {}, "cpu")
        (tmp_path / "here.png").write_bytes(grey(200))
        functions = make_page(detectors, delete_cache=(1, 1)).fns.values()
        answer = next(each.fn for each in functions if each.name == "answer")
        *_, (shown, *_) = answer([str(tmp_path / "gone.png"), str(tmp_path / "here.png")])
        assert "the upload was removed after an hour; drop the image again" in shown
        assert "here.png" in shown and "&gt; 0.99" in shown
        assert judge_upload(detectors, tmp_path / "gone.png").name == "gone.png"

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

    def test_two_rows_of_one_name_are_refused(self, monkeypatch):
        from maibench.models import registry

        brightness = type(load_detector(f"{DUMMIES}:Brightness"))

        class Renamed(brightness):
            row_name = "same"

        class AlsoRenamed(brightness):
            row_name = "same"

        monkeypatch.setattr(registry, "_registered", {"first": Renamed, "second": AlsoRenamed})
        with pytest.raises(MaibenchError, match="two detectors are called 'same': name one of them, as in other="):
            load_detectors(["first", "second"], {}, "cpu")
        assert list(load_detectors(["first", "second=second"], {}, "cpu")) == ["same", "second"]

    @pytest.mark.parametrize("order", [1, -1])
    def test_the_nano_model_never_passes_for_the_full_one(self, order):
        models = ["moondream", f"moondream-nano={DUMMIES}:Brightness"][::order]
        with pytest.raises(MaibenchError, match="two detectors are called 'moondream-nano'"):
            load_detectors(models, {}, "cpu")

    def test_the_nano_model_says_that_it_is_nano(self):
        assert list(load_detectors(["moondream"], {}, "cpu")) == ["moondream-nano"]
        assert list(load_detectors(["vlm=moondream"], {}, "cpu")) == ["vlm"]


class TestUploadsFolder:
    @pytest.fixture
    def gone(self) -> int:
        """The number of a process that is no more."""
        process = subprocess.Popen([sys.executable, "-c", ""])
        process.wait()
        return process.pid

    @pytest.fixture
    def named(self, tmp_path, monkeypatch):
        """A path in the temporary folder, as this machine's process of a number would name it."""
        from maibench import app_uploads

        (tmp_path / "tmp").mkdir()
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
        return lambda process, end="abcd_123": (
            tmp_path / "tmp" / f"{app_uploads.PREFIX}{app_uploads._machine()}-{process}-{end}"
        )

    def test_it_tells_its_process_and_goes_at_the_end(self, named):
        from maibench.app_uploads import uploads_folder

        with uploads_folder() as folder:
            assert Path(folder).name.startswith(named(os.getpid(), "").name)
            with uploads_folder():  # of a second page: the first one's stays
                assert Path(folder).is_dir()
        assert list(Path(folder).parent.iterdir()) == []

    def test_what_a_process_that_is_gone_left_is_removed(self, named, gone):
        from maibench.app_uploads import remove_orphans

        (named(gone) / "hash").mkdir(parents=True)
        (named(gone) / "hash/one.png").write_bytes(b"")
        remove_orphans()
        assert not named(gone).exists()

    def test_nothing_else_is_removed(self, named, gone, tmp_path):
        from maibench.app_uploads import remove_orphans

        mine = tmp_path / "mine"
        mine.mkdir()
        (mine / "dear").write_text("mine")
        named(gone).symlink_to(mine)
        (named(os.getppid()) / "running").mkdir(parents=True)
        named(gone, "file").write_text("no folder")
        others = named(gone).with_name(f"maibench-app-another.host-{gone}-abcd_123")
        (others / "theirs").mkdir(parents=True)
        (named(gone).with_name("maibench-app-notes")).mkdir()
        before = sorted(tmp_path.rglob("*"))
        remove_orphans()
        assert sorted(tmp_path.rglob("*")) == before

    def test_links_inside_are_not_followed(self, named, gone, tmp_path):
        from maibench.app_uploads import remove_orphans

        (tmp_path / "dear").write_text("mine")
        named(gone).mkdir()
        (named(gone) / "link").symlink_to(tmp_path)
        remove_orphans()
        assert not named(gone).exists() and (tmp_path / "dear").is_file()

    def test_other_users_folders_stay(self, named, gone, monkeypatch):
        from maibench.app_uploads import remove_orphans

        named(gone).mkdir()
        another = os.getuid() + 1
        monkeypatch.setattr("os.getuid", lambda: another)
        remove_orphans()
        assert named(gone).is_dir()


def test_an_ignored_hangup_stays_ignored():
    """As `nohup` starts it."""
    from maibench.app import _tidied_when_terminated

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with _tidied_when_terminated():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        with pytest.raises(KeyboardInterrupt), _tidied_when_terminated():
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
