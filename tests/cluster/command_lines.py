"""Parsing of the commands in cluster/, as the programs that get them do: by a shell's rules and as CILF's options."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cilf import cli

ROOT = Path(__file__).parents[2]
IMAGE_ROOT = "/cilf/"
"""Folder of the repository in the image; tests/cluster/test_image.py checks cluster/Dockerfile for it."""

_OPERATORS = {"&&", "||", ";", "|", "&", "<", ">"}


def words(line: str) -> list[str]:
    """Split a RayJob's entrypoint, which has to be one simple command, into words.

    Raises:
        ValueError: it is not a simple command. KubeRay's submitter would interpret an operator itself (kuberay#3929).
    """
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    found = list(lexer)
    if not found or _OPERATORS & set(found):
        raise ValueError(f"not a simple command: {line}")
    return found


def job_options(command: Sequence[str]) -> Any:
    """The options that `python jobs/NAME.py ARGUMENTS...` would run with, checked as at its start; nothing is run.

    Raises:
        ValueError: it is not such a command, or there is no such job.
        CycloptsError: an argument is missing, unknown or wrong.
    """
    python, script, *arguments = command
    path = ROOT / script.removeprefix(IMAGE_ROOT)
    if python != "python" or path.parent != ROOT / "jobs" or not path.is_file():
        raise ValueError(f"{python} {script} is not a job")
    if path.stem not in cli.JOBS:
        raise ValueError(f"{path.stem} is not a command")
    _, bound, _ = cli._app().parse_args([path.stem, *arguments], exit_on_error=False, print_error=False)
    return bound.arguments["options"]
