"""A local Ray starts even if the home, temporary files or standard streams are not as Ray expects."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest

from cilf import local_ray
from cilf.errors import JobError

UV = """
import subprocess, sys
sys.exit(subprocess.run([sys.argv[1], "-c", sys.argv[2]]).returncode)
"""
LOOK = """
import os, ray
from pathlib import Path
from cilf.cluster import running

with running(None):
    files = Path(ray.get(ray.remote(lambda: os.environ["RAY_TMPDIR"]).remote()))
    copied = [str(path) for path in files.rglob("photo.jpg")]
Path("found").write_text(f"{copied} {files.exists()}")
"""


def test_ray_starts_without_home_and_streams_under_uv_run(tmp_path):
    """All in one start, as each takes seconds. uv is a process of that name with the argument `run`."""
    place = tmp_path / ("a-long-name-" * 8)
    place.mkdir()
    (place / "run").write_text(UV)
    (place / "pyproject.toml").write_text('[project]\nname = "mine"\nversion = "0.1"\n')
    (place / "photo.jpg").write_bytes(b"a photograph")
    ours = ("RAY_", "ORT_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    # Not even root can make anything below /proc.
    environment |= {"HOME": "/proc/nowhere", "TMPDIR": str(place), "PYTHONPATH": os.pathsep.join(sys.path)}
    command = ["uv", "run", sys.executable, LOOK]
    with subprocess.Popen(
        command, executable=sys.executable, cwd=place, env=environment, preexec_fn=lambda: os.closerange(0, 3)
    ) as uv:
        assert uv.wait(120) == 0
    assert (place / "found").read_text() == "[] False"


def test_a_wished_folder_that_does_not_work_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "nowhere"))
    with pytest.raises(JobError, match=r"nowhere: No such file or directory.*set RAY_TMPDIR"), local_ray.local_ray():
        pass


def test_ray_takes_the_first_place_that_its_sockets_fit_into(monkeypatch, tmp_path):
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    long = tmp_path / ("a-long-name-" * 8)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with local_ray._folder() as folder:
        assert Path(folder).parent == Path("/tmp")
        assert Path(folder).stat().st_mode & 0o777 == 0o700
    assert not Path(folder).exists()
    assert list(long.iterdir()) == []


def test_no_place_at_all(monkeypatch, tmp_path):
    monkeypatch.setattr(local_ray, "_places", lambda: [str(tmp_path / "a"), "/proc"])
    with pytest.raises(JobError, match=r"a: No such file.*; /proc: "), local_ray.local_ray():
        pass


def test_the_environment_is_as_before_once_ray_has_started(monkeypatch):
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.setenv("HOME", "/proc/nowhere")
    before = dict(os.environ)
    with local_ray._environment("/tmp/x"):
        assert os.environ["RAY_TMPDIR"] == "/tmp/x"
        assert len(os.environ["RAY_AUTH_TOKEN"]) == 64
        assert os.environ["GLOO_SOCKET_IFNAME"] == "lo"
        os.environ["RAY_AUTH_MODE"] = "token"
    assert dict(os.environ) == before


def test_a_token_of_the_users_own_is_kept(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("a" * 64)
    with local_ray._environment("/tmp/x"):
        assert "RAY_AUTH_TOKEN" not in os.environ


@pytest.fixture(scope="module")
def worker(ray_session: None) -> tuple[dict[str, str], str]:
    """The environment of a Ray worker, and the address that it uses for this machine."""
    import ray

    def look() -> tuple[dict[str, str], str]:
        return dict(os.environ), ray.util.get_node_ip_address()

    return ray.get(ray.remote(look).remote())


def commands() -> list[tuple[int, str]]:
    """The parent and the command line of each process on this machine."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # It has just ended.
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            found.append((parent, (process / "cmdline").read_text()))
    return found


def test_a_local_ray_is_reached_from_this_machine_alone(worker):
    import ray

    (node,) = ray.nodes()
    assert {worker[1], node["NodeManagerAddress"]} == {"127.0.0.1"}
    ports = [f"{node[port]:04X}" for port in ("NodeManagerPort", "ObjectManagerPort")]
    heard = [
        line.split()[1] for table in ("tcp", "tcp6") for line in Path(f"/proc/net/{table}").read_text().splitlines()
    ]
    assert {interface.rpartition(":")[2] for interface in heard} >= set(ports)
    assert not [interface for interface in heard if interface.lstrip("0") in [f":{port}" for port in ports]]


def test_a_local_ray_keeps_its_files_to_this_user(worker):
    environment, _ = worker
    folder = Path(environment["RAY_TMPDIR"]).stat()
    assert (folder.st_uid, stat.S_IMODE(folder.st_mode)) == (os.getuid(), 0o700)


def test_a_local_ray_starts_no_dashboard_which_asks_metadata_services(ray_session):
    started = [process for process in commands() if process[0] == os.getpid()]
    assert any("raylet" in command for _, command in started)
    assert not any("dashboard.py" in command for _, command in started)
