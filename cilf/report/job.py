"""`cilf report` from its options to its files."""

from __future__ import annotations

from dataclasses import replace

from cilf import schema
from cilf.config import ReportOptions
from cilf.errors import UsageError
from cilf.labelling.current import name_first, read_current
from cilf.own_files import columns_of
from cilf.report.corrections import Corrected, training_rows
from cilf.report.night import Night, look
from cilf.report.queries import open_labels
from cilf.report.review_files import export, parquet
from cilf.report.sections import page
from cilf.storage import CHECKING, Location, check_output, locate, problem, read, write
from cilf.words import counted

_OURS = b"<title>Ages in "
"""Part of the head of every page that CILF has written."""
_CONFLICTS = 5  # conflicts that are printed


def run(options: ReportOptions) -> int:
    """See cilf.report.report."""
    if bool(options.corrections) != (options.training_rows is not None):
        raise UsageError("--corrections and --training-rows go together: the files to read and the file to write")
    if options.since is not None and not options.since[:8].isdigit():
        raise UsageError(f"--since {options.since}: expected a run id or its first characters, such as 20261122")
    output = locate(options.output, CHECKING)
    if options.training_rows is not None:
        return _learn(output, [locate(place) for place in options.corrections], locate(options.training_rows))
    for line in said(write_page(output, options), output, options):
        print(line)
    return 0


def write_page(output: Location, options: ReportOptions) -> Night:
    """Write the page and the review queue into OUTPUT, and return what they show.

    Raises:
        UsageError, JobError: see cilf.report.report.
    """
    target = output / "report.html"
    with open_labels(output) as labels:
        check_output(output)
        _check_page(target)
        night = look(labels, output, options)
        name_first(output, night.current)
        named = read_current(output)
        night = replace(night, named=named is not None and named.model == night.current.model)
        if options.review:
            night = replace(night, review=export(night.queued, output, night.newest))
        write(target, page(night, options).html().encode())
    return night


def said(night: Night, output: Location, options: ReportOptions) -> list[str]:
    """The lines that the user gets about the page and the queue."""
    lines = [f"{counted(night.totals['objects'], 'object')}, {night.totals['ok']:,} with ages; {night.verdict}"]
    if options.review and night.review != "review":
        lines.append(
            f"{output.url}/review.csv or review.parquet was changed by somebody and stays as it is; move both away to "
            "have the next queue written there"
        )
    if options.review:
        faces = counted(len(night.queued), "face") if len(night.queued) else "no face"
        lines.append(f"{faces} to review: {output.url}/{night.review}.csv and .parquet")
    return [*lines, f"report page: {output.url}/report.html"]


def _check_page(target: Location) -> None:
    """Make sure that the page replaces nothing except an earlier page.

    Raises:
        UsageError: a file that CILF has not written has its name.
    """
    found = read(target)
    if found is not None and _OURS not in found:
        raise UsageError(f"{target.url} was not written by cilf report, which would replace it: move it away")


def _learn(output: Location, places: list[Location], target: Location) -> int:
    _check_rows(target)
    with open_labels(output) as labels:
        corrected = training_rows(labels, places)
    if not len(corrected.rows):
        named = ", ".join(place.url for place in places)
        raise UsageError(
            f"--corrections {named}: none of its {corrected.without_label:,} faces is in the labels under "
            f"{output.url}: are they of another OUTPUT, or has a spreadsheet rounded the ids?"
        )
    try:
        write(target, parquet(corrected.rows))
    except Exception as error:
        raise UsageError(f"cannot write --training-rows: {problem(error, target.url)}") from error
    for line in _learned(corrected, target):
        print(line)
    return 0


def _check_rows(target: Location) -> None:
    """Make sure that --training-rows is named as a Parquet file and replaces nothing except earlier training rows.

    Raises:
        UsageError: it has another suffix, or a file that holds something else has its name.
    """
    if not target.path.lower().endswith(".parquet"):
        raise UsageError(f"--training-rows {target.url}: expected a name that ends in .parquet, because it is Parquet")
    if target.fs.exists(target.path) and columns_of(target) != schema.CORRECTED.names:
        raise UsageError(f"--training-rows {target.url} exists and holds something else: choose another name")


def _learned(corrected: Corrected, target: Location) -> list[str]:
    left_out = f" ({corrected.without_label:,} left out: the labels have no such face)" * bool(corrected.without_label)
    lines = [f"{counted(len(corrected.rows), 'training row')} in {target.url}{left_out}"]
    if corrected.conflicts:
        lines.append(f"{counted(len(corrected.conflicts), 'answer')} replaced by a later one:")
        lines += [f"  {conflict}" for conflict in corrected.conflicts[:_CONFLICTS]]
        lines += ["  …"] * (len(corrected.conflicts) > _CONFLICTS)
    if corrected.unread:
        lines.append(f"not read: {', '.join(corrected.unread)}; save them as CSV")
    return lines
