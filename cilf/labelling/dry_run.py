"""`cilf label --dry-run`: a sample goes through the whole pipeline but for the writing, and speaks for the rest."""

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
from cilf.labelling.runtime import block_rows, plan

SAMPLE = 1_000


@dataclass(frozen=True)
class Sample:
    """Some of the objects that there are to label."""

    rows: pa.Table
    """schema.MANIFEST and the user's own columns."""
    of: int
    """How many there are."""


def sample(tables: Iterable[pa.Table], size: int) -> Sample:
    """The rows with the smallest ids. Ids are hashes, so these are as good as drawn, and always the same."""
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


def try_out(drawn: Sample, work: Work, options: LabelOptions, cluster: Cluster, progress: Progress) -> None:
    """Label the sample; `progress` sums up."""
    import ray

    shares = plan(options, cluster)
    rows = block_rows(len(drawn.rows), pc.mean(drawn.rows["bytes"]).as_py(), max(shares.batch_sizes), options.faces)
    blocks = [drawn.rows.slice(start, rows) for start in range(0, len(drawn.rows), rows)]
    count(labelling(ray.data.from_arrow(blocks), work, options, shares, rows), progress)


def forecast(of: int, progress: Progress, nodes: int, price: float | None) -> str:
    """What the sample says about the whole, for a reader.

    Args:
        of: objects that there are to label.
        progress: of the sample.
        nodes: machines of the cluster.
        price: of one machine per hour, in any currency.
    """
    labelled = progress.counts.total()
    pace = progress.pace or labelled / progress.seconds
    seconds = progress.seconds_to_first + of / pace
    lines = [f"dry run: {labelled:,} of {of:,} objects labelled, nothing written"]
    lines += [f"  {status:<12} {objects / labelled:7.1%}" for status, objects in progress.counts.most_common()]
    lines.append(
        f"{pace:,.1f} images/s after {progress.seconds_to_first:.0f} s of start: all of it in {clock(seconds)}"
    )
    fetch, decode, model = (1000 * progress.stage_seconds[stage] / labelled for stage in ("fetch", "decode", "model"))
    lines.append(
        f"per image {fetch:.1f} ms fetching (mostly waiting), {decode:.1f} ms decoding and finding faces, "
        f"{model:.1f} ms in the model, in batches of {progress.batch_size}"
    )
    lines.append(f"so a replica of the model keeps {max(1, math.ceil(decode / max(model, 1e-9)))} core(s) decoding")
    lost = progress.total - labelled
    if lost:
        lines.append(f"{lost:,} objects lost the process that had them: they would be tried alone")
    if price is not None:
        cost = price * nodes * seconds / 3600
        lines.append(
            f"cost {cost:,.2f} on {nodes} machine(s) at {price:g} per hour, {cost / of * 1e6:,.2f} per million"
        )
    return "\n".join(lines)
