"""Estimates with known errors, faces whose brightness is their age, and an estimator that reads the brightness."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from cilf.card import Images, Model
from cilf.estimator import Estimates


@pytest.fixture(scope="session")
def estimates_with() -> Callable[..., Estimates]:
    """Estimates of ages [N] with given errors [N]; by default, intervals are ±8 years and all rows are accepted."""

    def make(ages_N: np.ndarray, errors_N: np.ndarray, **columns: np.ndarray) -> Estimates:
        age_N = (ages_N + errors_N).astype(np.float32)
        given: dict[str, Any] = {
            "age": age_N,
            "age_low": age_N - 8,
            "age_high": age_N + 8,
            "first_age": age_N + 1,
            "expected_error": np.abs(errors_N).astype(np.float32),
            "corrections": np.zeros(len(ages_N), np.int32),
            "accepted": np.ones(len(ages_N), bool),
        }
        return Estimates(**given | columns)

    return make


@pytest.fixture(scope="session")
def encoded() -> Callable[[float], bytes]:
    """A plain grey square as a PNG, whose level is the age, 0..255."""

    def encode(age: float) -> bytes:
        buffer = io.BytesIO()
        Image.new("RGB", (8, 8), (int(age),) * 3).save(buffer, "PNG")
        return buffer.getvalue()

    return encode


@pytest.fixture
def face_file(tmp_path: Path, encoded: Callable[[float], bytes]) -> Callable[..., Path]:
    """A Parquet file of faces of given ages, all of split=val; keyword arguments add or replace columns."""

    def write(ages: list[float], name: str = "faces.parquet", row_group_size: int = 50, **columns: Any) -> Path:
        made = {
            "id": [f"face-{row}" for row in range(len(ages))],
            "age": ages,
            "image": [encoded(age) for age in ages],
            "split": ["val"] * len(ages),
        }
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        table = pa.table({key: value for key, value in (made | columns).items() if value is not None})
        pq.write_table(table, path, row_group_size=row_group_size)
        return path

    return write


class ReadsAges:
    """An estimator whose estimate is the face's brightness plus two years, and NaN for a brightness of 99."""

    images = Images(size=16)
    device = "cpu"
    card = SimpleNamespace(name="reader", model=Model())

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, images_NHWC: np.ndarray) -> Estimates:
        self.batches.append(len(images_NHWC))
        age_N = images_NHWC.mean(axis=(1, 2, 3), dtype=np.float32)
        age_N = np.where(age_N == 99, np.nan, age_N + 2)
        return Estimates(
            age=age_N,
            age_low=age_N - 3,
            age_high=age_N + 3,
            first_age=age_N + 1,
            expected_error=age_N / 20,
            corrections=(age_N > 50).astype(np.int32),
            accepted=age_N < 60,
        )


@pytest.fixture
def reader() -> ReadsAges:
    return ReadsAges()
