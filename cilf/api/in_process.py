"""The stages of `cilf label` for photographs in this process: the same functions, without Ray and without files."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, get_args

import pyarrow as pa

from cilf import schema
from cilf.config import FaceMode, LabelOptions
from cilf.errors import UsageError
from cilf.images.decode import DecodeError, Source
from cilf.images.fetch import FetchError
from cilf.labelling.age_actor import judged_faces
from cilf.labelling.fetch_stage import Sight, cut_out, fetch_and_cut, fetched
from cilf.labelling.runtime import BATCH_SIZES
from cilf.manifest.uris import absolute
from cilf.storage import locate

if TYPE_CHECKING:
    from cilf.estimator import Estimator

COLUMNS = ("status", "reason", "width", "height", "face_count", "faces")
"""The columns of the labels that depend on the photograph alone."""

_FACES = schema.LABELS.field("faces")


class InProcess:
    """Decodes photographs, finds faces and estimates their ages as `cilf label` does with its default limits.

    Args:
        estimator: the model.
        faces: how faces are found; see LabelOptions.

    Raises:
        UsageError: there is no such way to find faces.
    """

    def __init__(self, estimator: Estimator, faces: FaceMode) -> None:
        if faces not in (known := get_args(FaceMode)):
            raise UsageError(f"faces is {faces!r}: expected one of {', '.join(map(repr, known))}")
        self.estimator = estimator
        self._sight = Sight(
            images=estimator.images,
            faces=faces,
            thumbnails=False,
            max_bytes=LabelOptions.max_bytes,
            max_pixels=LabelOptions.max_pixels,
        )
        self._threads = ThreadPoolExecutor(estimator.threads, thread_name_prefix="decode")

    def fetch(self, uris: Sequence[str | None]) -> pa.Table:
        """The labels of photographs by path or URL: COLUMNS, with the types of schema.LABELS, one row each, in order.

        Raises:
            UsageError: one of `uris` is null, or names nothing that can be opened.
        """
        table = _manifest(absolute(pa.array(uris, pa.string()), locate(".")))
        return self._judged(fetch_and_cut(table, self._sight, self._threads.map))

    def label(self, photographs: Sequence[Source | DecodeError | FetchError]) -> pa.Table:
        """The labels of photographs in memory, or the failures that took their place; as in `fetch`."""
        cuts = list(self._threads.map(partial(cut_out, sight=self._sight), photographs))
        return self._judged(fetched(_manifest(pa.array([""] * len(cuts))), cuts, self._sight))

    def _judged(self, table: pa.Table) -> pa.Table:
        table = table.combine_chunks()
        faces = judged_faces(table, self.estimator, BATCH_SIZES[0])
        return table.append_column(_FACES, faces).select(COLUMNS)


def _manifest(uris: pa.Array) -> pa.Table:
    """schema.MANIFEST for objects of which only the name is known."""
    columns = {"id": pa.array([0] * len(uris)), "uri": uris}
    return pa.table(
        [columns.get(field.name, pa.nulls(len(uris), field.type)).cast(field.type) for field in schema.MANIFEST],
        schema=schema.MANIFEST,
    )
