"""The demo's photographs: people of all ages, one portrait in several formats and edits, and other files."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image, ImageFilter, ImageOps
from skimage import data

_FACES = Path(__file__).parent / "faces"

PEOPLE, PORTRAIT, OTHERS = "people", "portrait", "others"
"""Folders of the photographs."""

FORMATS = ("portrait.png", "portrait.jpg", "portrait.webp", "portrait.avif")
"""The portrait as it is, saved in several formats."""


@dataclass(frozen=True)
class Known:
    """Known range of somebody's age, in years."""

    low: int
    high: int | None
    """None: no upper end."""

    def __str__(self) -> str:
        return f"{self.low} or more" if self.high is None else f"{self.low} to {self.high}"


ASTRONAUT = Known(34, 49)
"""Eileen Collins, born in November 1956, was an astronaut from July 1991 to May 2006; the day of her portrait is not
known."""


def known(photograph: Path) -> Known | None:
    """Known age range of the person in one of the demo's photographs; None for all other photographs."""
    if photograph.parent.name == PORTRAIT:
        return ASTRONAUT
    return people().get(photograph.name) if photograph.parent.name == PEOPLE else None


def people() -> dict[str, Known]:
    """The age group of each photograph in the folder `faces`, in the order of their ages."""
    with (_FACES / "faces.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {row["file"]: Known(int(row["age_low"]), int(row["age_high"]) if row["age_high"] else None) for row in rows}


def make(folder: Path) -> None:
    """Write all photographs into `folder`. Files that exist already stay as they are."""
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".making-", dir=folder.parent) as unfinished:
        draw(Path(unfinished))
        for file in sorted(each for each in Path(unfinished).rglob("*") if each.is_file()):
            place = folder / file.relative_to(unfinished)
            place.parent.mkdir(exist_ok=True)
            if not place.exists():
                file.rename(place)


def draw(folder: Path) -> None:
    """Write all photographs into an empty folder."""
    for name in (PEOPLE, PORTRAIT, OTHERS):
        (folder / name).mkdir()
    for name in people():
        (folder / PEOPLE / name).write_bytes((_FACES / name).read_bytes())
    portrait = Image.fromarray(data.astronaut())
    _portrait(portrait, folder / PORTRAIT)
    _others(portrait, folder / OTHERS)


def _portrait(picture: Image.Image, folder: Path) -> None:
    for name in FORMATS:
        picture.save(folder / name, **_QUALITY.get(Path(name).suffix, {}))
    for name, change in _CHANGES.items():
        change(picture).save(folder / f"{name}.jpg", quality=92)
    sideways = Image.Exif()
    sideways[0x0112] = 6  # the pixels are turned to the left; a viewer turns them upright
    picture.transpose(Image.Transpose.ROTATE_90).save(folder / "turned-by-exif.jpg", exif=sideways, quality=92)


_QUALITY: dict[str, dict[str, Any]] = {
    ".jpg": {"quality": 92},
    ".webp": {"quality": 85},
    ".avif": {"quality": 75, "speed": 8, "max_threads": 1},
}


def _others(portrait: Image.Image, folder: Path) -> None:
    _album(portrait).save(folder / "album.jpg", quality=92)
    for name, picture in (("cat.jpg", data.chelsea()), ("coffee.jpg", data.coffee())):
        Image.fromarray(picture).save(folder / name, quality=92)
    whole = (folder / "album.jpg").read_bytes()
    (folder / "broken.jpg").write_bytes(whole[: len(whole) // 3])
    (folder / "not-an-image.jpg").write_text("this is text with a photograph's name")


def _in_the_dark(portrait: Image.Image) -> Image.Image:
    """An eighth of the light, with the noise of a sensor at high gain."""
    noise = np.random.default_rng(0).normal(0, 8, (portrait.height, portrait.width, 3))
    return Image.fromarray(np.clip(np.asarray(portrait) / 8 + noise, 0, 255).astype(np.uint8))


def _album(portrait: Image.Image) -> Image.Image:
    """Prints of several sizes, three of them mirrored and two askew, on a dark page."""
    page = Image.new("RGB", (1200, 900), (58, 52, 46))
    for side, left, top, degrees, mirrored in (
        (420, 60, 60, 0, False),
        (300, 560, 90, 12, True),
        (220, 900, 60, 0, False),
        (260, 620, 500, -15, False),
        (150, 960, 560, 0, True),
        (320, 160, 530, 0, True),
    ):
        picture = portrait.resize((side, side), Image.Resampling.LANCZOS)
        picture = ImageOps.expand(ImageOps.mirror(picture) if mirrored else picture, side // 25, "white")
        askew = picture.convert("RGBA").rotate(degrees, Image.Resampling.BICUBIC, expand=True)
        page.paste(askew, (left, top), askew)
    return page


_CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "grey": lambda portrait: portrait.convert("L"),
    "at-night": lambda portrait: portrait.point(lambda level: level // 4),
    "in-the-dark": _in_the_dark,
    "far-away": lambda portrait: portrait.resize((128, 128), Image.Resampling.LANCZOS),
    "out-of-focus": lambda portrait: portrait.filter(ImageFilter.GaussianBlur(6)),
}
