"""Photographs with and without faces, as files."""

from __future__ import annotations

from pathlib import Path

import pytest

from cilf.demo import photographs as demo


@pytest.fixture(scope="session")
def portraits() -> list[Path]:
    """Files with one face each."""
    return sorted((Path(demo.__file__).parent / "faces").glob("*.webp"))


@pytest.fixture
def files(portraits, photograph, tmp_path) -> list[Path]:
    """Two portraits, a picture without a face, a damaged file, and a file that does not exist."""
    empty, damaged = tmp_path / "empty.jpg", tmp_path / "damaged.jpg"
    empty.write_bytes(photograph(1))
    damaged.write_bytes(photograph(2)[:300])
    return [*portraits[:2], empty, damaged, tmp_path / "gone.jpg"]
