import hashlib
import tracemalloc

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cilf.manifest.ids import Seen, contains, object_id, object_ids
from cilf.manifest.listing import objects, write_manifest
from cilf.storage import locate


def ids(*numbers: int) -> np.ndarray:
    return np.array(numbers, dtype=np.int64)


def test_the_id_is_promised():
    # Users may compute it themselves: the first 8 bytes of SHA-256 as a signed number.
    assert object_id("s3://b/k", "e") == int.from_bytes(hashlib.sha256(b"s3://b/k\0e").digest()[:8], "big", signed=True)
    assert object_id("s3://b/k", None) == object_id("s3://b/k", "")
    assert object_id("s3://b/k", "e") != object_id("s3://b/k", "f")


def test_ids_of_a_table_are_the_same():
    uris = ["s3://b/k", "s3://b/k", "/日本 #%.jpg", "s3://b/" + "x" * 900]
    etags = ["e", None, "", "f"]
    whole = pa.table({"uri": pa.array(uris), "etag": pa.array(etags)})
    expected = [object_id(uri, etag) for uri, etag in zip(uris, etags, strict=True)]
    assert object_ids(whole).tolist() == expected
    assert object_ids(pa.concat_tables([whole.slice(0, 1), whole.slice(1)])).tolist() == expected
    assert object_ids(pa.table({"uri": ["a"], "etag": pa.nulls(1, pa.string())})).tolist() == [object_id("a", None)]


def test_contains():
    assert contains(ids(), ids(1, 2)).tolist() == [False, False]
    assert contains(ids(-4, 2, 9), ids(9, 10, -4, -5)).tolist() == [True, False, True, False]


def test_seen_is_exact():
    draw, known = np.random.default_rng(0), {7, 8}
    seen = Seen(ids(8, 7))
    for size in [1, 0, 300, 5, 1000, 1000, 2, 700]:
        batch = draw.integers(-1000, 1000, size)
        expected = []
        for number in batch.tolist():
            expected.append(number not in known)
            known.add(number)
        assert seen.new(batch).tolist() == expected
    assert seen.repeats == 3008 - (len(known) - 2)


def test_seen_keeps_few_runs():
    seen = Seen()
    for first in range(0, 40_000, 100):
        seen.new(np.arange(first, first + 100))
    assert sum(map(len, seen._runs)) == 40_000
    assert len(seen._runs) < 12


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A manifest of 300,000 objects, every tenth of which occurs twice."""
    folder = tmp_path_factory.mktemp("large")
    numbers = [number - number % 10 // 9 for number in range(300_000)]
    uris = [f"s3://bucket/photos/{number % 365:03d}/{number:012d}.jpg" for number in numbers]
    pq.write_table(pa.table({"uri": uris, "etag": [f"{number:032x}" for number in numbers]}), folder / "m.parquet")
    return locate(str(folder / "m.parquet"))


def test_many_objects_take_little_memory(large, tmp_path):
    arrow = pa.proxy_memory_pool(pa.default_memory_pool())
    default = pa.default_memory_pool()
    pa.set_memory_pool(arrow)
    tracemalloc.start()
    try:
        written = write_manifest(objects(large), locate(str(tmp_path / "out")))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        pa.set_memory_pool(default)
    assert len(written) == len(np.unique(written)) == 270_000
    # 12 and 31 MB; with a set of ids it would be 27.
    assert peak < 20e6
    assert (arrow.max_memory() or 0) < 60e6
