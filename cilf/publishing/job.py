"""`cilf publish` from its options to its exit code: take the leases on the labels, compare, commit."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Protocol

from cilf.config import PublishOptions
from cilf.errors import UsageError
from cilf.labelling.compaction import recover
from cilf.labelling.lease import Lease, check_lease
from cilf.labelling.progress import Progress
from cilf.manifest.failures import told
from cilf.provenance import new_run_id
from cilf.publishing.labels import Labels
from cilf.storage import CHECKING, check_output, files, folders, locate


class Mirror(Protocol):
    """A table that should equal the labels; see cilf.publishing.iceberg."""

    def compare(self, labels: Labels) -> int: ...

    def commit(self, labels: Labels, may_commit: Callable[[], None]) -> str: ...


def run(options: PublishOptions) -> int:
    """See cilf.publishing.publish."""
    output = locate(options.output, CHECKING)
    with told("cannot read OUTPUT", output):
        models = [model for model in folders(output / "labels") if files(model, ".parquet")]
    if not models:
        raise UsageError(f"there are no labels under {output.url}: nothing to publish")
    check_output(output)
    mirror = _mirror(options, output.url)
    name = new_run_id()
    leases = [output / "leases" / f"{model.path.rpartition('model=')[2]}.json" for model in models]
    with ExitStack() as held:
        for model, lease in zip(models, leases, strict=True):
            held.enter_context(Lease(lease, name, Progress().say))
            recover(model)
        labels = Labels(models)
        gone = mirror.compare(labels)
        new = labels.unclaimed
        if not gone and not new:
            print(f"nothing new: {options.table} already has these {len(labels):,} rows")
            return 0

        def may_commit() -> None:
            for lease in leases:
                check_lease(lease, name)

        state = mirror.commit(labels, may_commit)
    print(f"published {new:,} rows and removed {gone:,}: {options.table} has {len(labels):,} rows as of {state}")
    return 0


def _mirror(options: PublishOptions, output: str) -> Mirror:
    try:
        if options.format == "delta":
            from cilf.publishing.delta import DeltaMirror

            return DeltaMirror(options.table, output)
        from cilf.publishing.iceberg import IcebergMirror

        return IcebergMirror(options.table, options.catalog, output)
    except ImportError as error:
        raise UsageError(f"publishing needs further packages ({error}): pip install 'cilf[publish]'") from error
