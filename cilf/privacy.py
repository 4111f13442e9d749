"""Nothing leaves the machine: settings of libraries that would send something otherwise.

They read their settings when they are imported. `import cilf` makes these first, and every process that runs code of
CILF imports it: commands, job scripts, Ray's tasks, actors and training workers, and programs that use its functions.
"""

from __future__ import annotations

import os

_SILENT = {
    # Its wheels for Linux keep a device id and a queue of events in the user's home and upload them.
    "ORT_DISABLE_TELEMETRY": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    # What other libraries agreed on (consoledonottrack.com).
    "DO_NOT_TRACK": "1",
}

_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Set by Ray in what `ray job submit` runs."""


def keep_private() -> None:
    """Switch off telemetry in this process and in those that it starts, and copies of the current folder.

    A driver under `uv run` would pack the current folder, photographs and all, and hand it to every worker. It may do
    so in what `ray job submit --working-dir` runs: there the current folder is what has just been submitted.
    """
    os.environ.update(_SILENT)
    if _JOB not in os.environ:
        os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
