"""A draft: an unfinished listing, in the folder where the finished one will be.

It is stored next to the previous listing, in files whose names no reader of Parquet takes for data. `_draft.json` says
what is in them and what is left to list; it is written after each of them, so that the next process can resume from
there, however this one ends. Once everything is listed, the files get their final names, `_manifest.json` is replaced,
and the files of the previous listing are deleted.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cilf.manifest import shards
from cilf.manifest.folder import RECORD
from cilf.provenance import new_run_id
from cilf.storage import Location, files, read, remove, write

_STATE = "_draft.json"
_SUFFIX = ".draft"
_SAVE_EVERY_S = 60
_THREADS = 16
_OURS = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{6}-\d{5}\.parquet")
_OUR_DRAFTS = re.compile(rf"_{_OURS.pattern}\{_SUFFIX}")


@dataclass
class State:
    """The contents of `_draft.json`."""

    command: dict[str, Any]
    """The inputs and globs of the listing. Another command starts a new draft."""
    listing: str = field(default_factory=new_run_id)
    left: dict[str, Any] = field(default_factory=dict)
    """The rest to list of each INPUT that has been started; see cilf.manifest.listing.read."""
    parts: list[dict[str, Any]] = field(default_factory=list)
    """Name and number of objects of each file."""
    bytes: int = 0
    repeats: int = 0
    seconds: float = 0.0
    left_out: list[str] = field(default_factory=list)
    """Messages about what could not be read."""
    listed: bool = False

    @property
    def objects(self) -> int:
        """Number of objects in all files."""
        return sum(part["objects"] for part in self.parts)


def read_state(folder: Location) -> State | None:
    """The state of the draft in a folder; None if there is none that this version understands."""
    found = read(folder / _STATE)
    if found is None:
        return None
    known = json.loads(found)
    return State(**known) if known.keys() == {f.name for f in fields(State)} else None


class Draft:
    """A draft in the folder of its listing.

    Args:
        folder: the folder.
        state: the state to continue from.
        may_write: raises if another process has taken over; called before anything is written.
    """

    def __init__(self, folder: Location, state: State, may_write: Callable[[], None]) -> None:
        self.folder, self.state, self._may_write = folder, state, may_write
        self._rows: list[pa.Table] = []
        self._begun = time.monotonic() - state.seconds
        self._saved = time.monotonic()

    def ids(self) -> np.ndarray:
        """The ids of the objects in its files, int64."""
        with ThreadPoolExecutor(_THREADS) as threads:
            found = list(threads.map(self._ids, self.state.parts))
        return np.concatenate([np.empty(0, np.int64), *found])

    def _ids(self, part: dict[str, Any]) -> np.ndarray:
        data = pa.BufferReader(self.folder.fs.cat_file(self._unnamed(part).path))
        ids: np.ndarray = pq.ParquetFile(data).read(["id"])["id"].to_numpy()
        return ids

    @property
    def objects(self) -> int:
        """Number of objects in its files and in memory."""
        return self.state.objects + sum(map(len, self._rows))

    @property
    def seconds(self) -> float:
        """Seconds that the listing has taken so far, over all processes that worked on it."""
        return time.monotonic() - self._begun

    def save(self) -> None:
        """Write the objects that are not in files yet, and then the state."""
        self._may_write()
        if self._rows:
            table = pa.concat_tables(self._rows)
            part = {"name": f"{self.state.listing}-{len(self.state.parts):05d}.parquet", "objects": len(table)}
            write(self._unnamed(part), shards.encoded(table))
            self.state.parts.append(part)
            self.state.bytes += pc.sum(table["bytes"], min_count=0).as_py()
            self._rows.clear()
        self._saved = time.monotonic()
        self.state.seconds = round(self.seconds, 2)
        write(self.folder / _STATE, json.dumps(asdict(self.state)).encode())

    def add(self, table: pa.Table) -> None:
        """Add objects. `state.left` must not contain them any more."""
        if len(table):
            self._rows.append(table)
        if sum(map(len, self._rows)) >= shards.SHARD_ROWS or time.monotonic() - self._saved > _SAVE_EVERY_S:
            self.save()

    def publish(self, record: dict[str, Any]) -> None:
        """Replace the previous listing by this complete one. Can be repeated after any interruption."""
        self._may_write()
        with ThreadPoolExecutor(_THREADS) as threads:
            list(threads.map(self._name, self.state.parts))
        text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
        write(self.folder / RECORD, text.encode(errors="backslashreplace"))
        names = {part["name"] for part in self.state.parts}
        for file in [*files(self.folder, ".parquet"), *files(self.folder, _SUFFIX)]:
            name = file.path.rpartition("/")[2]
            if _OUR_DRAFTS.fullmatch(name) or (name not in names and _OURS.fullmatch(name)):
                remove(file)
        remove(self.folder / _STATE)

    def _unnamed(self, part: dict[str, Any]) -> Location:
        return self.folder / f"_{part['name']}{_SUFFIX}"

    def _name(self, part: dict[str, Any]) -> None:
        data = read(self._unnamed(part))
        if data is not None:  # else an earlier attempt has done it
            write(self.folder / part["name"], data)
