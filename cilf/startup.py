"""Preparation of a command's process before it does anything else."""

from __future__ import annotations

import io
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any

from cilf.cache import cache
from cilf.errors import UsageError


def settle() -> None:
    """Prepare the standard streams and a folder for temporary files, and keep library files in our own cache.

    Raises:
        UsageError: temporary files cannot be written anywhere.
    """
    open_streams()
    try:
        tempfile.gettempdir()
    except FileNotFoundError as error:
        raise UsageError(f"{error.strerror}: set TMPDIR to a folder that can be written to") from error
    with suppress(OSError):  # matplotlib then makes a folder for this process only.
        os.environ.setdefault("MPLCONFIGDIR", str(cache("matplotlib")))


def open_streams() -> None:
    """Connect standard streams that are closed (`cilf … 2>&-`) to the null device.

    Otherwise the next files that are opened get their numbers, output is printed into them, and Ray does not start.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115


class _Unread(io.FileIO):
    """A stream whose reader may have closed it (`cilf … | head -1`): what is written afterwards is dropped."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            return memoryview(data).nbytes


@contextmanager
def readers_may_leave() -> Iterator[None]:
    """Let the process finish normally, while the context lasts, even if the readers of its output have gone."""
    streams = ((sys.stdout, sys.__stdout__, redirect_stdout), (sys.stderr, sys.__stderr__, redirect_stderr))
    with ExitStack() as held:
        for stream, original, redirect in streams:
            if stream is original and isinstance(stream, io.TextIOWrapper):  # a caller's redirections stay in place
                unread = _unread(stream)
                held.enter_context(redirect(unread))
                held.callback(unread.flush)
        yield


def _unread(stream: io.TextIOWrapper) -> io.TextIOWrapper:
    raw = io.BufferedWriter(_Unread(stream.fileno(), "wb", closefd=False))
    return io.TextIOWrapper(raw, stream.encoding, stream.errors, line_buffering=True)
