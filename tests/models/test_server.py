"""http://...: a server that answers, late, wrongly or not at all."""

import contextlib
import http.server
import io
import json
import threading
import time

import numpy as np
import pytest
from PIL import Image

import maibench
from maibench import load_detector, remote
from maibench.datasets.image import parse_file
from maibench.errors import DetectorError, ImageError, MaibenchError
from maibench.models.loading import fingerprint

PIXELS = np.full((5, 7, 3), 200, dtype=np.uint8)


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append((self.headers, body))
        answer = self.server.answer(body, len(self.server.asked))
        code, headers, data = answer if isinstance(answer, tuple) else (200, {}, answer)
        data = data if isinstance(data, bytes) else json.dumps(data).encode()
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self.wfile.write(data)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def serve(monkeypatch):
    """serve(answer) -> a server with `url` and `asked`; answer(body, number) gives JSON, bytes, or (code, headers,
    JSON)."""
    monkeypatch.setattr(remote, "PAUSE", 0)
    with contextlib.ExitStack() as stack:

        def start(answer):
            server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
            server.answer, server.asked = answer, []
            server.url = f"http://127.0.0.1:{server.server_port}/score"
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            stack.callback(lambda: (server.shutdown(), thread.join(), server.server_close()))
            return server

        yield start


def brightness(body, number):
    """logit = (mean - 127.5) / 10."""
    return {"logit": (float(np.asarray(Image.open(io.BytesIO(body))).mean()) - 127.5) / 10}


def logit(detector, image=PIXELS):
    return float(detector(detector.collate([detector.preprocess(image)]))[0])


def test_pixels_arrive_as_they_are(serve):
    server = serve(brightness)
    detector = load_detector(server.url)
    assert logit(detector) == 7.25
    headers, body = server.asked[-1]
    assert headers["Content-Type"] == "image/png"
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(body))), PIXELS)
    assert (detector.card.name, detector.card.parameters) == (server.url.split("/")[2], None)


def test_the_file_arrives_as_it_is(serve):
    server = serve(lambda body, number: {"score": 0.5})
    detector = load_detector(server.url, send="file")
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, "JPEG")
    assert detector.reads == "file"
    assert logit(detector, parse_file("x.jpg", buffer.getvalue())) == 0
    headers, body = server.asked[-1]
    assert (headers["Content-Type"], body) == ("image/jpeg", buffer.getvalue())


def test_certainty_is_clipped_and_a_logit_goes_first(serve):
    answers = [{"score": 1}, {"score": 0}, {"logit": -3, "score": 0.9}]
    detector = load_detector(serve(lambda body, number: answers[(number - 2) % 3]).url)
    assert [round(logit(detector), 2) for _ in answers] == [27.63, -27.63, -3]


@pytest.mark.parametrize(
    "answer",
    [b"<html>", b"", [1], {"score": 1.5}, {"score": True}, {"logit": "7"}, {"logit": None}, {"p": 0.5},
     b'{"logit": NaN}', b'{"logit": ' + b"9" * 400 + b"}", b'{"score": 0.5, "x": "' + b"x" * (1 << 20) + b'"}'],
    ids=lambda answer: str(answer)[:20],
)  # fmt: skip
def test_nonsense_at_first_is_a_detector_that_cannot_be_used(serve, answer):
    server = serve(lambda body, number: answer)
    with pytest.raises(DetectorError, match=r"a first image was not answered: .* answered nonsense") as raised:
        load_detector(server.url)
    assert len(str(raised.value)) < 300


def test_nonsense_later_is_a_failed_image(serve):
    detector = load_detector(serve(lambda body, number: {"logit": 1} if number == 1 else {"oops": 1}).url)
    with pytest.raises(ImageError, match="answered nonsense"):
        detector.preprocess(PIXELS)


def test_what_the_server_says_is_the_reason(serve):
    detector = load_detector(serve(lambda body, number: {"logit": 1} if number == 1 else {"error": "too\nsmall"}).url)
    with pytest.raises(ImageError, match="the server says: too small"):
        detector.preprocess(PIXELS)


def test_a_busy_server_is_asked_again(serve):
    answers = iter([(200, {}, {"logit": 1}), (429, {"Retry-After": "0"}, {}), (503, {}, {}), (200, {}, {"logit": 2})])
    server = serve(lambda body, number: next(answers))
    assert logit(load_detector(server.url)) == 2
    assert len(server.asked) == 4


@pytest.mark.parametrize(("code", "times"), [(500, 3), (400, 1), (302, 1)])
def test_a_server_that_goes_on_failing(serve, code, times):
    elsewhere = {"Location": "http://127.0.0.1:1/"} if code == 302 else {}
    server = serve(lambda body, number: {"logit": 1} if number == 1 else (code, elsewhere, {}))
    detector = load_detector(server.url)
    with pytest.raises(ImageError, match="cannot be asked"):
        detector.preprocess(PIXELS)
    assert len(server.asked) >= 1 + times


def test_it_may_ask_us_to_wait(serve, monkeypatch):
    waited = []
    server = serve(lambda body, number: (429, {"Retry-After": "7"}, {}) if number == 2 else {"logit": 1})
    detector = load_detector(server.url)
    monkeypatch.setattr(time, "sleep", waited.append)
    detector.preprocess(PIXELS)
    assert 7 in waited


def test_a_late_server_is_not_waited_for(serve):
    release = threading.Event()

    def answer(body, number):
        if number > 1:
            release.wait(10)
        return {"logit": 1}

    detector = load_detector(serve(answer).url, timeout=0.05)
    try:
        with pytest.raises(ImageError, match=r"cannot be asked after 3 tries .*timed out"):
            detector.preprocess(PIXELS)
    finally:
        release.set()


def test_nobody_there(monkeypatch):
    monkeypatch.setattr(remote, "PAUSE", 0)
    with pytest.raises(DetectorError, match=r"a first image was not answered: .*:1/x: cannot be asked"):
        load_detector("http://127.0.0.1:1/x")


@pytest.mark.parametrize(
    ("url", "options", "reason"),
    [
        ("http://", {}, "write http://HOST:PORT/PATH"),
        ("http://h:port/", {}, "not a URL"),
        ("http://me:s3cr3t@h/", {}, "may hold no password"),
        ("http://h/", {"send": "bytes"}, "it can be pixels or file"),
        ("http://h/", {"timeout": 0}, "it has to be seconds"),
        ("http://h/", {"token": "NO_SUCH_VARIABLE"}, "'NO_SUCH_VARIABLE' is not set"),
    ],
)
def test_wrong_requests(url, options, reason):
    with pytest.raises(MaibenchError, match=reason) as raised:
        load_detector(url, **options)
    assert not isinstance(raised.value, DetectorError)
    assert "s3cr3t" not in str(raised.value)


def test_the_secret_is_sent_and_kept_nowhere(serve, monkeypatch, tmp_path, data_set):
    monkeypatch.setenv("MY_TOKEN", "s3cr3t")
    server = serve(brightness)
    run = maibench.compare(
        models=[f"srv={server.url}"], data=str(data_set(n_real=2, n_synthetic=2)), out=str(tmp_path / "out"),
        options={"srv": {"token": "MY_TOKEN"}}, perturb=["none", "resize:0.5"], resamples=10, workers=2, figures=False,
        gallery=1,
    )  # fmt: skip
    assert {headers["Authorization"] for headers, _ in server.asked} == {"Bearer s3cr3t"}
    assert len(server.asked) == 1 + 4 * 2  # no evidence maps: each would cost a hundred questions
    assert run.predictions["status"].eq("ok").all()
    assert run.metrics["images_per_second"].isna().all()
    kept = [file.read_bytes() for file in (tmp_path / "out").rglob("*") if file.is_file()]
    assert kept and not any(b"s3cr3t" in data for data in kept)


@pytest.mark.parametrize("secret", ["s3cr3t\nX-Other: s3cr3t", "s3cr3t…"])
def test_a_secret_that_cannot_be_sent_is_not_shown(monkeypatch, secret):
    monkeypatch.setenv("MY_TOKEN", secret)
    with pytest.raises(MaibenchError, match="what 'MY_TOKEN' holds cannot be sent") as raised:
        load_detector("http://127.0.0.1:1/x", token="MY_TOKEN")
    assert "s3cr3t" not in str(raised.value)


def test_a_header_of_its_own(serve, monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "s3cr3t")
    server = serve(lambda body, number: {"logit": 0})
    detector = load_detector(server.url, token="MY_TOKEN", header="X-Api-Key")
    assert server.asked[0][0]["X-Api-Key"] == "s3cr3t"
    monkeypatch.setenv("MY_TOKEN", "another")
    assert fingerprint(detector) == fingerprint(load_detector(server.url, token="MY_TOKEN", header="X-Api-Key"))


def test_another_model_behind_the_url_is_another_detector(serve):
    now = {"logit": 0.31}
    server = serve(lambda body, number: now)
    first = fingerprint(load_detector(server.url))
    now = {"logit": 0.3100001}
    assert fingerprint(load_detector(server.url, timeout=9)) == first
    now = {"logit": 4}
    assert fingerprint(load_detector(server.url)) != first
    now = {"logit": 0.31, "version": "2"}
    again = load_detector(server.url)
    assert fingerprint(again) != first
    assert again.card.weights == "on the server, version 2"


def test_several_images_are_under_way_at_once(serve, tmp_path, data_set):
    together = threading.Barrier(4, timeout=20)

    def answer(body, number):
        if number > 1:
            together.wait()  # only four at once go on
        return {"logit": number}

    run = maibench.compare(
        models=[f"srv={serve(answer).url}"], data=str(data_set(n_real=4, n_synthetic=4)), out=str(tmp_path / "out"),
        resamples=10, workers=4, figures=False, gallery=0, audit=False,
    )  # fmt: skip
    assert run.predictions["status"].eq("ok").all()


def test_a_server_that_cannot_be_used_leaves_the_others(tmp_path, data_set, monkeypatch):
    monkeypatch.setattr(remote, "PAUSE", 0)
    run = maibench.compare(
        models=["gone=http://127.0.0.1:1/x", "metadata"], data=str(data_set(splits=("train", "test"))),
        out=str(tmp_path / "out"), resamples=10, figures=False, gallery=0, audit=False,
    )  # fmt: skip
    rows = run.predictions
    assert not run.clean
    assert rows.loc[rows["detector"].eq("gone"), "error"].str.contains("cannot be asked").all()
    assert rows.loc[rows["detector"].eq("metadata"), "status"].eq("ok").all()
