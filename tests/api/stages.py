"""The stages of `cilf label` in this process, as Ray's tasks and actors call them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from cilf import schema
from cilf.card import read_card
from cilf.config import FaceMode, LabelOptions
from cilf.labelling.age_actor import AgeActor
from cilf.labelling.fetch_stage import Sight, fetch_decode


def staged(uris: Sequence[str], model: Path, faces: FaceMode) -> list[dict]:
    """Rows of schema.JUDGED for files, all in one block."""
    rows = [{"id": number, "uri": uri} for number, uri in enumerate(uris)]
    sight = Sight(read_card(model).model.images, faces, False, LabelOptions.max_bytes, LabelOptions.max_pixels)
    block = fetch_decode(pa.Table.from_pylist(rows, schema.MANIFEST), sight)
    return AgeActor(str(model), "float32", False, (64,), 1)(block).to_pylist()
