"""Columns that change from night to night: all readers read all rows of all nights."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cilf import schema
from cilf.card import Images
from cilf.column_types import fitted, known, united, with_values
from cilf.errors import BusyError, UsageError
from cilf.labelling import columns
from cilf.labelling.lease import Lease
from cilf.labelling.passes import crashed
from cilf.labelling.pipeline import Work
from cilf.labelling.sink import labelled_rows
from cilf.manifest.ids import object_ids
from cilf.manifest.shards import write_manifest
from cilf.storage import files, locate, write


class Nights:
    """Labels of one OUTPUT, a night at a time, without models."""

    def __init__(self, folder: Path) -> None:
        self.output = locate(str(folder))
        self.count = 0

    def night(self, own: dict[str, pa.Array], model: str = "abc", thumbnails: bool = False) -> None:
        """Label as many objects as there are values, with these user columns."""
        self.count += 1
        work = self.work(model)
        rows = len(next(iter(own.values()))) if own else 1
        uris = [f"/{self.count}/{row}" for row in range(rows)]
        nothing = {name: pa.nulls(rows, schema.MANIFEST.field(name).type) for name in ("etag", "bytes", "modified")}
        table = pa.table({"uri": uris, **nothing, **own})
        write_manifest([table.add_column(0, "id", pa.array(object_ids(table)))], work.manifest)
        with Lease(work.lease, work.run, print):
            columns.agree(self.output, work, thumbnails, print)
            (shard,) = files(work.manifest, ".parquet")
            table = crashed(pq.read_table(shard.path))
            if thumbnails:
                table = table.append_column(schema.THUMBNAILS, pa.array([[b"jpeg"]] * rows, schema.THUMBNAILS.type))
            buffer = io.BytesIO()
            pq.write_table(labelled_rows(table, work.run), buffer)
            write(work.labels / f"{work.run}.parquet", buffer.getvalue())

    def work(self, model: str = "abc") -> Work:
        run = f"run-{self.count}"
        labels = self.output / "labels" / f"model={model}"
        lease = self.output / "leases" / f"{model}.json"
        return Work(run, self.output / "manifests" / run, labels, lease, "tiny", Images(size=32))

    def label_files(self) -> dict[str, bytes]:
        return {str(file): file.read_bytes() for file in Path(self.output.path).glob("labels/*/*.parquet")}

    def read(self, name: str) -> list[Any]:
        """A column in the order of nights and rows, as the readers in docs/guides/read-labels.md read it."""
        folder = f"{self.output.path}/labels"
        by_arrow = pq.read_table(folder).sort_by("uri")
        by_pandas = pd.read_parquet(folder, dtype_backend="pyarrow").sort_values("uri")
        assert by_pandas["uri"].tolist() == by_arrow["uri"].to_pylist()
        assert pa.array(by_pandas[name]).to_pylist() == by_arrow[name].to_pylist()
        query = f"SELECT * FROM '{folder}/**/*.parquet' ORDER BY uri"
        assert duckdb.sql(query).to_arrow_table()[name].to_pylist() == by_arrow[name].to_pylist()
        types = {pq.read_schema(file).field(name).type for file in self.label_files()}
        assert len(types) == 1, types  # for Spark, which assumes that all files have the types of one file
        return by_arrow[name].to_pylist()


@pytest.fixture
def nights(tmp_path: Path) -> Nights:
    return Nights(tmp_path / "out")


def as_json(values: list[Any]) -> pa.Array:
    """The values as they are read from a manifest of JSON lines."""
    found = pa.array(values)
    return fitted(found, with_values(found.type))


@pytest.mark.parametrize(
    "first",
    [None, {"iso": None}, {"iso": None, "lens": [{"f": None}]}, {"lens": []}, {"iso": 100}, {"iso": 100.5, "by": "me"}],
)
@pytest.mark.parametrize("second", [{"iso": 100.5}, {"iso": 3, "lens": [{"f": 2.8}, {"f": 1, "name": "old"}]}])
def test_nested_values_come_and_grow(nights, first, second):
    for value in (first, second, first):
        nights.night({"meta": as_json([value, None])})
    found = nights.read("meta")

    def there(value: Any) -> Any:
        """A value without its nulls."""
        if isinstance(value, dict):
            return {name: there(held) for name, held in value.items() if held is not None}
        return [there(held) for held in value] if isinstance(value, list) else value

    assert [there(value) for value in found] == [there(value) for value in (first, None, second, None, first, None)]


@pytest.mark.parametrize("depth", [0, 1])
def test_structs_without_fields_that_get_some(nights, depth):
    """Parquet has no structs without fields, so the labels have text instead."""
    empty = pa.array(["{}", None])
    some = pa.array([{"iso": 100}, None])
    for column in (empty, some, empty):
        rows = pa.ListArray.from_arrays([0, 1, 2], column)
        nights.night({"meta": rows if depth else column})
    found = [value[0] if depth else value for value in nights.read("meta")]
    assert found == [{"iso": None}, None, {"iso": 100}, None, {"iso": None}, None]
    with pytest.raises(UsageError, match="no type in common"):
        nights.night({"meta": pa.array([["other {}"]]) if depth else pa.array(["other {}"])})


@pytest.mark.parametrize("depth", [0, 1])
def test_structs_without_fields_beside_a_column_without_values(nights, depth):
    for column in (pa.array(["{}", "{}"]), pa.array([None, None], pa.float64())):
        nights.night({"meta": pa.ListArray.from_arrays([0, 1, 2], column) if depth else column})
    found = [value[0] if depth else value for value in nights.read("meta")]
    assert found == ["{}", "{}", None, None]


@pytest.mark.parametrize("depth", [0, 1])
def test_text_that_begins_like_structs_without_fields(nights, depth, monkeypatch):
    """All rows, not only those of one batch, decide whether text stands for structs without fields."""
    monkeypatch.setattr(columns, "_BATCH", 2)
    texts = ["{}", "{}", None, None, "hello", "{}"]
    text = pa.array(texts)
    for column in (text, pa.array([None], pa.int64())):
        deep = pa.StructArray.from_arrays([pa.ListArray.from_arrays(range(len(column) + 1), column)], ["a"])
        nights.night({"meta": deep if depth else column})
    found = [value["a"][0] if depth else value for value in nights.read("meta")]
    assert found == [*texts, None]


TREES = st.recursive(
    st.sampled_from(["number", "text", "flag", "decimal"]),
    lambda inner: st.one_of(st.dictionaries(st.sampled_from("abc"), inner, min_size=1, max_size=3), st.tuples(inner)),
    max_leaves=5,
)
LEAVES = {
    "number": st.one_of(st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False)),
    "text": st.text(st.characters(exclude_categories=["Cs"]), max_size=3),
    "flag": st.booleans(),
    "decimal": st.decimals(-1000, 1000, places=2, allow_nan=False),
}


def values_of(tree: Any, whole: bool) -> st.SearchStrategy[Any]:
    if isinstance(tree, dict):
        some = st.fixed_dictionaries({}, optional={name: values_of(inner, whole) for name, inner in tree.items()})
    elif isinstance(tree, tuple):
        some = st.lists(values_of(tree[0], whole), max_size=3)
    elif whole and tree == "number":
        some = st.integers(-(2**53), 2**53)
    else:
        some = LEAVES[tree].map(float) if tree == "number" else LEAVES[tree]
    return st.none() | some


NIGHT = st.shared(TREES, key="tree").flatmap(
    lambda tree: st.booleans().flatmap(lambda whole: st.lists(values_of(tree, whole), min_size=1, max_size=3))
)


def completed(value: Any, kind: pa.DataType) -> Any:
    """A value with all fields of its type."""
    if value == {} and pa.types.is_string(kind):
        return "{}"
    if isinstance(value, dict):
        return {field.name: completed(value.get(field.name), field.type) for field in kind}
    return [completed(held, kind.value_type) for held in value] if value and pa.types.is_list(kind) else value


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(first=NIGHT, second=NIGHT)
def test_two_arrays_of_one_kind_have_a_type_that_holds_both(first, second):
    arrays = [as_json(night) for night in (first, second)]
    both = with_values(united(*(known(array) for array in arrays)))
    for night, array in zip((first, second), arrays, strict=True):
        as_both = fitted(array, both)
        as_both.validate(full=True)
        assert as_both.type == both
        assert as_both.to_pylist() == [completed(value, both) for value in night]
        assert fitted(array.slice(1), both).equals(as_both.slice(1))
        if "struct<>" not in str(known(array)):
            assert united(both, known(array)) == both


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(found=st.lists(NIGHT, min_size=2, max_size=3))
def test_readers_read_all_nights(found, tmp_path_factory):
    nights = Nights(tmp_path_factory.mktemp("nights") / "out")
    arrays = [as_json(night) for night in found]
    for array in arrays:
        nights.night({"own": array})
    kind = pq.read_schema(next(iter(nights.label_files()))).field("own").type
    assert nights.read("own") == [completed(value, kind) for night in found for value in night]


PLAIN = [
    *(pa.array([0, 1], pa.int8()).cast(kind) for kind in (pa.int8(), pa.uint16(), pa.int32(), pa.int64(), pa.uint64())),
    *(pa.array([0.5, 1]).cast(kind) for kind in (pa.float16(), pa.float32(), pa.float64())),
    *(pa.array([Decimal("0.5")], kind) for kind in (pa.decimal128(3, 1), pa.decimal128(20, 4), pa.decimal256(60, 1))),
    *(pa.array(["a"], kind) for kind in (pa.string(), pa.large_string(), pa.string_view())),
    pa.array(["a"]).dictionary_encode(),
    *(pa.array([b"ab"], kind) for kind in (pa.binary(), pa.large_binary(), pa.binary(2), pa.binary_view())),
    *(pa.array([1], pa.timestamp("s", zone)).cast(pa.timestamp(unit, zone)) for unit in ("s", "us", "ns")
      for zone in (None, "UTC", "Asia/Tokyo")),
    pa.array([1], pa.date32()), pa.array([86_400_000], pa.date64()), pa.array([True]),
    *(pa.array([1], kind) for kind in (pa.duration("s"), pa.duration("ns"))),
    *(pa.array([0], pa.time32("s")).cast(kind) for kind in (pa.time32("s"), pa.time64("us"), pa.time64("ns"))),
    *(pa.array([[1]], kind) for kind in (pa.list_(pa.int8()), pa.large_list(pa.int64()), pa.list_(pa.int8(), 1))),
    *(pa.array([[("a", 1)]], pa.map_(pa.string(), kind)) for kind in (pa.int8(), pa.float64())),
    pa.array([{"a": 1}], pa.struct([pa.field("a", pa.int8(), nullable=False)])), pa.array([{"a": 0.5, "b": "b"}]),
]  # fmt: skip


@pytest.mark.parametrize("first", PLAIN, ids=lambda array: str(array.type))
def test_types_of_any_kind(first):
    """Compatible types keep all values, in either order and at any depth; nulls are compatible with any type."""
    fit = 0
    for second in PLAIN:
        try:
            both = united(first.type, second.type)
        except TypeError:
            with pytest.raises(TypeError):
                united(second.type, first.type)
            continue
        fit += 1
        for array in (first, second):
            same = fitted(array, both)
            assert [completed(value, both) for value in array.to_pylist()] == same.to_pylist()
            rows = pa.ListArray.from_arrays([0, len(array)], array)
            deep = pa.StructArray.from_arrays([rows], ["own"])
            assert fitted(deep, pa.struct([("own", pa.list_(both))])).to_pylist() == [{"own": same.to_pylist()}]
    assert fit >= 1
    assert fitted(pa.nulls(2, pa.string()), first.type).to_pylist() == [None, None]


def test_files_that_hold_the_types_of_tonight_are_left_alone(nights):
    nights.night({"iso": pa.array([100.5]), "name": pa.array(["a"], pa.large_string())})
    before = nights.label_files()
    nights.night({"name": pa.array(["b"]), "iso": pa.array([3], pa.int64())})
    nights.night({"iso": pa.array([None], pa.string())})  # JSON lines without a value are read as text
    nights.night({})
    assert {name: data for name, data in nights.label_files().items() if name in before} == before
    assert nights.read("iso") == [100.5, 3.0, None, None]
    assert nights.read("name") == ["a", "b", None, None]
    assert len({tuple(pq.read_schema(file).names) for file in nights.label_files()}) == 1  # so that they can be merged


def test_a_column_that_comes_later_is_in_all_files(nights):
    nights.night({})
    nights.night({"iso": pa.array([100])}, model="def", thumbnails=True)
    assert nights.read("iso") == [None, 100]
    assert nights.read("thumbnails") == [None, [b"jpeg"]]
    nights.night({"iso": pa.array([200])})
    nights.night({}, thumbnails=True)
    assert nights.read("thumbnails") == [None, [b"jpeg"], None, [b"jpeg"]]


def test_the_rest_of_a_rewritten_file_stays(nights):
    nights.night({"iso": pa.array([100, None])})
    (file,) = nights.label_files()
    before = pq.read_table(file)
    nights.night({"iso": pa.array([0.5])})
    after = pq.read_table(file)
    assert after.drop_columns("iso").equals(before.drop_columns("iso"))
    assert after.schema.metadata[b"cilf_schema"] == before.schema.metadata[b"cilf_schema"]
    assert after["iso"].to_pylist() == [100.0, None]


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (pa.array([1]), pa.array(["one"]), ["int64, then string"]),
        (pa.array([{"a": [1]}]), pa.array([{"a": ["1"]}]), ["(a: int64 and string have no type in common)"]),
        (pa.array([2**53 + 1]), pa.array([0.5]), ["int64 to double", "9007199254740993"]),
        (pa.array([0.5]), pa.array([2**53 + 1]), ["int64 to double", "9007199254740993"]),
        (pa.array([[{"a": 2**60 + 1}]]), pa.array([[{"a": 0.5}]]), [str(2**60 + 1)]),
        (pa.array([2**64 - 1], pa.uint64()), pa.array([-1]), [str(2**64 - 1)]),
        (pa.array([Decimal("0.1")]), pa.array([0.1]), ["decimal"]),
        (pa.array([True]), pa.array([1]), ["bool"]),
        (pa.array([0], pa.timestamp("us")), pa.array([0], pa.timestamp("us", "UTC")), ["tz=UTC"]),
        (pa.array([2**50], pa.timestamp("s")), pa.array([1], pa.timestamp("ns")), ["timestamp[ns]"]),
        (pa.array([{"iso": 1}]), pa.array([{"ISO": 1}]), ["iso and ISO differ"]),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_is_changed(nights, first, second, said):
    nights.night({"own": first})
    before = nights.label_files()
    with pytest.raises(UsageError) as refused:
        nights.night({"own": second})
    for part in ["own", "choose another OUTPUT", *said]:
        assert part in str(refused.value)
    assert nights.label_files() == before


def test_a_column_of_the_same_name_but_for_case(nights):
    nights.night({"Camera": pa.array(["old"])})
    with pytest.raises(UsageError, match="Camera and camera differ only in case"):
        nights.night({"camera": pa.array(["new"])})


def test_names_that_differ_in_lower_case_are_two(nights):
    """They are also two for readers, and for the check of a manifest's columns."""
    nights.night({"straße": pa.array(["a"]), "meta": pa.array([{"straße": 1}])})
    nights.night({"STRASSE": pa.array(["b"]), "meta": pa.array([{"STRASSE": 2}])})
    assert (nights.read("straße"), nights.read("STRASSE")) == (["a", None], [None, "b"])
    assert nights.read("meta") == [{"straße": 1, "STRASSE": None}, {"straße": None, "STRASSE": 2}]


@pytest.mark.parametrize("dies_at", range(4))
def test_a_rewriting_that_was_killed_is_gone_on_with(nights, monkeypatch, dies_at):
    for value in range(3):
        nights.night({"iso": pa.array([value])})
    calls = iter(range(100))

    def dying(*arguments: Any) -> None:
        if next(calls) >= dies_at:
            raise KeyboardInterrupt
        write(*arguments)

    monkeypatch.setattr(columns, "_WRITERS", 1)
    with monkeypatch.context() as patch:
        patch.setattr(columns, "write", dying)
        if dies_at < 3:
            with pytest.raises(KeyboardInterrupt):
                nights.night({"iso": pa.array([3.5])})
        else:
            nights.night({"iso": pa.array([3.5])})
    written = sum(len(pq.read_table(file)) for file in nights.label_files())
    assert written == 3 + (dies_at == 3)
    nights.night({"iso": pa.array([4])})  # has the earlier type: the rest of the other one still has to be rewritten
    assert nights.read("iso") == [0, 1, 2, *([3.5] if dies_at == 3 else []), 4]


def test_files_with_long_footers_and_files_that_go(nights, monkeypatch):
    nights.night({"iso": pa.array([1])})
    monkeypatch.setattr(columns, "_FOOTER", 100)
    nights.night({"iso": pa.array([0.5])})
    real = columns._label_files
    gone = nights.output / "labels" / "model=def" / "run-0.parquet"
    monkeypatch.setattr(columns, "_label_files", lambda output: [*real(output), gone])
    nights.night({"iso": pa.array([2])})
    assert nights.read("iso") == [1, 0.5, 2]


def test_labels_of_another_model_are_rewritten_under_its_lease(nights):
    nights.night({"iso": pa.array([1])}, model="def")
    other = nights.work("def")
    with Lease(other.lease, "another", print):
        nights.night({"iso": pa.array([2])})  # nothing to rewrite
        before = nights.label_files()
        with pytest.raises(BusyError, match="run another"):
            nights.night({"iso": pa.array([0.5])})
        assert nights.label_files() == before
    nights.night({"iso": pa.array([0.5])})
    assert sorted(nights.read("iso")) == [0.5, 1, 2]
    assert not files(nights.output / "leases", ".json")


def test_a_run_that_lost_the_lease_rewrites_nothing(nights, monkeypatch):
    nights.night({"iso": pa.array([1])})
    before = nights.label_files()
    real: Callable[..., None] = columns._check

    def lose(*arguments: Any, **options: Any) -> None:
        real(*arguments, **options)
        write(nights.work().lease, json.dumps({"run": "another"}).encode())

    monkeypatch.setattr(columns, "_check", lose)
    with pytest.raises(Exception, match="no longer holds"):
        nights.night({"iso": pa.array([0.5])})
    assert nights.label_files() == before
