"""`cilf label` from its options to its exit code: check the plan, list what is new, label it, sum up."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import cast

import numpy as np
import pyarrow as pa

from cilf.card import Card, read_card
from cilf.cluster import running, this_machine
from cilf.config import LabelOptions
from cilf.errors import JobError, UsageError
from cilf.images.decode import DECODE_VERSION
from cilf.labelling.pipeline import Work, labelling
from cilf.labelling.progress import Progress
from cilf.labelling.runtime import plan
from cilf.labelling.summary import Summary
from cilf.manifest.listing import check_input, is_manifest, objects, write_manifest
from cilf.manifest.pending import contains, forget, labelled, without
from cilf.provenance import fingerprint, new_run_id
from cilf.storage import CHECKING, check_output, is_bundled, locate, model_folder, split


def run(options: LabelOptions) -> int:
    """See cilf.labelling.label."""
    folder = model_folder(options.model)
    card = read_card(folder)
    _check(options)
    work = _work(options, folder, card)
    summary = Summary(work.run, options, work.labels.url, card.name)
    with Progress() as progress:
        try:
            progress.total = _prepare(work, options)
            if progress.total:
                _execute(work, options, progress)
        except BaseException as error:
            summary.error = f"{type(error).__name__}: {error}"
            summary.traceback = traceback.format_exc()
            raise
        finally:
            summary.objects, summary.counts = progress.total, progress.counts
            summary.seconds = progress.seconds
            summary.save(locate(options.output))
    print(summary.closing())
    return 0


def _check(options: LabelOptions) -> None:
    """Refuse what cannot work, before Ray is started and anything is listed."""
    if not options.cluster:
        plan(options, this_machine())
    source, output = locate(options.input, CHECKING), locate(options.output, CHECKING)
    if not is_manifest(source) and f"{output.url}/".startswith(f"{source.url.rstrip('/')}/"):
        raise UsageError(
            f"OUTPUT {output.url} lies inside INPUT {source.url}: its own files would be labelled the next time; "
            "choose a place outside"
        )
    check_input(source)
    check_output(output)


def _work(options: LabelOptions, folder: Path, card: Card) -> Work:
    numbers = {"faces": options.faces, "precision": options.precision, "decode": DECODE_VERSION}
    # A path may be relative to this process; a bundled name or a URL is found by every machine by itself.
    found_everywhere = is_bundled(options.model) or split(options.model)[0] != "file"
    name, output = new_run_id(), locate(options.output)
    return Work(
        run=name,
        manifest=output / "manifests" / name,
        labels=output / "labels" / f"model={fingerprint(folder, numbers)}",
        model=options.model if found_everywhere else str(folder),
        image_size=card.model.images.size,
    )


def _prepare(work: Work, options: LabelOptions) -> int:
    """Write the run's manifest, make room for its rows and return their number."""
    before = labelled(work.labels)
    done = np.empty(0, np.int64) if options.relabel else before.done
    found = objects(locate(options.input), options.include)
    ids = np.sort(write_manifest(without(found, done, options.limit), work.manifest))
    replaced = np.concatenate([before.done, before.unavailable])
    forget(work.labels, replaced[contains(ids, replaced)])
    return len(ids)


def _execute(work: Work, options: LabelOptions, progress: Progress) -> None:
    """Run the pipeline and count what it commits."""
    with running(options.cluster) as cluster:
        committed = labelling(work, options, plan(options, cluster))
        try:
            for counts in committed.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
                for row in cast(pa.Table, counts).to_pylist():
                    progress.add(row["status"], row["objects"])
        except (KeyboardInterrupt, SystemExit):
            raise
        except Exception as error:
            record = locate(options.output) / "runs" / f"{work.run}.json"
            raise JobError(
                f"labelling stopped after {progress.counts.total()} objects: {_cause(error)} "
                f"(traceback in {record.url}; the same command again goes on from here)"
            ) from error
    if progress.counts.total() != progress.total:
        raise JobError(f"{progress.total} objects were to be labelled, and {progress.counts.total()} were")


def _cause(error: BaseException) -> str:
    """What a worker met, in one line.

    Ray hands on the first exception only as text: its traceback, with those of Ray's wrappers behind it.
    """
    first = str(error).partition("\n\nThe above exception was the direct cause")[0]
    lines = first.splitlines() or [type(error).__name__]
    message = len(lines) - next((n for n, line in enumerate(reversed(lines)) if line.startswith("  ")), len(lines))
    return " ".join(" ".join(lines[message:]).split())[:2000]
