"""The comparison with peers runs; the corpora are too small to measure speed."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cilf.bench.machine import this_machine
from cilf.bench.objects import corpus
from cilf.bench.timing import Slope

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import compare  # noqa: E402

needs_daft = pytest.mark.skipif(
    not (compare.DAFT / "daft").is_dir() and importlib.util.find_spec("daft") is None,
    reason="Daft is not installed; tests/peers/requirements.txt says how",
)


@pytest.mark.parametrize("script", sorted(HERE.glob("*.py")), ids=lambda path: path.name)
def test_scripts_compile(script):
    compile(script.read_text(), script, "exec")


@needs_daft
@pytest.mark.parametrize("peer", compare.PEERS, ids=lambda peer: peer.name)
def test_every_peer_labels_every_object(peer, model_folder, tmp_path):
    with corpus("crops", tmp_path / "objects", 5, 20, 0) as made:
        pq.write_table(pa.table({"uri": made.uris("many")}), tmp_path / "many.parquet")
        run = compare.label(peer, tmp_path / "many.parquet", made, str(model_folder))
    assert sorted(run.ages) == [f"{number:06d}.jpg" for number in range(20)]
    assert all(0 <= age <= 100 for age in run.ages.values())
    assert run.peak_mb > 50


def measured(peer: str, images_per_s: float) -> compare.Measured:
    cost = Slope(images_per_s, fixed_seconds=10, spread=0.02)
    return compare.Measured("crops", peer, 625, 5000, [12.5], [30.0], cost, peak_mb=1000, age_difference=0.5)


def test_ratios_are_to_cilf(tmp_path, capsys):
    rows = [measured("CILF", 300), measured("Daft", 200)]
    assert [row[3] for row in compare.grid(rows).rows] == ["1.00", "1.50"]
    compare.tell(this_machine(), rows, tmp_path)
    assert "| crops | Daft | 200.0 | 1.50 |" in (tmp_path / "peers.md").read_text()
    assert json.loads((tmp_path / "peers.json").read_text())["measured"][1]["cost"]["images_per_s"] == 200
    assert "Daft" in capsys.readouterr().out
