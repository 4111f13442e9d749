"""Options of `cilf bench` and `cilf demo`."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from cilf.config.parameters import DEFAULT_MODEL, AtLeastOne, Positive


@Parameter(name="*")
@dataclass(frozen=True)
class BenchOptions:
    """Options of `cilf bench`."""

    what: Literal["label", "train", "mixers"] = "label"
    """The benchmark. label: this machine's limits and the whole pipeline. train: training on all cores, compared with
    a plain loop. mixers: FourierFormer mixers by number of tokens."""

    _: KW_ONLY

    output: str = "runs/bench"
    """Folder for the results."""

    model: str = DEFAULT_MODEL
    """Name of a bundled model, or a path or URL of a model folder. For `label`, and for `train`, which continues from
    it."""

    objects: Literal["crops", "snapshots", "photographs", "s3"] = "crops"
    """Objects to label. crops: 200 x 200 pixels, local files. snapshots, photographs: local files of 1 and of 12
    megapixels, in which the faces are found first. s3: crops from an S3 store on this machine that answers after
    --latency-ms. For `label`."""

    images: Annotated[int | None, Parameter(validator=Number(gte=200))] = None
    """Number of objects in the larger of two runs; the smaller has an eighth. For `train`: number of crops to learn
    from. Default: 4000, or 800 with photographs."""

    latency_ms: Annotated[float, Parameter(validator=Number(gte=0))] = 30
    """Delay of the store before each answer, milliseconds. For `label --objects s3`."""

    stage_only: Literal["fetch", "decode", "faces", "model"] | None = None
    """Measure only this stage. For `label`. Default: each of them, and the whole pipeline."""

    price: Annotated[float | None, Positive] = None
    """Cost of this machine per hour, in any currency, for the cost of a million images. For `label`."""

    repeats: Annotated[int, AtLeastOne] = 3
    """Number of measurements of each figure; the median is reported."""


@Parameter(name="*")
@dataclass(frozen=True)
class DemoOptions:
    """Options of `cilf demo`."""

    _: KW_ONLY

    folder: str = "demo"
    """Folder for the photographs, their labels and the contact sheet. It is new or empty, or was made by an earlier
    demo, whose photographs are then labelled again."""

    model: str = DEFAULT_MODEL
    """Name of a bundled model, or a path or URL of a model folder."""
