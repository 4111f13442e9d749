"""Labelling on several nodes, some of which are lost: every photograph still has exactly one row."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.long


def label(nodes, photos, output):
    return nodes.submit("jobs/label.py", str(photos), str(output), "--faces", "none")


def test_a_submitted_job_is_done_by_other_nodes(nodes, corpus, check_rows, tmp_path):
    nodes.head(cpus=0)
    nodes.join(cpus=2)
    job = label(nodes, corpus(100), tmp_path / "out")
    assert job.end() == 0, job.said
    check_rows(100, 1)


def test_of_three_nodes_one_is_lost(nodes, corpus, label_files, check_rows, tmp_path):
    nodes.head(cpus=2)
    joined = [nodes.join(cpus=2), nodes.join(cpus=2)]
    job = label(nodes, corpus(600), tmp_path / "out")
    busy = []

    def working() -> bool:
        busy[:] = [node for node in joined if node.runs("AgeActor")]
        return bool(label_files() and busy)

    job.wait_until(working)
    busy[0].kill()
    assert job.end() == 0, job.said
    check_rows(600, 3)


def test_the_only_node_that_works_is_lost_and_another_comes(nodes, corpus, label_files, check_rows, tmp_path):
    nodes.head(cpus=0)
    lost = nodes.join(cpus=2)
    job = label(nodes, corpus(600), tmp_path / "out")
    job.wait_until(label_files)
    lost.kill()
    nodes.join(cpus=2)
    assert job.end() == 0, job.said
    check_rows(600, 1)
