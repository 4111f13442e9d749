"""Synthetic people from whose faces ages can be estimated, as rows of numbers and as pictures."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from cilf.lopo.material import Material

CHANNELS, OLDEST = 8, 100


def material(people: int, photographs: int = 4, seed: int = 0) -> Material:
    """Rows of eight numbers and a score map that encode an age with an error of about three years, for four views, each
    with its mirror image."""
    random = np.random.default_rng(5)
    ages_N = random.integers(1, 70, people * photographs).astype(np.float32)
    seen_NVM = ages_N[:, None, None] + random.normal(0, 3, (len(ages_N), 4, 2))
    bumps = np.exp(-0.5 * ((seen_NVM[..., None] - np.linspace(0, 70, CHANNELS)) / 10) ** 2)
    scores = -0.5 * ((seen_NVM[..., None] - np.arange(OLDEST + 1)) / 12) ** 2
    return Material(
        x_NVMX=np.concatenate([bumps, scores], axis=3).astype(np.float32),
        ages_N=ages_N,
        subjects_N=np.repeat([f"{n:03}" for n in range(people)], photographs).astype(object),
        text_KC=random.normal(size=(OLDEST + 1, CHANNELS)).astype(np.float32),
        scale=14.0,
        youngest=0,
        oldest=OLDEST,
        seed=seed,
    )


def picture(age: float, number: int) -> bytes:
    """A plain square without a face, whose colour goes from blue to red with age."""
    noise = np.random.default_rng(number).normal(0, 4, (24, 24, 3))
    pixels = np.clip(np.array([2.5 * age, 60.0, 255 - 2.5 * age]) + noise, 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
