"""The first stage: a block of the manifest -> uint8 crops of faces. A CPU task that never imports torch."""

from __future__ import annotations

import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
from simplejpeg import encode_jpeg

from cilf import schema
from cilf.card import Images
from cilf.images.decode import DecodeError
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
    faces: Literal["detect", "auto", "none"]
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


_Failure = DecodeError | FetchError | _Broken
_Outcome = Faces | _Failure


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
    outcomes: list[_Outcome] = []
    held: list[int | None] = []
    seconds: list[tuple[float, float]] = []
    sizes, guess = table["bytes"].to_pylist(), _GUESS
    try:
        while len(outcomes) < len(table):
            part = table.slice(len(outcomes), _fitting(sizes[len(outcomes) :], guess, sight.max_bytes))
            start = time.perf_counter()
            uris, told, etags = (part[name].to_pylist() for name in ("uri", "bytes", "etag"))
            answers = fetch(uris, told, sight.max_bytes, etags)
            fetching = (time.perf_counter() - start) / len(answers)
            # If nothing came, the store may be down; then each call waits until it gives up, so fewer calls are better.
            guess = max((len(answer) for answer in answers if isinstance(answer, bytes)), default=guess // 8)
            held += [size if isinstance(a, FetchError) else len(a) for a, size in zip(answers, told, strict=True)]
            for answer in answers:
                start = time.perf_counter()
                outcomes.append(answer if isinstance(answer, FetchError) else _faces(answer, sight))
                seconds.append((fetching, time.perf_counter() - start))
        # Without etags, the manifest may have the size of another version of the object; it may also have no sizes.
        table = table.set_column(
            table.column_names.index("bytes"), schema.MANIFEST.field("bytes"), pa.array(held, pa.int64())
        )
        return _fetched(table, outcomes, seconds, sight.thumbnails)
    except Exception:
        broken = _Broken(traceback.format_exc())
        return _fetched(table, [broken] * len(table), [(0.0, 0.0)] * len(table), sight.thumbnails)


def _fitting(sizes: list[int | None], guess: int, max_bytes: int) -> int:
    """The number of the next objects, at least one, that fit into memory together; `guess` replaces unknown sizes."""
    held = 0
    for row, size in enumerate(sizes):
        held += min(guess if size is None else size, max_bytes)
        if row and held > _BYTES_AT_ONCE:
            return row
    return len(sizes)


def _faces(data: bytes, sight: Sight) -> Faces | DecodeError:
    try:
        if sight.faces == "none":
            return whole_unless_blank(data, sight.images, sight.max_pixels)
        cut_out = find if sight.faces == "detect" else whole_or_found
        return cut_out(data, sight.images, sight.max_pixels)
    except DecodeError as error:
        return error


def _fetched(
    table: pa.Table, outcomes: Sequence[_Outcome], seconds: list[tuple[float, float]], thumbnails: bool
) -> pa.Table:
    wanted = schema.extend(schema.FETCHED, schema.carried(table.schema))
    images = [outcome if isinstance(outcome, Faces) else None for outcome in outcomes]
    crops = [image.crops_NHWC if image else np.empty(0, np.uint8) for image in images]
    columns = {
        "status": [_status(outcome) for outcome in outcomes],
        "reason": [_reason(outcome) for outcome in outcomes],
        "width": [image.width if image else None for image in images],
        "height": [image.height if image else None for image in images],
        "face_count": [image.found if image else None for image in images],
        "boxes": [_boxes(image) if image else [] for image in images],
        "crops": _binary(crops),
        "fetch_s": [fetching for fetching, _ in seconds],
        "decode_s": [decoding for _, decoding in seconds],
    }
    arrays = [
        pa.array(columns[field.name], field.type) if field.name in columns else table[field.name] for field in wanted
    ]
    out = pa.table(arrays, schema=wanted)
    if thumbnails:
        files = [[_thumbnail(crop) for crop in image.crops_NHWC] if image else [] for image in images]
        out = out.append_column(schema.THUMBNAILS, pa.array(files, schema.THUMBNAILS.type))
    return out


def _thumbnail(crop_HWC: np.ndarray) -> bytes:
    """A JPEG file of the face, without the channels of the body."""
    return encode_jpeg(np.ascontiguousarray(crop_HWC[..., :3]), quality=85)


def _status(outcome: _Outcome) -> str:
    if isinstance(outcome, Faces):
        return "ok" if outcome.found else "no_face"
    return outcome.status


def _reason(outcome: _Outcome) -> str | None:
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
