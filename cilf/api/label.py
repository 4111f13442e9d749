"""`cilf.label`: what the command `cilf label` does, from Python."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Literal, TypedDict, Unpack

from cilf.cli import options as checked
from cilf.config import FaceMode
from cilf.labelling import run_label
from cilf.labelling.summary import LabelSummary


class LabelKeywords(TypedDict, total=False):
    """The options of `cilf label`, with their meanings and defaults: see cilf.config.LabelOptions."""

    model: str | os.PathLike[str]
    faces: FaceMode
    thumbnails: bool
    include: str | Sequence[str]
    limit: int | None
    relabel: bool
    max_bytes: int
    max_pixels: int
    batch_size: int | None
    precision: Literal["float32", "bfloat16"]
    compile: bool
    actors: int | None
    max_actors: int | None
    gpus_per_actor: float
    dry_run: bool
    price: float | None
    cluster: str | None


def label(
    input: str | os.PathLike[str], output: str | os.PathLike[str], **options: Unpack[LabelKeywords]
) -> LabelSummary:
    """Label every object under `input` that has no label of this model yet, and write the labels into `output`.

    This is the command `cilf label`: an interrupted call is resumed by the same call. Progress is shown on stderr. A
    Ray that this process has started or joined is used; otherwise one is started for the call, or joined as the option
    `cluster` says.

    Args:
        input: folder, URL, manifest or packed images.
        output: folder or URL for the labels.
        **options: the options of `cilf label`, with underscores: `include="*.jpg"`, `max_pixels=50_000_000`,
            `relabel=True`. `cilf label --help` lists them.

    Returns:
        What was labelled. With `dry_run=True`, the sample and in `text` the forecast.

    Raises:
        UsageError, ModelFolderError: an argument is wrong, or the plan cannot work; nothing has been labelled.
        BusyError: another run is labelling into `output` with this model.
        JobError: the job failed; the labels written so far stay, and the same call resumes from there.
    """
    settings = {name: _plain(value) for name, value in options.items() if value is not None}
    return run_label(checked("label", [os.fspath(input), os.fspath(output)], settings, "cilf.label"))


def _plain(value: Any) -> Any:
    """An option as a configuration file has it."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value if isinstance(value, str) or not isinstance(value, Sequence) else list(value)
