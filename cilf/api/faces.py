"""`cilf.ages`: the faces of one photograph."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import pyarrow as pa
from PIL import Image

from cilf.api.in_process import InProcess
from cilf.card import CARD_FILE, WEIGHTS_FILE, read_card
from cilf.config import DEFAULT_MODEL, FaceMode
from cilf.errors import PhotographError, UsageError
from cilf.images.decode import DecodeError
from cilf.images.decoded import pixels
from cilf.storage import locate, model_folder
from cilf.urls import split

if TYPE_CHECKING:
    from cilf.estimator import Estimator

Photograph: TypeAlias = "str | os.PathLike[str] | bytes | Image.Image | np.ndarray"
"""A path or URL, an encoded file, a Pillow image, or uint8 [H, W, 3] in RGB."""


@dataclass(frozen=True)
class Face:
    """A face and the model's estimates for it: the fields of a struct in the column `faces` of the labels."""

    left: float
    top: float
    right: float
    bottom: float
    """Bounding box, pixels of the upright photograph."""
    detection: float
    """Score of the detection, 0..1."""
    age: float
    """Estimate, years."""
    age_low: float
    age_high: float
    """Calibrated 90 % interval, years."""
    first_age: float
    """Estimate before correction, years."""
    expected_error: float
    """Expected error of the estimate, years."""
    corrections: int
    """1 if a second network was asked too, else 0."""
    accepted: bool
    """Whether the expected error is small enough and the face is like those that the model was calibrated on."""

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom, pixels of the upright photograph."""
        return self.left, self.top, self.right, self.bottom

    @property
    def interval(self) -> tuple[float, float]:
        """The ends of the calibrated 90 % interval, years."""
        return self.age_low, self.age_high


def ages(
    photograph: Photograph, *, model: str | os.PathLike[str] = DEFAULT_MODEL, faces: FaceMode = "detect"
) -> list[Face]:
    """Estimate the ages of the faces in one photograph, in this process.

    The model is loaded at the first call and kept for the next ones.

    Args:
        photograph: a path or URL (s3://, gs://, file://), the bytes of a file, a Pillow image, or an array, uint8
            [H, W, 3] in RGB. A file gives the numbers of `cilf label`; a decoded image those of a PNG file of it.
        model: name of a bundled model, or a path or URL of a model folder.
        faces: how faces are found. detect: every face in the photograph. none: the whole image is one face. auto: an
            image whose only face fills it like a crop is used whole, any other as with detect.

    Returns:
        The faces, largest first, at most 100; an empty list if there is none.

    Raises:
        PhotographError: the photograph cannot be read.
        UsageError, ModelFolderError: the arguments are wrong, or there is no such model.
    """
    table = _labels(photograph, _in_process(_estimator(os.fspath(model)), faces))
    (row,) = table.to_pylist()
    if row["status"] not in ("ok", "no_face"):
        raise PhotographError(_name(photograph), row["status"], row["reason"])
    return [Face(**face) for face in row["faces"]]


def _estimator(model: str) -> Estimator:
    """The estimator of a model, loaded once for each version of its files.

    Raises:
        UsageError, ModelFolderError: there is no such model.
    """
    folder = model_folder(model)
    read_card(folder)  # which says what is missing
    return _loaded(folder, tuple((folder / name).stat().st_mtime_ns for name in (CARD_FILE, WEIGHTS_FILE)))


@lru_cache(maxsize=2)
def _loaded(folder: Path, version: tuple[int, ...]) -> Estimator:
    from cilf.estimator import Estimator  # imports torch, which a program that only names `ages` does not need

    return Estimator(folder)


@lru_cache(maxsize=4)
def _in_process(estimator: Estimator, faces: FaceMode) -> InProcess:
    return InProcess(estimator, faces)


def _labels(photograph: Photograph, here: InProcess) -> pa.Table:
    if isinstance(photograph, str | os.PathLike):
        return here.fetch([_uri(os.fspath(photograph))])
    if isinstance(photograph, bytes | bytearray | memoryview):
        return here.label([bytes(photograph)])
    if isinstance(photograph, Image.Image | np.ndarray):
        return here.label(decoded([photograph]))
    raise UsageError(
        f"a photograph must be a path, a URL, bytes, a Pillow image or a numpy array, not {type(photograph).__name__}"
    )


def decoded(images: Sequence[Image.Image | np.ndarray]) -> list[np.ndarray | DecodeError]:
    """The upright pixels of images, or why they cannot be read.

    Raises:
        UsageError: an array has another shape or type than those of images.
    """
    found: list[np.ndarray | DecodeError] = []
    for image in images:
        try:
            found.append(pixels(image))
        except DecodeError as error:
            found.append(error)
    return found


def _uri(photograph: str) -> str:
    """A photograph's URI; a path may begin with ~."""
    return locate(photograph).url if split(photograph)[0] == "file" else photograph


def _name(photograph: Photograph) -> str:
    return os.fspath(photograph) if isinstance(photograph, str | os.PathLike) else "the photograph"
