"""Labelled faces: Parquet of encoded images -> uint8 crops, ages or age groups, and who is shown, in batches."""

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
"""Images with more are not decoded."""

_BATCHES_AHEAD = 2

Alteration = Callable[[str, bytes, list[float] | None], tuple[bytes, list[float] | None]]
"""A row's id, its file and its box -> another file and box. A DecodeError costs only the row."""

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
    """uint8 [N, S, S, C], RGB."""
    ages_N: np.ndarray
    """float32 [N], years; NaN where only a group is known."""
    ids: list[str]
    groups: dict[str, np.ndarray] = field(default_factory=dict)
    """`gender`, `race` and `subject`, those the data has: object [N], strings, None where a row has no value. Of data
    with age groups `age_group` too, by the names of FaceSet.age_groups."""
    stds_N: np.ndarray | None = None
    """float32 [N], years, of the annotators' guesses, NaN where there is none; None: the data has no `age_std`."""
    skipped: tuple[Skipped, ...] = ()
    """Rows that stood among these and are none of the N."""

    def __len__(self) -> int:
        return len(self.ages_N)

    def take(self, rows: np.ndarray) -> Faces:
        """The given rows, int [M], in their order."""
        groups = {name: values_N[rows] for name, values_N in self.groups.items()}
        stds_N = None if self.stds_N is None else self.stds_N[rows]
        return Faces(self.images_NHWC[rows], self.ages_N[rows], [self.ids[row] for row in rows], groups, stds_N)

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
            None if parts[0].stds_N is None else np.concatenate([part.stds_N for part in parts]),
            tuple(row for part in parts for row in part.skipped),
        )


class FaceSet:
    """The labelled faces of one split, where they are stored; images are read when batches are asked for.

    Args:
        data: a path or URL of a Parquet file or of a folder of them, with the columns id, age (years) or age_low and
            age_high (first and last year of a group; no last one: and older), image (encoded bytes) and split, and
            possibly age_std, gender or sex, race and subject, and box (left, top, right, bottom in the upright image,
            pixels) where an image is more than the face. Numbers as gender or race are UTKFace's; other values stand
            for themselves. Folders named `subject=007` give a column to the files below them that lack it.
        split: the rows whose column `split` has this value. Where one of them has an age, ages count, and rows that
            have none are skipped; else groups do.
        find: whether images without a box are photographs, of which the face nearest the middle is meant; else they are
            crops of faces.

    Raises:
        UsageError: no such data, a column is missing, no rows are of that split, or no age fits into the groups.
    """

    def __init__(self, data: str, split: str, find: bool = False) -> None:
        self.data = data
        self.find = find
        self.split = split
        source = locate(data, CHECKING)
        with ThreadPoolExecutor() as pool:
            files = list(pool.map(partial(inspect, source=source, split=split), parquet_files(source)))
        self.rows = sum(file.rows for file in files)
        """Rows of the split, usable or not."""
        if not self.rows:
            there = ", ".join(sorted(frozenset().union(*(file.splits for file in files)))) or "none at all"
            raise UsageError(f"{data} has no rows with split = {split!r} (splits there: {there})")
        self._files = [file for file in files if file.rows]
        self.age_groups: list[AgeGroup] | None = None
        """Groups in rows of any split, from the youngest on, if these are what is known; None: ages are."""
        if not any(file.aged for file in self._files):
            self.age_groups = ordered((group for file in files for group in file.age_groups), data)
        self.others = sum(file.others for file in files)
        """Rows of other splits, or of none."""
        self.known_others = frozenset(group_name(who) for file in files for who in file.known_others) - {None}
        """The subjects of these."""
        known = [name for name in (*GROUPS, "age_std") if any(name in file.columns for file in self._files)]
        self._columns = Columns(split, known, by_group=self.age_groups is not None)

    def batches(self, images: Images, rows: int = 64) -> Iterator[Faces]:
        """All rows in the order of the files, at most `rows` at a time, decoded and cut out as by labelling.

        Only the next few batches are in memory; threads decode them while the caller works on this one.

        Args:
            images: what the model sees.

        Raises:
            JobError: the data could not be read to its end.
        """
        return cut_out(self.tables(rows), images, self.find)

    def tables(self, rows: int = 64) -> Iterator[pa.Table]:
        """The rows of the split, `rows` at a time, whatever the files' row groups; see cilf.datasets.face_rows.

        Raises:
            JobError: the data could not be read to its end.
        """
        kept: pa.Table | None = None
        fs = locate(self.data).fs
        for file in self._files:
            try:
                with fs.open(file.location.path, "rb") as opened:
                    # Both, or it reads whole row groups before the first row, and those may be gigabytes of images.
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
    """All usable faces of a split in memory, with crops of `size` pixels; see FaceSet.

    Raises:
        UsageError: no such data, a column is missing, or no usable rows are of that split.
        JobError: the data could not be read to its end.
    """
    faces = Faces.joined(list(FaceSet(path, split).batches(Images(size=size))))
    if not len(faces):
        raise no_usable_rows(path, split, faces.skipped)
    return faces


class NoUsableRows(UsageError):
    """Every row of a split was skipped."""


def no_usable_rows(data: str, split: str, skipped: tuple[Skipped, ...]) -> NoUsableRows:
    """The error to raise where every row of a split was skipped."""
    return NoUsableRows(
        f"none of the {len(skipped)} rows of {data}, split = {split!r}, can be used; "
        f"the first is {skipped[0].id}: {skipped[0].reason}"
    )


def cut_out(
    tables: Iterable[pa.Table], images: Images, find: bool, altered: Alteration | None = None
) -> Iterator[Faces]:
    """Each table's faces, decoded and cut out as by labelling.

    Only the next few tables are in memory; threads decode them while the caller works on this one.

    Args:
        tables: as FaceSet.tables gives them.
        images: what the model sees.
        find: as of FaceSet.
        altered: what happens to each file first.
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
    """The crop, or why the row is none."""
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
