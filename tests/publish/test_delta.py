"""`cilf publish --format delta`: the same promises, kept by Delta's log."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from published_rows import comparable, labels_in, photograph

from cilf import cli
from cilf.manifest.pending import forget
from cilf.storage import locate

deltalake = pytest.importorskip("deltalake")

FIRST, SECOND = (f"2026110{day}T010000Z-aaaaaa" for day in (1, 2))


@pytest.fixture
def place(tmp_path: Path) -> str:
    return str(tmp_path / "a table")


@pytest.fixture
def publish_delta(publish: Callable[..., str], place: str) -> Callable[..., str]:
    def run(output: str | Path) -> str:
        return publish(output, place, "--format", "delta")

    return run


@pytest.fixture
def same_in_delta(place: str) -> Callable[..., int]:
    """Make sure that the table equals the Parquet labels; return the number of its rows."""

    def check(output: str | Path) -> int:
        found = comparable(pa.table(deltalake.DeltaTable(place).scan()).to_pylist())
        assert found == labels_in(str(output))
        return len(found)

    return check


def history(place: str) -> list[dict[str, Any]]:
    return deltalake.DeltaTable(place).history()[::-1]


def test_the_table_equals_the_labels(tmp_path, place, write_run, publish_delta, same_in_delta):
    output = str(tmp_path / "out")
    rows = [photograph(n, "unavailable" if n % 10 == 0 else "ok") for n in range(50)]
    write_run(output, FIRST, rows)
    write_run(output, SECOND, [photograph(n) for n in range(40, 70)], model="fedcba987654")
    assert f"published 80 rows and took out 0: {place} has 80 rows as of version 0" in publish_delta(output)
    assert same_in_delta(output) == 80
    assert history(place)[0]["cilf.runs"] == f"{FIRST},{SECOND}"
    assert "nothing new" in publish_delta(output)
    assert len(history(place)) == 1


def test_rows_are_added_and_replaced(tmp_path, place, write_run, publish_delta, same_in_delta):
    output = str(tmp_path / "out")
    write_run(output, FIRST, [photograph(n, "unavailable" if n % 10 == 0 else "ok") for n in range(50)])
    write_run(output, "a-run-that-stays", [photograph(n) for n in range(50, 60)])
    publish_delta(output)
    write_run(
        output, "a-run-that-comes", [photograph(n, shelf=3) for n in range(60, 65)], pa.field("shelf", pa.int16())
    )
    assert "published 5 rows and took out 0" in publish_delta(output)
    assert same_in_delta(output) == 65
    forget(
        locate(output) / "labels" / "model=0123456789ab",
        pa.array(sorted(photograph(n)["id"] for n in (0, 7, 10, 20, 30, 40))).to_numpy(),
    )
    write_run(output, SECOND, [photograph(n) for n in range(0, 50, 10)])
    assert "published 5 rows and took out 6" in publish_delta(output)
    assert same_in_delta(output) == 64
    commits = history(place)
    assert [commit["cilf.runs"] for commit in commits[1:]] == ["a-run-that-comes", SECOND]
    then = deltalake.DeltaTable(place, version=1)
    assert pa.table(then.scan())["status"].to_pylist().count("unavailable") == 5
    assert "nothing new" in publish_delta(output)


def test_a_crash_before_the_commit_leaves_no_trace(tmp_path, place, write_run, publish_delta, same_in_delta):
    """The process is killed when all rows are on their way."""
    output = str(tmp_path / "out")
    write_run(output, FIRST, [photograph(n) for n in range(5)])
    publish_delta(output)
    write_run(output, SECOND, [photograph(n) for n in range(10, 20)])
    program = (
        "import os; from cilf import cli; from cilf.publishing import job; job.check_lease = lambda *_: os._exit(9); "
        f"cli.main(['publish', {output!r}, {place!r}, '--format', 'delta'])"
    )
    done = subprocess.run([sys.executable, "-c", program], env=os.environ, timeout=120, check=False)
    assert done.returncode == 9
    assert deltalake.DeltaTable(place).count() == 5
    assert "published 10 rows" in publish_delta(output)
    assert same_in_delta(output) == 15


def test_a_lease_that_was_lost_commits_nothing(tmp_path, place, write_run, refused, monkeypatch):
    from cilf.errors import JobError

    write_run(str(tmp_path / "out"), FIRST, [photograph(1)])

    def lost(*_: object) -> None:
        raise JobError("another run holds the lease")

    monkeypatch.setattr("cilf.publishing.job.check_lease", lost)
    said = refused(tmp_path / "out", place, "--format", "delta", code=cli.FAILED)
    assert "another run holds the lease" in said
    assert not deltalake.DeltaTable.is_deltatable(place)


def test_a_table_of_something_else_is_refused(tmp_path, place, write_run, publish_delta, refused):
    write_run(str(tmp_path / "out"), FIRST, [photograph(1)])
    write_run(str(tmp_path / "other"), FIRST, [photograph(1)])
    publish_delta(tmp_path / "out")
    assert f"mirrors {tmp_path}/out" in refused(tmp_path / "other", place, "--format", "delta")
    mine = str(tmp_path / "mine")
    deltalake.write_deltalake(mine, pa.table({"id": [1]}))
    assert "mirrors no OUTPUT" in refused(tmp_path / "out", mine, "--format", "delta")
