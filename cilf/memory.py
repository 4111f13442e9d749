"""Reuse of freed memory within a process."""

from __future__ import annotations

import ctypes

# <malloc.h>
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_LARGEST_KEPT = 32 << 20  # bytes; larger arrays always go back to the system
_HEAP = 64 << 20  # bytes: glibc gives back a thread's whole heap of this size, unless as much is requested in advance


def keep_freed_memory() -> None:
    """Make this process reuse freed memory that glibc would give back to the system.

    On a CPU each layer of a network writes a map of some megabytes and frees another. By default glibc returns them to
    the system, which then hands out zeroed pages for the next layer; that takes a sixth of the time. Call this only in
    a process of your own, as it changes all of it: up to 256 MB of freed memory per thread are kept. Without glibc it
    does nothing.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT)
        mallopt(_M_TRIM_THRESHOLD, 4 * _HEAP)
        mallopt(_M_TOP_PAD, _HEAP)
