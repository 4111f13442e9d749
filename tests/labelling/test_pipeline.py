from __future__ import annotations

import pyarrow as pa

from cilf import schema
from cilf.card import read_card
from cilf.cluster import Cluster
from cilf.config import LabelOptions
from cilf.labelling.job import _prepare, _work
from cilf.labelling.lease import Lease
from cilf.labelling.pipeline import blocks, labelling
from cilf.labelling.runtime import LIGHT_CPUS, plan
from cilf.manifest.keys import Include
from cilf.manifest.shards import write_manifest
from cilf.storage import locate

BLOCK_ROWS = 64


def test_rows_are_readable_before_the_job_ends(ray_session, stand_in, rows, photograph, model_folder, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(20 * BLOCK_ROWS):
        (photos / f"{number}.jpg").write_bytes(photograph(0))
    options = LabelOptions(str(photos), str(tmp_path / "out"), model=str(model_folder))
    work = _work(options, model_folder, read_card(model_folder))
    assert _prepare(work, options, Include(()), print) == 20 * BLOCK_ROWS
    on = plan(options, Cluster(cpus=2, gpus=0, nodes=1))
    committed = labelling(blocks(work.manifest, BLOCK_ROWS), work, options, on, BLOCK_ROWS)
    with Lease(work.lease, work.run, print):
        sums = iter(committed.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0))
        next(sums)
        assert 0 < len(rows(tmp_path / "out")) < 20 * BLOCK_ROWS
        for _ in sums:
            pass
    assert len(rows(tmp_path / "out")) == 20 * BLOCK_ROWS


def test_what_a_task_returns_is_not_cut(
    ray_session, stand_in, rows, photograph, model_folder, tmp_path, monkeypatch, capsys
):
    """A retried task might be split elsewhere: rows would be lost, or written twice."""
    from ray.data import DataContext

    monkeypatch.setattr(DataContext.get_current(), "target_max_block_size", 1000)
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(BLOCK_ROWS):
        (photos / f"{number}.jpg").write_bytes(photograph(0))
    options = LabelOptions(str(photos), str(tmp_path / "out"), model=str(model_folder), faces="none")
    work = _work(options, model_folder, read_card(model_folder))
    _prepare(work, options, Include(()), print)
    on = plan(options, Cluster(cpus=2, gpus=0, nodes=1))
    committed = labelling(blocks(work.manifest, BLOCK_ROWS), work, options, on, BLOCK_ROWS)
    with Lease(work.lease, work.run, print):
        committed = committed.materialize()
    assert "MapBatches(fetch_decode): 1 tasks executed, 1 blocks produced" in committed.stats()
    assert len(rows(tmp_path / "out")) == BLOCK_ROWS


def test_stages_stay_apart(ray_session, model_folder, tmp_path, capsys):
    """Ray fuses adjacent stages that ask for the same resources; fetching would then wait for the model."""
    (tmp_path / "photo").write_bytes(b"x")
    options = LabelOptions(str(tmp_path / "photo"), str(tmp_path / "out"), model=str(model_folder))
    work = _work(options, model_folder, read_card(model_folder))
    _prepare(work, options, Include(()), print)
    on = plan(options, Cluster(cpus=2, gpus=0, nodes=1))
    labelling(blocks(work.manifest, BLOCK_ROWS), work, options, on, BLOCK_ROWS).explain()
    physical = capsys.readouterr().out.rpartition("Physical Plan (Optimized)")[2]
    for stage in ("fetch_decode", "AgeActor", "write_labels"):
        assert f"[MapBatches({stage})]" in physical


def test_cutting_into_blocks_leaves_the_cpus_to_the_fetch_tasks(ray_session, tmp_path):
    """Ray's planner uses the share; the default would be a whole CPU."""
    from ray.data._internal.logical.optimizers import get_execution_plan

    manifest = locate(str(tmp_path / "manifest"))
    row = {"id": 1, "uri": "/nowhere", "etag": None, "bytes": None, "modified": None}
    write_manifest([pa.Table.from_pylist([row], schema.MANIFEST)], manifest)
    physical, _ = get_execution_plan(blocks(manifest, BLOCK_ROWS)._logical_plan)
    assert "StreamingRepartition" in physical.dag.name
    assert physical.dag.incremental_resource_usage().cpu == LIGHT_CPUS
