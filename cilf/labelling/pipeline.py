"""The whole dataset graph: manifest -> fetch and decode -> model -> labels. No other module builds Ray Data stages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cilf.card import Images
from cilf.config import LabelOptions
from cilf.labelling.age_actor import AgeActor
from cilf.labelling.fetch_stage import Sight, fetch_decode
from cilf.labelling.runtime import ACTOR_RETRIES, FETCH_CPUS, LIGHT_CPUS, TASK_RETRIES, Plan
from cilf.labelling.sink import counts, write_labels
from cilf.storage import Location

if TYPE_CHECKING:
    from ray.data import Dataset


@dataclass(frozen=True)
class Work:
    """The work of one run."""

    run: str
    """Run id."""
    manifest: Location
    """Folder of Parquet shards: the objects to label."""
    labels: Location
    """Folder that the labels are written to."""
    lease: Location
    """File that says which run may write there."""
    model: str
    """Name, path or URL of the model, the same on every machine."""
    images: Images
    """The format of the model's input crops."""


def blocks(manifest: Location, block_rows: int) -> Dataset:
    """The rows of a manifest that CILF has written, at most `block_rows` per block."""
    import ray
    from pyarrow.fs import FSSpecHandler, PyFileSystem

    rows = ray.data.read_parquet(
        manifest.path,
        filesystem=PyFileSystem(FSSpecHandler(manifest.fs)),
        partitioning=None,  # `date=2024` in OUTPUT's own path is not a column.
        num_cpus=LIGHT_CPUS,
    ).repartition(target_num_rows_per_block=block_rows)
    # repartition has no argument for this. By default, each of its tasks claims a whole CPU, and as they run ahead of
    # the fetch tasks, these had almost no CPU on two cores until the whole manifest was split into blocks.
    rows._logical_plan.dag.ray_remote_args["num_cpus"] = LIGHT_CPUS  # type: ignore[attr-defined]
    return rows


def labelling(blocks: Dataset, work: Work, options: LabelOptions, plan: Plan, block_rows: int) -> Dataset:
    """The dataset whose rows are schema.COUNTS, one block for each block of labels that has been committed.

    Nothing runs until it is read. Adjacent stages ask for different CPU shares: Ray fuses stages that ask for the same
    into one process, and then fetching no longer overlaps with the model. Blocks whose process dies repeatedly are left
    out; cilf.labelling.passes deals with them.

    Args:
        blocks: schema.MANIFEST and the user's own columns, at most `block_rows` rows per block.
        work, options, plan: what to label, with which options, and how the stages share the cluster.
        block_rows: objects per block.
    """
    from ray.data import ActorPoolStrategy

    blocks.context.max_errored_blocks = -1
    # The result of a task stays one block, however large. Otherwise, Ray would split it by its bytes; and when a task
    # is retried because its process died, a photograph that was there before may be missing. Split elsewhere, rows of
    # blocks that other tasks have already taken would come twice, or not at all.
    blocks.context.target_max_block_size = None
    sight = Sight(
        images=work.images,
        faces=options.faces,
        thumbnails=options.thumbnails,
        max_bytes=options.max_bytes,
        max_pixels=options.max_pixels,
    )
    judged = blocks.map_batches(
        fetch_decode,  # type: ignore[arg-type]  # Ray types a function without its fn_kwargs
        batch_size=block_rows,
        batch_format="pyarrow",
        zero_copy_batch=True,
        fn_kwargs={"sight": sight},
        num_cpus=FETCH_CPUS,
        **TASK_RETRIES,
    ).map_batches(
        AgeActor,
        batch_size=block_rows,
        batch_format="pyarrow",
        zero_copy_batch=True,
        fn_constructor_kwargs={
            "model": work.model,
            "precision": options.precision,
            "compiled": options.compile,
            "batch_sizes": plan.batch_sizes,
            "actors_per_node": plan.actors_per_node,
        },
        compute=ActorPoolStrategy(
            min_size=plan.actors,
            max_size=plan.max_actors,
            max_concurrent_calls_per_actor=2,
            # The next batch uses the cores that one leaves idle at its end. On a GPU, two batches would take its
            # memory twice.
            enable_true_multi_threading=plan.actor_gpus is None,
        ),
        num_cpus=plan.actor_cpus,
        num_gpus=plan.actor_gpus,
        **ACTOR_RETRIES,
    )
    target = {"folder": work.labels.url, "lease": work.lease.url, "run": work.run}
    return judged.map_batches(
        counts if options.dry_run else write_labels,  # type: ignore[arg-type]
        batch_size=None,
        batch_format="pyarrow",
        zero_copy_batch=True,
        fn_kwargs={} if options.dry_run else target,
        num_cpus=LIGHT_CPUS,
        **TASK_RETRIES,
    )
