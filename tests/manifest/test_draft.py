"""A listing that is interrupted: nothing is lost, doubled, listed again or seen by a reader before it is complete."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cilf import cli, storage
from cilf.errors import UsageError
from cilf.manifest import draft, folder, job, shards, walking, walking_s3
from cilf.manifest.listing import check_input, is_manifest, objects
from cilf.storage import locate, remove, write

ROOT = Path(__file__).parents[2]


class Killed(BaseException):
    """Stands in for the death of the process: no handler may catch it, as nothing runs in a killed process."""


class Mortal:
    """Dies at the n-th change of a file: before it is made, or right after."""

    def __init__(self, monkeypatch, at: int, after: bool) -> None:
        self.left, self.after = at, after
        for module in (draft, job):
            monkeypatch.setattr(module, "write", self.change(write))
        monkeypatch.setattr(draft, "remove", self.change(remove))

    def change(self, truly):
        def change(*arguments):
            self.left -= 1
            if self.left == 0 and not self.after:
                raise Killed
            if self.left >= 0:
                truly(*arguments)
            if self.left == 0:
                raise Killed
            assert self.left > 0, "changed after its death"

        return change


@pytest.fixture
def small(monkeypatch, keys):
    """Files of few objects, written one at a time, and an S3 that only has keys."""
    keys.page = 4
    monkeypatch.setattr(shards, "SHARD_ROWS", 8)
    monkeypatch.setattr(draft, "_THREADS", 1)
    monkeypatch.setattr(folder, "read", lambda file: None if file.scheme == "s3" else storage.read(file))
    monkeypatch.setattr(walking, "_TABLE_ROWS", 3)
    monkeypatch.setattr(walking_s3, "_TABLE_ROWS", 4)
    return keys


def corpus(tmp_path: Path, keys) -> tuple[list[str], list[str]]:
    """INPUTs of every kind -> arguments, and the expected listing."""
    (tmp_path / "photos").mkdir(exist_ok=True)
    for number in range(7):
        (tmp_path / "photos" / f"{number}.jpg").touch()
    keys.keys = [f"{prefix}/{number:03d}" for prefix in "pq" for number in range(12)]
    rows = [f"s3://other/{number}" for number in [*range(9), 0, 1]]
    for name, part in (("a", rows[:6]), ("b", rows[6:])):
        (tmp_path / "m.parquet").mkdir(exist_ok=True)
        pq.write_table(pa.table({"uri": part}), tmp_path / "m.parquet" / f"{name}.parquet")
    inputs = ["s3://b/p", "s3://b/q", f"{tmp_path}/photos", f"{tmp_path}/m.parquet"]
    photos = [f"{tmp_path}/photos/{number}.jpg" for number in range(7)]
    return inputs, sorted([*(f"s3://b/{key}" for key in keys.keys), *photos, *set(rows)])


def read(manifest: Path) -> list[str]:
    return sorted(uri for table in objects(locate(str(manifest))) for uri in table["uri"].to_pylist())


def globbed(manifest: Path) -> list[str]:
    """The listing as readers without CILF see it."""
    found = [pq.read_table(file)["uri"].to_pylist() for file in sorted(manifest.glob("*.parquet"))]
    return sorted(uri for uris in found for uri in uris)


def test_who_was_thought_dead_writes_nothing_more(small, tmp_path, monkeypatch, capsys):
    inputs, expected = corpus(tmp_path, small)
    manifest = tmp_path / "list"

    def taken_over(self):
        (manifest / "_lease.json").write_text('{"run": "other"}')
        save(self)

    save = draft.Draft.save
    with monkeypatch.context() as patch:
        patch.setattr(draft.Draft, "save", taken_over)
        assert cli.main(["list", *inputs, str(manifest)]) == 1
    assert "holder: other" in capsys.readouterr().err
    assert not [file.name for file in manifest.iterdir() if "draft" in file.name]
    (manifest / "_lease.json").unlink()
    assert cli.main(["list", *inputs, str(manifest)]) == 0
    assert read(manifest) == expected


@pytest.mark.parametrize("after", [False, True])
def test_killed_at_every_change(small, tmp_path, monkeypatch, after):
    inputs, expected = corpus(tmp_path, small)
    deaths = 0
    for at in range(1, 100):
        manifest = tmp_path / f"{after}-{at}"
        with monkeypatch.context() as patch:
            Mortal(patch, at, after)
            try:
                cli.main(["list", *inputs, str(manifest)])
                break
            except Killed:
                deaths += 1
        assert globbed(manifest) in ([], expected) or is_complete_draft(manifest)
        if (manifest / "_manifest.json").exists() and not complete(manifest):
            with pytest.raises(UsageError, match="run the same cilf list again"):
                check_input(locate(str(manifest)))
        assert cli.main(["list", *inputs, str(manifest)]) == 0
        assert read(manifest) == globbed(manifest) == expected
        assert json.loads((manifest / "_manifest.json").read_text())["duplicates"] == 2
        assert not [file.name for file in manifest.iterdir() if "draft" in file.name]
    assert deaths > 15


def complete(manifest: Path) -> bool:
    return bool(json.loads((manifest / "_manifest.json").read_text())["complete"])


def is_complete_draft(manifest: Path) -> bool:
    """Whether everything is listed, and the files are being renamed."""
    return bool(json.loads((manifest / "_draft.json").read_text())["listed"])


def test_what_is_finished_is_not_listed_again(small, tmp_path, monkeypatch):
    inputs, expected = corpus(tmp_path, small)
    small.keys = [*small.keys, *(f"r/{number}" for number in range(5000, 5400))]
    monkeypatch.setattr(walking_s3, "REQUESTS", 1)  # one prefix after another
    expected = sorted([*expected, *(f"s3://b/r/{number}" for number in range(5000, 5400))])
    with monkeypatch.context() as patch:
        Mortal(patch, 40, after=True)
        with pytest.raises(Killed):
            cli.main(["list", *inputs, "s3://b/r", f"{tmp_path}/list"])
    before = Counter(prefix for prefix, _ in small.asked)
    assert 20 < before["r/"] < 101
    assert set(before) == {"p/", "q/", "r/"}
    small.asked.clear()
    assert cli.main(["list", *inputs, "s3://b/r", f"{tmp_path}/list"]) == 0
    again = Counter(prefix for prefix, _ in small.asked)
    assert set(again) == {"r/"}
    assert before["r/"] + again["r/"] < 101 + 8
    assert read(tmp_path / "list") == expected


def test_a_new_listing_replaces_the_old_one_at_once(small, tmp_path, monkeypatch):
    inputs, old = corpus(tmp_path, small)
    for at in range(1, 100):
        manifest = tmp_path / f"list-{at}"
        small.keys = [key for key in small.keys if key != "p/new"]
        assert cli.main(["list", *inputs, str(manifest)]) == 0
        small.keys = [*small.keys, "p/new"]
        new = sorted([*old, "s3://b/p/new"])
        with monkeypatch.context() as patch:
            Mortal(patch, at, after=True)
            try:
                cli.main(["list", *inputs, str(manifest)])
                break
            except Killed:
                pass
        assert read(manifest) in (old, new)
        if not complete_draft_there(manifest):
            assert globbed(manifest) in (old, new)
        assert cli.main(["list", *inputs, str(manifest)]) == 0
        assert read(manifest) == globbed(manifest) == new
    assert at > 15


def complete_draft_there(manifest: Path) -> bool:
    return (manifest / "_draft.json").exists() and is_complete_draft(manifest)


@pytest.mark.parametrize("name", ["chapter.draft", "_part-1.parquet.draft", "notes.txt"])
def test_what_others_keep_in_the_folder_stays(small, tmp_path, name):
    inputs, expected = corpus(tmp_path, small)
    manifest = tmp_path / "list"
    assert cli.main(["list", *inputs, str(manifest)]) == 0
    (manifest / name).write_text("mine")
    assert cli.main(["list", *inputs, str(manifest)]) == 0
    assert (manifest / name).read_text() == "mine"
    assert read(manifest) == expected


def test_another_command_starts_anew(small, tmp_path, monkeypatch, capsys):
    inputs, expected = corpus(tmp_path, small)
    with monkeypatch.context() as patch:
        Mortal(patch, 6, after=True)
        with pytest.raises(Killed):
            cli.main(["list", *inputs, f"{tmp_path}/list"])
    assert cli.main(["list", *inputs[1:], f"{tmp_path}/list"]) == 0
    assert "starting again" in capsys.readouterr().err
    assert read(tmp_path / "list") == [uri for uri in expected if not uri.startswith("s3://b/p/")]


def test_a_manifest_that_has_changed_starts_anew(small, tmp_path, monkeypatch):
    inputs, _ = corpus(tmp_path, small)
    monkeypatch.setattr(shards, "SHARD_ROWS", 1)  # so that it is left half read
    with monkeypatch.context() as patch:
        Mortal(patch, 3, after=True)
        with pytest.raises(Killed):
            cli.main(["list", inputs[-1], f"{tmp_path}/list"])
    left = json.loads((tmp_path / "list" / "_draft.json").read_text())["left"]
    assert left[f"{tmp_path}/m.parquet"]
    pq.write_table(pa.table({"uri": ["s3://other/new"]}), tmp_path / "m.parquet" / "a.parquet")
    assert cli.main(["list", inputs[-1], f"{tmp_path}/list"]) == 0
    assert read(tmp_path / "list") == [*(f"s3://other/{number}" for number in [0, 1, 6, 7, 8]), "s3://other/new"]


def test_a_store_that_fails_is_exit_code_1(small, tmp_path, monkeypatch, capsys):
    inputs, expected = corpus(tmp_path, small)
    small.allowed = "q/"
    assert cli.main(["list", *inputs[1:], f"{tmp_path}/list"]) == 0
    answer = small.__call__

    async def failing(*arguments, **options):
        if len(small.asked) > 4:
            raise TimeoutError("no answer")
        return await answer(*arguments, **options)

    small.asked.clear()
    small.allowed = ""
    with monkeypatch.context() as patch:
        patch.setattr(walking_s3, "_list", failing)
        assert cli.main(["list", *inputs, f"{tmp_path}/list"]) == cli.FAILED
    said = capsys.readouterr().err
    assert "no answer" in said
    assert "run the same command again to resume" in said
    assert cli.main(["list", *inputs, f"{tmp_path}/list"]) == 0
    assert read(tmp_path / "list") == expected


SLOW = """
import sys, time
from cilf import cli, storage
from cilf.manifest import draft, shards, walking
shards.SHARD_ROWS, walking._TABLE_ROWS, truly = 50, 20, draft.write
def write(*arguments):
    time.sleep(0.02)
    truly(*arguments)
draft.write = write
sys.exit(cli.main(["list", *sys.argv[1:]]))
"""


def test_kill_9(tmp_path):
    (tmp_path / "photos").mkdir()
    expected = sorted(f"{tmp_path}/photos/{number}" for number in range(1000))
    for name in expected:
        Path(name).touch()
    command = [sys.executable, "-c", SLOW, f"{tmp_path}/photos", f"{tmp_path}/list"]
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while len(list((tmp_path / "list").glob("*.draft"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert is_manifest(locate(f"{tmp_path}/list"))
    assert globbed(tmp_path / "list") == []
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "resuming the unfinished listing" in done.stderr
    assert read(tmp_path / "list") == globbed(tmp_path / "list") == expected
