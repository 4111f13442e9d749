"""Objects that were too large for an earlier run, but are within the limits of this one."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cilf.config import LabelOptions
from cilf.images.decode import BYTES_PER_PIXEL

_REASON = r"(?P<what>bytes|pixels|bytes to decode), more than the (?P<bound>\d+) allowed$"
"""The end of the reasons that cilf.images.decode and cilf.images.fetch give."""


class Raised:
    """Selection of rows that were too large under lower limits; a cilf.manifest.pending.Again."""

    def __init__(self, options: LabelOptions) -> None:
        self._bounds = {
            "bytes": options.max_bytes,
            "pixels": options.max_pixels,
            "bytes to decode": BYTES_PER_PIXEL * options.max_pixels,
        }

    def __call__(self, status: pa.ChunkedArray, reason: pa.ChunkedArray) -> np.ndarray:
        """Mask of the rows that are too_large by a limit below that of the options, bool [N]."""
        again = pc.equal(status, "too_large").to_numpy().copy()
        found = pc.extract_regex(reason.filter(pa.array(again)), _REASON).to_pylist()
        again[again] = [one is not None and int(one["bound"]) < self._bounds[one["what"]] for one in found]
        return again
