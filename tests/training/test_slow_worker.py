"""Workers of unequal speed, when nothing makes one wait for the other."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from tiny_systems import tiny
from tiny_training import labelled

from cilf.cli import main
from cilf.training import trainer


def test_rows_remain_available_for_a_slow_worker(ray_session, tmp_path, monkeypatch):
    """The forest updates its leaves from rows that each worker reads independently."""

    def work(config):  # sent to the workers by value
        import time

        import torch.distributed as dist

        from cilf.training import learner, loop

        def slowly(self, batches):
            def late():
                for batch in batches():
                    time.sleep(0.3 * dist.get_rank())
                    yield batch

            after_epoch(self, late)

        after_epoch = learner.Learner.after_epoch
        learner.Learner.after_epoch = slowly
        loop.work(config["task"])

    monkeypatch.setattr(trainer, "_work", work)
    pq.write_table(pa.Table.from_pylist(labelled(600)), tmp_path / "faces.parquet")
    raw = tiny("regression-forest").model_dump(mode="json")
    changes = {"data": {"path": str(tmp_path / "faces.parquet")}, "workers": 2, "epochs": 1, "max_failures": 0}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(raw | changes))
    assert main(["train", str(tmp_path / "recipe.yaml"), str(tmp_path / "run")]) == 0
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert sum("epoch" in line for line in lines) == 1
