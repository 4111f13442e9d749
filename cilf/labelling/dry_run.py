"""`cilf label --dry-run`: run a sample through the whole pipeline except for writing, and forecast the full run."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cilf.cluster import Cluster
from cilf.config import LabelOptions
from cilf.labelling.passes import count
from cilf.labelling.pipeline import Work, labelling
from cilf.labelling.progress import Progress, clock
from cilf.labelling.runtime import FETCH_CPUS, Plan, block_rows, plan
from cilf.words import counted

SAMPLE = 1_000

_LEAST = 100
"""Fewest decoded objects that allow a forecast: the time of the first few is mostly the start of their process, and
objects that could not be decoded take next to none."""
_DECODED = ("ok", "no_face")
_ROUNDS = 4
"""Blocks that each task must have processed before the pace of the sample counts as that of steady work: the first
blocks of all tasks finish together."""


@dataclass(frozen=True)
class Sample:
    """A sample of the objects to label."""

    rows: pa.Table
    """schema.MANIFEST and the user's own columns."""
    of: int
    """Number of all objects to label."""


def sample(tables: Iterable[pa.Table], size: int) -> Sample:
    """The rows with the smallest ids. Ids are hashes, so this is a random sample, and always the same one."""
    kept: list[pa.Table] = []
    of = 0
    for table in tables:
        of += len(table)
        kept.append(table)
        if sum(map(len, kept)) > 10 * size:
            kept = [_smallest(kept, size)]
    return Sample(_smallest(kept, size), of) if of else Sample(pa.table({}), 0)


def _smallest(tables: list[pa.Table], size: int) -> pa.Table:
    together = pa.concat_tables(tables)
    return together.take(np.argsort(together["id"].to_numpy(), kind="stable")[:size])


def try_out(drawn: Sample, work: Work, options: LabelOptions, cluster: Cluster, progress: Progress) -> Plan:
    """Label the sample and add up its figures in `progress`. Returns how the stages shared the cluster."""
    import ray

    shares = plan(options, cluster)
    rows = block_rows(len(drawn.rows), pc.mean(drawn.rows["bytes"]).as_py(), max(shares.batch_sizes), options.faces)
    blocks = [drawn.rows.slice(start, rows) for start in range(0, len(drawn.rows), rows)]
    count(labelling(ray.data.from_arrow(blocks), work, options, shares, rows), progress)
    return shares


def forecast(of: int, progress: Progress, cluster: Cluster, shares: Plan, price: float | None) -> str:
    """The forecast of the full run, as a text for the user.

    Args:
        of: number of all objects to label.
        progress: figures of the sample.
        cluster, shares: the cluster that the sample ran on, and how the stages shared it.
        price: price of one machine per hour, in any currency.
    """
    labelled = progress.counts.total()
    lines = [f"dry run: {labelled:,} of {counted(of, 'object')} labelled, nothing written"]
    lines += [f"  {status:<12} {objects / labelled:7.1%}" for status, objects in progress.counts.most_common()]
    if lost := progress.total - labelled:
        lines.append(f"{counted(lost, 'object')} were in processes that died: a run would try each of them alone")
    if doubt := _doubt(progress):
        return "\n".join([*lines, doubt])
    fetch, decode, model = (progress.stage_seconds[stage] / labelled for stage in ("fetch", "decode", "model"))
    pace, start = rate(progress, cluster, shares), progress.seconds_to_first
    lines += [
        f"{pace:,.1f} images/s after {start:.0f} s to start: all objects in {clock(start + of / pace)}",
        f"per image {1000 * fetch:.1f} ms fetching (mostly waiting), {1000 * decode:.1f} ms decoding and finding "
        f"faces, {1000 * model:.1f} ms in the model, in batches of {progress.batch_size}",
    ]
    if model:
        lines.append(f"so one replica of the model keeps {max(1, math.ceil(decode / model))} core(s) busy decoding")
    if price is not None:
        whole, million = (price * cluster.nodes * (start + objects / pace) / 3600 for objects in (of, 1_000_000))
        machines = counted(cluster.nodes, "machine")
        lines.append(f"cost {whole:,.2f} on {machines} at {price:g} per hour, {million:,.2f} for a million")
    return "\n".join(lines)


def _doubt(progress: Progress) -> str:
    """Why the sample allows no forecast of the pace; empty if it does."""
    decoded = sum(progress.counts[status] for status in _DECODED)
    if not decoded:
        return "no object of the sample could be decoded: images/s, time and cost cannot be estimated"
    if decoded < _LEAST:
        return (
            f"the sample is too small to estimate images/s, time or cost: this takes at least {_LEAST} objects that "
            f"can be decoded (better 1,000), and the sample has {decoded}"
        )
    return ""


def rate(progress: Progress, cluster: Cluster, shares: Plan) -> float:
    """Objects per second of steady work.

    If the sample was long enough, its own pace. Otherwise it follows from the seconds per object of the stages, as the
    least of three rates: what the cores can decode and, without GPUs, also run through the model; what the replicas of
    the model can process; and what the fetch tasks that fit on the cores can fetch and decode.
    """
    if progress.pace and progress.blocks >= _ROUNDS * cluster.cpus / FETCH_CPUS:
        return progress.pace
    labelled = progress.counts.total()
    fetch, decode, model = (progress.stage_seconds[stage] / labelled for stage in ("fetch", "decode", "model"))
    replicas = shares.actors / max(model, 1e-9)
    computing = decode if shares.actor_gpus else decode + cluster.cpus / replicas
    waiting = FETCH_CPUS * (fetch + decode)
    return min(replicas, cluster.cpus / max(computing, waiting, 1e-9))
