"""`cilf publish --format delta`: the same guarantees, by Delta's log."""

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
    assert f"published 80 rows and removed 0: {place} has 80 rows as of version 0" in publish_delta(output)
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
    assert "published 5 rows and removed 0" in publish_delta(output)
    assert same_in_delta(output) == 65
    forget(
        locate(output) / "labels" / "model=0123456789ab",
        pa.array(sorted(photograph(n)["id"] for n in (0, 7, 10, 20, 30, 40))).to_numpy(),
    )
    write_run(output, SECOND, [photograph(n) for n in range(0, 50, 10)])
    assert "published 5 rows and removed 6" in publish_delta(output)
    assert same_in_delta(output) == 64
    commits = history(place)
    assert [commit["cilf.runs"] for commit in commits[1:]] == ["a-run-that-comes", SECOND]
    then = deltalake.DeltaTable(place, version=1)
    assert pa.table(then.scan())["status"].to_pylist().count("unavailable") == 5
    assert "nothing new" in publish_delta(output)


def test_a_crash_before_the_commit_leaves_no_trace(tmp_path, place, write_run, publish_delta, same_in_delta):
    """The process is killed after all rows have been passed to the writer."""
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


@pytest.mark.parametrize(
    "name", ["a b", "it's", 'a "b"', "a#b?c=d", "100%", "%zz", "a*b", "{a};:&+=$!~`", "grüße 日本 😀", "..a", "model=x"]
)
def test_paths_of_any_name(tmp_path, write_run, publish, same_in_delta, place, name, monkeypatch):
    output = str(tmp_path / "out")
    table = str(tmp_path / name / "ages")
    write_run(output, FIRST, [photograph(1), photograph(2)])
    assert "has 2 rows as of version 0" in publish(output, table, "--format", "delta")
    write_run(output, SECOND, [photograph(3)])
    assert "has 3 rows as of version 1" in publish(output, table, "--format", "delta")
    assert (Path(table) / "_delta_log").is_dir()
    assert deltalake.DeltaTable(table).count() == 3


@pytest.mark.parametrize("name", ["a%20b", "%5B", "[x]", "a]", "a^b", "a|b", "a\\b", "a\nb", "a\tb", "\x7f", "\udcff"])
def test_paths_that_the_library_takes_for_others(tmp_path, write_run, refused, name):
    write_run(str(tmp_path / "out"), FIRST, [photograph(1)])
    before = sorted(tmp_path.rglob("*"))
    said = refused(tmp_path / "out", str(tmp_path / name / "ages"), "--format", "delta")
    assert "a Delta table cannot be at" in said
    assert sorted(tmp_path.rglob("*")) == before


def test_a_table_among_the_labels(tmp_path, write_run, refused):
    write_run(str(tmp_path / "out"), FIRST, [photograph(1)])
    before = sorted(tmp_path.rglob("*"))
    for below in ("", "model=0123456789ab", "table"):
        said = refused(tmp_path / "out", str(tmp_path / "out" / "labels" / below), "--format", "delta")
        assert "would lie among the labels" in said
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["", " ", "\t"])
def test_a_table_without_a_name(tmp_path, write_run, refused, name, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    write_run(str(tmp_path / "out"), FIRST, [photograph(1)])
    assert "the name of the Delta table is empty" in refused(tmp_path / "out", name, "--format", "delta")
    assert not any((tmp_path / "here").iterdir())


def test_a_table_in_output_itself(tmp_path, write_run, refused, monkeypatch):
    output = tmp_path / "out"
    write_run(str(output), FIRST, [photograph(1)])
    (tmp_path / "link").symlink_to(output)
    monkeypatch.chdir(output)
    for name in (str(output), f"{output}/", f"file://{output}", ".", str(tmp_path / "link"), f"{output}/labels/.."):
        assert "would lie in OUTPUT itself" in refused(output, name, "--format", "delta")
    assert "would lie among the labels" in refused(output, f"{tmp_path}/link/labels/table", "--format", "delta")
    assert [entry.name for entry in output.iterdir()] == ["labels"]


@pytest.mark.parametrize("name", ["holiday.jpg", "album/holiday.jpg", ".hidden", "out/labels"])
def test_a_folder_with_other_files_is_no_place_for_a_new_table(tmp_path, write_run, refused, name):
    output, folder = tmp_path / "out", tmp_path / "mine"
    write_run(str(output), FIRST, [photograph(1)])
    (folder / name).parent.mkdir(parents=True)
    (folder / name).write_bytes(b"mine")
    before = sorted(folder.rglob("*"))
    assert f"{folder} is not empty and is not a Delta table" in refused(output, str(folder), "--format", "delta")
    assert sorted(folder.rglob("*")) == before


def test_a_table_that_was_left_unfinished_is_made_again(tmp_path, place, write_run, publish_delta, same_in_delta):
    """A folder is free if it is empty or holds only what a writer leaves that is killed before its first commit."""
    write_run(str(tmp_path / "out"), FIRST, [photograph(1)])
    (Path(place) / "_delta_log").mkdir(parents=True)
    (Path(place) / "model=0123456789ab").mkdir()
    (Path(place) / "model=0123456789ab" / "part-00000.parquet").write_bytes(b"PAR1")
    assert "has 1 rows as of version 0" in publish_delta(tmp_path / "out")
    assert same_in_delta(tmp_path / "out") == 1


def test_a_table_at_a_file(tmp_path, write_run, refused):
    write_run(str(tmp_path / "out"), FIRST, [photograph(1)])
    (tmp_path / "file").write_bytes(b"mine")
    refused(tmp_path / "out", str(tmp_path / "file"), "--format", "delta")
    assert (tmp_path / "file").read_bytes() == b"mine"


def test_keys_of_any_name_on_s3(tmp_path, write_run, publish, refused, bucket):
    import s3fs

    root, output = bucket({}), str(tmp_path / "out")
    write_run(output, FIRST, [photograph(1)])
    for name in ("a#b", "a?b", "grüße/a b'c", "100%"):
        for again in ("published 1 rows", "nothing new"):
            assert again in publish(output, f"{root}/{name}/ages", "--format", "delta")
        assert s3fs.S3FileSystem(use_listings_cache=False).exists(f"{root}/{name}/ages/_delta_log")
    for name in ("a%23b", "[a]", "a//b", "a/../b"):
        assert "a Delta table cannot be at" in refused(output, f"{root}/{name}/ages", "--format", "delta")


def test_a_run_of_any_name(tmp_path, write_run, publish_delta, same_in_delta):
    output, name = str(tmp_path / "out"), 'it\'s; a "run" --'
    write_run(output, name, [photograph(1), photograph(2)])
    write_run(output, FIRST, [photograph(3)])
    publish_delta(output)
    forget(locate(output) / "labels" / "model=0123456789ab", pa.array([photograph(1)["id"]]).to_numpy())
    assert "published 0 rows and removed 1" in publish_delta(output)
    assert same_in_delta(output) == 2


def test_a_commit_that_ended_with_an_error_counts(
    tmp_path, place, write_run, publish_delta, same_in_delta, monkeypatch
):
    """The writer commits, and then fails in a later step."""
    from cilf.publishing import delta

    real = delta.write_deltalake

    def failing(*arguments: Any, **options: Any) -> None:
        real(*arguments, **options)
        raise OSError("the log could not be cleaned up")

    monkeypatch.setattr(delta, "write_deltalake", failing)
    write_run(str(tmp_path / "out"), FIRST, [photograph(1)])
    assert "has 1 rows as of version 0" in publish_delta(tmp_path / "out")
    assert same_in_delta(tmp_path / "out") == 1


@pytest.mark.parametrize("readable", [True, False])
def test_a_commit_that_failed(tmp_path, place, write_run, publish_delta, refused, monkeypatch, readable):
    from cilf.publishing import delta

    output = str(tmp_path / "out")
    write_run(output, FIRST, [photograph(1)])
    publish_delta(output)

    def failing(*_: Any, **__: Any) -> None:
        if not readable:
            monkeypatch.setattr(delta.DeltaMirror, "_open", failing)
        raise OSError("Generic S3 error\n\nnested: and\nnested: nested")

    monkeypatch.setattr(delta, "write_deltalake", failing)
    write_run(output, SECOND, [photograph(2)])
    said = refused(output, place, "--format", "delta", code=cli.FAILED)
    assert "OSError: Generic S3 error" in said
    assert said.count("nested: nested") == 1 + (not readable)  # the first and the last cause of each error
    assert ("nothing was committed" in said) == readable
    assert ("repeat the command to find out" in said) != readable
