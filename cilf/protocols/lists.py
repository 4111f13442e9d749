"""Reads published lists of a split: text files whose lines name images, with the part of the split of each line.

    …fold0_train.txt, …fold0_test.txt    the two sides of a fold, by the file's name
    …_train….csv, …_test….csv            the two sides of the only fold
    …fold0.txt, …_00.txt                 a set, by the file's name
    a column `fold`                      a set, by the line

Cells may be separated by commas, tabs or spaces; images are identified by their file name alone.
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow as pa

from cilf.datasets.lists import rows as lines_of
from cilf.errors import UsageError
from cilf.protocols.folds import Fold, Split, rows_of

_IMAGE = re.compile(r"\.(jpe?g|png)$", re.IGNORECASE)
_NUMBER = re.compile(r"fold_?(\d+)|_(\d\d)$", re.IGNORECASE)
_SIDE = re.compile(r"(train|test|val)", re.IGNORECASE)
_SUFFIXES = (".txt", ".csv")

Part = tuple[int, str | None]
"""Number of the fold or set, and the side if the list's name has one."""


class Lists:
    """The part of the split that each listed image belongs to.

    Args:
        place: a list, or a folder with the lists of one split.

    Raises:
        UsageError: there are no lists, or a list names no images.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        files = sorted(f for f in place.rglob("*") if f.suffix in _SUFFIXES) if place.is_dir() else [place]
        if not files:
            raise UsageError(f"{place} holds no lists ({' or '.join(_SUFFIXES)})")
        self.parts: dict[Part, list[str]] = defaultdict(list)
        """File names of images, lower case."""
        for file in files:
            self._read(file)

    def _read(self, file: Path) -> None:
        number, side = _NUMBER.search(file.stem), _SIDE.search(file.stem)
        fold_column: int | None = None
        found = 0
        for line, cells in enumerate(lines_of(file)):
            image = next((cell for cell in cells if _IMAGE.search(cell)), None)
            if image is None:
                if line == 0 and "fold" in cells:
                    fold_column = cells.index("fold")
                continue
            found += 1
            fold = int(cells[fold_column] if fold_column is not None else number[1] or number[2] if number else 0)
            self.parts[fold, side[1].lower() if side else None].append(image.rpartition("/")[2].lower())
        if not found:
            raise UsageError(f"{file} names no images: expected one line per image, with a name ending in .jpg or .png")

    def sets(self, table: pa.Table) -> dict[int, np.ndarray]:
        """The rows of each numbered set, ascending.

        Raises:
            UsageError: the lists are for training and test sides, or for only one set.
        """
        if any(side for _, side in self.parts) or len(self.parts) < 2:
            raise UsageError(f"{self.place} has no numbered sets: expected files …fold0.txt or a column `fold`")
        place = self._places(table)
        return {number: _known(names, place) for (number, _), names in self.parts.items()}

    def pairs(self, table: pa.Table) -> Split:
        """Makes a fold for each pair of lists for training and test.

        Raises:
            UsageError: one list of a pair is missing.
        """
        numbers = sorted({number for number, _ in self.parts})
        for number in numbers:
            if missing := [side for side in ("train", "test") if (number, side) not in self.parts]:
                raise UsageError(f"{self.place} has no list whose name says {' and '.join(missing)} for fold {number}")
        place = self._places(table)
        folds, notes = [], self.notes(table)
        for number in numbers:
            train, val, test = (_known(self.parts.get((number, side), []), place) for side in ("train", "val", "test"))
            fold = Fold(f"fold-{number}", np.setdiff1d(train, [*val, *test]), test, np.setdiff1d(val, test))
            if twice := len(train) + len(val) - len(fold.train) - len(fold.val):
                notes.append(f"{twice:,} images of {fold.name} are listed on two sides, and are used only for testing")
            folds.append(fold)
        return Split(folds, notes)

    def notes(self, table: pa.Table) -> list[str]:
        """A sentence with the number of listed images that are missing in the table; empty if none is."""
        listed = {name for names in self.parts.values() for name in names}
        lacking = len(listed - self._places(table).keys())
        return [f"{lacking:,} of {len(listed):,} listed images are not in the table"] if lacking else []

    def _places(self, table: pa.Table) -> dict[str, int]:
        names = [path.rpartition("/")[2].lower() for path in table["path"].to_pylist()]
        return dict(zip(names, rows_of(table).tolist(), strict=True))


def _known(names: list[str], place: dict[str, int]) -> np.ndarray:
    return np.unique(np.array([place[name] for name in names if name in place], np.int64))
