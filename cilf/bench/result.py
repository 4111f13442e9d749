"""What `cilf bench label` has found out, and what follows from it."""

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
    """What was labelled."""

    kind: Kind
    few: int
    many: int
    """Objects of the smaller and the larger runs."""
    latency_ms: float | None
    """Of the store; None for local files."""
    mean_bytes: float = 0.0


@dataclass
class Result:
    """One bench. Every list has one measurement for each round; figures are their medians. Empty: not asked for."""

    machine: Machine
    objects: Objects
    model_name: str
    price: float | None
    """Of this machine per hour."""
    fetch: list[float] = field(default_factory=list)
    decode: list[float] = field(default_factory=list)
    faces: list[float] = field(default_factory=list)
    """Images per second; of faces with the decoding that they need."""
    model: list[Model] = field(default_factory=list)
    correction: Correction | None = None
    few: list[Run] = field(default_factory=list)
    many: list[Run] = field(default_factory=list)
    """Of the whole pipeline."""

    @property
    def rounds(self) -> int:
        """Measurements of each thing."""
        return max(len(self.fetch), len(self.decode), len(self.faces), len(self.model), len(self.many))

    @property
    def model_images_per_s(self) -> float | None:
        """Of the model alone."""
        return statistics.median(model.images_per_s for model in self.model) if self.model else None

    @property
    def limit_images_per_s(self) -> float | None:
        """Decoding, or finding faces, and the model share the cores; beside a GPU the slower one decides."""
        model, before = self.model_images_per_s, self.faces or self.decode
        if not before or model is None:
            return None
        rate = statistics.median(before)
        return min(rate, model) if self.machine.gpus else 1 / (1 / rate + 1 / model)

    @property
    def cost_of_faces(self) -> float | None:
        """What finding and cutting them out adds to the time of decoding and estimating one crop, as a share of it."""
        if not self.faces or not self.decode or self.model_images_per_s is None:
            return None
        decode = 1 / statistics.median(self.decode)
        return (1 / statistics.median(self.faces) - decode) / (decode + 1 / self.model_images_per_s)

    @property
    def cost(self) -> Slope | None:
        """Of the whole pipeline, fixed and marginal.

        Raises:
            JobError: the runs are too small to tell.
        """
        if not self.many:
            return None
        few, many = ([run.seconds for run in runs] for runs in (self.few, self.many))
        return slope(self.objects.few, self.objects.many, few, many)

    @property
    def middle(self) -> Run | None:
        """The larger run that stands in the middle by seconds."""
        return sorted(self.many, key=lambda run: run.seconds)[(len(self.many) - 1) // 2] if self.many else None

    @property
    def share_of_limit(self) -> float | None:
        """What of it the whole pipeline reaches."""
        limit, cost = self.limit_images_per_s, self.cost
        return cost.images_per_s / limit if cost and limit else None

    @property
    def cost_per_million(self) -> float | None:
        """Of images, in the currency of `price`, without the fixed cost of a run."""
        if self.price is None or self.cost is None:
            return None
        return self.price / 3600 / self.cost.images_per_s * 1e6

    def record(self) -> dict[str, Any]:
        """As it is written: JSON types only."""
        return {
            **asdict(self),
            "cost": asdict(self.cost) if self.cost else None,
            "limit_images_per_s": self.limit_images_per_s,
            "share_of_limit": self.share_of_limit,
            "cost_of_faces": self.cost_of_faces,
            "cost_per_million": self.cost_per_million,
        }
