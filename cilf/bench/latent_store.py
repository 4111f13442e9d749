"""An S3 store for benchmarks: it serves a folder, read-only, and waits before each response like a distant store.

It implements the part of the protocol that reading and listing need, and accepts every signature. It runs in its own
process, but on the cores of the measured job, so it does little work per request.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote
from xml.sax.saxutils import escape

_PAGE = 1000
_MODIFIED = datetime(2026, 1, 1, tzinfo=UTC)


@contextmanager
def serving(folder: Path, bucket: str, latency_ms: float) -> Iterator[str]:
    """Serve the files below `folder` as objects of one bucket while the context lasts; yields the endpoint URL."""
    command = [sys.executable, "-m", "cilf.bench.latent_store", str(folder), bucket, str(latency_ms)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as store:
        assert store.stdin is not None
        assert store.stdout is not None
        with store.stdin:
            yield f"http://127.0.0.1:{int(store.stdout.readline())}"


class _Store:
    """All objects of one bucket, in memory."""

    def __init__(self, folder: Path, bucket: str) -> None:
        self.bucket = bucket
        files = (path for path in folder.rglob("*") if path.is_file())
        self.objects = {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
        self.keys = sorted(self.objects)

    def answer(self, method: str, target: str, byte_range: str | None) -> bytes:
        path, _, query = target.partition("?")
        bucket, _, key = unquote(path).lstrip("/").partition("/")
        if method not in ("GET", "HEAD"):
            return _response("405 Method Not Allowed", _error("MethodNotAllowed"))
        if bucket != self.bucket:
            return _response("404 Not Found", _error("NoSuchBucket"))
        if not key:
            asked = parse_qs(query, keep_blank_values=True)
            return _response("200 OK", self._page({name: values[0] for name, values in asked.items()}))
        data = self.objects.get(key)
        if data is None:
            return _response("404 Not Found", _error("NoSuchKey"), body_too=method == "GET")
        headers = f'ETag: "{len(data):032x}"\r\nLast-Modified: {_MODIFIED:%a, %d %b %Y %H:%M:%S GMT}\r\n'
        if byte_range is not None:
            first, _, last = byte_range.removeprefix("bytes=").partition("-")
            start, stop = int(first), min(len(data), int(last) + 1 if last else len(data))
            headers += f"Content-Range: bytes {start}-{stop - 1}/{len(data)}\r\n"
            return _response("206 Partial Content", data[start:stop], headers, "image/jpeg")
        return _response("200 OK", data, headers, "image/jpeg", body_too=method == "GET")

    def _page(self, asked: dict[str, str]) -> bytes:
        """A page of ListObjectsV2."""
        prefix, delimiter = asked.get("prefix", ""), asked.get("delimiter", "")
        after = max(unquote(asked.get("continuation-token", "")), asked.get("start-after", ""))
        size = min(_PAGE, int(asked.get("max-keys", _PAGE)))
        entries: dict[str, str] = {}
        for key in islice(self.keys, bisect_right(self.keys, after), None):
            if not key.startswith(prefix) or (delimiter and after.endswith(delimiter) and key.startswith(after)):
                continue
            head, found, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
            name = prefix + head + delimiter if found else key
            if name not in entries and len(entries) == size:
                more = f"<IsTruncated>true</IsTruncated><NextContinuationToken>{quote(list(entries)[-1])}"
                return _listing(prefix, entries, f"{more}</NextContinuationToken>")
            entries[name] = _common(name) if found else _content(key, len(self.objects[key]))
        return _listing(prefix, entries, "<IsTruncated>false</IsTruncated>")


def _content(key: str, size: int) -> str:
    modified = f"<LastModified>{_MODIFIED:%Y-%m-%dT%H:%M:%S.000Z}</LastModified>"
    etag = f"<ETag>&quot;{size:032x}&quot;</ETag>"
    return f"<Contents><Key>{escape(key)}</Key>{modified}{etag}<Size>{size}</Size></Contents>"


def _common(prefix: str) -> str:
    return f"<CommonPrefixes><Prefix>{escape(prefix)}</Prefix></CommonPrefixes>"


def _listing(prefix: str, entries: dict[str, str], end: str) -> bytes:
    head = f"<Prefix>{escape(prefix)}</Prefix><KeyCount>{len(entries)}</KeyCount>"
    body = f"<ListBucketResult>{head}{''.join(entries.values())}{end}</ListBucketResult>"
    return f'<?xml version="1.0" encoding="UTF-8"?>{body}'.encode()


def _error(code: str) -> bytes:
    return f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>{code}</Message></Error>'.encode()


def _response(
    status: str, body: bytes, headers: str = "", kind: str = "application/xml", *, body_too: bool = True
) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode()
    return head + body if body_too else head


class _Connection(asyncio.Protocol):
    """A connection that answers requests in the order in which the client sends them; no request has a body."""

    def __init__(self, store: _Store, latency_s: float) -> None:
        self._store, self._latency_s = store, latency_s
        self._loop = asyncio.get_running_loop()
        self._read = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._read += data
        while b"\r\n\r\n" in self._read:
            request, _, self._read = self._read.partition(b"\r\n\r\n")
            first, *headers = request.decode("latin-1").split("\r\n")
            method, target, _ = first.split(" ")
            ranges = [header.partition(":")[2].strip() for header in headers if header.lower().startswith("range:")]
            answer = self._store.answer(method, target, ranges[0] if ranges else None)
            self._loop.call_later(self._latency_s, self._write, answer)

    def _write(self, answer: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(answer)


async def _serve(folder: Path, bucket: str, latency_ms: float) -> None:
    store = _Store(folder, bucket)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(store, latency_ms / 1000), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    # stdin closes when the process that started the store ends, however it ends; then the store ends too.
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])))
