"""What a command settles about its own process before it does anything."""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from cilf.cache import cache
from cilf.errors import UsageError


def settle() -> None:
    """Standard streams, a folder for temporary files, and no file of a library outside our own cache.

    Raises:
        UsageError: temporary files can be written nowhere.
    """
    open_streams()
    try:
        tempfile.gettempdir()
    except FileNotFoundError as error:
        raise UsageError(f"{error.strerror}: set TMPDIR to a folder that can be written to") from error
    with suppress(OSError):  # matplotlib then makes a folder for this process alone.
        os.environ.setdefault("MPLCONFIGDIR", str(cache("matplotlib")))


def open_streams() -> None:
    """Connect standard streams that are closed (`cilf … 2>&-`) with the null device.

    Otherwise the next files that are opened get their numbers, what is printed goes there, and Ray does not start.
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
