"""Columns of any type in Iceberg and Delta: either their values can be read back, or the message names the column."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from published_rows import photograph

from cilf.column_types import fitted
from cilf.publishing.table_types import table_type

deltalake = pytest.importorskip("deltalake")
pytest.importorskip("pyiceberg")

FIRST, SECOND, THIRD = (f"2026110{day}T010000Z-aaaaaa" for day in (1, 2, 3))
OWN = 'it\'s "my". own'
MOMENT = datetime(2026, 11, 1, 12, 30, 1, 123456, UTC)

VALUES: list[tuple[pa.DataType, Any, Any]] = [
    *((kind, 2**7 - 1, 2**7 - 1) for kind in (pa.int8(), pa.uint8(), pa.int16(), pa.uint16(), pa.int32(), pa.int64())),
    (pa.uint32(), 2**32 - 1, 2**32 - 1),
    (pa.uint64(), 2**64 - 1, Decimal(2**64 - 1)),
    *((kind, 0.5, 0.5) for kind in (pa.float16(), pa.float32(), pa.float64())),
    *((kind, "é'\"", "é'\"") for kind in (pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string()))),
    *((kind, b"\0\xff", b"\0\xff") for kind in (pa.binary(), pa.large_binary(), pa.binary(2))),
    (pa.timestamp("s"), MOMENT.replace(tzinfo=None, microsecond=0), MOMENT.replace(tzinfo=None, microsecond=0)),
    (pa.timestamp("us", "Asia/Tokyo"), MOMENT, MOMENT),
    (pa.timestamp("ns", "UTC"), int(MOMENT.timestamp()) * 10**9 + 123_456_789, MOMENT),
    (pa.timestamp("ns"), -1, datetime(1970, 1, 1)),
    *((kind, MOMENT.date(), MOMENT.date()) for kind in (pa.date32(), pa.date64())),
    *((kind, Decimal("1.50"), Decimal("1.50")) for kind in (pa.decimal32(3, 2), pa.decimal64(9, 2))),
    *((kind, Decimal("1.50"), Decimal("1.50")) for kind in (pa.decimal128(38, 2), pa.decimal256(38, 2))),
    (pa.bool_(), True, True),
]
"""A type, a value of it, and the value in a table."""


def around(kind: pa.DataType, value: Any, expected: Any) -> tuple[pa.DataType, Any, Any]:
    """The same case, nested."""
    wrapped = pa.struct([("rows", pa.list_(pa.struct([("a", kind), ("of", pa.map_(pa.string(), kind))])))])
    return wrapped, *({"rows": [{"a": held, "of": [("k", held)]}, None]} for held in (value, expected))


ALL = [*VALUES, *(around(*case) for case in VALUES)]


@pytest.fixture(params=["iceberg", "delta"])
def table(request: pytest.FixtureRequest, tmp_path: Path, catalog: Any, publish: Callable[..., str]) -> Any:
    """One table of either format: publish labels in it, and read it."""

    class Table:
        place = "photos.ages" if request.param == "iceberg" else str(tmp_path / "table")
        options = ("--format", request.param)
        format = request.param

        def publish(self, output: str) -> str:
            return publish(output, self.place, *self.options)

        def read(self, version: int | None = None) -> list[dict[str, Any]]:
            if request.param == "delta":
                rows = pa.table(deltalake.DeltaTable(self.place, version=version).scan())
            else:
                found = catalog.load_table(self.place)
                snapshot = None if version is None else found.snapshots()[version].snapshot_id
                rows = found.scan(snapshot_id=snapshot).to_arrow()
            return sorted(rows.to_pylist(), key=lambda row: row["uri"])

        def exists(self) -> bool:
            return catalog.table_exists(self.place) if request.param == "iceberg" else Path(self.place).exists()

    return Table()


def test_values_of_all_types_come_back(tmp_path, write_run, table):
    output = str(tmp_path / "out")
    own = [pa.field(f"own{number}", kind) for number, (kind, _, _) in enumerate(ALL)]
    named = {f"own{number}": value for number, (_, value, _) in enumerate(ALL)}
    write_run(output, FIRST, [photograph(1, **named), photograph(2)], *own)
    table.publish(output)
    found, nothing = table.read()
    for number, (kind, _, expected) in enumerate(ALL):
        assert found[f"own{number}"] == expected, kind
        assert nothing[f"own{number}"] is None
    assert "nothing new" in table.publish(output)


TYPES = st.recursive(
    st.sampled_from([*(kind for kind, _, _ in VALUES), pa.null()]),
    lambda inner: st.one_of(
        inner.map(pa.list_),
        inner.map(pa.large_list),
        inner.map(lambda kind: pa.list_(kind, 2)),
        inner.map(lambda kind: pa.map_(pa.string(), kind)),
        st.lists(inner, max_size=3).map(lambda kinds: pa.struct([(f"f{n}", kind) for n, kind in enumerate(kinds)])),
    ),
    max_leaves=6,
)


def example(kind: pa.DataType, in_table: int, depth: int = 0) -> Any:
    """A value of a type; `in_table` 1: as the table has it, 2: as the label file has it."""
    for known, *values in VALUES:
        if known == kind:
            return values[2 - in_table]
    if pa.types.is_struct(kind):
        fields = {field.name: field for field in kind}
        if in_table == 1:
            fields = {name: field for name, field in fields.items() if table_type(field.type, times=False)}
        return {name: example(field.type, in_table) for name, field in fields.items()}
    if pa.types.is_map(kind):
        return [("k", example(kind.item_type, in_table))]
    return None if pa.types.is_null(kind) else [example(kind.value_type, in_table)] * 2


@settings(max_examples=200, deadline=None)
@given(TYPES)
def test_what_is_promised_is_what_values_become(kind):
    promised = table_type(kind, times=False)
    if promised is None:
        assert "null" in str(kind) or "struct<>" in str(kind)
        return
    values = pa.array([example(kind, 2), None], kind)
    became = fitted(values, promised, cut=True)
    became.validate(full=True)
    assert became.type == promised
    assert became.to_pylist() == [example(kind, 1), None]
    assert table_type(promised, times=False) == promised
    deltalake.Schema.from_arrow(pa.schema([("own", promised)]))


def test_extension_types_are_what_they_are_stored_as():
    stored = pa.array([b"\1" * 16, None], pa.binary(16))
    values = pa.ExtensionArray.from_storage(pa.uuid(), stored)
    rows = pa.ListArray.from_arrays([0, 2], values)
    promised = table_type(rows.type, times=True)
    assert promised == pa.list_(pa.binary())
    assert fitted(rows, promised).to_pylist() == [[b"\1" * 16, None]]


NOWHERE = [pa.duration("ns"), pa.decimal256(60, 2)]


@pytest.mark.parametrize("depth", [0, 1])
@pytest.mark.parametrize("kind", [*NOWHERE, pa.time32("s"), pa.time64("ns")], ids=str)
def test_types_that_a_table_does_not_have(tmp_path, write_run, table, refused, kind, depth):
    output = str(tmp_path / "out")
    if pa.types.is_decimal(kind):
        value: Any = Decimal("1.50")
    else:
        value = time(12, 30, 1) if pa.types.is_time(kind) else timedelta(seconds=3)
    if depth:
        kind, value, _ = around(kind, value, None)
    write_run(output, FIRST, [photograph(1, exposure=value)], pa.field("exposure", kind))
    if "time" in str(kind) and table.format == "iceberg":
        table.publish(output)
        found = table.read()[0]["exposure"]
        assert (found["rows"][0]["a"] if depth else found) == time(12, 30, 1)
        return
    assert "column exposure" in refused(output, table.place, *table.options)
    assert not table.exists()


@pytest.mark.parametrize(
    ("before", "value", "after", "other"),
    [
        (pa.int64(), 3, pa.float64(), 0.5),
        (pa.int32(), 3, pa.int64(), 2**40),
        (pa.float32(), 0.5, pa.float64(), 0.1),
        (pa.decimal128(5, 2), Decimal("1.50"), pa.decimal128(9, 4), Decimal("0.0001")),
        (pa.uint32(), 3, pa.uint64(), 2**64 - 1),
        (pa.date32(), MOMENT.date(), pa.date32(), MOMENT.date()),
        (pa.struct([("a", pa.string())]), {"a": None}, pa.struct([("a", pa.list_(pa.int8()))]), {"a": [1]}),
        (pa.string(), None, pa.struct([("a", pa.int8())]), {"a": 1}),
    ],
    ids=str,
)
def test_types_that_grow_after_the_first_publication(tmp_path, write_run, table, before, value, after, other):
    """All rows are right in the newest version, and the previous version can still be read."""
    output = str(tmp_path / "out")

    def write_night(name: str, number: int, kind: pa.DataType, own: Any) -> None:
        deep, below, _ = around(kind, own, None)
        row = photograph(number, deep=below, stays=name, **{OWN: own})
        write_run(output, name, [row], *map(pa.field, (OWN, "deep", "stays"), (kind, deep, pa.string())))

    write_night(FIRST, 1, before, value)
    table.publish(output)
    write_night(SECOND, 2, after, other)
    assert "published 1 rows and removed 0" in table.publish(output)
    write_night(THIRD, 3, before, value)
    assert "published 1 rows" in table.publish(output)
    found = table.read()
    for row, expected in zip(found, (value, other, value), strict=True):
        assert row[OWN] == expected
        assert row["deep"]["rows"] == [{"a": expected, "of": [("k", expected)]}, None]
    assert [row["stays"] for row in found] == [FIRST, SECOND, THIRD]
    assert [row["stays"] for row in table.read(version=0)] == [FIRST]
    assert "nothing new" in table.publish(output)


def test_a_time_that_no_table_can_hold(tmp_path, write_run, table, refused):
    """Microseconds since 1970 reach 292,000 years; seconds reach further."""
    output = str(tmp_path / "out")
    write_run(output, FIRST, [photograph(1, taken=2**50)], pa.field("taken", pa.timestamp("s")))
    said = refused(output, table.place, *table.options)
    assert "nothing was committed: taken" in said


def test_null_lists_of_structs_and_null_maps_to_structs(tmp_path, write_run, table):
    """Null in Delta, empty in Iceberg, as docs/guides/publish.md says; other lists and maps stay null in both."""
    inner = {"leaf": pa.int64(), "struct": pa.struct([("a", pa.int64())])}
    kinds = {f"list of {name}": pa.list_(kind) for name, kind in inner.items()}
    kinds |= {f"map to {name}": pa.map_(pa.string(), kind) for name, kind in inner.items()}
    write_run(str(tmp_path / "out"), FIRST, [photograph(1)], *(pa.field(*kind) for kind in kinds.items()))
    table.publish(str(tmp_path / "out"))
    empty = {"list of struct", "map to struct"} if table.format == "iceberg" else set()
    assert {name: table.read()[0][name] for name in kinds} == {n: [] if n in empty else None for n in kinds}
