"""What a process does with memory that it has freed."""

from __future__ import annotations

import ctypes

# <malloc.h>
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_LARGEST_KEPT = 32 << 20  # bytes; larger arrays are the system's in any case
_HEAP = 64 << 20  # bytes: a thread's heap of this size is given back whole unless as much is asked for in advance


def keep_freed_memory() -> None:
    """Let this process use freed memory again where glibc would give it back to the system.

    On a CPU each layer of a network writes a map of some megabytes and frees another. By itself glibc returns them, and
    the system hands out pages of zeros for the next layer, which takes a sixth of the time. It is for whoever owns a
    process, as it changes all of it: up to 256 MB of freed memory per thread stay. Without glibc nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT)
        mallopt(_M_TRIM_THRESHOLD, 4 * _HEAP)
        mallopt(_M_TOP_PAD, _HEAP)
