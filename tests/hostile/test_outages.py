"""A store that fails at times, and for a while completely: nothing is lost, and the next run labels the rest.

pytest tests/hostile/test_outages.py -m long
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from zlib import crc32

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from label_run import Run, statuses
from scripted_s3 import HANG_UP, Answer, Scripted, serve

OBJECTS, DOWN_S = 1_500, 20.0


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, photograph: Callable[..., bytes]):
    """Every key is a photograph; one request in twenty fails, and from the fourth second on all fail for DOWN_S."""
    body, first = photograph(1), []

    def script(key: str, number: int) -> Answer:
        first.append(time.monotonic())
        if 4 < time.monotonic() - first[0] < 4 + DOWN_S:
            return HANG_UP if crc32(key.encode()) % 2 else Answer(status=503)
        if crc32(f"{key} {number}".encode()) % 20 == 0:
            return HANG_UP if number % 2 else Answer(status=503)
        return Answer(body)

    made = Scripted(script)
    server = serve(made)
    variables = {
        "AWS_ENDPOINT_URL": made.url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    yield made
    server.shutdown()
    server.server_close()


@pytest.mark.long
def test_an_outage_loses_nothing(store: Scripted, start: Callable[..., Run], tmp_path: Path, capsys):
    uris = [f"s3://corpus/{number:05d}.jpg" for number in range(OBJECTS)]
    pq.write_table(pa.table({"uri": uris}), tmp_path / "corpus.parquet")
    run = start(tmp_path / "corpus.parquet", tmp_path / "out", slow_ms=500)
    report = run.end()
    assert run.process.returncode == 0, report
    found = statuses(tmp_path / "out")
    assert sorted(found) == [f"{number:05d}.jpg" for number in range(OBJECTS)]
    assert {tuple(rows) for rows in found.values()} <= {("ok",), ("unavailable",)}
    asked = len(store.requests)
    assert asked > 1.04 * OBJECTS, "nothing failed"
    with capsys.disabled():
        print(f"\n{asked} requests for {OBJECTS} objects; {list(found.values()).count(['unavailable'])} unavailable")

    again = start(tmp_path / "corpus.parquet", tmp_path / "out")
    report = again.end()
    assert again.process.returncode == 0, report
    assert statuses(tmp_path / "out") == {name: ["ok"] for name in found}
