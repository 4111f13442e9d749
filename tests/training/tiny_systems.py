"""Every published system as in its file in configs/models, but small."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from tiny_training import RECIPE

from cilf.training.recipe import Recipe, changed

MODELS = Path(__file__).parents[2] / "configs" / "models"
NAMES = sorted(path.stem for path in MODELS.glob("*.yaml"))

ARCHITECTURE = {
    "embed_dim": 32,
    "vision_cfg": {"layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 32, "vocab_size": 49408, "width": 32, "heads": 4, "layers": 1},
}
SMALLER = {
    "mivolo": {"layers": [1, 1, 1, 1], "widths": [8, 16], "heads": [2, 2]},
    "mivolo-body": {"layers": [1, 1, 1, 1], "widths": [8, 16], "heads": [2, 2]},
    "swinface": {"width": 32, "dropout": 0.0},
    "l2rclip": {"heads": 4},
}


def tiny(name: str) -> Recipe:
    """A recipe for the system as in its file in configs/models, with everything small."""
    system = yaml.safe_load((MODELS / f"{name}.yaml").read_text())
    small: dict[str, Any] = {"model": {"clip": {"architecture": ARCHITECTURE}, "images": {"size": 32}}}
    if name in SMALLER:
        small["model"]["system"] = SMALLER[name]
    raw = {**RECIPE, "data": {"path": "p"}, "epochs": 5}
    return Recipe.model_validate(changed(changed(raw, system), small))
