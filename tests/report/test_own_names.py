"""User columns whose names the page's SQL uses for something else."""

from __future__ import annotations

import pyarrow as pa
import pytest
from made_up_labels import face, photograph

from cilf import cli

NAMES = [
    *("face", "face_", "number", "value", "objects", "newest", "place", "rule", "share", "bin", "age", "queue", "l"),
    *("order", "examples", "labels", "largest", "failed", "true_age", "a b", 'say "x"', "filename", "score", "left"),
]


@pytest.fixture
def named(tmp_path, write_run):
    def write(*names: str) -> str:
        fields = [pa.field(name, pa.string()) for name in names]
        own = [dict.fromkeys(names, f"v{n % 2}") for n in range(60)]
        rows = [photograph(n, [face(30.0 + n)] * (n % 3)) | values for n, values in enumerate(own)]
        write_run(str(tmp_path), "20261101T010000Z-aaaaaa", rows, *fields)
        return str(tmp_path)

    return write


def test_names_that_the_queries_use(named):
    output = named(*NAMES)
    for name in NAMES:
        assert cli.main(["report", output, "--slice", name]) == 0


@pytest.mark.parametrize("name", ["Model", "Status", "URI", "RUN", "Faces", "Thumbnails", "ID"])
def test_names_that_are_ours_but_for_case(named, name):
    """New runs refuse them; existing labels that have them are still read."""
    assert cli.main(["report", named(name)]) == 0
