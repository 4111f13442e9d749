"""Messages for a Ray that did not start or could not be joined: the cause, and what to do about it."""

from __future__ import annotations

import errno
import re

_SPACE = "no space is left for its files: free some, or set RAY_TMPDIR to a folder on another disk"
_PERMISSION = "it has no permission to write its files: set RAY_TMPDIR to a folder that can be written to"
_FILES = "too many files are open: raise the limit, as with `ulimit -n 65536`"
_PROCESSES = "no more processes or threads can start: raise the limit of the user (`ulimit -u`) or of the container"
_LATE = "its processes were not ready in time: the machine may be overloaded, so try again when it is less busy"
_MEMORY = "there is too little memory: end other programs, or give this machine or container more"

_BY_NUMBER = {
    errno.ENOSPC: _SPACE,
    errno.EDQUOT: _SPACE,
    errno.EACCES: _PERMISSION,
    errno.EPERM: _PERMISSION,
    errno.EROFS: _PERMISSION,
    errno.EMFILE: _FILES,
    errno.ENFILE: _FILES,
    errno.EAGAIN: _PROCESSES,
    errno.ENOMEM: _MEMORY,
}

_STARTING = {
    r"No space left on device|Disk quota exceeded": _SPACE,
    r"Permission denied|Read-only file system|Operation not permitted": _PERMISSION,
    r"Too many open files": _FILES,
    r"can't start new thread|Resource temporarily unavailable": _PROCESSES,
    r"AF_UNIX path": "the path of its folder is too long: set RAY_TMPDIR to a folder of at most 25 characters",
    r"/dev/shm size|space in /dev/shm": "its object store does not fit: free or enlarge /dev/shm (in Docker with "
    "`--shm-size=2g`), or raise the limit of memory (`ulimit -v`)",
    r"Cannot allocate memory|amount of memory on this node|memory store|object store memory": _MEMORY,
    r"Address already in use": "a port that it was told to use is taken: unset RAY_GCS_SERVER_PORT and the like",
    r"home directory": "it finds no home directory: set HOME to a folder",
    r"[Aa]uth\w* token|AuthToken": "it cannot use the token it was given: unset RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH "
    "and RAY_AUTH_MODE",
    r"Package size": "the folder that it was told to copy to its workers is too large: unset RAY_RUNTIME_ENV_HOOK and "
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV",
    r"Check failed: .*": r"one of its processes crashed: \g<0>",
    r"[Tt]imed out|overloaded|DEADLINE_EXCEEDED": _LATE,
}
"""Causes that Ray only reports as text: patterns, with messages for `re.Match.expand`; the first match counts."""

_JOINING = {
    r"[Aa]uth\w* token|AuthToken": "it requires a token: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or "
    "RAY_AUTH_TOKEN_PATH to the cluster's",
    r"[Vv]ersion mismatch": "it runs another version of Ray or Python: install the same one here",
}


def not_started(error: BaseException) -> str:
    """The reason why Ray did not start on this machine, in one line, with the remedy if the cause is known."""
    return _with_remedy(error, _BY_NUMBER, _STARTING)


def not_joined(error: BaseException) -> str:
    """The reason why a cluster could not be joined, in one line, with the remedy if the cause is known."""
    return _with_remedy(error, {}, _JOINING)


def is_late(error: BaseException) -> bool:
    """True if Ray took too long to start, or failed for an unknown reason: another try may help."""
    return _remedy(_chain(error), _BY_NUMBER, _STARTING) in (_LATE, None)


def _with_remedy(error: BaseException, by_number: dict[int, str], by_text: dict[str, str]) -> str:
    chain = _chain(error)
    remedy = _remedy(chain, by_number, by_text)
    return f"{remedy} ({_bottom(chain[-1])})" if remedy else _bottom(chain[-1])


def _chain(error: BaseException) -> list[BaseException]:
    """An error and its causes, the first cause last."""
    return [error] if error.__cause__ is None else [error, *_chain(error.__cause__)]


def _remedy(chain: list[BaseException], by_number: dict[int, str], by_text: dict[str, str]) -> str | None:
    first = chain[-1]
    if isinstance(first, ImportError):
        return f"the package {first.name} is missing: install CILF's requirements again"
    if isinstance(first, OSError) and first.errno in by_number:
        return by_number[first.errno]
    text = "\n".join([str(first), *(note for error in chain for note in getattr(error, "__notes__", []))])
    found = ((re.search(pattern, text), remedy) for pattern, remedy in by_text.items())
    return next((match.expand(remedy) for match, remedy in found if match), None)


def _bottom(error: BaseException) -> str:
    """The last line of an error's text: Ray puts the traceback of one error in the text of another."""
    lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return lines[-1].strip()[:500]
