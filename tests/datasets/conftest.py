"""Fixtures for small data sets in the layout that their authors distribute."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cilf.datasets.labels import TABLE, Labelled, reader

PICTURE = b"\xff\xd8 stands for a picture: nobody decodes it"


@pytest.fixture
def lay_out(tmp_path) -> Callable[..., Path]:
    """Creates a folder of files by path: lists with the given text, pictures with a placeholder."""

    def make(*pictures: str, **lists: str) -> Path:
        folder = tmp_path / "set"
        for name in pictures:
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(PICTURE)
        for name, text in lists.items():
            (folder / name.replace("__", ".")).write_text(text, encoding="utf-8")
        return folder

    return make


@pytest.fixture
def problems() -> Callable[[Labelled], set[tuple[str, str]]]:
    """The problems of a data set, as pairs of path and name of the reason."""

    def of(labelled: Labelled) -> set[tuple[str, str]]:
        return {(problem.path, problem.reason.name) for problem in labelled.problems}

    return of


@pytest.fixture
def read() -> Callable[[str, Path], Labelled]:
    """Reads a data set and checks what holds for all: the schema, the order, and that left-out files are not rows."""

    def of(name: str, folder: Path) -> Labelled:
        labelled = reader(name)(folder)
        assert labelled.table.schema == TABLE
        paths = labelled.table["path"].to_pylist()
        assert paths == sorted(paths)
        assert set(labelled.table["dataset"].to_pylist()) <= {name}
        assert all((folder / path).is_file() for path in paths)
        kept = {problem.path for problem in labelled.problems if problem.reason.kept}
        assert kept <= {*paths, *(problem.path for problem in labelled.problems if not problem.reason.kept)}
        return labelled

    return of
