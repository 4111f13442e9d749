"""Training on two nodes, one of which is lost: the same steps as without the loss, each exactly once."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from tiny_training import RECIPE, labelled, metrics

EPOCHS = 4
STEPS = 8  # per epoch: of 450 rows, 40 % are held out, and the others make batches of 32


@pytest.mark.long
@pytest.mark.parametrize("replaced", [True, False], ids=["replaced", "not replaced"])
def test_a_lost_node_costs_no_step(nodes, tmp_path, replaced):
    pq.write_table(pa.Table.from_pylist(labelled(500)), tmp_path / "faces.parquet")
    recipe, output = tmp_path / "recipe.yaml", tmp_path / "run"
    data = {"path": str(tmp_path / "faces.parquet")}
    recipe.write_text(yaml.safe_dump({**RECIPE, "data": data, "epochs": EPOCHS, "workers": 2, "checkpoint_steps": 3}))
    head = nodes.head(cpus=2)
    lost = nodes.join(cpus=2)
    job = nodes.submit("jobs/train.py", str(recipe), str(output))
    job.wait_until(lambda: list(output.glob("checkpoints/checkpoint_*/state.pt")))
    assert [head.runs("RayTrainWorker"), lost.runs("RayTrainWorker")] == [True, True]
    lost.kill()
    if replaced:
        nodes.join(cpus=2)
    assert job.end() == 0, job.said
    steps, epochs = metrics((output / "metrics.jsonl").read_text())
    assert [line["step"] for line in steps] == list(range(1, EPOCHS * STEPS + 1))
    assert [(line["epoch"], line["step"]) for line in epochs] == [(n, n * STEPS) for n in range(1, EPOCHS + 1)]
    assert json.loads((output / "model.json").read_text())["figures"]
    assert (output / "model.safetensors").stat().st_size > 0
