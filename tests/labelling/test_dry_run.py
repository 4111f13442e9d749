from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pytest

from cilf import cli
from cilf.labelling.dry_run import forecast, sample
from cilf.labelling.progress import Progress


def tables(ids: np.ndarray, rows: int) -> list[pa.Table]:
    return [pa.table({"id": ids[start : start + rows]}) for start in range(0, len(ids), rows)]


def test_a_sample_is_the_same_in_whatever_pieces_the_objects_come():
    ids = np.random.default_rng(0).integers(-(2**63), 2**63 - 1, 10_000)
    drawn = sample(iter(tables(ids, 170)), 100)
    assert drawn.of == 10_000
    assert drawn.rows["id"].to_pylist() == sorted(ids.tolist())[:100]
    assert sample(iter(tables(ids, 10_000)), 100).rows.equals(drawn.rows.combine_chunks())
    assert len(sample(iter(tables(ids[:30], 7)), 100).rows) == 30
    assert sample(iter([]), 100).of == 0


def test_the_forecast_counts_start_and_pace_apart():
    progress = Progress()
    progress.total = 110
    progress._first, progress._last = (progress.started + 20, 10), progress.started + 30  # 100 objects in 10 s
    progress.counts.update(ok=99, unreadable=11)
    progress.stage_seconds.update(fetch=11, decode=2.2, model=1.1)
    said = forecast(1_000_000, progress, nodes=2, price=3.6)
    assert "110 of 1,000,000 objects" in said
    assert re.search(r"unreadable\s+10.0%", said)
    assert "10.0 images/s after 20 s of start: all of it in 27:47:00" in said
    assert "100.0 ms fetching (mostly waiting), 20.0 ms decoding and finding faces, 10.0 ms in the model" in said
    assert "keeps 2 core(s) decoding" in said
    # 100,020 s on two machines at 0.001 per second.
    assert "cost 200.04 on 2 machine(s) at 3.6 per hour, 200.04 per million" in said


def test_a_dry_run_tells_of_failures_and_writes_nothing(
    ray_session, stand_in, photograph, model_folder, tmp_path, capsys
):
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    for number in range(200):
        (photos / f"{number}").write_bytes(b"" if number % 4 == 0 else photograph(number))
    command = ["label", str(photos), str(out), "--model", str(model_folder), "--faces", "none", "--dry-run"]
    assert cli.main([*command, "--limit", "150", "--price", "2"]) == 0
    said = capsys.readouterr().out
    assert "dry run: 150 of 200 objects labelled, nothing written" in said
    shares = dict(re.findall(r"(ok|unreadable)\s+([\d.]+)%", said))
    assert float(shares["ok"]) + float(shares["unreadable"]) == pytest.approx(100, abs=0.2)
    assert 15 < float(shares["unreadable"]) < 35
    assert "per million" in said
    assert not out.exists()


def test_a_price_is_for_dry_runs(photograph, model_folder, tmp_path, capsys):
    (tmp_path / "a.jpg").write_bytes(photograph(1))
    options = ["--model", str(model_folder), "--price", "2"]
    assert cli.main(["label", str(tmp_path / "a.jpg"), str(tmp_path / "out"), *options]) == 2
    assert "--dry-run" in capsys.readouterr().err
