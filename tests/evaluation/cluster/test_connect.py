"""What a user is told where there is no cluster."""

import socket
import time
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from maibench.errors import MaibenchError
from maibench.evaluation.cluster.connect import connected

pytest.importorskip("ray")


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def test_nobody_answers():
    started = time.monotonic()
    told = r"no Ray cluster can be reached there .*ray start --head"
    with pytest.raises(MaibenchError, match=told), connected(f"127.0.0.1:{free_port()}"):
        pass
    assert time.monotonic() - started < 20


def test_somebody_else_answers():
    server = ThreadingHTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        with (
            pytest.raises(MaibenchError, match="what answers is not Ray"),
            connected(f"127.0.0.1:{server.server_port}"),
        ):
            pass
    finally:
        server.shutdown()
        server.server_close()


def test_the_environment_names_the_cluster(monkeypatch):
    port = free_port()
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
    with pytest.raises(MaibenchError, match=f"127.0.0.1:{port}"), connected(None):
        pass


@pytest.mark.parametrize("address", ["cluster", "host:port", "host:"])
def test_no_address(address):
    with pytest.raises(MaibenchError, match="give HOST:PORT"), connected(address):
        pass


def test_from_outside():
    with pytest.raises(MaibenchError, match="ray job submit"), connected("ray://host:10001"):
        pass
