"""Files that one of several processes gets to write: what a lock is made of where there is only a store."""

from __future__ import annotations

import fcntl
import os
import secrets
from contextlib import suppress
from pathlib import Path

from cilf.storage import Location, read, write


def create(target: Location, data: bytes) -> bool:
    """Write a file that is not there yet; of several who try at once, one gets True."""
    if target.scheme == "file":
        path = Path(target.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        complete = path.with_name(f".{path.name[:200]}.{secrets.token_hex(4)}.tmp")
        complete.write_bytes(data)
        try:
            os.link(complete, path)
        except FileExistsError:
            return False
        finally:
            complete.unlink()
        return True
    return _put_if(target, data, IfNoneMatch="*")


def replace_if(target: Location, old: bytes, data: bytes) -> bool:
    """Overwrite a file that still holds `old`; of several who try at once, one gets True."""
    if target.scheme == "file":
        lock = Path(target.path).with_name(f".{Path(target.path).name[:200]}.lock")
        with suppress(FileNotFoundError), lock.open("w") as opened:
            fcntl.flock(opened, fcntl.LOCK_EX)  # ends with its process, whatever ends that
            if read(target) == old:
                write(target, data)
                return True
        return False
    if target.scheme != "s3":
        return read(target) == old and _put_if(target, data)
    bucket, _, key = target.path.partition("/")
    try:
        found = target.fs.call_s3("get_object", Bucket=bucket, Key=key)
    except FileNotFoundError:
        return False
    from fsspec.asyn import sync

    return sync(target.fs.loop, found["Body"].read) == old and _put_if(target, data, IfMatch=found["ETag"])


def _put_if(target: Location, data: bytes, **condition: str) -> bool:
    """Conditional PUT. Stores without conditions keep the last of two writers; reading back tells who it was."""
    if target.scheme == "s3":
        bucket, _, key = target.path.partition("/")
        try:
            target.fs.call_s3("put_object", Bucket=bucket, Key=key, Body=data, **condition)
        except Exception as error:
            if _refused(error):
                return False
            raise
    elif "IfNoneMatch" in condition and target.fs.exists(target.path):
        return False
    else:
        target.fs.pipe_file(target.path, data)
    return read(target) == data


def _refused(error: BaseException) -> bool:
    """Whether a store said that the condition of a PUT does not hold (412), or that somebody else is at it (409)."""
    seen: BaseException | None = error
    while seen is not None:
        response = getattr(seen, "response", None) or {}
        if response.get("ResponseMetadata", {}).get("HTTPStatusCode") in (409, 412):
            return True
        seen = seen.__cause__ or seen.__context__
    return isinstance(error, FileExistsError)
