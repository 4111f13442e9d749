"""`cilf label` in a process of its own, with a model that costs nothing and, on request, objects that kill.

    python stand_in_label.py INPUT OUTPUT …

The age of a face is the brightness of its crop. Objects named `poison-fetch…` kill the task that decodes them, those
named `poison-model…` the replica that gets them; those below a folder `nowhere` are missing, without a look at the
disk. Each block takes at least SLOW milliseconds, so that there is something to kill.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
from types import SimpleNamespace

import numpy as np
import pyarrow as pa

from cilf import cli
from cilf.card import Images, read_card
from cilf.images.fetch import FetchError
from cilf.labelling import fetch_stage, pipeline
from cilf.labelling.age_actor import AgeActor
from cilf.labelling.fetch_stage import Sight, fetch_decode
from cilf.storage import model_folder

SLOW = float(os.environ.get("SLOW", "0")) / 1000


class Brightness:
    def __init__(self, image_size: int) -> None:
        self.images = Images(size=image_size)

    def __call__(self, images_NHWC: np.ndarray) -> SimpleNamespace:
        age_N = images_NHWC.mean(axis=(1, 2, 3), dtype=np.float32)
        none = np.zeros(len(age_N), np.float32)
        return SimpleNamespace(
            age=age_N, age_low=none, age_high=none, first_age=none, expected_error=none,
            corrections=none.astype(np.int32), accepted=none.astype(bool),
        )  # fmt: skip


class StandIn(AgeActor):
    def load(self, model: str, *_: object) -> Brightness:  # type: ignore[override]
        return Brightness(read_card(model_folder(model)).model.images.size)

    def __call__(self, table: pa.Table) -> pa.Table:
        if any("/poison-model" in uri for uri in table["uri"].to_pylist()):
            ctypes.string_at(0)  # this very thread, this very moment
        time.sleep(SLOW)
        return super().__call__(table)


def absent(uris: list[str], *_: object) -> list[FetchError]:
    return [FetchError("missing", "no such object")] * len(uris)


def poisonous_fetch(table: pa.Table, sight: Sight) -> pa.Table:
    uris = table["uri"].to_pylist()
    if any("/poison-fetch" in uri for uri in uris):
        ctypes.string_at(0)  # this very thread, this very moment
    if all("/nowhere/" in uri for uri in uris):
        fetch_stage.fetch = absent  # type: ignore[assignment]
    return fetch_decode(table, sight)


if __name__ == "__main__":
    pipeline.AgeActor = StandIn  # type: ignore[misc]
    pipeline.fetch_decode = poisonous_fetch
    sys.exit(cli.main(["label", *sys.argv[1:], "--faces", "none"]))
