"""`cilf label` from its options to its exit code: check the plan, list what is new, label it, sum up."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from cilf.card import Card, read_card
from cilf.cluster import check_everywhere, running, this_machine
from cilf.config import LabelOptions
from cilf.errors import BusyError, JobError, UsageError, in_words
from cilf.images.decode import DECODE_VERSION
from cilf.images.faces import FACES_VERSION
from cilf.labelling.columns import agree
from cilf.labelling.compaction import recover
from cilf.labelling.current import Candidate, Prefix, name_before, take_over
from cilf.labelling.doubts import looked_at, without_thumbnails
from cilf.labelling.dry_run import SAMPLE, forecast, sample, try_out
from cilf.labelling.lease import Lease, check_lease
from cilf.labelling.passes import label_all, tables
from cilf.labelling.pipeline import Work
from cilf.labelling.progress import Progress
from cilf.labelling.raised_bounds import Raised
from cilf.labelling.runtime import plan
from cilf.labelling.summary import LabelSummary, Summary
from cilf.manifest.failures import under_way
from cilf.manifest.keys import Include
from cilf.manifest.listing import check_input, is_manifest, objects, write_manifest
from cilf.manifest.pending import contains, forget, labelled, outdated, without
from cilf.provenance import fingerprint, new_run_id
from cilf.storage import CHECKING, check_output, is_bundled, lies_inside, locate, model_folder, remove_folder
from cilf.urls import split
from cilf.words import counted

_GPUS = Path("/proc/driver/nvidia/gpus")
"""Exists if the machine has NVIDIA GPUs. Ray counts them when it starts, so the plan cannot be checked before."""


def run(options: LabelOptions) -> LabelSummary:
    """See cilf.labelling.run_label."""
    if options.dry_run:
        return _dry_run(*_checked(options), options)
    summary = label_new(options)
    return summary.outcome(summary.closing())


def label_new(options: LabelOptions, given: Sequence[Prefix] | None = None) -> Summary:
    """Label what has no label of this model yet.

    Args:
        given: the places all of whose objects INPUT lists. Default: INPUT itself, unless it is a manifest.

    Raises:
        UsageError, ModelFolderError, JobError: see cilf.labelling.run_label.
    """
    work, card = _checked(options)
    summary = Summary(work.run, options, work.labels.url, card.name)
    candidate = Candidate(work.labels.path.rpartition("=")[2], card.name, work.run)
    with Progress() as progress:
        try:
            with Lease(work.lease, work.run, progress.say):
                name_before(locate(options.output), candidate)
                _label(work, options, progress, summary)
                if options.limit is None or progress.total < options.limit:
                    given = _given(options) if given is None else given
                    if news := take_over(locate(options.output), candidate, given):
                        progress.say(news)
        except BusyError:
            raise  # nothing ran, and each attempt would leave a record while another run takes hours
        except BaseException as error:
            summary.error = in_words(error)
            summary.traceback = traceback.format_exc()
            _record(summary, progress, options)
            raise
    _record(summary, progress, options)
    return summary


def _label(work: Work, options: LabelOptions, progress: Progress, summary: Summary) -> None:
    progress.doing, include = "listing", Include(options.include)
    # Has to come before _prepare, which gives all label files the column.
    if options.thumbnails and not options.relabel and (doubt := without_thumbnails(work.labels)):
        progress.warn(doubt)
    progress.total = _prepare(work, options, include, progress.say)
    summary.remark = include.remark()
    if progress.total:
        _execute(work, options, progress, summary)


def _record(summary: Summary, progress: Progress, options: LabelOptions) -> None:
    summary.take(progress)
    summary.save(locate(options.output))


def _given(options: LabelOptions) -> list[Prefix]:
    source = locate(options.input)
    return [] if is_manifest(source) else [Prefix(source.url, options.include)]


def _checked(options: LabelOptions) -> tuple[Work, Card]:
    folder = model_folder(options.model)
    card = read_card(folder)
    _check(options)
    return _work(options, folder, card), card


def _dry_run(work: Work, card: Card, options: LabelOptions) -> LabelSummary:
    summary = Summary(work.run, options, work.labels.url, card.name)
    with Progress() as progress:
        done = np.empty(0, np.int64) if options.relabel else labelled(work.labels, Raised(options)).done
        include = Include(options.include)
        progress.doing = "listing"
        with under_way("listing"):
            found = objects(locate(options.input), include, progress.say, locate(options.output))
            drawn = sample(without(found, done), options.limit or SAMPLE)
        if not drawn.of:
            return summary.outcome(f"dry run: {include.remark() or 'nothing new to label'}")
        progress.total = len(drawn.rows)
        progress.doing = "starting Ray"
        with running(options.cluster) as cluster, _stages_named("the dry run", progress):
            progress.doing = "loading the model"
            with looked_at(drawn.rows, options, progress):
                shares = try_out(drawn, work, options, cluster, progress)
    if not progress.counts:
        raise JobError("all processes that worked on the sample died: nothing can be estimated")
    summary.take(progress)
    return summary.outcome(forecast(drawn.of, progress, cluster, shares, options.price))


def _check(options: LabelOptions) -> None:
    """Refuse options that cannot work, before Ray is started and anything is listed."""
    if options.price is not None and not options.dry_run:
        raise UsageError("--price needs --dry-run, which estimates the cost")
    if not options.cluster and not _GPUS.exists():
        plan(options, this_machine())
    source, output = locate(options.input, CHECKING), locate(options.output, CHECKING)
    for folder in ("labels", "manifests", "runs", "leases", "nights"):
        if lies_inside(source, output / folder) and not is_manifest(source):
            raise UsageError(f"INPUT {source.url} lies inside {folder} of OUTPUT {output.url}: it holds no photographs")
    if not is_manifest(source) and lies_inside(output, source):
        raise UsageError(
            f"OUTPUT {output.url} lies inside INPUT {source.url}: the next run would label its files; choose a place "
            "outside"
        )
    check_input(source)
    if not options.dry_run:
        check_output(output)


def _work(options: LabelOptions, folder: Path, card: Card) -> Work:
    numbers = {"faces": options.faces, "precision": options.precision, "decode": DECODE_VERSION}
    if options.faces != "none":
        numbers["detection"] = FACES_VERSION
    # A path may be relative to this process; a bundled name or a URL means the same on every machine.
    found_everywhere = is_bundled(options.model) or split(options.model)[0] != "file"
    name, output = new_run_id(), locate(options.output)
    print_of_model = fingerprint(folder, numbers)
    return Work(
        run=name,
        manifest=output / "manifests" / name,
        labels=output / "labels" / f"model={print_of_model}",
        lease=output / "leases" / f"{print_of_model}.json",
        model=options.model if found_everywhere else str(folder),
        images=card.model.images,
    )


def _prepare(work: Work, options: LabelOptions, include: Include, say: Callable[[str], None]) -> int:
    """Write the run's manifest, remove the rows that it replaces, and return the number of objects to label."""
    recover(work.labels)
    before = labelled(work.labels, Raised(options))
    done = np.empty(0, np.int64) if options.relabel else before.done
    with under_way("listing"):
        found = objects(locate(options.input), include, say, locate(options.output))
        ids = np.sort(write_manifest(without(found, done, options.limit), work.manifest))
    try:
        agree(locate(options.output), work, options.thumbnails, say)
    except UsageError:
        if len(ids):
            remove_folder(work.manifest)
        raise
    replaced = np.sort(np.concatenate([before.done, before.unavailable]))
    old = outdated(work.labels, before.unavailable[~contains(ids, before.unavailable)], work.manifest)
    if len(gone := np.union1d(replaced[contains(ids, replaced)], old)):
        check_lease(work.lease, work.run)
        forget(work.labels, gone)
    return len(ids)


def _execute(work: Work, options: LabelOptions, progress: Progress, summary: Summary) -> None:
    record = locate(options.output) / "runs" / f"{work.run}.json"
    advice = f" (traceback in {record.url}; repeat the command to resume)"
    progress.doing = "starting Ray"
    with running(options.cluster) as cluster, _stages_named("labelling", progress, advice):
        summary.cluster = cluster
        progress.doing = "loading the model"
        check_everywhere(work.lease.url)
        with looked_at(next(tables(work.manifest)), options, progress):
            label_all(work, options, plan(options, cluster), progress)
    if progress.counts.total() != progress.total:
        raise JobError(
            f"expected {counted(progress.total, 'object')} to label, but labelled {progress.counts.total():,}"
        )


@contextmanager
def _stages_named(what: str, progress: Progress, advice: str = "") -> Iterator[None]:
    """Report a failure of Ray or of a stage as one message."""
    try:
        yield
    except (UsageError, JobError):
        raise
    except Exception as error:
        done = progress.counts.total()
        raise JobError(f"{what} stopped after {counted(done, 'object')}: {_cause(error)}{advice}") from error


def _cause(error: BaseException) -> str:
    """The error of a worker, in one line.

    A stage passes its traceback on as text; so does Ray, followed by the tracebacks of its own wrappers.
    """
    first = str(error).partition("\n\nThe above exception was the direct cause")[0]
    lines = first.strip().splitlines() or [type(error).__name__]
    message = len(lines) - next((n for n, line in enumerate(reversed(lines)) if line.startswith("  ")), len(lines))
    return " ".join(" ".join(lines[message:]).split())[:2000]
