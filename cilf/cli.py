"""The `cilf` command. Each job is a sub-command, whose code is imported when it is called.

A new job needs a frozen dataclass in cilf.config, a function that takes it and returns an exit code, and a
line in `JOBS`.
"""

from __future__ import annotations

import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

from cyclopts import App, CycloptsError, Parameter
from cyclopts.config import Dict, Yaml
from cyclopts.types import ExistingFile

import cilf
from cilf.card import ModelFolderError
from cilf.errors import BusyError, JobError, UsageError
from cilf.own_process import hide_warnings
from cilf.startup import readers_may_leave, settle

DONE, FAILED, WRONG_USAGE, BUSY, INTERRUPTED = 0, 1, 2, 75, 130

JOBS = {
    "list": ("cilf.manifest:list_objects", "List every object under INPUT... once, into Parquet files in MANIFEST."),
    "label": ("cilf.labelling:label", "Label every object under INPUT: one row per object in OUTPUT."),
    "compact": ("cilf.labelling:compact", "Merge the many small label files in OUTPUT into few large ones."),
    "publish": ("cilf.publishing:publish", "Make TABLE (Iceberg or Delta) equal the labels in OUTPUT, in one commit."),
    "nightly": ("cilf.nightly:nightly", "List, label what is new, compact and report, as the YAML file CONFIG says."),
    "train": ("cilf.training:train", "Train a model as RECIPE says and write it into OUTPUT."),
    "evaluate": ("cilf.evaluation:evaluate", "Measure MODEL on labelled faces: MAE, CS(5), intervals, judgement."),
    "card": ("cilf.model_card:card", "Add RESULTS of `cilf evaluate` to MODEL's card, and write it as card.md."),
    "data check": (
        "cilf.datasets.check:check",
        "Check the FOLDER of the public data set NAME: what is in it, and what is wrong.",
    ),
    "data split": ("cilf.protocols:split", "Write the folds of an evaluation protocol, and the leakage of each."),
    "lopo": ("cilf.lopo:lopo", "Leave one person out: measure heads on MODEL's frozen features."),
    "report": ("cilf.report:report", "Write OUTPUT/report.html: what was labelled, what drifted, what needs review."),
    "bench": ("cilf.bench:bench", "Measure how close this machine gets to its own limits."),
    "demo": ("cilf.demo:demo", "Label photographs of people of all ages, and show the estimates and the known ages."),
}
"""Name of each sub-command: the function that runs it, and its line in `cilf --help`. The first of two words is a group
from GROUPS."""

GROUPS = {"data": "Public data sets of facial age."}
"""Name of each group of sub-commands, and its line in `cilf --help`."""


class _Options(Yaml):
    """A flat YAML file of options: its keys are the names of the options."""

    def _load_config(self, path: Path) -> dict[str, Any]:
        import yaml

        try:
            return super()._load_config(path) or {}
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise CycloptsError(msg=f"{path} is not valid YAML: {' '.join(str(error).split())}") from error


def _app() -> App:
    app = App(name="cilf", help=cilf.__doc__, version=cilf.__version__, result_action="return_value")
    # cyclopts would exit without a message.
    app.suppress_keyboard_interrupt = app.meta.suppress_keyboard_interrupt = False
    for group, line in GROUPS.items():
        app.command(App(name=group, help=line))
    for name, (function, line) in JOBS.items():
        group, _, job = name.rpartition(" ")
        (app[group] if group else app).command(function, name=job, help=line)

    @app.meta.default
    def run(
        *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
        config: ExistingFile | None = None,
    ) -> Any:
        """
        Parameters
        ----------
        config
            YAML file with options of the command; the command line overrides it.
        """
        app.config = () if config is None else (_Options(config, use_commands_as_keys=False, must_exist=True),)
        return app(tokens)

    return app


def options(job: str, places: Sequence[str], settings: Mapping[str, Any], source: str) -> Any:
    """The options that a job would run with, validated as a command line is.

    Args:
        job: one of JOBS.
        places: its positional arguments.
        settings: other options by name.
        source: where the settings come from, for messages.

    Raises:
        UsageError: something is missing, unknown or wrong.
    """
    app = _app()
    app.config = (Dict(dict(settings), use_commands_as_keys=False, source=source),)
    try:
        _, bound, _ = app.parse_args([*job.split(), "--", *places], exit_on_error=False, print_error=False)
    except CycloptsError as error:
        raise UsageError(str(error)) from error
    return bound.arguments["options"]


def main(arguments: list[str] | None = None) -> int:
    """Run `cilf` with these arguments (default: the process's own) and return the exit code.

    0: done. 1: the job failed. 2: wrong usage, or a plan that cannot work. 75 (EX_TEMPFAIL of sysexits.h): another
    run is doing this, try later. 130: interrupted. A failure that the user can act on is one message on stderr; the
    traceback of any other goes to a file that the message names.
    """
    with readers_may_leave():
        return _main(sys.argv[1:] if arguments is None else arguments)


def _main(arguments: list[str]) -> int:
    hide_warnings()
    command = next((f"cilf {job}" for job in JOBS if arguments[: job.count(" ") + 1] == job.split()), "cilf")
    try:
        settle()
        with _interruptible():
            return _app().meta(arguments, exit_on_error=False, print_error=False) or DONE
    except CycloptsError as error:
        return _fail(command, f"{error} Try: {command} --help", WRONG_USAGE)
    except BusyError as error:
        return _fail(command, str(error), BUSY)
    except (UsageError, ModelFolderError) as error:
        return _fail(command, str(error), WRONG_USAGE)
    except JobError as error:
        return _fail(command, str(error), FAILED)
    except KeyboardInterrupt:
        return _fail(command, "interrupted; run the same command again to resume", INTERRUPTED)
    except Exception as error:
        return _fail(command, f"{type(error).__name__}: {error} (traceback {_traceback()})", FAILED)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let SIGTERM, which `ray job stop`, Kubernetes and `timeout` send, end a job as Ctrl-C does, so that it cleans up.

    An exception after either signal, such as that of a library whose import was cut short, counts as the interrupt.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    seen: list[int] = []

    def interrupt(number: int, _: FrameType | None) -> None:
        seen.append(number)
        raise KeyboardInterrupt

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number, handler in before.items():
        if number == signal.SIGTERM or handler is signal.default_int_handler:  # jobs in a shell's background ignore it
            signal.signal(number, interrupt)
    try:
        yield
    except Exception as error:
        if seen:
            raise KeyboardInterrupt from error
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _traceback() -> str:
    """Write the traceback of the current exception, and return where it is, for a message."""
    try:
        with tempfile.NamedTemporaryFile("w", prefix="cilf-", suffix=".log", delete=False) as log:
            traceback.print_exc(file=log)
    except OSError:  # The disk may be full, which may be the failure itself.
        traceback.print_exc()
        return "above"
    return f"in {log.name}"


def _fail(command: str, message: str, code: int) -> int:
    print(f"{command}: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
