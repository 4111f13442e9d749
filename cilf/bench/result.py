"""Measurements of `cilf bench label`, and the figures derived from them."""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass, field
from typing import Any

from cilf.bench.correction import Correction
from cilf.bench.machine import Machine
from cilf.bench.model import Model
from cilf.bench.objects import Kind
from cilf.bench.pipeline import Run
from cilf.bench.timing import Slope, slope


@dataclass
class Objects:
    """The labelled objects."""

    kind: Kind
    few: int
    many: int
    """Number of objects in the larger runs; `few` in the smaller runs."""
    latency_ms: float | None
    """Latency of the store; None for local files."""
    mean_bytes: float = 0.0


@dataclass
class Result:
    """Result of one bench. A list has one measurement per round, and figures are medians; a list is empty if its stage
    was not measured."""

    machine: Machine
    objects: Objects
    model_name: str
    price: float | None
    """Price of this machine per hour."""
    fetch: list[float] = field(default_factory=list)
    decode: list[float] = field(default_factory=list)
    faces: list[float] = field(default_factory=list)
    """Images per second of finding faces, decoding included; `fetch` and `decode` are images per second too."""
    model: list[Model] = field(default_factory=list)
    correction: Correction | None = None
    few: list[Run] = field(default_factory=list)
    many: list[Run] = field(default_factory=list)
    """Larger runs of the whole pipeline; `few` are the smaller ones."""

    @property
    def rounds(self) -> int:
        """Number of measurements of each stage."""
        return max(len(self.fetch), len(self.decode), len(self.faces), len(self.model), len(self.many))

    @property
    def model_images_per_s(self) -> float | None:
        """Images per second of the model alone."""
        return statistics.median(model.images_per_s for model in self.model) if self.model else None

    @property
    def limit_images_per_s(self) -> float | None:
        """Upper limit of the pipeline. Without a GPU, decoding (or finding faces) and the model share the cores; with a
        GPU, the slower of the two is the limit."""
        model, before = self.model_images_per_s, self.faces or self.decode
        if not before or model is None:
            return None
        rate = statistics.median(before)
        return min(rate, model) if self.machine.gpus else 1 / (1 / rate + 1 / model)

    @property
    def cost_of_faces(self) -> float | None:
        """Time for finding and cropping faces, as a share of the time for decoding and estimating one crop."""
        if not self.faces or not self.decode or self.model_images_per_s is None:
            return None
        decode = 1 / statistics.median(self.decode)
        return (1 / statistics.median(self.faces) - decode) / (decode + 1 / self.model_images_per_s)

    @property
    def cost(self) -> Slope | None:
        """Fixed and marginal cost of the whole pipeline.

        Raises:
            JobError: the runs are too small for a result.
        """
        if not self.many:
            return None
        few, many = ([run.seconds for run in runs] for runs in (self.few, self.many))
        return slope(self.objects.few, self.objects.many, few, many)

    @property
    def middle(self) -> Run | None:
        """The larger run with the median duration."""
        return sorted(self.many, key=lambda run: run.seconds)[(len(self.many) - 1) // 2] if self.many else None

    @property
    def share_of_limit(self) -> float | None:
        """Speed of the whole pipeline as a share of the limit."""
        limit, cost = self.limit_images_per_s, self.cost
        return cost.images_per_s / limit if cost and limit else None

    @property
    def cost_per_million(self) -> float | None:
        """Cost of a million images, in the currency of `price`, without the fixed cost of a run."""
        if self.price is None or self.cost is None:
            return None
        return self.price / 3600 / self.cost.images_per_s * 1e6

    def record(self) -> dict[str, Any]:
        """Contents of the JSON file, in JSON types only."""
        return {
            **asdict(self),
            "cost": asdict(self.cost) if self.cost else None,
            "limit_images_per_s": self.limit_images_per_s,
            "share_of_limit": self.share_of_limit,
            "cost_of_faces": self.cost_of_faces,
            "cost_per_million": self.cost_per_million,
        }
