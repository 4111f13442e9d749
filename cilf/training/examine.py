"""Checks a batch of labelled photographs: each row gets what training needs from it, or the reason why it is bad."""

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
from cilf.datasets.identifiers import identifier
from cilf.datasets.known_boxes import given_boxes
from cilf.datasets.labels import OLDEST
from cilf.images.decode import DecodeError, decode
from cilf.images.faces import BoxError, NoFaceError, known, nearest_the_middle
from cilf.images.fetch import FetchError, fetch
from cilf.own_process import prepare
from cilf.training.augment import MARGIN
from cilf.training.captions import caption
from cilf.training.raw import YEARS
from cilf.training.recipe import Words

ROW = pa.schema(
    [
        ("id", pa.string()),
        ("subject", pa.string()),
        *((name, pa.float32()) for name in YEARS),
        ("caption", pa.string()),
        ("content", pa.int64()),
        ("image", pa.large_binary()),
        ("body", pa.large_binary()),
    ]
)
"""`age_low` and `age_high` are set for rows with a group instead of an age; their `age` is the group's middle.
`caption` describes the face by its labels; null if labels are ranks. `content` is a hash of the file and the box, which
identifies the same face under another name. `image` is the file of a face or, if the row refers to one face of a
photograph, the crop of that face; `body` is the crop of its body, for models that use bodies."""
NO_FACE = "no face is found"
"""Reason for a row whose photograph shows no face, which does not indicate an error in the data."""
_DEFAULT = Model()
_NO_WORDS = Words()
_MAX_BYTES = 100_000_000
_MAX_PIXELS = 200_000_000


def examine(table: pa.Table, model: Model = _DEFAULT, find: bool = False, words: Words = _NO_WORDS) -> pa.Table:
    """Check every row of a batch -> ROW and `reason`, which is null if the row can be used for training.

    Args:
        table: cilf.training.raw.RAW, or some of its columns.
        model: the model to be trained.
        find: True if images are photographs in which the faces must be detected.
        words: words for captions.
    """
    prepare()

    def given(name: str) -> list[Any]:
        return table[name].to_pylist() if name in table.column_names else [None] * len(table)

    names, answers = given("uri"), _encoded(given("image"), given("uri"))
    ages = [years(age) for age in given("age")]
    bounds = zip(ages, given("age_low"), given("age_high"), strict=True)
    groups = [group_of_row(low, high) if age is None else None for age, low, high in bounds]
    oldest = model.ages.oldest
    learned = [age if group is None else group.middle(oldest) for age, group in zip(ages, groups, strict=True)]
    ids = [_named(*row) for row in zip(given("id"), names, answers, strict=True)]
    reasons = [wrong or _reason(*row) for wrong, *row in zip(given("wrong"), learned, groups, answers, strict=True)]
    crops = [_Crops(a) if isinstance(a, bytes) else _Crops() for a in answers]
    boxes = given_boxes(table)
    nouns, adjectives = map(words.gender.get, given("gender")), map(words.race.get, given("race"))
    known_of = list(zip(ages, groups, nouns, adjectives, strict=True))
    for row, box in enumerate(boxes):
        if reasons[row] is None and (find or box is not None):
            crops[row], reasons[row] = _cut_out(answers[row], box, model.images)
    return pa.table(
        {
            "id": pa.array(ids, pa.string()),
            "subject": pa.array([identifier(who) for who in given("subject")], pa.string()),
            "age": pa.array(learned, pa.float32()),
            "age_low": pa.array([group and group.low for group in groups], pa.float32()),
            "age_high": pa.array([group and group.high for group in groups], pa.float32()),
            "age_std": pa.array([years(std) for std in given("age_std")], pa.float32()),
            "caption": pa.array([_caption(model, *row) for row in known_of], pa.string()),
            "content": pa.array(map(_content, answers, boxes), pa.int64()),
            "image": pa.array([crop.face for crop in crops], pa.large_binary()),
            "body": pa.array([crop.body for crop in crops], pa.large_binary()),
            "reason": pa.array(reasons, pa.string()),
        }
    )


@dataclass(frozen=True)
class _Crops:
    """Encoded crops of one row."""

    face: bytes | None = None
    body: bytes | None = None


def _cut_out(data: bytes, box: Sequence[float] | None, images: Images) -> tuple[_Crops, str | None]:
    """Crop the face in a box of a photograph and its body, at the size that augmentation needs; or return the reason
    why there is none. Without a box, the face nearest to the middle is taken."""
    larger = images.model_copy(update={"size": round(images.size * MARGIN)})
    try:
        if box is None:
            crop_HWC = nearest_the_middle(data, larger, _MAX_PIXELS)
        else:
            crop_HWC = known(data, np.array(box), larger, _MAX_PIXELS)
    except DecodeError as error:
        return _Crops(), f"{error.status}: {error.reason}"
    except BoxError as error:
        return _Crops(), str(error)
    except NoFaceError:
        return _Crops(), NO_FACE
    body_HWC = crop_HWC[..., 3:]
    return _Crops(_png(crop_HWC[..., :3]), _png(body_HWC) if body_HWC.any() else None), None


def _png(crop_HWC: np.ndarray) -> bytes:
    return cv2.imencode(".png", crop_HWC[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()


def _caption(model: Model, age: float | None, group: AgeGroup | None, *words: str | None) -> str | None:
    nothing = (age is None and group is None) or model.ages.names is not None
    return None if nothing else caption(age, group, *words)


def _encoded(images: list[bytes | None], names: list[str | None]) -> list[Any]:
    """The encoded file of each image, or the error; images that a row does not contain are fetched by URI."""
    there = {row: name for row, name in enumerate(names) if name and images[row] is None}
    fetched = fetch(list(there.values()), [None] * len(there), _MAX_BYTES)
    found = dict(zip(there, fetched, strict=True))
    return [found.get(row, image) for row, image in enumerate(images)]


def _named(row_id: Any, name: str | None, answer: Any) -> str:
    """A row's id; without one, its URI or a hash of its image, so that copies of an image share a name."""
    if (given := identifier(row_id) or name) is not None:
        return given
    return hashlib.blake2b(answer, digest_size=8).hexdigest() if isinstance(answer, bytes) else "a row without id"


def _content(answer: Any, box: Sequence[float] | None) -> int | None:
    if not isinstance(answer, bytes):
        return None
    digest = hashlib.blake2b(answer, digest_size=8)
    if box is not None:
        digest.update(np.array(box, np.float32).tobytes())
    return int.from_bytes(digest.digest(), "little", signed=True)


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
