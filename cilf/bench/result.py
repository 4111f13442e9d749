"""What `cilf bench label` has found out, and what follows from it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from cilf.bench.machine import Machine
from cilf.bench.model import Model
from cilf.bench.objects import Kind
from cilf.bench.pipeline import Pipeline


@dataclass(frozen=True)
class Objects:
    """What was labelled."""

    kind: Kind
    few: int
    many: int
    """Objects of the smaller and the larger runs."""
    mean_bytes: float
    latency_ms: float | None
    """Of the store; None for local files."""


@dataclass(frozen=True)
class Result:
    """One bench. None: not asked for."""

    machine: Machine
    objects: Objects
    model_name: str
    repeats: int
    """Measurements of each thing; figures are medians."""
    price: float | None
    """Of this machine per hour."""
    fetch_images_per_s: float | None = None
    decode_images_per_s: float | None = None
    model: Model | None = None
    pipeline: Pipeline | None = None

    @property
    def limit_images_per_s(self) -> float | None:
        """Decoding and the model share the cores; beside a GPU the slower one decides."""
        if self.decode_images_per_s is None or self.model is None:
            return None
        if self.machine.gpus:
            return min(self.decode_images_per_s, self.model.images_per_s)
        return 1 / (1 / self.decode_images_per_s + 1 / self.model.images_per_s)

    @property
    def share_of_limit(self) -> float | None:
        """What of it the whole pipeline reaches."""
        limit = self.limit_images_per_s
        return self.pipeline.cost.images_per_s / limit if self.pipeline and limit else None

    @property
    def cost_per_million(self) -> float | None:
        """Of images, in the currency of `price`, without the fixed cost of a run."""
        if self.price is None or self.pipeline is None:
            return None
        return self.price / 3600 / self.pipeline.cost.images_per_s * 1e6

    def record(self) -> dict[str, Any]:
        """As it is written: JSON types only."""
        return {
            **asdict(self),
            "limit_images_per_s": self.limit_images_per_s,
            "share_of_limit": self.share_of_limit,
            "cost_per_million": self.cost_per_million,
        }
