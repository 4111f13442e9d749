"""Privacy settings of libraries that would otherwise send data from this machine.

Libraries read them when they are imported. `import cilf` makes these settings first, and every process that runs CILF
code imports it: commands, job scripts, Ray's tasks, actors and training workers, and programs that use its functions.
"""

from __future__ import annotations

import os

_SILENT = {
    # ONNX Runtime's Linux wheels keep a device id and a queue of events in the user's home and upload them.
    "ORT_DISABLE_TELEMETRY": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    # The convention of other libraries (consoledonottrack.com).
    "DO_NOT_TRACK": "1",
}

_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Set by Ray in the processes that `ray job submit` runs."""


def keep_private() -> None:
    """Switch off telemetry, and copies of the current folder to workers, in this process and in those that it starts.

    Under `uv run`, Ray would pack the current folder with all photographs in it and send it to every worker. It may do
    so in a job of `ray job submit --working-dir`, where the current folder is what has just been submitted.
    """
    os.environ.update(_SILENT)
    if _JOB not in os.environ:
        os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
