"""A cluster for each test, photographs for it, and a check of the label rows."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from ray_nodes import Nodes


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    """A cluster without nodes; the nodes that a test starts end with it."""
    pytest.importorskip("aiohttp_cors", reason="jobs are submitted to Ray's dashboard: ray[default] is not installed")
    made = Nodes()
    yield made
    made.end()


@pytest.fixture
def corpus(tmp_path: Path, photograph: Callable[..., bytes]) -> Callable[[int], Path]:
    """Make a folder with the given number of crops, each 200 pixels a side."""

    def make(count: int) -> Path:
        folder = tmp_path / "photos"
        folder.mkdir()
        for number in range(count):
            (folder / f"{number:04}.jpg").write_bytes(photograph(number, width=200, height=200))
        return folder

    return make


@pytest.fixture
def label_files(tmp_path: Path) -> Callable[[], list[Path]]:
    """Return the current label files below tmp_path / "out"."""
    return lambda: sorted((tmp_path / "out").glob("labels/*/*.parquet"))


@pytest.fixture
def check_rows(tmp_path: Path, label_files: Callable[[], list[Path]]) -> Callable[[int, int], None]:
    """Make sure that every object of the only run's manifest has exactly one row, with an age.

    The returned function takes the number of objects, and the number of nodes at the start.
    """

    def check(count: int, at_start: int) -> None:
        [record] = [json.loads(file.read_text()) for file in (tmp_path / "out" / "runs").glob("*.json")]
        shards = (tmp_path / "out" / "manifests" / record["run"]).glob("*.parquet")
        listed = [number for shard in shards for number in pq.read_table(shard)["id"].to_pylist()]
        rows = [
            row for file in label_files() for row in pq.ParquetFile(file).read(["id", "status", "faces"]).to_pylist()
        ]
        assert len(listed) == count
        assert Counter(row["id"] for row in rows) == Counter(listed)
        assert {(row["status"], len(row["faces"])) for row in rows} == {("ok", 1)}
        assert record["objects"] == count
        assert record["cluster"]["nodes"] == at_start

    return check
