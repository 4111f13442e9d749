"""Atomic creation and replacement of files, by one of several processes: the basis of locks on a plain store."""

from __future__ import annotations

import fcntl
import os
import secrets
from contextlib import suppress
from pathlib import Path

from cilf.storage import Location, read, write


def create(target: Location, data: bytes) -> bool:
    """Write a file only if it does not exist yet; of several callers at the same time, one gets True."""
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
    """Overwrite a file only if it still holds `old`; of several callers at the same time, one gets True."""
    if target.scheme == "file":
        lock = Path(target.path).with_name(f".{Path(target.path).name[:200]}.lock")
        with suppress(FileNotFoundError), lock.open("w") as opened:
            fcntl.flock(opened, fcntl.LOCK_EX)  # released when the process ends, however it ends
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
    """Conditional PUT. Stores without conditions keep the data of the last writer; reading it back shows who that
    was."""
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
    """True if a store rejected a PUT because its condition does not hold (412) or another write is in progress
    (409)."""
    seen: BaseException | None = error
    while seen is not None:
        response = getattr(seen, "response", None) or {}
        if response.get("ResponseMetadata", {}).get("HTTPStatusCode") in (409, 412):
            return True
        seen = seen.__cause__ or seen.__context__
    return isinstance(error, FileExistsError)
