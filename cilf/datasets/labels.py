"""The common table of all public data sets, the problems that their files can have, and the list of readers.

A reader takes the folder of a data set as its authors distribute it and returns a `Labelled`. Files that cannot be used
never make it fail: each becomes a `Problem` with a reason. Only a folder that is not that data set is a UsageError.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from importlib import import_module
from pathlib import Path

import pyarrow as pa

OLDEST = 125
"""Highest valid age, years: nobody has become older."""

TABLE = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        ("age", pa.float32()),
        ("age_std", pa.float32()),
        ("age_low", pa.float32()),
        ("age_high", pa.float32()),
        ("sex", pa.string()),
        ("race", pa.string()),
        ("subject", pa.string()),
        ("split", pa.string()),
        pa.field("dataset", pa.string(), nullable=False),
        ("box", pa.list_(pa.float32(), 4)),
    ]
)
"""One row per labelled face.

path: relative to the data set's folder, with "/".
age: years, or the number of the rank; null if only a group is known.
age_std: standard deviation of the annotators' guesses, years, if the label is their mean.
age_low, age_high: first and last year of the group, if a data set gives groups; age_high is null for "and older".
sex: male or female. race: the data set's own term. subject: the person's id; null if the data set gives none.
split: train, val, test, or the name of a fold; null if the authors have made no splits.
box: the face's box in the image, left, top, right, bottom, pixels; null if the image is a crop, or no box is given.
"""

READERS = {
    "adience": "cilf.datasets.adience:read",
    "afad": "cilf.datasets.afad:read",
    "agedb": "cilf.datasets.agedb:read",
    "appa-real": "cilf.datasets.clap:read_appa_real",
    "cacd": "cilf.datasets.cacd:read",
    "clap2015": "cilf.datasets.clap:read_clap2015",
    "clap2016": "cilf.datasets.clap:read_clap2016",
    "faces": "cilf.datasets.faces_mpi:read",
    "fairface": "cilf.datasets.fairface:read",
    "fgnet": "cilf.datasets.fgnet:read",
    "imdb-clean": "cilf.datasets.imdb_clean:read",
    "morph2": "cilf.datasets.morph2:read",
    "ranks": "cilf.datasets.ranks:read",
    "scface": "cilf.datasets.scface:read",
    "utkface": "cilf.datasets.utkface:read",
}
"""Name of each data set, which is also the `dataset` of its rows -> the function that reads it."""


class Reason(Enum):
    """A kind of problem with a file or its labels, and whether its row stays in the table."""

    MISSING = ("listed, but there is no such file", False)
    UNREADABLE = ("the file is empty or cannot be opened", False)
    NOT_UTF8 = ("the name of the file is not UTF-8", False)
    NAME = ("the name of the file does not fit the pattern", False)
    LABEL = ("a label cannot be read", False)
    NO_AGE = ("there is no age", False)
    AGE = (f"the age is outside 0..{OLDEST}", False)
    DUPLICATE = ("listed before, or another file of the same face", False)
    UNLISTED = ("the file is not in any list", False)
    NO_IMAGE = ("there is no image in the folder", False)
    REPEATED = ("the same file name occurs elsewhere with other labels", True)
    OWN_NAME = ("a label contradicts the file's own name, which counts", True)
    DATES = ("the age does not fit the dates", True)
    BOX = ("the box is not valid", True)
    ODD_GROUP = ("the label is not one of the age groups, and was assigned to one", True)
    SEX = ("the subject's sex changes", True)
    RACE = ("the subject's race changes", True)
    BIRTH = ("the subject's birth date changes", True)

    def __init__(self, words: str, kept: bool) -> None:
        self.words = words
        self.kept = kept
        """Whether the row stays in the table, as published or changed as the reason says."""


@dataclass(frozen=True)
class Problem:
    """A problem with one file."""

    path: str
    """The file, relative to the data set's folder, or its name in the list."""
    reason: Reason
    detail: str = ""
    """The value or file that causes the problem."""


@dataclass(frozen=True)
class Labelled:
    """A data set that has been read."""

    table: pa.Table
    """Rows with the schema TABLE, sorted by path."""
    problems: list[Problem]
    ranks: tuple[str, ...] = ()
    """Names of the ranks, starting at 0, if `age` is the number of a rank."""


@dataclass(frozen=True)
class Face:
    """The values of a future row of TABLE, and the birth date, which is used for checks."""

    path: str
    age: float | None = None
    age_std: float | None = None
    age_low: float | None = None
    age_high: float | None = None
    sex: str | None = None
    race: str | None = None
    subject: str | None = None
    split: str | None = None
    box: tuple[float, float, float, float] | None = None
    birth: str | None = None
    """The subject's date or year of birth, in any format; it is not written to the table."""


_CONSTANT = {"sex": Reason.SEX, "race": Reason.RACE, "birth": Reason.BIRTH}
"""Fields that must be the same in all photographs of a subject."""


class Collector:
    """Collects a data set's faces and problems one by one."""

    def __init__(self, dataset: str, problems: Iterable[Problem] = ()) -> None:
        self._dataset = dataset
        self._problems = list(problems)
        self._faces: dict[tuple[str, object], Face] = {}

    def problem(self, path: str, reason: Reason, detail: str = "") -> None:
        """Record a problem with a file."""
        self._problems.append(Problem(path, reason, detail))

    def add(self, face: Face) -> None:
        """Add a face with all its labels. Faces with impossible ages and duplicates are left out and recorded."""
        given = [age for age in (face.age, face.age_low, face.age_high) if age is not None]
        if not given:
            self.problem(face.path, Reason.NO_AGE)
        elif not all(0 <= age <= OLDEST for age in given):  # NaN is not valid either.
            self.problem(face.path, Reason.AGE, " to ".join(f"{age:g}" for age in given))
        elif (first := self._faces.setdefault((face.path, face.box), face)) is not face:
            self.problem(face.path, Reason.DUPLICATE, "the same labels" if first == face else "other labels")
        elif face.box and not (face.box[0] < face.box[2] and face.box[1] < face.box[3]):
            self.problem(face.path, Reason.BOX, " ".join(f"{side:g}" for side in face.box))

    def labelled(self, ranks: tuple[str, ...] = ()) -> Labelled:
        """The data set from everything added so far, with problems for inconsistent labels of a subject."""
        faces = sorted(self._faces.values(), key=lambda face: face.path)
        by_subject = defaultdict(list)
        for face in faces:
            if face.subject is not None:
                by_subject[face.subject].append(face)
        for subject, theirs in by_subject.items():
            for name, reason in _CONSTANT.items():
                values = Counter(value for face in theirs if (value := getattr(face, name)) is not None)
                if len(values) > 1:
                    found = ", ".join(f"{value} in {count}" for value, count in values.most_common())
                    for face in theirs:
                        self.problem(face.path, reason, f"subject {subject}: {found}")
        columns = [
            [self._dataset] * len(faces) if name == "dataset" else [getattr(face, name) for face in faces]
            for name in TABLE.names
        ]
        return Labelled(pa.table(columns, schema=TABLE), self._problems, ranks)


def reader(name: str) -> Callable[[Path], Labelled]:
    """The function that reads a data set from its folder.

    Raises:
        KeyError: no such data set is known.
    """
    module, _, function = READERS[name].partition(":")
    found: Callable[[Path], Labelled] = getattr(import_module(module), function)
    return found


def number(text: object) -> float | None:
    """The number in a cell of a list, or None if it is not a number."""
    try:
        return float(str(text).strip())
    except ValueError:
        return None


def sex(text: str | None) -> str | None:
    """Converts M, F, male, Female ... to male or female; None for anything else."""
    return {"m": "male", "f": "female"}.get((text or "").strip().lower()[:1])


def split_name(text: str) -> str:
    """Converts the authors' name of a split: lower case, and `val` for any name that begins so."""
    name = text.strip().lower()
    return "val" if name.startswith("val") else name
