"""A job on nodes that do not share the disk that it needs: refused before anything is lost."""

from __future__ import annotations

import subprocess

import pytest
from ray_nodes import Place


@pytest.fixture
def own_disk(tmp_path) -> Place:
    """A place where tmp_path / "out" is not the same folder as in this process."""
    (tmp_path / "out").mkdir()
    mounting = f'mount -t tmpfs none "{tmp_path / "out"}" && exec "$@"'
    place = Place(inside=("unshare", "--mount", "sh", "-c", mounting, "sh"))
    try:
        subprocess.run([*place.inside, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no mount namespaces here: {error}")
    return place


@pytest.mark.long
def test_an_output_that_a_node_does_not_share_is_refused(nodes, own_disk, corpus, label_files, tmp_path):
    nodes.head(cpus=2)
    nodes.join(cpus=2, place=own_disk)
    job = nodes.submit("jobs/label.py", str(corpus(10)), str(tmp_path / "out"), "--faces", "none")
    assert job.end() == 1
    assert f"cannot read {tmp_path / 'out' / 'leases'}" in job.said
    assert "a file system that all machines share" in job.said
    assert label_files() == []
    assert list((tmp_path / "out" / "leases").iterdir()) == []
