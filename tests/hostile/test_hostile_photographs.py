"""Photographs that are hard for face detection: one row each, and bounded memory."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data
from test_hostile_files import manifest

from cilf.card import Images
from cilf.config import LabelOptions
from cilf.labelling.fetch_stage import Sight, fetch_decode

SIGHT = Sight(
    Images(size=144),
    faces="detect",
    thumbnails=True,
    max_bytes=LabelOptions.max_bytes,
    max_pixels=LabelOptions.max_pixels,
)


def crowd(rows: int, columns: int) -> Image.Image:
    """A photograph of so many faces, 40 pixels each."""
    face = Image.fromarray(data.astronaut()).crop((130, 20, 310, 230)).resize((72, 84), Image.Resampling.LANCZOS)
    return Image.fromarray(np.tile(np.asarray(face), (rows, columns, 1)))


def huge() -> Image.Image:
    """A photograph of 100 megapixels with one face."""
    image = Image.new("RGB", (12_500, 8_000), (90, 120, 160))
    image.paste(Image.fromarray(data.astronaut()).resize((2000, 2000)), (5000, 3000))
    return image


PHOTOGRAPHS = {
    "point.png": (lambda: Image.new("RGB", (1, 1)), "no_face"),
    "strip.jpg": (lambda: Image.new("RGB", (6000, 60)), "no_face"),
    "black.jpg": (lambda: Image.new("RGB", (1200, 900)), "no_face"),
    "noise.jpg": (lambda: Image.effect_noise((1200, 900), 90).convert("RGB"), "no_face"),
    "crowd.jpg": (lambda: crowd(25, 24), "ok"),
    "multitude.jpg": (lambda: crowd(72, 70), "ok"),
    "huge.jpg": (huge, "ok"),
    "huge.png": (huge, "ok"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    made = tmp_path_factory.mktemp("photographs")
    for name, (make, _) in PHOTOGRAPHS.items():
        make().save(made / name, **({"quality": 90} if name.endswith("jpg") else {"compress_level": 1}))
    return made


def test_each_is_a_row(folder):
    table = fetch_decode(manifest([f"{folder}/{name}" for name in PHOTOGRAPHS], [None] * len(PHOTOGRAPHS)), SIGHT)
    rows = dict(zip(PHOTOGRAPHS, table.to_pylist(), strict=True))
    assert {name: row["status"] for name, row in rows.items()} == {n: status for n, (_, status) in PHOTOGRAPHS.items()}
    assert rows["crowd.jpg"]["face_count"] > 500
    assert len(rows["crowd.jpg"]["boxes"]) == len(rows["crowd.jpg"]["thumbnails"]) == 100
    for name in ("huge.jpg", "huge.png"):
        assert rows[name]["face_count"] == 1
        (box,) = rows[name]["boxes"]
        assert 5000 < box["left"] < box["right"] < 7000
    with Image.open(io.BytesIO(rows["huge.jpg"]["thumbnails"][0])) as crop:
        assert np.asarray(crop).std() > 30, "the face itself, not a blur or the sky"


@pytest.mark.parametrize("name", ["multitude.jpg", "huge.jpg", "huge.png"])
def test_memory_is_bounded(folder, name):
    """Measured in a process of its own, so that the peak is that of this file."""
    code = f"""
from pathlib import Path
from cilf.card import Images
from cilf.images.faces import find
find(Path({str(folder / name)!r}).read_bytes(), Images(size=144), {LabelOptions.max_pixels})
(peak,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(peak.split()[1])
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(said.stdout) < 1_000_000, "kilobytes"
