"""`cilf nightly` from its CONFIG to its exit code: one process at a time, step by step, each step recorded."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import suppress

from cilf import provenance
from cilf.card import ModelFolderError
from cilf.config import NightlyOptions
from cilf.errors import BusyError, JobError, UsageError, in_words
from cilf.labelling.lease import Lease, check_lease
from cilf.manifest.failures import told
from cilf.nightly.config import Config, read_config
from cilf.nightly.record import Record, Step, tonight
from cilf.nightly.steps import STEPS
from cilf.storage import CHECKING, Location, check_output, locate, model_folder
from cilf.urls import split

DRIFTED = 3
"""Exit code of a night whose ages have drifted, if CONFIG says fail_on_drift."""


def run(options: NightlyOptions) -> int:
    """See cilf.nightly.nightly."""
    config = read_config(options.night)
    checked, output = locate(config.output, CHECKING), locate(config.output)
    with told("cannot read OUTPUT", checked):
        record = tonight(checked, config, provenance.stamp(), options.again)
    if record.ended is not None:
        print(f"nothing to do: night {record.night} is done, see {record.place(output).url} (--again starts another)")
        return _code(record, config)
    _check_model(config)
    check_output(checked)
    holder, lease = provenance.new_run_id(), output / "leases" / "nightly.json"
    with Lease(lease, holder, _say):
        record = tonight(
            output, config, provenance.stamp(), options.again
        )  # another process may have finished the night in the meantime

        def save() -> None:
            check_lease(lease, holder)
            record.save(output)

        if record.ended is None:
            _go_on(record, config, save)
    print(_closing(record, output))
    return _code(record, config)


def _check_model(config: Config) -> None:
    """Refuse a local model that does not exist. The step checks one in a store, which may only be down for a while."""
    model = config.label_options().model
    if split(model)[0] == "file":
        try:
            model_folder(model)
        except UsageError as error:
            raise UsageError(f"label: {error}") from error


def _go_on(record: Record, config: Config, save: Callable[[], None]) -> None:
    """Run the steps that are not done yet."""
    for step in STEPS:
        if step not in record.steps or record.steps[step].state != "done":
            _do(step, config, record, save)
    record.ended = provenance.stamp()
    save()


def _do(name: str, config: Config, record: Record, save: Callable[[], None]) -> None:
    """Run one step and record its result."""
    step = record.steps[name] = Step()
    save()
    started = time.monotonic()
    try:
        step.found = STEPS[name](config, record)
    except BaseException as error:
        step.state, step.error = "failed", in_words(error)
        step.seconds = round(time.monotonic() - started, 2)
        with suppress(Exception):  # The error of the step matters more.
            save()
        if isinstance(error, UsageError | ModelFolderError) and not isinstance(error, BusyError):
            raise JobError(f"night {record.night} failed to {name}: {error}") from error
        raise
    step.state, step.seconds = "done", round(time.monotonic() - started, 2)
    save()


def _closing(record: Record, output: Location) -> str:
    rows = ", ".join(f"{number:,} {status}" for status, number in sorted(record.rows.items())) or "nothing new"
    return f"night {record.night} is done: {rows}. {record.verdict} See {record.place(output).url}"


def _code(record: Record, config: Config) -> int:
    return DRIFTED if config.fail_on_drift and record.drift else 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
