"""Faces that a tiny model learns in seconds, a recipe for it, and a reader for its metrics."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import torch
from PIL import Image

RECIPE: dict[str, Any] = {
    "name": "tiny",
    "summary": "for tests",
    "licence": "none",
    "model": {
        "clip": {
            "architecture": {
                "embed_dim": 32,
                "vision_cfg": {"layers": 1, "width": 32, "head_width": 16, "patch_size": 8},
                "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
            }
        },
        "images": {"size": 32},
        "fourier": {"depth": 1, "drop_path": 0.0},
        "dropout": 0.0,
    },
    "train_text": True,
    "epochs": 4,
    "batch_size": 32,
    "learning_rate": 0.003,
    "image_rate": 1.0,
    "ema": 0.9,
    "held_out": 0.4,
}


def face(age: float, number: int) -> bytes:
    """A plain square that turns from blue to red with age, so that any augmentation leaves the age visible."""
    noise = np.random.default_rng(number).normal(0, 4, (24, 24, 3))
    red = 255 * age / 100
    pixels = np.clip(np.array([red, 60.0, 255 - red]) + noise, 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def labelled(count: int) -> list[dict[str, Any]]:
    """Rows with id, age, image and split."""
    ages = np.random.default_rng(0).integers(1, 90, count)
    return [
        {
            "id": f"face-{number}",
            "age": int(age),
            "image": face(age, number),
            "split": "val" if number % 10 == 0 else "train",
        }
        for number, age in enumerate(ages)
    ]


def labelled_batch(image_BVHWC: torch.Tensor, ages_B: torch.Tensor) -> dict[str, torch.Tensor]:
    """A batch of exact ages without captions, as from cilf.training.epochs.Views."""
    captions_B = torch.full_like(ages_B, -1, dtype=torch.int64)
    known = {"age": ages_B, "low": ages_B, "high": ages_B, "weight": torch.ones_like(ages_B), "caption": captions_B}
    return {"image": image_BVHWC, **known}


def metrics(text: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """metrics.jsonl -> its steps and its epochs."""
    lines = [json.loads(line) for line in text.splitlines()]
    return [line for line in lines if "loss" in line], [line for line in lines if "epoch" in line]
