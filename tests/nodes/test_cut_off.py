"""A node that loses contact with the others but still runs and reaches OUTPUT: nothing that it writes counts twice."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from separate_networks import Networks


@pytest.fixture
def networks() -> Iterator[Networks]:
    try:
        made = Networks()
    except PermissionError as error:
        pytest.skip(str(error))
    yield made
    made.end()


@pytest.mark.long
def test_a_node_that_is_cut_off_costs_no_row(networks, nodes, corpus, label_files, check_rows, tmp_path):
    at_head, lonely = networks.place(), networks.place()
    nodes.head(2, at_head)
    node = nodes.join(2, lonely)
    job = nodes.submit("jobs/label.py", str(corpus(1_000)), str(tmp_path / "out"), "--faces", "none")
    job.wait_until(lambda: label_files() and node.runs("AgeActor"))
    networks.cut_off(lonely)
    assert node.runs("AgeActor")
    assert job.end() == 0, job.said
    check_rows(1_000, 2)
