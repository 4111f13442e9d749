import subprocess
import sys

import pytest

from cilf.cluster import Cluster
from cilf.config import LabelOptions
from cilf.errors import UsageError
from cilf.labelling import job
from cilf.labelling.runtime import ACTOR_RETRIES, FETCH_CPUS, LIGHT_CPUS, TASK_RETRIES, Plan, block_rows, plan


def planned(cluster: Cluster, actors: int | None = None) -> Plan:
    return plan(LabelOptions("in", "out", actors=actors), cluster)


@pytest.mark.parametrize(
    ("cluster", "expected"),
    [
        (
            Cluster(cpus=2, gpus=0, nodes=1),
            Plan(actors=1, max_actors=1, actors_per_node=1, actor_cpus=0.25, actor_gpus=None, batch_sizes=(64,)),
        ),
        (
            Cluster(cpus=64, gpus=0, nodes=4),
            Plan(actors=8, max_actors=8, actors_per_node=2, actor_cpus=1.0, actor_gpus=None, batch_sizes=(64,)),
        ),
        (
            Cluster(cpus=6, gpus=0, nodes=3),
            Plan(actors=3, max_actors=3, actors_per_node=1, actor_cpus=0.25, actor_gpus=None, batch_sizes=(64,)),
        ),
        (
            Cluster(cpus=16, gpus=2, nodes=1),
            Plan(actors=2, max_actors=2, actors_per_node=2, actor_cpus=None, actor_gpus=1, batch_sizes=(64, 128, 256)),
        ),
    ],
)
def test_pools_fit_the_cluster(cluster, expected):
    assert planned(cluster) == expected


@pytest.mark.parametrize("cpus", [2, 4, 8, 16, 64])
def test_replicas_of_lost_machines_leave_room_on_the_others(cpus):
    # Ray restarts all of them on the machines that are left: two of eight.
    found = planned(Cluster(cpus=8 * cpus, gpus=0, nodes=8))
    assert found.actor_cpus is not None
    # A task that splits blocks claims a whole CPU, whatever share is requested.
    assert found.actors * found.actor_cpus + FETCH_CPUS + LIGHT_CPUS + 1 <= 2 * cpus


@pytest.mark.parametrize(
    ("cluster", "actors", "message"),
    [
        (Cluster(cpus=1, gpus=0, nodes=1), None, "too few CPUs"),
        (Cluster(cpus=2, gpus=0, nodes=1), 5, "too few CPUs: 5 model"),
        (Cluster(cpus=1, gpus=8, nodes=1), 9, "too few GPUs"),
    ],
)
def test_what_would_wait_for_ever_is_refused(cluster, actors, message):
    with pytest.raises(UsageError, match=message):
        planned(cluster, actors)


@pytest.mark.parametrize("cpus", [2, 4, 8, 64])
def test_decoding_keeps_all_cores_busy(cpus):
    # Each stage keeps its share permanently: manifest shards, blocks and label files one light task each.
    found = planned(Cluster(cpus=cpus, gpus=0, nodes=1))
    assert found.actor_cpus is not None
    left = cpus - found.actors * found.actor_cpus - 3 * LIGHT_CPUS
    assert left // FETCH_CPUS >= min(cpus, 2)


def test_a_plan_waits_for_ray_to_count_gpus(tmp_path, monkeypatch):
    options = LabelOptions(str(tmp_path / "in"), str(tmp_path / "out"), actors=500)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes(b"")
    with pytest.raises(UsageError, match="too few CPUs"):
        job._check(options)
    monkeypatch.setattr(job, "_GPUS", tmp_path)
    job._check(options)


def test_retries_are_bounded():
    # Ray's own defaults are -1, for ever: an object that kills its process would never let the run end.
    assert 0 < TASK_RETRIES["max_retries"] < 10
    assert 0 < ACTOR_RETRIES["max_task_retries"] < 10


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("127.0.0.1:9", "UsageError cannot join a Ray cluster at 127.0.0.1:9"),
        ("http://head:8265", "UsageError http://head:8265 is where jobs are submitted"),
    ],
)
def test_an_address_without_a_cluster_is_explained_soon(address, message):
    # In a separate process: otherwise, a Ray that already runs here would be used.
    code = (
        "from cilf.cluster import running\n"
        "try:\n"
        f"    with running({address!r}): pass\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.startswith(message)


def test_gpus_can_be_shared_and_pools_can_grow():
    options = LabelOptions("in", "out", gpus_per_actor=0.5, max_actors=8)
    found = plan(options, Cluster(cpus=32, gpus=2, nodes=1))
    assert (found.actors, found.max_actors, found.actor_gpus) == (4, 8, 0.5)
    with pytest.raises(UsageError, match="below the 4"):
        plan(LabelOptions("in", "out", gpus_per_actor=0.5, max_actors=3), Cluster(cpus=32, gpus=2, nodes=1))


def test_a_gpu_tries_out_batch_sizes_and_an_option_overrules_it():
    sizes = [
        plan(LabelOptions("in", "out", batch_size=given), Cluster(cpus=8, gpus=gpus, nodes=1)).batch_sizes
        for given, gpus in ((None, 0), (None, 1), (48, 1))
    ]
    assert sizes == [(64,), (64, 128, 256), (48,)]


def test_blocks_grow_with_the_corpus():
    counts = (1, 100_000, 300_000, 5_000_000)
    assert [block_rows(objects, 12_000, 64, "none") for objects in counts] == [192, 192, 192, 512]
    assert [block_rows(objects, 12_000, 64, "detect") for objects in counts] == [192, 192, 192, 512]
    assert [block_rows(objects, None, 64, "detect") for objects in counts] == [64, 64, 150, 192]
    assert [block_rows(objects, 3_000_000, 64, "none") for objects in counts] == [64, 64, 150, 192]
    assert [block_rows(objects, 3_000_000, 64, "detect") for objects in counts] == [32, 50, 150, 192]


def test_a_block_holds_more_of_small_objects_and_a_batch_where_the_model_counts():
    assert [block_rows(5_000, size, 64, "none") for size in (12_000, 100_000, 300_000, None)] == [192, 160, 64, 64]
    assert block_rows(10, 3_000_000, 256, "none") == 256
    assert block_rows(10, 3_000_000, 256, "auto") == 32
