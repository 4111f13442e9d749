"""Consecutive nights: what is labelled in each, which one drifts, and what a second start does."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import yaml

from cilf import cli
from cilf.labelling.current import Prefix
from cilf.labelling.lease import Lease
from cilf.nightly import steps
from cilf.nightly.config import Config
from cilf.storage import locate

pytestmark = pytest.mark.usefixtures("ray_session", "stand_in")

ADULTS, CHILDREN = (40, 12), (9, 3)
"""Mean and standard deviation of ages, years."""


def ages(kind: tuple[int, int], count: int, seed: int) -> np.ndarray:
    return np.clip(np.random.default_rng(seed).normal(*kind, count), 1, 90)


@pytest.mark.parametrize(
    ("first", "new", "changed", "broken", "many"),
    [(1000, 60, 20, 10, 3), pytest.param(5000, 200, 50, 20, 20, marks=pytest.mark.long)],
)
def test_nights(first, new, changed, broken, many, photos, config, night, record, rows, everything, tmp_path, capsys,
                monkeypatch):  # fmt: skip
    """A first night; a usual one; one without new objects; one with only children; and a usual one again."""
    monkeypatch.setattr(steps, "MANY", many)
    file, out = config(), tmp_path / "out"

    def happens(day: int) -> dict[str, int]:
        """What the corpus gains on a day, and the objects by status that its night has to label."""
        if day == 1:
            photos("first", ages(ADULTS, first, 1))
            return {"ok": first}
        if day == 2:
            photos("second", ages(ADULTS, new, 2))
            photos("first", ages(ADULTS, changed, 3))
            for number in range(broken):
                (tmp_path / "photos" / f"broken-{number}.png").write_bytes(b"no image")
            return {"ok": new + changed, "unreadable": broken}
        if day == 3:
            return {}
        photos(f"day {day}", ages(CHILDREN if day == 4 else ADULTS, new, day))
        return {"ok": new}

    labelled = Counter[str]()
    listed = {1: first, 2: first + new + broken, 3: first + new + broken}
    for day in range(1, 6):
        expected = happens(day)
        assert night(file, f"2026110{day}T011500Z") == 0
        said = capsys.readouterr().out
        found = record(f"2026-11-0{day}")
        labelled.update(expected)
        assert [step["state"] for step in found["steps"].values()] == ["done"] * 5
        assert found["steps"]["list"]["found"]["objects"] == listed.get(day, first + new + broken + (day - 3) * new)
        # The objects that were fetched are those that got rows, and all of them in this night.
        assert found["steps"]["label"]["found"]["objects"] == sum(expected.values())
        assert found["steps"]["label"]["found"]["counts"] == found["rows"] == expected
        table = rows(out)
        assert Counter(table["status"].to_pylist()) == labelled
        assert len(set(table["id"].to_pylist())) == len(table)
        of_tonight = [row for row in table.select(["run", "status"]).to_pylist() if row["run"][:8] == f"2026110{day}"]
        assert Counter(row["status"] for row in of_tonight) == expected

        assert found["drift"] is (day == 4)
        assert ("Drift: the newest ages differ" in said) is (day == 4)
        assert ('class="warning">Drift' in (out / "report.html").read_text()) is (day == 4)
        assert f"night 2026-11-0{day} is done: " in said
        merged = found["steps"]["compact"]["found"]["merged"]
        assert day > 3 or bool(merged) is (day == 1), "merging pays after the first night, and not after the next"

        before = everything()
        assert night(file, f"2026110{day}T020000Z") == 0
        assert everything() == before
        assert f"nothing to do: night 2026-11-0{day} is done" in capsys.readouterr().out


def test_on_s3(bucket, photograph, config, night, capsys):
    source, output = bucket({f"{number}.jpg": photograph(number) for number in range(20)}), bucket({})
    file = config(inputs=[f"{source}/"], output=f"{output}/deep/er")

    def objects() -> dict[str, tuple[str, object]]:
        place = locate(output)
        place.fs.invalidate_cache()
        found = place.fs.find(place.path, detail=True)
        return {name: (info["ETag"], info["LastModified"]) for name, info in found.items()}

    assert night(file, "20261101T011500Z") == 0, capsys.readouterr().err
    before = objects()
    name = output.removeprefix("s3://")
    assert f"{name}/deep/er/nights/2026-11-01.json" in before
    assert not [key for key in before if "/leases/" in key]
    assert night(file, "20261101T021500Z") == 0
    assert objects() == before
    assert night(file, "20261102T011500Z") == 0
    assert f"{name}/deep/er/nights/2026-11-02.json" in objects()


def test_a_step_that_fails_is_where_the_next_start_goes_on(
    photos, config, night, record, model_folder, tmp_path, capsys
):
    photos("a", [30, 40])
    (tmp_path / "model").mkdir()
    file = config(label={"model": str(tmp_path / "model")})
    assert night(file, "20261101T011500Z") == cli.FAILED
    assert "night 2026-11-01 failed to label: " in capsys.readouterr().err
    failed = record("2026-11-01")
    assert {name: step["state"] for name, step in failed["steps"].items()} == {"list": "done", "label": "failed"}
    assert "ModelFolderError: " in failed["steps"]["label"]["error"]
    assert failed["drift"] is failed["ended"] is None

    shutil.copytree(model_folder, tmp_path / "model", dirs_exist_ok=True)
    assert night(file, "20261101T021500Z") == 0
    done = record("2026-11-01")
    assert done["steps"]["list"] == failed["steps"]["list"]
    assert done["steps"]["label"]["error"] is None
    assert done["rows"] == {"ok": 2}


def test_a_model_that_is_not_there_is_refused_before_anything_is_done(photos, config, night, tmp_path, capsys):
    photos("a", [30])
    assert night(config(label={"model": str(tmp_path / "model")}), "20261101T011500Z") == cli.WRONG_USAGE
    assert f"label: no model {tmp_path / 'model'}" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_what_a_failed_night_has_labelled_is_part_of_the_next_report(photos, config, night, record, tmp_path, capsys):
    photos("a", ages(ADULTS, 100, 1))
    assert night(config(), "20261101T011500Z") == 0
    photos("b", ages(CHILDREN, 40, 2))
    assert night(config(report={"slice": ["camera"]}), "20261102T011500Z") == cli.FAILED
    assert "failed to report: --slice camera: the labels have no such column" in capsys.readouterr().err
    photos("c", ages(CHILDREN, 40, 3))
    assert night(config(fail_on_drift=True), "20261103T011500Z") == 3
    found = record("2026-11-03")
    assert found["since"] == "20261102T011500Z"
    assert found["rows"] == {"ok": 80}
    assert found["steps"]["label"]["found"]["objects"] == 40
    assert found["drift"] is True
    assert night(config(fail_on_drift=True), "20261103T021500Z") == 3, "the same night has the same exit code"
    assert night(config(fail_on_drift=True), "20261104T021500Z") == 0


def test_another_config_begins_the_steps_anew(photos, config, night, record, capsys):
    photos("a", [30, 40])
    assert night(config(), "20261101T011500Z") == 0
    photos("b", [50])
    assert night(config(report={"review": 5}), "20261101T021500Z") == 0
    assert "nothing to do" not in capsys.readouterr().out
    assert record("2026-11-01")["rows"] == {"ok": 3}
    assert record("2026-11-01")["steps"]["label"]["found"]["objects"] == 1


def test_a_night_may_be_done_again(photos, config, night, record, tmp_path, capsys):
    photos("a", ages(ADULTS, 100, 1))
    file = config(fail_on_drift=True)
    assert night(file, "20261101T011500Z", "--again") == 0, "it is the first of its date"
    first = record("2026-11-01")
    photos("b", ages(CHILDREN, 100, 2))
    assert night(file, "20261101T091500Z") == 0
    assert "nothing to do: night 2026-11-01 is done" in (said := capsys.readouterr().out)
    assert "--again" in said
    assert night(file, "20261101T101500Z", "--again") == 3
    assert record("2026-11-01") == first
    assert record("2026-11-01-2")["rows"] == {"ok": 100}
    assert night(file, "20261101T111500Z") == 3, "the exit code of the newest"
    assert "nothing to do: night 2026-11-01-2 is done" in capsys.readouterr().out
    with Lease(locate(str(tmp_path / "out" / "leases" / "nightly.json")), "x", print):
        assert night(file, "20261101T121500Z", "--again") == cli.BUSY
    assert night(file, "20261102T011500Z") == 0
    assert record("2026-11-02")["verdict"].startswith("Nothing new to compare")


def test_a_night_that_was_interrupted_says_so(photos, config, night, record, monkeypatch, capsys):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    photos("a", [30])
    with monkeypatch.context() as patch:
        patch.setitem(steps.STEPS, "list", interrupt)
        assert night(config(), "20261101T011500Z") == cli.INTERRUPTED
    assert record("2026-11-01")["steps"]["list"]["error"] == "interrupted"


def test_what_a_night_lists_is_what_its_run_is_given(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "list.csv").write_text("uri\na.jpg\n")
    inputs = (f"{tmp_path}/photos/", str(tmp_path / "list.csv"))
    config = Config(inputs=inputs, output=str(tmp_path / "out"), list={"include": "*.jpg"})
    assert steps._listed(config) == [Prefix(str(tmp_path / "photos"), ("*.jpg",))]
    assert steps._listed(config.model_copy(update={"label": {"include": "*1.jpg"}})) == []


def test_beside_a_run_that_was_started_by_hand(photos, config, night, record, tmp_path, monkeypatch, capsys):
    """Labelling then has to wait for a later start, and compaction for another night."""
    monkeypatch.setattr(steps, "MANY", 0)
    photos("a", [30, 40])
    assert night(config(), "20261101T011500Z") == 0
    [labels] = (tmp_path / "out" / "labels").iterdir()
    lease = locate(str(tmp_path / "out" / "leases" / f"{labels.name.removeprefix('model=')}.json"))
    with Lease(lease, "x", print):
        assert night(config(), "20261102T011500Z") == cli.BUSY
    assert "run x (process" in capsys.readouterr().err
    assert "BusyError: run x" in record("2026-11-02")["steps"]["label"]["error"]

    real = steps.STEPS["compact"]

    def beside_a_run(*arguments):
        with Lease(lease, "x", print):
            return real(*arguments)

    monkeypatch.setitem(steps.STEPS, "compact", beside_a_run)
    assert night(config(), "20261102T021500Z") == 0
    assert "not compacted, which can wait for the next night: run x" in capsys.readouterr().err
    assert record("2026-11-02")["steps"]["compact"]["found"] == {"merged": []}


@pytest.fixture
def start() -> Iterator[object]:
    """Start `cilf nightly CONFIG` in a separate process, which ends with the test at the latest."""
    processes: list[subprocess.Popen[str]] = []

    def run(config: Path, slow_ms: int) -> subprocess.Popen[str]:
        environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
        command = [sys.executable, str(Path(__file__).with_name("stand_in_nightly.py")), str(config)]
        processes.append(
            subprocess.Popen(
                command,
                env={**environment, "SLOW": str(slow_ms)},
                text=True,
                start_new_session=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
        )
        return processes[-1]

    yield run
    for process in processes:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()


def test_started_twice_and_killed_while_it_labels(start, photos, config, night, rows, tmp_path, capsys):
    """The night that is killed has only children: its two halves together have drifted."""
    file, out = config(), tmp_path / "out"
    photos("adults", ages(ADULTS, 100, 1))
    assert night(file, "20200101T011500Z") == 0
    photos("children", ages(CHILDREN, 640, 2))
    labelled = set((out / "labels").rglob("*.parquet"))

    process = start(file, slow_ms=1500)
    while not set((out / "labels").rglob("*.parquet")) - labelled:
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.05)
    capsys.readouterr()
    assert night(file) == cli.BUSY == 75
    assert f"(process {process.pid} on " in capsys.readouterr().err
    os.kill(process.pid, signal.SIGKILL)
    process.wait()

    [file_of_night] = set((out / "nights").iterdir()) - {out / "nights" / "2020-01-01.json"}
    killed = json.loads(file_of_night.read_text())
    assert {name: step["state"] for name, step in killed["steps"].items()} == {"list": "done", "label": "running"}
    half = len(rows(out)) - 100
    assert 0 < half < 640

    assert night(file) == 0, capsys.readouterr().err
    done = json.loads(file_of_night.read_text())
    assert done["steps"]["list"] == killed["steps"]["list"]
    assert done["steps"]["label"]["found"]["objects"] == 640 - half
    assert done["rows"] == {"ok": 640}
    assert done["drift"] is True
    table = rows(out)
    assert len(table) == len(set(table["uri"].to_pylist())) == 740
    assert yaml.safe_load(file.read_text())["output"] == done["config"]["output"]
    assert not list((out / "leases").glob("*.json"))
