"""`cilf report` from its options to its files."""

from __future__ import annotations

from cilf.config import ReportOptions
from cilf.errors import UsageError
from cilf.report import review
from cilf.report.night import Night, look
from cilf.report.queries import open_labels
from cilf.report.sections import page
from cilf.storage import CHECKING, Location, check_output, locate, problem, write


def run(options: ReportOptions) -> int:
    """See cilf.report.report."""
    if (options.corrections is None) != (options.training_rows is None):
        raise UsageError("--corrections and --training-rows go together: what to read, and what to write")
    if options.since is not None and not options.since[:8].isdigit():
        raise UsageError(f"--since {options.since}: expected a run id or how it begins, such as 20261122")
    output = locate(options.output, CHECKING)
    if options.corrections is not None and options.training_rows is not None:
        return _learn(output, locate(options.corrections), locate(options.training_rows))
    for line in said(write_page(output, options), output, options):
        print(line)
    return 0


def write_page(output: Location, options: ReportOptions) -> Night:
    """Write the page and the review queue into OUTPUT, and return what they tell.

    Raises:
        UsageError, JobError: see cilf.report.report.
    """
    with open_labels(output) as labels:
        check_output(output)
        night = look(labels, output, options)
        html = page(night, options).html()
        if options.review:
            review.export(night.queued, output)
        write(output / "report.html", html.encode())
    return night


def said(night: Night, output: Location, options: ReportOptions) -> list[str]:
    """What the user is told of it, in lines."""
    lines = [f"{night.totals['objects']:,} objects, {night.totals['ok']:,} with ages; {night.verdict}"]
    if options.review:
        lines.append(f"{len(night.queued):,} faces to review are in {output.url}/review.csv and review.parquet")
    return [*lines, f"the page is {output.url}/report.html"]


def _learn(output: Location, answers: Location, target: Location) -> int:
    with open_labels(output) as labels:
        if answers.scheme not in ("file", output.scheme):
            labels.reach(answers.fs)
        corrected = review.training_rows(labels, answers)
    if not len(corrected.rows):
        raise UsageError(
            f"--corrections {answers.url}: none of its {corrected.without_label:,} faces is in the labels under "
            f"{output.url}: are they of another OUTPUT, or has a spreadsheet rounded the ids?"
        )
    try:
        review.save(corrected, target)
    except Exception as error:
        raise UsageError(f"cannot write --training-rows: {problem(error, target.url)}") from error
    left_out = f" ({corrected.without_label:,} left out: the labels have no such face)" * bool(corrected.without_label)
    print(f"{len(corrected.rows):,} rows to learn from are in {target.url}{left_out}")
    return 0
