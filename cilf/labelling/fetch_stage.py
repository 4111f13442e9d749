"""The first stage: a block of the manifest -> uint8 crops of faces. A CPU task that never imports torch."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pyarrow as pa
from simplejpeg import encode_jpeg

from cilf import schema
from cilf.card import Images
from cilf.config import FaceMode
from cilf.images.decode import DecodeError, Source
from cilf.images.faces import LEAST_SIDE, Faces, find, whole_or_found, whole_unless_blank
from cilf.images.fetch import FetchError, fetch
from cilf.own_process import prepare

_BYTES_AT_ONCE = 256_000_000  # encoded bytes that a task holds; these and one decoded image make up its memory
_GUESS = 32_000_000  # assumed bytes of an object whose size is not in the manifest, until the first are fetched


@dataclass(frozen=True)
class Sight:
    """Settings for turning an object's bytes into crops."""

    images: Images
    """The format of the model's input crops."""
    faces: FaceMode
    thumbnails: bool
    max_bytes: int
    """Larger objects are not fetched."""
    max_pixels: int
    """Larger images are not decoded."""


@dataclass(frozen=True)
class _Broken:
    """The outcome of every row of a block on which the stage itself failed."""

    reason: str
    status: str = schema.BROKEN


Outcome = Faces | DecodeError | FetchError | _Broken
"""What became of a photograph: its faces, or a status and a reason."""


@dataclass(frozen=True)
class Cut:
    """The faces that were cut out of a photograph, or why there are none."""

    outcome: Outcome
    bytes: int | None
    """Size of the file; None if it is not known."""
    decode_s: float
    """Seconds for decoding, finding and cutting out."""
    fetch_s: float = 0.0


Each = Callable[[Callable[[Source | DecodeError | FetchError], Cut], Iterable[bytes | FetchError]], Iterable[Cut]]
"""Applies a function to each photograph and keeps their order: `map`, or the `map` of a pool of threads."""


def fetch_decode(table: pa.Table, sight: Sight) -> pa.Table:
    """Fetch every object of a manifest block, decode it and cut out its faces.

    All of this is one task, so that encoded bytes never enter Ray's object store. The failure of an object becomes its
    status and reason; any other exception makes all rows schema.BROKEN.

    Args:
        table: schema.MANIFEST and the user's own columns.
        sight: settings for turning an object's bytes into crops.

    Returns:
        schema.FETCHED and the user's own columns, with schema.THUMBNAILS if `sight` asks for them; rows in the order of
        `table`.
    """
    prepare()
    try:
        return fetch_and_cut(table, sight)
    except Exception:
        broken = Cut(_Broken(traceback.format_exc()), None, 0.0)
        return fetched(table, [broken] * len(table), sight)


def fetch_and_cut(table: pa.Table, sight: Sight, each: Each = map) -> pa.Table:
    """Fetch every object of a manifest block, decode it and cut out its faces; arguments and result as in fetch_decode.

    Args:
        each: applies the function that decodes and cuts out.
    """
    cuts: list[Cut] = []
    sizes, guess = table["bytes"].to_pylist(), _GUESS
    while len(cuts) < len(table):
        part = table.slice(len(cuts), _fitting(sizes[len(cuts) :], guess, sight.max_bytes))
        start = time.perf_counter()
        uris, told, etags = (part[name].to_pylist() for name in ("uri", "bytes", "etag"))
        answers = fetch(uris, told, sight.max_bytes, etags)
        fetching = (time.perf_counter() - start) / len(answers)
        # If nothing came, the store may be down; then each call waits until it gives up, so fewer calls are better.
        guess = max((len(answer) for answer in answers if isinstance(answer, bytes)), default=guess // 8)
        for one, size in zip(each(partial(cut_out, sight=sight), answers), told, strict=True):
            cuts.append(replace(one, bytes=size if one.bytes is None else one.bytes, fetch_s=fetching))
    return fetched(table, cuts, sight)


def _fitting(sizes: list[int | None], guess: int, max_bytes: int) -> int:
    """The number of the next objects, at least one, that fit into memory together; `guess` replaces unknown sizes."""
    held = 0
    for row, size in enumerate(sizes):
        held += min(guess if size is None else size, max_bytes)
        if row and held > _BYTES_AT_ONCE:
            return row
    return len(sizes)


def cut_out(photograph: Source | DecodeError | FetchError, sight: Sight) -> Cut:
    """Decode one photograph and cut out its faces; a failure that took its place is the outcome."""
    if isinstance(photograph, DecodeError | FetchError):
        return Cut(photograph, None, 0.0)
    start = time.perf_counter()
    outcome = _faces(photograph, sight)
    size = len(photograph) if isinstance(photograph, bytes) else None
    return Cut(outcome, size, time.perf_counter() - start)


def _faces(photograph: Source, sight: Sight) -> Faces | DecodeError:
    try:
        if sight.faces == "none":
            return whole_unless_blank(photograph, sight.images, sight.max_pixels)
        cut = find if sight.faces == "detect" else whole_or_found
        return cut(photograph, sight.images, sight.max_pixels)
    except DecodeError as error:
        return error


def fetched(table: pa.Table, cuts: Sequence[Cut], sight: Sight) -> pa.Table:
    """schema.MANIFEST and what became of each object -> the result of fetch_decode."""
    wanted = schema.extend(schema.FETCHED, schema.carried(table.schema))
    outcomes = [cut.outcome for cut in cuts]
    images = [outcome if isinstance(outcome, Faces) else None for outcome in outcomes]
    crops = [image.crops_NHWC if image else np.empty(0, np.uint8) for image in images]
    columns = {
        # Without etags, the manifest may have the size of another version of the object; it may also have no sizes.
        "bytes": [cut.bytes for cut in cuts],
        "status": [_status(outcome) for outcome in outcomes],
        "reason": [_reason(outcome) for outcome in outcomes],
        "width": [image.width if image else None for image in images],
        "height": [image.height if image else None for image in images],
        "face_count": [image.found if image else None for image in images],
        "boxes": [_boxes(image) if image else [] for image in images],
        "crops": _binary(crops),
        "fetch_s": [cut.fetch_s for cut in cuts],
        "decode_s": [cut.decode_s for cut in cuts],
    }
    arrays = [
        pa.array(columns[field.name], field.type) if field.name in columns else table[field.name] for field in wanted
    ]
    out = pa.table(arrays, schema=wanted)
    if sight.thumbnails:
        files = [[_thumbnail(crop) for crop in image.crops_NHWC] if image else [] for image in images]
        out = out.append_column(schema.THUMBNAILS, pa.array(files, schema.THUMBNAILS.type))
    return out


def _thumbnail(crop_HWC: np.ndarray) -> bytes:
    """A JPEG file of the face, without the channels of the body."""
    return encode_jpeg(np.ascontiguousarray(crop_HWC[..., :3]), quality=85)


def _status(outcome: Outcome) -> str:
    if isinstance(outcome, Faces):
        return "ok" if outcome.found else "no_face"
    return outcome.status


def _reason(outcome: Outcome) -> str | None:
    if not isinstance(outcome, Faces):
        return outcome.reason
    if outcome.found:
        return None
    if outcome.blank:
        return "nothing but one colour, or noise"
    return f"only faces of less than {LEAST_SIDE:g} pixels" if outcome.smaller else "no face found"


def _boxes(image: Faces) -> list[dict[str, float]]:
    names = [field.name for field in schema.BOX]
    rows = np.column_stack([image.boxes_N4, image.scores_N]).tolist()
    return [dict(zip(names, row, strict=True)) for row in rows]


def _binary(crops: list[np.ndarray]) -> pa.Array:
    """One large_binary per row; copied once, into one buffer."""
    offsets = np.concatenate([[0], np.cumsum([crop.size for crop in crops])]).astype(np.int64)
    values = np.concatenate([crop.reshape(-1) for crop in crops]) if crops else np.empty(0, np.uint8)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(values)]
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(crops), buffers)
