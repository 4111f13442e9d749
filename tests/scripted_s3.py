"""An S3 store that answers as a test wants, for behaviour that a correct store does not show."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote


@dataclass(frozen=True)
class Answer:
    """The answer to one GET."""

    body: bytes = b""
    status: int = 200
    claims: int | None = None
    """Content-Length, if it is not that of the body; the connection ends after the body."""
    chunked: bool = False
    """Whether to send no Content-Length."""


HANG_UP = Answer(status=0)
"""The connection ends without an answer."""


@dataclass
class Request:
    """A request that the store has received."""

    key: str
    headers: dict[str, str]


@dataclass
class Scripted:
    """The store. `script` gives the answer to the n-th request (from 1) for a key."""

    script: Callable[[str, int], Answer]
    delay_s: float = 0
    requests: list[Request] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0
    written: int = 0
    """Bytes of all bodies sent."""
    url: str = ""
    _counts: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, request: Request) -> Answer:
        with self._lock:
            self.requests.append(request)
            self._counts[request.key] += 1
            number = self._counts[request.key]
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
        time.sleep(self.delay_s)
        with self._lock:
            self.in_flight -= 1
        return self.script(request.key, number)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    store: Scripted

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        key = unquote(self.path.partition("?")[0]).split("/", 2)[2]
        answer = self.store.answer(Request(key, {name.lower(): value for name, value in self.headers.items()}))
        if answer.status:
            self.send_response(answer.status)
            self.send_header("ETag", '"abc"')
            self.send_header("Last-Modified", "Wed, 21 Oct 2015 07:28:00 GMT")
            if answer.chunked:
                self.send_header("Transfer-Encoding", "chunked")
            else:
                self.send_header("Content-Length", str(len(answer.body) if answer.claims is None else answer.claims))
            self.end_headers()
            try:
                for at in range(0, len(answer.body), 65536):
                    part = answer.body[at : at + 65536]
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part) if answer.chunked else part)
                    self.store.written += len(part)
                if answer.chunked:
                    self.wfile.write(b"0\r\n\r\n")
            except OSError:
                self.close_connection = True  # the client has enough
        if not answer.status or answer.claims is not None:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


def serve(store: Scripted) -> _Server:
    """Start the store; `store.url` is its URL."""
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"store": store}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    store.url = f"http://127.0.0.1:{server.server_port}"
    return server
