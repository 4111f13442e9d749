"""Reads labelled faces from Parquet files, in batches: uint8 crops, ages or age groups, and the person shown."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cilf.card import Images
from cilf.datasets.age_groups import AgeGroup, ordered
from cilf.datasets.face_files import GROUPS, inspect, parquet_files
from cilf.datasets.face_rows import Columns, group_name
from cilf.errors import JobError, UsageError
from cilf.images.decode import DecodeError
from cilf.images.faces import BoxError, NoFaceError, known, nearest_the_middle, whole
from cilf.manifest.partitions import with_partition
from cilf.storage import CHECKING, locate, problem

MAX_PIXELS = 10**8
"""Images with more pixels are not decoded."""

_BATCHES_AHEAD = 2

Alteration = Callable[[str, bytes, list[float] | None], tuple[bytes, list[float] | None]]
"""A function from a row's id, encoded file and box to another file and box. A DecodeError skips only the row."""

_BUFFER = 4 * 2**20
"""Read buffer for each column, bytes; also the size of a request to a store."""


@dataclass(frozen=True)
class Skipped:
    """A row that cannot be used."""

    id: str
    reason: str


@dataclass(frozen=True)
class Faces:
    """N labelled faces."""

    images_NHWC: np.ndarray
    """uint8 [N, S, S, C], RGB."""
    ages_N: np.ndarray
    """float32 [N], years; NaN where only a group is known."""
    ids: list[str]
    groups: dict[str, np.ndarray] = field(default_factory=dict)
    """Those of `gender`, `race` and `subject` that the data has: object [N], strings, None where a row has no value.
    For data with age groups also `age_group`, with the names in FaceSet.age_groups."""
    stds_N: np.ndarray | None = None
    """float32 [N], standard deviation of the annotators' guesses, years, NaN where there is none; None: the data has no
    `age_std`."""
    skipped: tuple[Skipped, ...] = ()
    """Rows of the same batch that cannot be used; they do not count among the N."""

    def __len__(self) -> int:
        return len(self.ages_N)

    def take(self, rows: np.ndarray) -> Faces:
        """The faces of the given rows, int [M], in their order."""
        groups = {name: values_N[rows] for name, values_N in self.groups.items()}
        stds_N = None if self.stds_N is None else self.stds_N[rows]
        return Faces(self.images_NHWC[rows], self.ages_N[rows], [self.ids[row] for row in rows], groups, stds_N)

    def without_pixels(self) -> Faces:
        """The same faces with empty images, for callers that no longer need the pixels."""
        return replace(self, images_NHWC=np.empty((len(self), 0, 0, 3), np.uint8))

    @staticmethod
    def joined(parts: Sequence[Faces]) -> Faces:
        """Concatenates parts of one set; at least one part."""
        return Faces(
            np.concatenate([part.images_NHWC for part in parts]),
            np.concatenate([part.ages_N for part in parts]),
            [face for part in parts for face in part.ids],
            {name: np.concatenate([part.groups[name] for part in parts]) for name in parts[0].groups},
            None if parts[0].stds_N is None else np.concatenate([part.stds_N for part in parts]),
            tuple(row for part in parts for row in part.skipped),
        )


class FaceSet:
    """The labelled faces of one split in storage; images are read only when batches are requested.

    Args:
        data: a path or URL of a Parquet file or of a folder of them, with the columns id, age (years) or age_low and
            age_high (first and last year of a group; null in age_high: and older), image (encoded bytes) and split, and
            optionally age_std, gender or sex, race and subject, and box (left, top, right, bottom in the upright image,
            pixels) if an image shows more than the face. Numbers in gender or race are UTKFace's codes; other values
            are used as they are. Folders named `subject=007` add this column to files below them that lack it.
        split: selects the rows whose column `split` has this value. If one of them has an age, the set uses ages and
            skips rows without one; otherwise it uses age groups.
        find: whether images without a box are photographs, from which the face nearest the centre is taken; otherwise
            they are crops of faces.

    Raises:
        UsageError: no such data, a column is missing, no row is of that split, or the age groups cannot be used.
    """

    def __init__(self, data: str, split: str, find: bool = False) -> None:
        self.data = data
        self.find = find
        self.split = split
        source = locate(data, CHECKING)
        with ThreadPoolExecutor() as pool:
            files = list(pool.map(partial(inspect, source=source, split=split), parquet_files(source)))
        self.rows = sum(file.rows for file in files)
        """Number of rows of the split, usable or not."""
        if not self.rows:
            there = ", ".join(sorted(frozenset().union(*(file.splits for file in files)))) or "none at all"
            raise UsageError(f"{data} has no rows with split = {split!r} (splits there: {there})")
        self._files = [file for file in files if file.rows]
        self.age_groups: list[AgeGroup] | None = None
        """The groups in rows of any split, youngest first, if the set uses age groups; None: it uses ages."""
        if not any(file.aged for file in self._files):
            self.age_groups = ordered((group for file in files for group in file.age_groups), data)
        self.others = sum(file.others for file in files)
        """Number of rows of other splits, or without a split."""
        self.known_others = frozenset(group_name(who) for file in files for who in file.known_others) - {None}
        """The subjects of those rows."""
        known = [name for name in (*GROUPS, "age_std") if any(name in file.columns for file in self._files)]
        self._columns = Columns(split, known, by_group=self.age_groups is not None)

    def batches(self, images: Images, rows: int = 64) -> Iterator[Faces]:
        """Yields all rows in the order of the files, at most `rows` at a time, decoded and cut out as in labelling.

        Only the next few batches are in memory; threads decode them while the caller processes the current one.

        Args:
            images: the model's input format.

        Raises:
            JobError: the data could not be read to its end.
        """
        return cut_out(self.tables(rows), images, self.find)

    def tables(self, rows: int = 64) -> Iterator[pa.Table]:
        """Yields the rows of the split, `rows` at a time whatever the files' row groups; see cilf.datasets.face_rows.

        Raises:
            JobError: the data could not be read to its end.
        """
        kept: pa.Table | None = None
        fs = locate(self.data).fs
        for file in self._files:
            try:
                with fs.open(file.location.path, "rb") as opened:
                    # Without both options it reads whole row groups before the first row, maybe gigabytes of images.
                    parquet = pq.ParquetFile(opened, buffer_size=_BUFFER, pre_buffer=False)
                    there = parquet.schema_arrow.names
                    names = [name for name in (*file.columns.values(), "split") if name in there]
                    for batch in parquet.iter_batches(rows, row_groups=file.row_groups, columns=names):
                        found = with_partition(pa.Table.from_batches([batch]), file.folders)
                        table = self._columns.of(found, file)
                        kept = table if kept is None else pa.concat_tables([kept, table])
                        while len(kept) >= rows:
                            yield kept.slice(0, rows)
                            kept = kept.slice(rows)
            except Exception as error:
                raise JobError(f"reading labelled faces: {problem(error, file.location.url)}") from error
        if kept is not None and len(kept):
            yield kept


def read_faces(path: str, split: str, size: int) -> Faces:
    """Reads all usable faces of a split into memory, with crops of `size` pixels; see FaceSet.

    Raises:
        UsageError: no such data, a column is missing, or the split has no usable rows.
        JobError: the data could not be read to its end.
    """
    faces = Faces.joined(list(FaceSet(path, split).batches(Images(size=size))))
    if not len(faces):
        raise no_usable_rows(path, split, faces.skipped)
    return faces


class NoUsableRows(UsageError):
    """Every row of a split was skipped."""


def no_usable_rows(data: str, split: str, skipped: tuple[Skipped, ...]) -> NoUsableRows:
    """The error for a split of which every row was skipped."""
    return NoUsableRows(
        f"none of the {len(skipped)} rows of {data}, split = {split!r}, can be used; "
        f"the first is {skipped[0].id}: {skipped[0].reason}"
    )


def cut_out(
    tables: Iterable[pa.Table], images: Images, find: bool, altered: Alteration | None = None
) -> Iterator[Faces]:
    """Yields each table's faces, decoded and cut out as in labelling.

    Only the next few tables are in memory; threads decode them while the caller processes the current one.

    Args:
        tables: rows as FaceSet.tables yields them.
        images: the model's input format.
        find: as in FaceSet.
        altered: applied to each file before it is decoded.
    """
    waiting: deque[tuple[pa.Table, list[Future]]] = deque()
    pool = ThreadPoolExecutor()
    try:
        for table in tables:
            ids, boxes, unlabelled = (table[name].to_pylist() for name in ("id", "box", "unlabelled"))
            rows = zip(ids, table["image"], boxes, unlabelled, strict=True)
            waiting.append((table, [pool.submit(_face, *row, images, find, altered) for row in rows]))
            if len(waiting) > _BATCHES_AHEAD:
                yield _faces(*waiting.popleft(), images)
        while waiting:
            yield _faces(*waiting.popleft(), images)
    finally:
        pool.shutdown(cancel_futures=True)


def _face(
    row_id: str,
    image: pa.Scalar,
    box: list[float] | None,
    unlabelled: str | None,
    images: Images,
    find: bool,
    altered: Alteration | None,
) -> np.ndarray | str:
    """The crop, or the reason why the row cannot be used."""
    if unlabelled:
        return unlabelled
    if not image.is_valid:
        return "no image"
    try:
        data = image.as_py()
        if altered is not None:
            data, box = altered(row_id, data, box)
        if box is None and find:
            return nearest_the_middle(data, images, MAX_PIXELS)
        if box is None:
            return whole(data, images, MAX_PIXELS).crops_NHWC[0]
        return known(data, np.array(box), images, MAX_PIXELS)
    except DecodeError as error:
        return error.reason
    except (BoxError, NoFaceError) as error:
        return str(error)


def _faces(table: pa.Table, results: list[Future], images: Images) -> Faces:
    crops = [result.result() for result in results]
    good = [row for row, crop in enumerate(crops) if not isinstance(crop, str)]
    ids = table["id"].to_pylist()
    groups = {
        name: np.array(table[name].to_pylist(), dtype=object)[good]
        for name in table.column_names
        if name in (*GROUPS, "age_group")
    }
    numbers = {name: table[name].to_numpy()[good] for name in ("age", "age_std") if name in table.column_names}
    return Faces(
        np.stack([crops[row] for row in good]) if good else np.empty((0, *images.shape), np.uint8),
        numbers["age"],
        [ids[row] for row in good],
        groups,
        numbers.get("age_std"),
        tuple(Skipped(ids[row], crop) for row, crop in enumerate(crops) if isinstance(crop, str)),
    )
