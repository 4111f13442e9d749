"""A URL -> a filesystem and a path. All other modules open URLs through this one.

Plain paths and file:// are local; s3:// is any S3-compatible store, configured by the usual AWS variables
(AWS_ENDPOINT_URL, AWS_PROFILE, roles); gs:// needs gcsfs. Paths are used as they are: nothing is
percent-decoded, encoded or globbed, so every key that a store allows works.

Objects are read in bulk by cilf.images.s3, with another client for the same URLs.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cilf.cache import cache, cached
from cilf.card import CARD_FILE, WEIGHTS_FILE
from cilf.errors import UsageError
from cilf.urls import KNOWN, check_local, split

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem


@dataclass(frozen=True)
class Patience:
    """Limits on attempts and waiting times, after which a store counts as failed."""

    attempts: int
    """Attempts of the client for each request; it waits a random time up to 1, 2, 4, 8, 16, 20, 20 ... s in between."""
    answer_s: float
    """Seconds without a byte after which an attempt is given up."""
    connect_s: float = 5
    """Seconds after which an attempt to connect is given up."""


WORKING = Patience(attempts=10, answer_s=30)
"""While a job runs: an outage of 20 s is survived; a store that refuses requests is given up after about a minute."""
CHECKING = Patience(attempts=2, answer_s=10)
"""While a plan is being checked: a wrong address is reported soon."""
ONCE = Patience(attempts=1, answer_s=30)
"""A single attempt, for a caller that retries by itself."""

CONNECTIONS = 64
"""Requests in flight to one store from one process."""

_BUNDLED = Path(__file__).parent / "bundled"


@dataclass(frozen=True)
class Location:
    """A place in a store."""

    scheme: str
    """file, s3 or gs."""
    fs: AbstractFileSystem
    path: str
    """The path as `fs` takes it: absolute, or bucket/key; without a slash at the end."""

    @property
    def url(self) -> str:
        """The URI of this place in rows: an absolute path, or scheme://bucket/key."""
        return self.path if self.scheme == "file" else f"{self.scheme}://{self.path}"

    def __truediv__(self, name: str) -> Location:
        return replace(self, path=f"{self.path.rstrip('/')}/{name}")

    @property
    def parent(self) -> Location:
        return replace(self, path=self.path.rpartition("/")[0])


def locate(url: str, patience: Patience = WORKING) -> Location:
    """The location of a folder or file. Nothing is opened yet.

    Raises:
        UsageError: this kind of URL is not supported.
    """
    scheme, path = split(url)
    if scheme == "file":
        check_local(url)
        path = os.path.abspath(os.path.expanduser(path))  # noqa: PTH100, PTH111
    elif not path.strip("/"):
        raise UsageError(f"{url} names no bucket: expected {scheme}://bucket or {scheme}://bucket/prefix")
    return Location(scheme, filesystem(scheme, patience), path.rstrip("/") or "/")


@lru_cache
def filesystem(scheme: str, patience: Patience = WORKING) -> AbstractFileSystem:
    """The fsspec filesystem for a kind of URL.

    Raises:
        UsageError: this kind of URL is not supported.
    """
    import fsspec

    if scheme == "s3":
        retries = {"total_max_attempts": patience.attempts, "mode": "standard"}
        timeouts = {"connect_timeout": patience.connect_s, "read_timeout": patience.answer_s}
        s3 = fsspec.filesystem(
            "s3",
            config_kwargs={"retries": retries, "max_pool_connections": CONNECTIONS, **timeouts},
            use_listings_cache=False,
        )
        # s3fs retries on top of botocore, by default five times, which takes minutes for a dead address. But botocore
        # does not retry a body that breaks off, and with thousands of label files one will.
        s3.retries = 2 if patience.attempts > 2 else 1
        return s3
    if scheme in ("file", "gs"):
        try:
            return fsspec.filesystem(scheme)
        except ImportError as error:
            raise UsageError(f"{scheme}:// needs the package gcsfs, which is not installed: {error}") from error
    raise UsageError(f"cannot open {scheme}:// (known: {KNOWN})")


def problem(error: BaseException, url: str) -> str:
    """A one-line message on what went wrong at `url` and what to do."""
    name, text = type(error).__name__, " ".join(str(error).split())
    if name in ("NoCredentialsError", "PartialCredentialsError", "ProfileNotFound", "TokenRetrievalError"):
        advice = "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give this machine a role"
        return f"no credentials for {url} ({text}): {advice}"
    if name in ("EndpointConnectionError", "ConnectTimeoutError", "ReadTimeoutError", "ConnectionClosedError"):
        return f"the store of {url} cannot be reached ({text}): check AWS_ENDPOINT_URL and the network"
    if isinstance(error, FileNotFoundError):
        return f"{url} does not exist ({text})"
    if isinstance(error, PermissionError):
        return f"no permission for {url} ({text})"
    return f"{url} cannot be used: {name}: {text}"


def lies_inside(place: Location, folder: Location) -> bool:
    """True if a place is a folder or lies below it, through any links and mounts; neither needs to exist."""
    if place.scheme != "file" or folder.scheme != "file":
        return f"{place.url}/".startswith(f"{folder.url.rstrip('/')}/")
    real, outer = (Path(os.path.realpath(local.path)) for local in (place, folder))
    # A folder that is mounted twice, or whose name differs by case, can only be recognised by its inode.
    return any(above == outer or _is_same(above, outer) for above in (real, *real.parents))


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


def check_output(output: Location, name: str = "OUTPUT") -> None:
    """Make sure that files can be written and deleted under `output`, which messages call `name`, by trying it.

    A missing local folder is created; a missing bucket is not.

    Raises:
        UsageError: files cannot be written or deleted there.
    """
    probe = output / f".cilf-probe-{secrets.token_hex(6)}"
    try:
        write(probe, b"")
    except Exception as error:
        raise UsageError(f"cannot write to {name}: {problem(error, output.url)}") from error
    try:
        remove(probe)
    except Exception as error:  # Leases and unfinished files have to be deleted, or no run could finish.
        raise UsageError(f"cannot use {name}: CILF also needs to delete there: {problem(error, probe.url)}") from error


def write(target: Location, data: bytes) -> None:
    """Write a whole file so that no reader ever sees a part of it.

    An object store does that by itself. Locally the bytes are written to a hidden file in the same folder, which is
    then renamed.
    """
    if target.scheme != "file":
        target.fs.pipe_file(target.path, data)
        return
    path = Path(target.path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name[:200]}.{secrets.token_hex(4)}.tmp")
    try:
        unfinished.write_bytes(data)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_all(folder: Location, files: Mapping[str, bytes]) -> None:
    """Write files, given by name, each as a whole.

    Raises:
        UsageError: a file cannot be written.
    """
    try:
        for name, data in files.items():
            write(folder / name, data)
    except Exception as error:
        raise UsageError(f"cannot write {', '.join(files)}: {problem(error, folder.url)}") from error


def remove(target: Location) -> None:
    """Delete a file."""
    target.fs.rm_file(target.path)


def remove_folder(folder: Location) -> None:
    """Delete a folder that holds only files; in a store, a folder disappears with its last file."""
    if folder.scheme == "file":
        shutil.rmtree(folder.path)
    else:
        for file in files(folder, ""):
            remove(file)


def files(folder: Location, suffix: str) -> list[Location]:
    """The files directly in `folder` whose names end in `suffix` and do not start with a dot, sorted by name.

    Returns an empty list if the folder does not exist.
    """
    return [file for file, _ in files_and_sizes(folder, suffix)]


def files_and_sizes(folder: Location, suffix: str) -> list[tuple[Location, int]]:
    """The result of `files` with the size of each file in bytes, from a single listing."""
    try:
        listed = folder.fs.ls(folder.path, detail=True)
    except FileNotFoundError:
        return []
    found = sorted((entry["name"].rpartition("/")[2], entry["size"]) for entry in listed if entry["type"] == "file")
    return [(folder / name, size) for name, size in found if name.endswith(suffix) and not name.startswith(".")]


def folders(folder: Location) -> list[Location]:
    """The folders directly in `folder`, sorted by name. Returns an empty list if the folder does not exist."""
    try:
        listed = folder.fs.ls(folder.path, detail=True)
    except FileNotFoundError:
        return []
    names = (entry["name"].rstrip("/").rpartition("/")[2] for entry in listed if entry["type"] == "directory")
    return [folder / name for name in sorted(names)]


def bundled_models() -> list[str]:
    """Names of the models that come with CILF."""
    return sorted(f.name for f in _BUNDLED.glob("*") if f.is_dir())


def is_bundled(model: str) -> bool:
    """True if this is the name of a model that comes with CILF."""
    return "/" not in model and (_BUNDLED / model).is_dir()


def model_folder(model: str) -> Path:
    """The local folder of a model, given as the name of a bundled one, a path or a URL.

    A URL is downloaded once per machine and version of its files, to ~/.cache/cilf/models (see cilf.cache).

    Raises:
        UsageError: there is no such model.
    """
    if is_bundled(model):
        return _BUNDLED / model
    scheme, path = split(model)
    if scheme != "file":
        return _downloaded(model)
    folder = Path(path).expanduser()
    if folder.is_dir():
        return folder.resolve()
    bundled = ", ".join(bundled_models()) or "none"
    raise UsageError(f"no model {model}: not a folder here, and not a bundled model (bundled: {bundled})")


def _downloaded(url: str) -> Path:
    source = locate(url, CHECKING)
    wanted = [source / CARD_FILE, source / WEIGHTS_FILE]
    try:
        version = [url, *(str(_version(file)) for file in wanted)]
        name = hashlib.sha256("\0".join(version).encode()).hexdigest()[:16]
        if there := [place / name for place in cached("models") if (place / name).is_dir()]:
            return there[0]
        folder = _room_for_models(url) / name
        with tempfile.TemporaryDirectory(dir=folder.parent) as unfinished:
            for file in wanted:
                file.fs.get_file(file.path, f"{unfinished}/{Path(file.path).name}")
            ready = Path(unfinished) / "ready"
            ready.mkdir()
            for file in wanted:
                shutil.move(Path(unfinished) / Path(file.path).name, ready)
            with suppress(OSError):  # Another process was faster; its copy is the same.
                ready.rename(folder)
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(f"cannot get model {url}: {problem(error, url)}") from error
    return folder


def _room_for_models(url: str) -> Path:
    try:
        folder = cache("models")
        folder.mkdir(0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"cannot keep model {url} ({error}): set XDG_CACHE_HOME to a folder that can be written to"
        ) from error
    return folder


def _version(file: Location) -> Any:
    info = file.fs.info(file.path)
    return info.get("ETag") or info.get("etag") or (info.get("size"), info.get("mtime"))


def read(target: Location) -> bytes | None:
    """The current contents of a small file, or None if it does not exist."""
    try:
        return bytes(target.fs.cat_file(target.path))
    except FileNotFoundError:
        return None
