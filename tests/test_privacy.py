"""Nothing leaves the machine, and no library leaves anything in the home directory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

FACES = """
import numpy as np
from cilf.images.detector import detect
detect(np.zeros((320, 320, 3), np.uint8), 0.5)
"""

PLOT = """
import sys
from cilf import cli
try:
    cli.main(["--version"])
finally:
    from matplotlib import font_manager
"""


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run another Python, without the telemetry settings in the environment of this one."""
    ours = ("ORT_", "RAY_", "HF_", "DO_NOT_TRACK", "MPLCONFIGDIR", "XDG_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    kept |= {"PYTHONPATH": os.pathsep.join(sys.path), **environment}
    return subprocess.run([sys.executable, "-c", code], env=kept, capture_output=True, text=True, check=True)


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_finding_faces_leaves_nothing_in_the_home_directory(tmp_path):
    run(FACES, HOME=str(tmp_path))
    assert files(tmp_path) == []


def test_telemetry_that_was_switched_on_is_off(tmp_path):
    run(FACES, HOME=str(tmp_path), ORT_DISABLE_TELEMETRY="0")
    assert files(tmp_path) == []


def test_plots_leave_their_fonts_in_our_own_cache(tmp_path):
    run(PLOT, HOME=str(tmp_path))
    assert files(tmp_path)
    assert all(file.startswith(".cache/cilf/matplotlib/") for file in files(tmp_path))


def test_the_package_alone_loads_no_large_library():
    loaded = run("import cilf, sys; print({'ray', 'torch', 'onnxruntime', 'matplotlib'} & set(sys.modules))").stdout
    assert loaded.strip() == "set()"


def test_workers_send_nothing(ray_session):
    import ray

    environment = ray.get(ray.remote(lambda: dict(os.environ)).remote())
    named = ("ORT_DISABLE_TELEMETRY", "RAY_USAGE_STATS_ENABLED", "HF_HUB_DISABLE_TELEMETRY")
    assert [environment[name] for name in named] == ["1", "0", "1"]
