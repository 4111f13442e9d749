from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pytest

from cilf import cli
from cilf.cluster import Cluster
from cilf.labelling.dry_run import forecast, rate, sample
from cilf.labelling.progress import Progress
from cilf.labelling.runtime import Plan


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


def sampled(objects: int, fetch: float, decode: float, model: float, apart: float = 0.0, blocks: int = 2) -> Progress:
    """A sample with the given seconds per object in each stage; `apart`: seconds from the first block to the last."""
    progress = Progress()
    progress.blocks = blocks
    progress.total = objects
    progress.started -= 20 + apart
    progress._first, progress._last = (progress.started + 20, objects // 10), progress.started + 20 + apart
    progress.counts.update(ok=objects - objects // 10, unreadable=objects // 10)
    progress.stage_seconds.update(fetch=objects * fetch, decode=objects * decode, model=objects * model)
    return progress


def on(cpus: float, nodes: int = 1, actors: int = 1, gpus: float = 0) -> tuple[Cluster, Plan]:
    plan = Plan(actors, actors, 1, None if gpus else 1.0, 1.0 if gpus else None, (64,))
    return Cluster(cpus, gpus, nodes), plan


def test_the_forecast_counts_start_and_pace_apart():
    progress = sampled(1_000, fetch=0.1, decode=0.02, model=0.01, apart=90, blocks=32)  # 900 objects in 90 s
    said = forecast(1_000_000, progress, *on(4, nodes=2), price=3.6)
    assert "1,000 of 1,000,000 objects" in said
    assert re.search(r"unreadable\s+10.0%", said)
    assert "10.0 images/s after 20 s to start: all objects in 27:47:00" in said
    assert "100.0 ms fetching (mostly waiting), 20.0 ms decoding and finding faces, 10.0 ms in the model" in said
    assert "keeps 2 core(s) busy decoding" in said
    # 100,020 s on two machines at 0.001 per second.
    assert "cost 200.04 on 2 machines at 3.6 per hour, 200.04 for a million" in said


def test_a_million_is_priced_with_one_start():
    said = forecast(1_000, sampled(1_000, 0, 0.005, 0.0025, apart=90, blocks=16), *on(2), price=3600)
    assert "cost 120.00 on 1 machine at 3600 per hour, 100,020.00 for a million" in said


@pytest.mark.parametrize(
    ("took", "where", "expected"),
    [
        ((0.0, 0.01, 0.005), on(2), 100),  # both on all cores: 2 / (0.01 + 2 * 0.005)
        ((0.0, 0.01, 0.005), on(16, nodes=2, actors=2), 320),
        ((0.0, 0.01, 0.005), on(16, gpus=1), 200),  # the replica
        ((0.0, 0.01, 0.0001), on(16, gpus=1), 1600),  # the cores
        ((1.0, 0.01, 0.0001), on(16, gpus=1), 16 / 0.505),  # the store
        ((0.0, 0.01, 0.005), on(16, actors=2, gpus=2), 400),
    ],
)
def test_of_a_short_sample_the_stages_tell_the_rate(took, where, expected):
    cpus = where[0].cpus
    for apart, blocks in ((0.0, 1), (0.001, 2), (0.9, 999), (30.0, 8 * cpus - 1)):  # in parallel, or short
        assert rate(sampled(200, *took, apart=apart, blocks=blocks), *where) == pytest.approx(expected)


@pytest.mark.parametrize("objects", [1, 12, 99])
def test_a_few_objects_forecast_nothing(objects):
    said = forecast(5_000, sampled(objects, 0.1, 0.02, 0.01), *on(2), price=2)
    assert "too small to estimate images/s, time or cost: this takes at least 100 objects" in said
    assert "images/s after" not in said
    assert "per hour" not in said


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({"missing": 1_000}, "no object of the sample could be decoded: images/s, time and cost cannot be estimated"),
        ({"unreadable": 600, "unavailable": 400}, "no object of the sample could be decoded"),
        ({"missing": 901, "ok": 60, "no_face": 39}, "(better 1,000), and the sample has 99"),
    ],
)
def test_objects_that_were_not_decoded_forecast_nothing(counts, expected):
    progress = sampled(1_000, 0.1, 0.0, 0.0, apart=30, blocks=32)
    progress.counts.clear()
    progress.counts.update(counts)
    said = forecast(5_000, progress, *on(2), price=2)
    assert expected in said
    assert re.search(r"(missing|unreadable)\s+[\d.]+%", said)
    assert "images/s after" not in said
    assert "per hour" not in said


def test_photographs_without_faces_say_nothing_of_the_model():
    progress = sampled(1_000, 0.1, 0.02, 0.0, apart=30, blocks=32)
    progress.counts.clear()
    progress.counts.update(no_face=1_000)
    said = forecast(5_000, progress, *on(2), price=2)
    assert "images/s after" in said
    assert "core(s) busy decoding" not in said


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
    assert "for a million" in said
    assert not out.exists()


def test_a_price_is_for_dry_runs(photograph, model_folder, tmp_path, capsys):
    (tmp_path / "a.jpg").write_bytes(photograph(1))
    options = ["--model", str(model_folder), "--price", "2"]
    assert cli.main(["label", str(tmp_path / "a.jpg"), str(tmp_path / "out"), *options]) == 2
    assert "--dry-run" in capsys.readouterr().err
