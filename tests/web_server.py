"""A web server of a folder that sends ranges, as those of shards and of object stores do."""

import contextlib
import functools
import http.server
import threading
import time
from pathlib import Path


class _Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        try:
            data, code = Path(self.translate_path(self.path)).read_bytes(), 200
        except OSError:
            self.send_error(404)
            return
        if wanted := self.headers.get("Range"):
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            data, code = data[int(first) : int(last) + 1 if last else None], 206
        self.server.now += 1
        self.server.at_once = max(self.server.at_once, self.server.now)
        time.sleep(self.server.seconds)
        self.server.now -= 1
        self.server.sent.append((self.path, len(data)))
        self.send_response(code)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # whoever asked has seen enough
            self.wfile.write(data)

    def log_message(self, *arguments):
        pass


@contextlib.contextmanager
def serving(folder, seconds=0.0):
    """`url` of a server of `folder`; `sent`: (path, bytes) of each answer so far; `at_once`: most of them that were
    under way at a time. seconds: that each of them takes."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Handler, directory=str(folder)))
    server.sent, server.now, server.at_once, server.seconds = [], 0, 0, seconds
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
