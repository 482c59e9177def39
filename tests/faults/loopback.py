"""A web server on loopback that misbehaves on purpose: each path is one kind of trouble."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BODY = ("The cat sat on the mat and looked at the sea. " * 400).encode()


@dataclass
class Trouble:
    """What the server did, for the tests to count."""

    url: str
    calls: Counter[str] = field(default_factory=Counter)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    trouble: Trouble

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        name = self.path.strip("/").split(".")[0]
        self.trouble.calls[name] += 1
        self.close_connection = True
        actions: dict[str, Callable[[], None]] = {
            "good": lambda: self._send(BODY),
            "missing": lambda: self.send_error(404),
            "broken": lambda: self.send_error(500),
            "stall": self._stall,
            "cut": lambda: self._send(BODY[: len(BODY) // 2], announced=len(BODY)),
            "short": lambda: self._send(BODY, announced=len(BODY) // 2),
            "empty": lambda: self._send(b""),
            "flaky": self._flaky,
            "ranges": self._ranges,
        }
        actions[name]()

    def _send(self, body: bytes, *, announced: int | None = None, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if announced is None else announced))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def _stall(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY[:100])
        self.wfile.flush()
        time.sleep(1.5)

    def _flaky(self) -> None:
        if self.trouble.calls["flaky"] < 3:
            self.send_error(503)
        else:
            self._send(BODY)

    def _ranges(self) -> None:
        """Cuts the first answer in the middle, then continues where the client asks."""
        wanted = self.headers.get("Range")
        if wanted is None:
            self._send(BODY[: len(BODY) // 2], announced=len(BODY))
            return
        start = int(wanted.removeprefix("bytes=").split("-")[0])
        self.trouble.calls[f"from {start}"] += 1
        self._send(BODY[start:], status=206)


@contextmanager
def misbehaving_server() -> Iterator[Trouble]:
    handler = type("Handler", (_Handler,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    handler.trouble = Trouble(f"http://127.0.0.1:{server.server_address[1]}")  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield handler.trouble  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
