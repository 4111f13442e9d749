"""`cilf nightly CONFIG` in a separate process, with a cheap model that can be slowed down.

A face is as many years old as its crop is bright. Each block takes at least SLOW milliseconds, so that a test can kill
the process while it labels.
"""

from __future__ import annotations

import os
import sys
import time
from types import SimpleNamespace

import numpy as np
import pyarrow as pa

from cilf import cli
from cilf.card import Images
from cilf.labelling import pipeline
from cilf.labelling.age_actor import AgeActor

SLOW = float(os.environ.get("SLOW", "0")) / 1000


class Brightness:
    images = Images(size=32)

    def __call__(self, images_NHWC: np.ndarray) -> SimpleNamespace:
        age_N = images_NHWC.mean(axis=(1, 2, 3), dtype=np.float32)
        none = np.zeros(len(age_N), np.float32)
        return SimpleNamespace(
            age=age_N, age_low=none, age_high=none, first_age=none, expected_error=none,
            corrections=none.astype(np.int32), accepted=none.astype(bool),
        )  # fmt: skip


class StandIn(AgeActor):
    def load(self, *_: object) -> Brightness:  # type: ignore[override]
        return Brightness()

    def __call__(self, table: pa.Table) -> pa.Table:
        time.sleep(SLOW)
        return super().__call__(table)


if __name__ == "__main__":
    pipeline.AgeActor = StandIn  # type: ignore[misc]
    sys.exit(cli.main(["nightly", *sys.argv[1:]]))
