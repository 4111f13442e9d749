"""Label photographs as one step of a Ray Data pipeline, and write one row per face.

python examples/ray_pipeline.py PHOTOGRAPHS OUTPUT
"""

from __future__ import annotations

import sys
from typing import Any

import ray

import cilf


def accepted(row: dict[str, Any]) -> list[dict[str, Any]]:
    """The accepted faces of a photograph."""
    return [{"path": row["path"], "age": face["age"]} for face in row["faces"] if face["accepted"]]


def main(photographs: str, output: str) -> None:
    """Read, label, select and write."""
    # CILF decodes more formats than Ray does, and applies the EXIF orientation.
    ds = ray.data.read_binary_files(photographs, include_paths=True)
    ds = ds.map_batches(cilf.AgeLabeller, batch_size=64, concurrency=1, num_cpus=0.5)  # num_gpus=1 on a GPU
    ds.drop_columns(["bytes"]).flat_map(accepted, num_cpus=0.25).write_parquet(output)


if __name__ == "__main__":
    main(*sys.argv[1:])
