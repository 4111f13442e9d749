from __future__ import annotations

from cilf.card import read_card
from cilf.cluster import Cluster
from cilf.config import LabelOptions
from cilf.labelling.job import _prepare, _work
from cilf.labelling.lease import Lease
from cilf.labelling.pipeline import labelling, shards
from cilf.labelling.runtime import plan

BLOCK_ROWS = 64


def test_rows_are_readable_before_the_job_ends(ray_session, stand_in, rows, photograph, model_folder, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(20 * BLOCK_ROWS):
        (photos / f"{number}.jpg").write_bytes(photograph(0))
    options = LabelOptions(str(photos), str(tmp_path / "out"), model=str(model_folder))
    work = _work(options, model_folder, read_card(model_folder))
    assert _prepare(work, options) == 20 * BLOCK_ROWS
    on = plan(options, Cluster(cpus=2, gpus=0, nodes=1))
    committed = labelling(shards(work.manifest), work, options, on, BLOCK_ROWS)
    with Lease(work.lease, work.run, print):
        blocks = iter(committed.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0))
        next(blocks)
        assert 0 < len(rows(tmp_path / "out")) < 20 * BLOCK_ROWS
        for _ in blocks:
            pass
    assert len(rows(tmp_path / "out")) == 20 * BLOCK_ROWS


def test_stages_stay_apart(ray_session, model_folder, tmp_path, capsys):
    """Ray fuses neighbours that ask for the same resources; fetching would then wait for the model."""
    (tmp_path / "photo").write_bytes(b"x")
    options = LabelOptions(str(tmp_path / "photo"), str(tmp_path / "out"), model=str(model_folder))
    work = _work(options, model_folder, read_card(model_folder))
    _prepare(work, options)
    on = plan(options, Cluster(cpus=2, gpus=0, nodes=1))
    labelling(shards(work.manifest), work, options, on, BLOCK_ROWS).explain()
    physical = capsys.readouterr().out.rpartition("Physical Plan (Optimized)")[2]
    for stage in ("fetch_decode", "AgeActor", "write_labels"):
        assert f"[MapBatches({stage})]" in physical
