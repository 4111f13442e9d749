"""Corpora that the bench generates and labels: local files or objects in a store with latency, in two sizes."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image
from skimage import data

from cilf.bench.latent_store import serving
from cilf.images.crop import Square, cut

Kind = Literal["crops", "snapshots", "photographs", "s3"]

_BUCKET = "bench"
_SAMPLE_OBJECTS, _SAMPLE_BYTES = 512, 64_000_000  # limits of the sample for measuring decoding and the model alone
_DISTINCT = 8
_SIZES: dict[Kind, tuple[int, int]] = {"snapshots": (1152, 864), "photographs": (4032, 3024)}
_FACE = (224.8, 123.5, 102.8, 0.068)  # the astronaut's face, framed like a crop: centre and side in pixels, radians
_SHARPNESS = 0.3  # periods per pixel at which a lens transmits a third; results in files of 2 to 3 MB


@dataclass(frozen=True)
class Corpus:
    """Files of one kind in two folders: `many` has all of them, `few` the first ones."""

    kind: Kind
    folder: Path
    """Local folder that contains the folders `few` and `many`."""
    few_count: int
    many_count: int
    place: str
    """Folder or URL where a job finds `few` and `many`."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Environment variables that a process needs to read `place`."""

    @property
    def faces(self) -> Literal["detect", "none"]:
        """Value of `--faces` to label the files with."""
        return "detect" if self.kind in _SIZES else "none"

    @property
    def few(self) -> str:
        return f"{self.place}/few"

    @property
    def many(self) -> str:
        return f"{self.place}/many"

    def uris(self, size: Literal["few", "many"]) -> list[str]:
        """Paths or URLs of the objects that a job labels, ordered by name."""
        return [f"{self.place}/{size}/{path.name}" for path in sorted((self.folder / size).iterdir())]

    def sample(self) -> list[Path]:
        """The first local files, enough to measure a stage."""
        first = sorted((self.folder / "many").iterdir())
        each = max(1, first[0].stat().st_size)
        return list(islice(first, max(_DISTINCT, min(_SAMPLE_OBJECTS, _SAMPLE_BYTES // each))))


@contextmanager
def corpus(kind: Kind, folder: Path, few: int, many: int, latency_ms: float) -> Iterator[Corpus]:
    """Make a corpus below `folder`; if `kind` is s3, serve it over S3 while the context lasts.

    Args:
        kind: crops: 200 x 200 pixels. snapshots, photographs: portraits of 1 and of 12 megapixels. s3: crops that an
            S3 store serves.
        folder: an empty folder, or one that does not exist.
        few, many: number of objects.
        latency_ms: delay of the store before each response.
    """
    for name in ("few", "many"):
        (folder / name).mkdir(parents=True)
    files = photographs(many, *_SIZES[kind]) if kind in _SIZES else crops(many)
    originals: dict[int, Path] = {}
    for number, (original, encoded) in enumerate(files):
        path = folder / "many" / f"{number:06d}.jpg"
        if original in originals:
            path.hardlink_to(originals[original])
        else:
            path.write_bytes(encoded)
            originals[original] = path
        if number < few:
            (folder / "few" / path.name).hardlink_to(path)
    if kind != "s3":
        yield Corpus(kind, folder, few, many, str(folder))
        return
    with serving(folder, _BUCKET, latency_ms) as endpoint:
        environment = {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ACCESS_KEY_ID": "bench",
            "AWS_SECRET_ACCESS_KEY": "bench",
            "AWS_DEFAULT_REGION": "us-east-1",
            # A profile of the user would take precedence over the keys, and select another store.
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }
        yield Corpus(kind, folder, few, many, f"s3://{_BUCKET}", environment)


def crops(count: int) -> Iterator[tuple[int, bytes]]:
    """Crops of the face in a real portrait, 200 x 200 pixels, each with slightly different framing and light, as pairs
    of (number, JPEG file).

    They are real faces, like those in training, because a model takes longer for images that are not: they get more
    second looks.
    """
    portrait = data.astronaut()
    draw = np.random.default_rng(0)
    for number in range(count):
        right, down, larger, turn, light = draw.uniform(-1, 1, 5)
        x, y, side, radians = _FACE
        seen = Square(
            x + 0.03 * right * side, y + 0.03 * down * side, (1 + 0.05 * larger) * side, radians + 0.05 * turn
        )
        lit = np.clip(cut(portrait, seen, 200) * (1 + 0.1 * light), 0, 255).astype(np.uint8)
        yield number, _jpeg(Image.fromarray(lit), quality=90)


def photographs(count: int, width: int, height: int) -> Iterator[tuple[int, bytes]]:
    """Photographs of a real portrait on a background with as much detail as natural scenes, as pairs of (number of the
    distinct photograph, JPEG file).

    Only a handful are distinct: decoding a file again takes the same time.
    """
    draw = np.random.default_rng(0)
    background = _natural(draw, width, height)
    portrait = Image.fromarray(data.astronaut())
    made: list[bytes] = []
    for number in range(min(count, _DISTINCT)):
        down, right = draw.integers(0, (height, width))
        photograph = Image.fromarray(np.roll(background, (down, right), axis=(0, 1)))
        side = int(draw.integers(height // 4, height // 2))
        place = (int(draw.integers(0, width - side)), int(draw.integers(0, height - side)))
        photograph.paste(portrait.resize((side, side), Image.Resampling.BICUBIC), place)
        made.append(_jpeg(photograph, quality=85))
        yield number, made[-1]
    for number in range(_DISTINCT, count):
        yield number % _DISTINCT, made[number % _DISTINCT]


def _natural(draw: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Background, uint8 [H, W, 3]: grey detail of all scales, and colours that change slowly."""
    grey = _falling(draw, height, width)
    red, blue = (np.kron(_falling(draw, height // 8, width // 8), np.ones((8, 8), np.float32)) for _ in range(2))
    channels = np.stack([grey + red / 4, grey - (red + blue) / 8, grey + blue / 4], axis=-1)
    return np.clip(128 + 30 * channels, 0, 255).astype(np.uint8)


def _falling(draw: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Random texture, float32 [H, W], of mean 0 and standard deviation 1, which repeats seamlessly at its edges.

    Amplitudes fall as 1/f, as in natural scenes, and the finest detail is softened, as by a lens.
    """
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :]).astype(np.float32)
    frequency *= np.exp((frequency / _SHARPNESS) ** 2)
    frequency[0, 0] = np.inf
    waves = draw.standard_normal((2, *frequency.shape), np.float32) / frequency
    detail: np.ndarray = np.fft.irfft2(waves[0] + 1j * waves[1], (height, width))
    return detail / detail.std()


def _jpeg(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
