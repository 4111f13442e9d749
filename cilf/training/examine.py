"""A batch of labelled photographs, each looked at once: what is learned from it, or why nothing can be."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pyarrow as pa

from cilf.card import Images, Model
from cilf.datasets.age_groups import AgeGroup, group_of_row, years
from cilf.datasets.face_rows import group_name
from cilf.datasets.known_boxes import given_boxes
from cilf.datasets.labels import OLDEST
from cilf.images.decode import DecodeError, decode
from cilf.images.faces import BoxError, known
from cilf.images.fetch import FetchError, fetch
from cilf.own_process import settle
from cilf.training.augment import MARGIN
from cilf.urls import split

YEARS = ("age", "age_low", "age_high", "age_std")
ROW = pa.schema(
    [
        ("id", pa.string()),
        ("subject", pa.string()),
        *((name, pa.float32()) for name in YEARS),
        ("image", pa.large_binary()),
        ("body", pa.large_binary()),
    ]
)
"""`age` is what is learned; `age_low` and `age_high` are of rows that had a group instead of it. `image` is the file of
a face, or where a box told which face of a photograph is meant, its crop; `body` is the crop of its body, for models
that look at bodies."""
_DEFAULT = Model()
_MAX_BYTES = 100_000_000
_MAX_PIXELS = 200_000_000


def examine(table: pa.Table, folder: str, model: Model = _DEFAULT) -> pa.Table:
    """Look at every row of a batch: ROW and `reason`, which is null where the row can be learned from.

    Args:
        table: the labels' columns that there are, and `image`, `uri` or `path`.
        folder: what relative paths are taken from.
        model: what is to learn from them.
    """
    settle()
    if "image" in table.column_names:
        answers: list[Any] = table["image"].to_pylist()
        names: list[str | None] = [None] * len(table)
    else:
        names = [_absolute(n, folder) for n in table["uri" if "uri" in table.column_names else "path"].to_pylist()]
        answers = [FetchError("missing", "there is no URI")] * len(table)
        there = {row: name for row, name in enumerate(names) if name}
        fetched = fetch(list(there.values()), [None] * len(there), _MAX_BYTES)
        for row, answer in zip(there, fetched, strict=True):
            answers[row] = answer

    def given(name: str) -> list[Any]:
        return table[name].to_pylist() if name in table.column_names else [None] * len(table)

    ages = [years(age) for age in given("age")]
    bounds = zip(ages, given("age_low"), given("age_high"), strict=True)
    groups = [group_of_row(low, high) if age is None else None for age, low, high in bounds]
    oldest = model.ages.oldest
    learned = [age if group is None else group.middle(oldest) for age, group in zip(ages, groups, strict=True)]
    given_ids = given("id") if "id" in table.column_names else names
    ids = [_named(i, answer) for i, answer in zip(given_ids, answers, strict=True)]
    reasons = [_reason(*row) for row in zip(learned, groups, answers, strict=True)]
    crops = [_Crops(a) if isinstance(a, bytes) else _Crops() for a in answers]
    for row, box in enumerate(given_boxes(table)):
        if box is not None and reasons[row] is None:
            crops[row], reasons[row] = _cut_out(answers[row], box, model.images)
    return pa.table(
        {
            "id": pa.array(ids, pa.string()),
            "subject": pa.array([group_name(who) for who in given("subject")], pa.string()),
            "age": pa.array(learned, pa.float32()),
            "age_low": pa.array([group and group.low for group in groups], pa.float32()),
            "age_high": pa.array([group and group.high for group in groups], pa.float32()),
            "age_std": pa.array([years(std) for std in given("age_std")], pa.float32()),
            "image": pa.array([crop.face for crop in crops], pa.large_binary()),
            "body": pa.array([crop.body for crop in crops], pa.large_binary()),
            "reason": pa.array(reasons, pa.string()),
        }
    )


@dataclass(frozen=True)
class _Crops:
    """Encoded."""

    face: bytes | None = None
    body: bytes | None = None


def _cut_out(data: bytes, box: Sequence[float], images: Images) -> tuple[_Crops, str | None]:
    """The face in a box of a photograph and its body, as large as augmentation wants them; or why there is none."""
    larger = images.model_copy(update={"size": round(images.size * MARGIN)})
    try:
        crop_HWC = known(data, np.array(box), larger, _MAX_PIXELS)
    except DecodeError as error:
        return _Crops(), f"{error.status}: {error.reason}"
    except BoxError as error:
        return _Crops(), str(error)
    body_HWC = crop_HWC[..., 3:]
    return _Crops(_png(crop_HWC[..., :3]), _png(body_HWC) if body_HWC.any() else None), None


def _png(crop_HWC: np.ndarray) -> bytes:
    return cv2.imencode(".png", crop_HWC[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()


def _named(row_id: Any, answer: Any) -> str:
    """A row's id; one without is named by its image, so that copies of an image share a name."""
    if row_id is not None:
        return str(row_id)
    return hashlib.blake2b(answer, digest_size=8).hexdigest() if isinstance(answer, bytes) else "a row without id"


def _absolute(name: str | None, folder: str) -> str | None:
    if not name or split(name)[0] != "file" or name.startswith(("/", "file://")):
        return name
    return f"{folder}/{name}"


def _reason(age: float | None, group: AgeGroup | None, answer: Any) -> str | None:
    if group is not None and group.problem:
        return group.problem
    if age is None or not 0 <= age <= OLDEST:
        return "no age" if age is None else f"an age of {age:g} years"
    if isinstance(answer, FetchError):
        return f"{answer.status}: {answer.reason}"
    if not answer:
        return "no image"
    try:
        decode(answer, 32, _MAX_PIXELS)
    except DecodeError as error:
        return f"{error.status}: {error.reason}"
    return None
