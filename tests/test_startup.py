from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from cilf import cli

COMMAND = "import sys; from cilf import cli; sys.exit(cli.main(sys.argv[1:]))"


def cilf(redirection: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `cilf` with streams that a shell has closed or redirected."""
    script = f'"$@" {redirection}'
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = ["sh", "-c", script, "sh", sys.executable, "-c", COMMAND, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("closed", ["2>&-", "<&-", "<&- 2>&-", "<&- >&- 2>&-"])
def test_messages_go_nowhere_else_when_streams_are_closed(closed):
    done = cilf(closed, "nonsense")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("closed", [">&-", "<&- >&-", "<&- >&- 2>&-"])
def test_a_closed_stdout_is_no_failure(closed):
    done = cilf(closed, "--version")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_leaves_is_no_failure(unbuffered):
    """Standard output is a pipe that is no longer read."""
    read, written = os.pipe()
    os.close(read)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUNBUFFERED": unbuffered}
    command = [sys.executable, "-c", COMMAND, "--version"]
    done = subprocess.run(command, env=environment, stdout=written, stderr=subprocess.PIPE, text=True, timeout=60)
    os.close(written)
    assert (done.returncode, done.stderr) == (0, "")


def test_without_room_for_a_log_the_traceback_is_printed(monkeypatch, capsys):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "NamedTemporaryFile", full)
    monkeypatch.setattr(cli, "_app", lambda: 1 / 0)
    assert cli.main(["label"]) == 1
    told = capsys.readouterr().err
    assert told.startswith("Traceback")
    assert told.endswith("ZeroDivisionError: division by zero (traceback above)\n")


def test_temporary_files_need_a_place(monkeypatch, capsys):
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/proc/nowhere"])
    assert cli.main(["--version"]) == 2
    assert "No usable temporary directory found" in (told := capsys.readouterr().err)
    assert "set TMPDIR" in told


def test_fonts_of_plots_stay_where_the_user_wants_them(monkeypatch, tmp_path):
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path))
    cli.main(["--version"])
    assert Path(os.environ["MPLCONFIGDIR"]) == tmp_path
