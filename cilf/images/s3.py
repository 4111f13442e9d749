"""Reads S3 objects with one request each, from many threads at once."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable
from typing import Any

from cilf.images.s3_client import client
from cilf.images.version import Changed, check_etag
from cilf.storage import ONCE, filesystem

PATIENCE_S = 60
"""How long requests for one object are retried while its store fails: an outage of 20 s does no harm."""

_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.2, 8
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class TooLarge(Exception):
    """An object exceeds the size limit; args: its size in bytes."""


class StoreFails(Exception):
    """A store gave no response, or only server errors, until PATIENCE_S were over."""


class Bucket:
    """A bucket during one call of `fetch`; shared by its threads.

    If no request to the bucket gets a response while one object is retried for PATIENCE_S, the store counts as down:
    the remaining objects of the call are not requested. Otherwise a dead store would cost PATIENCE_S for each of them.
    """

    def __init__(self, name: str) -> None:
        """Raises: botocore's exception if there are no credentials, or for an invalid name."""
        self.name = name
        self._client = client(name)
        self._client_serves, self._client_connects = True, False
        self._answered = -float("inf")
        self._down = ""

    def get(self, key: str, max_bytes: int, span: tuple[int, int] | None = None, etag: str | None = None) -> bytes:
        """Read one object, the whole of it or a span of bytes, which may end early.

        The ETag of the response is compared with `etag`: this works with every store, whereas some do not support
        If-Match.

        Raises:
            FileNotFoundError: there is no such key or bucket.
            Changed: the store has another version than `etag`.
            TooLarge: the whole object has more than `max_bytes`, and is not read.
            StoreFails: the store is down, or fails for this key.
            Exception: any other response of the store, as botocore and s3fs raise it.
        """
        if self._down:
            raise StoreFails(self._down)
        begun = time.monotonic()
        try:
            data = _patiently(lambda: self._ask(key, max_bytes, span, etag))
        except StoreFails as failure:
            if self._answered < begun:
                self._down = str(failure)
            raise
        except Exception as error:
            self._answered = time.monotonic()
            if span and _http_status(error) == 416:  # The object has become shorter.
                if etag:
                    raise Changed from error
                return b""
            raise
        self._answered = time.monotonic()
        return data

    def _ask(self, key: str, max_bytes: int, span: tuple[int, int] | None, etag: str | None) -> bytes:
        asks_plainly = self._client_serves and _is_plain(key)
        if asks_plainly:
            try:
                result = self._client.get(key, options={"range": span} if span else None)
                self._client_connects = True
                check_etag(etag, result.meta["e_tag"])
                if not span and result.meta["size"] > max_bytes:
                    raise TooLarge(result.meta["size"])
                return bytes(result.bytes())
            except (FileNotFoundError, TooLarge, Changed):
                raise
            except Exception as error:
                if _is_trouble(error) and (self._client_connects or not _finds_no_way(error)):
                    raise
        # For any other error of obstore, botocore decides: it follows redirects to a bucket's region, corrects clock
        # skew, accepts bodies of unknown length and self-signed certificates, and has the best error messages.
        data = self._ask_botocore(key, max_bytes, span, etag)
        if asks_plainly:
            self._client_serves = False
        return data

    def _ask_botocore(self, key: str, max_bytes: int, span: tuple[int, int] | None, etag: str | None) -> bytes:
        from fsspec.asyn import sync

        fs = filesystem("s3", ONCE)
        if span:
            part = {"Range": f"bytes={span[0]}-{span[1] - 1}"}
            return sync(fs.loop, _get_exactly, fs, self.name, key, span[1] - span[0], etag, **part)
        return sync(fs.loop, _get_exactly, fs, self.name, key, max_bytes, etag)


def _is_plain(key: str) -> bool:
    """Whether obstore requests a key unchanged: it rejects empty parts, `.`, `..` and control characters, and strips
    slashes at both ends."""
    return not _CONTROL.search(key) and not {"", ".", ".."} & set(key.split("/"))


async def _get_exactly(fs: Any, bucket: str, key: str, max_bytes: int, etag: str | None, **further: str) -> bytes:
    """One GET of exactly this key.

    s3fs's cat_file would request the size first, and interpret `folder/` as `folder` and `a?versionId=b` as a version
    of `a`.
    """
    answer = await fs._call_s3("get_object", Bucket=bucket, Key=key, **further)
    parts, held = [], 0
    async with answer["Body"] as body:
        try:
            check_etag(etag, answer.get("ETag"))
        except Changed:
            body.close()
            raise
        size = answer.get("ContentLength", 0)
        if size <= max_bytes:
            async for part in body.iter_chunks():
                parts.append(part)
                held += len(part)
                if held > max_bytes:
                    break
        if max(size, held) > max_bytes:
            body.close()
            raise TooLarge(max(size, held))
    return b"".join(parts)


def _patiently(ask: Callable[[], bytes]) -> bytes:
    """Call `ask` and retry while the store fails, with exponential backoff and jitter, until PATIENCE_S are over."""
    end = time.monotonic() + PATIENCE_S
    longest = _FIRST_WAIT_S
    while True:
        try:
            return ask()
        except Exception as error:
            if not _is_trouble(error):
                raise
            wait = random.uniform(0, longest)
            if time.monotonic() + wait > end:
                raise StoreFails(f"the store failed for {PATIENCE_S} s: {_in_short(error)}") from error
        time.sleep(wait)
        longest = min(2 * longest, _LONGEST_WAIT_S)


def _is_trouble(error: Exception) -> bool:
    """Whether the store failed, so that a retry may help; any other error is the store's response."""
    from botocore.exceptions import ConnectionError as NotConnected
    from obstore.exceptions import GenericError
    from s3fs.core import S3_RETRYABLE_ERRORS

    status = _http_status(error)
    if status is not None:
        return status >= 500 or status in (408, 429)
    if isinstance(error, GenericError):
        return "HTTP error: " in str(error)  # no connection, a lost connection, or an incomplete body
    return isinstance(error, (NotConnected, *S3_RETRYABLE_ERRORS))


def _finds_no_way(error: Exception) -> bool:
    """Whether obstore could not connect, perhaps for a reason that does not affect botocore."""
    return "kind: Connect" in str(error)


def _http_status(error: Exception) -> int | None:
    response = getattr(error.__cause__, "response", None)  # s3fs wraps botocore's error in its own
    if response:
        return response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    status = re.search(r"status code: (\d{3})", str(error))
    return int(status[1]) if status else None


def _in_short(error: Exception) -> str:
    """A summary of the failure without the object's name, so that rows can be grouped by it."""
    text = " ".join(str(error).split())
    status = re.search(r"status code: (\d{3} [\w ]+)", text)
    if status:
        code = re.search(r"<Code>(.*?)</Code>", text)
        return status[1] + (f" ({code[1]})" if code else "")
    kind = re.search(r"HttpError {.*?kind: (\w+)", text)
    return f"HTTP {kind[1]} error" if kind else f"{type(error).__name__} ({_http_status(error) or 'no answer'})"
