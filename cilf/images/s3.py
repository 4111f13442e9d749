"""S3 objects, one request each, for many threads at once."""

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
"""How long one object is asked for again while its store fails: a store that is away for 20 s is sat out."""

_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.2, 8
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class TooLarge(Exception):
    """An object of more bytes than are wanted; args: how many."""


class StoreFails(Exception):
    """A store that gave no answer, or none but errors of its own, until patience was over."""


class Bucket:
    """A bucket during one call of `fetch`; shared by its threads.

    What no object of the bucket got an answer for, for the whole patience of one, is taken to be down: the other
    objects of the call are not asked for any more, or a dead store would cost its patience for each of them.
    """

    def __init__(self, name: str) -> None:
        """Raises: what botocore raises where there are no credentials, or for an impossible name."""
        self.name = name
        self._client = client(name)
        self._client_serves, self._client_connects = True, False
        self._answered = -float("inf")
        self._down = ""

    def get(self, key: str, max_bytes: int, span: tuple[int, int] | None = None, etag: str | None = None) -> bytes:
        """One object, whole or from a byte up to another, as far as it goes.

        The ETag of the answer is compared with `etag`: unlike If-Match, which not every store knows, that is right
        everywhere.

        Raises:
            FileNotFoundError: there is no such key or bucket.
            Changed: the store has another version than `etag`.
            TooLarge: the whole of it has more than `max_bytes`, and is not read.
            StoreFails: the store is down, or fails for this key.
            Exception: any other answer of the store, as botocore and s3fs raise it.
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
        # Whatever else obstore says, botocore decides: it follows a bucket to its region and a clock to its skew,
        # takes bodies of unknown length and certificates that sign themselves, and says best what is wrong.
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
    """Whether obstore asks for a key as it stands: it refuses empty parts, `.`, `..` and control characters, and takes
    slashes off both ends."""
    return not _CONTROL.search(key) and not {"", ".", ".."} & set(key.split("/"))


async def _get_exactly(fs: Any, bucket: str, key: str, max_bytes: int, etag: str | None, **further: str) -> bytes:
    """One GET of exactly this key.

    s3fs's cat_file would ask for the size first, and read `folder/` as `folder` and `a?versionId=b` as a version
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
    """`ask` again while the store fails, at random moments that grow rarer, until PATIENCE_S are over."""
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
    """Whether the store failed, so that asking again may help; anything else is its answer."""
    from botocore.exceptions import ConnectionError as NotConnected
    from obstore.exceptions import GenericError
    from s3fs.core import S3_RETRYABLE_ERRORS

    status = _http_status(error)
    if status is not None:
        return status >= 500 or status in (408, 429)
    if isinstance(error, GenericError):
        return "HTTP error: " in str(error)  # no connection, none that lasts, or a body that breaks off
    return isinstance(error, (NotConnected, *S3_RETRYABLE_ERRORS))


def _finds_no_way(error: Exception) -> bool:
    """Whether obstore could not connect, perhaps for a reason of its own."""
    return "kind: Connect" in str(error)


def _http_status(error: Exception) -> int | None:
    response = getattr(error.__cause__, "response", None)  # s3fs hides botocore's error behind one of its own
    if response:
        return response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    status = re.search(r"status code: (\d{3})", str(error))
    return int(status[1]) if status else None


def _in_short(error: Exception) -> str:
    """What failed, without the object's name, so that rows can be counted by it."""
    text = " ".join(str(error).split())
    status = re.search(r"status code: (\d{3} [\w ]+)", text)
    if status:
        code = re.search(r"<Code>(.*?)</Code>", text)
        return status[1] + (f" ({code[1]})" if code else "")
    kind = re.search(r"HttpError {.*?kind: (\w+)", text)
    return f"HTTP {kind[1]} error" if kind else f"{type(error).__name__} ({_http_status(error) or 'no answer'})"
