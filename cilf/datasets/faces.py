"""Labelled faces: Parquet of encoded images -> uint8 crops, ages and groups, in batches or all at once."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cilf.datasets.face_files import GROUPS, FaceFile, inspect, parquet_files
from cilf.errors import JobError, UsageError
from cilf.images.decode import DecodeError, decode
from cilf.storage import CHECKING, locate, problem

OLDEST = 130
"""Ages above it are taken for mistakes, years."""

_NUMBERED = {
    "gender": {0: "male", 1: "female"},
    "race": {0: "White", 1: "Black", 2: "Asian", 3: "Indian", 4: "Others"},
}
"""What UTKFace's numbers mean."""
_MAX_PIXELS = 10**8
_BATCHES_AHEAD = 2
_BUFFER = 4 * 2**20
"""Of each column, while it is read, bytes. A store is asked for that much at a time."""


@dataclass(frozen=True)
class Skipped:
    """A row that cannot be used."""

    id: str
    reason: str


@dataclass(frozen=True)
class Faces:
    """N labelled faces."""

    images_NHWC: np.ndarray
    """uint8 [N, S, S, 3], RGB."""
    ages_N: np.ndarray
    """float32 [N], years."""
    ids: list[str]
    groups: dict[str, np.ndarray] = field(default_factory=dict)
    """`gender`, `race` and `subject`, those the data has: object [N], strings, None where a row has no value."""
    skipped: tuple[Skipped, ...] = ()
    """Rows that stood among these and are none of the N."""

    def __len__(self) -> int:
        return len(self.ages_N)

    def take(self, rows: np.ndarray) -> Faces:
        """The given rows, int [M], in their order."""
        groups = {name: values_N[rows] for name, values_N in self.groups.items()}
        return Faces(self.images_NHWC[rows], self.ages_N[rows], [self.ids[row] for row in rows], groups)

    def without_pixels(self) -> Faces:
        """The same faces, their images empty: for who has looked at them and keeps the rest."""
        return replace(self, images_NHWC=np.empty((len(self), 0, 0, 3), np.uint8))

    @staticmethod
    def joined(parts: Sequence[Faces]) -> Faces:
        """Parts of one set, at least one, as one."""
        return Faces(
            np.concatenate([part.images_NHWC for part in parts]),
            np.concatenate([part.ages_N for part in parts]),
            [face for part in parts for face in part.ids],
            {name: np.concatenate([part.groups[name] for part in parts]) for name in parts[0].groups},
            tuple(row for part in parts for row in part.skipped),
        )


class FaceSet:
    """The labelled faces of one split, where they are stored; images are read when batches are asked for.

    Args:
        data: a path or URL of a Parquet file or of a folder of them, with the columns id, age (years), image
            (encoded bytes) and split, and possibly gender or sex, race and subject. Numbers as gender or race are
            UTKFace's; other values stand for themselves.
        split: the rows whose column `split` has this value.

    Raises:
        UsageError: no such data, a column is missing, or no rows are of that split.
    """

    def __init__(self, data: str, split: str) -> None:
        self.data = data
        self.split = split
        with ThreadPoolExecutor() as pool:
            files = list(pool.map(partial(inspect, split=split), parquet_files(locate(data, CHECKING))))
        self.rows = sum(file.rows for file in files)
        """Rows of the split, usable or not."""
        if not self.rows:
            there = ", ".join(sorted(frozenset().union(*(file.splits for file in files)))) or "none at all"
            raise UsageError(f"{data} has no rows with split = {split!r} (splits there: {there})")
        self._files = [file for file in files if file.rows]
        self._groups = [name for name in GROUPS if any(name in file.columns for file in self._files)]

    def batches(self, size: int, rows: int = 64) -> Iterator[Faces]:
        """All rows in the order of the files, at most `rows` at a time, decoded as labelling decodes them.

        Only the next few batches are in memory; threads decode them while the caller works on this one.

        Args:
            size: side of the crops, pixels.

        Raises:
            JobError: the data could not be read to its end.
        """
        waiting: deque[tuple[pa.Table, list[Future]]] = deque()
        pool = ThreadPoolExecutor()
        try:
            for table in self._tables(rows):
                columns = zip(table["image"], table["age"].to_pylist(), strict=True)
                waiting.append((table, [pool.submit(_face, image, age, size) for image, age in columns]))
                if len(waiting) > _BATCHES_AHEAD:
                    yield _faces(*waiting.popleft(), size)
            while waiting:
                yield _faces(*waiting.popleft(), size)
        finally:
            pool.shutdown(cancel_futures=True)

    def _tables(self, rows: int) -> Iterator[pa.Table]:
        """The rows of the split, `rows` at a time, whatever the files' row groups."""
        kept: pa.Table | None = None
        fs = locate(self.data).fs
        for file in self._files:
            try:
                with fs.open(file.location.path, "rb") as opened:
                    # Both, or it reads whole row groups before the first row, and those may be gigabytes of images.
                    parquet = pq.ParquetFile(opened, buffer_size=_BUFFER, pre_buffer=False)
                    names = [*file.columns.values(), "split"]
                    for batch in parquet.iter_batches(rows, row_groups=file.row_groups, columns=names):
                        table = self._selected(pa.Table.from_batches([batch]), file)
                        kept = table if kept is None else pa.concat_tables([kept, table])
                        while len(kept) >= rows:
                            yield kept.slice(0, rows)
                            kept = kept.slice(rows)
            except Exception as error:
                raise JobError(f"reading labelled faces: {problem(error, file.location.url)}") from error
        if kept is not None and len(kept):
            yield kept

    def _selected(self, table: pa.Table, file: FaceFile) -> pa.Table:
        """The rows of the split with our columns, of the same types whatever the file's are."""
        table = table.filter(pc.equal(table["split"].cast(pa.string()), self.split))
        columns = {name: table[file.columns[name]] for name in ("id", "image", "age")}
        columns["id"] = pa.array([str(value) for value in columns["id"].to_pylist()], pa.string())
        columns["age"] = pa.array([_number(value) for value in columns["age"].to_pylist()], pa.float64())
        columns["image"] = columns["image"].cast(pa.large_binary())
        for name in self._groups:
            values = table[file.columns[name]].to_pylist() if name in file.columns else [None] * len(table)
            columns[name] = pa.array([_group(value, _NUMBERED.get(name, {})) for value in values], pa.string())
        return pa.table(columns)


def read_faces(path: str, split: str, size: int) -> Faces:
    """All usable faces of a split in memory, with crops of `size` pixels; see FaceSet.

    Raises:
        UsageError: no such data, a column is missing, or no usable rows are of that split.
        JobError: the data could not be read to its end.
    """
    faces = Faces.joined(list(FaceSet(path, split).batches(size)))
    if not len(faces):
        raise no_usable_rows(path, split, faces.skipped)
    return faces


def no_usable_rows(data: str, split: str, skipped: tuple[Skipped, ...]) -> UsageError:
    """The error to raise where every row of a split was skipped."""
    return UsageError(
        f"none of the {len(skipped)} rows of {data}, split = {split!r}, can be used; "
        f"the first is {skipped[0].id}: {skipped[0].reason}"
    )


def _face(image: pa.Scalar, age: float | None, size: int) -> np.ndarray | str:
    """The crop, or why the row is none."""
    if age is None or math.isnan(age):
        return "no age"
    if not 0 <= age <= OLDEST:
        return f"age {age:g} is outside 0..{OLDEST}"
    if not image.is_valid:
        return "no image"
    try:
        return decode(image.as_py(), size, _MAX_PIXELS).crop
    except DecodeError as error:
        return error.reason


def _faces(table: pa.Table, results: list[Future], size: int) -> Faces:
    crops = [result.result() for result in results]
    good = [row for row, crop in enumerate(crops) if not isinstance(crop, str)]
    ids = table["id"].to_pylist()
    groups = {
        name: np.array(table[name].to_pylist(), dtype=object)[good]
        for name in table.column_names
        if name not in ("id", "image", "age")
    }
    return Faces(
        np.stack([crops[row] for row in good]) if good else np.empty((0, size, size, 3), np.uint8),
        table["age"].to_numpy()[good].astype(np.float32),
        [ids[row] for row in good],
        groups,
        tuple(Skipped(ids[row], crop) for row, crop in enumerate(crops) if isinstance(crop, str)),
    )


def _number(value: object) -> float | None:
    """None where it is no number."""
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None


def _group(value: object, numbered: dict[int, str]) -> str | None:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, (int, float)) and value == int(value):
        # A column of whole numbers that lacks some is one of floats to pandas.
        return numbered.get(int(value), str(int(value)))
    return str(value)
