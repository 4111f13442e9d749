"""The names and types that a user's columns may have, and those that they get in the labels."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, date, datetime
from decimal import Decimal

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from cilf import cli, schema
from cilf.column_types import with_values
from cilf.errors import UsageError
from cilf.manifest.columns import fitted, plain
from cilf.manifest.listing import check_input, objects
from cilf.storage import locate

UUID = uuid.UUID("12345678-1234-5678-1234-567812345678")
AT = datetime(2024, 5, 1, 10, 11, 12, 123456)
NS = 1_714_558_272_123_456_789
TEXT = pa.array(["a", None, ""])
ODD = {
    "views": (TEXT.cast(pa.string_view()), ["a", None, ""]),
    "bytes_views": (pa.array([b"a", None], pa.binary_view()), [b"a", None]),
    "large": (TEXT.cast(pa.large_string()), ["a", None, ""]),
    "fixed_bytes": (pa.array([b"ab", None], pa.binary(2)), [b"ab", None]),
    "dictionary": (TEXT.dictionary_encode(), ["a", None, ""]),
    "dictionary_of_views": (
        pa.DictionaryArray.from_arrays(pa.array([0, None], pa.int8()), pa.array(["a"], pa.string_view())),
        ["a", None],
    ),
    "runs": (pc.run_end_encode(pa.array([1, 1, None])), [1, 1, None]),
    "list_view": (pa.array([[1, 2], None, []], pa.list_view(pa.int64())), [[1, 2], None, []]),
    "large_list_view": (pa.array([["a"], None], pa.large_list_view(pa.string_view())), [["a"], None]),
    "fixed_list": (pa.array([[1, 2], None, [3, 4]], pa.list_(pa.int32(), 2)), [[1, 2], None, [3, 4]]),
    "map": (pa.array([[("a", "b")], None], pa.map_(pa.string_view(), pa.string_view())), [[("a", "b")], None]),
    "nothing": (pa.nulls(2), [None, None]),
    "list_of_nothing": (pa.array([[None], None, []]), [[None], None, []]),
    "empty_struct": (pa.array([{}, None], pa.struct([])), ["{}", None]),
    "half": (pa.array([1.5, None], pa.float16()), [1.5, None]),
    "decimal": (pa.array([Decimal("1.5"), None], pa.decimal256(38, 1)), [Decimal("1.5"), None]),
    "small_decimal": (pa.array([Decimal("1.5"), None], pa.decimal32(5, 1)), [Decimal("1.5"), None]),
    "huge_decimal": (pa.array([Decimal("1.5"), None], pa.decimal256(60, 1)), ["1.5", None]),
    "duration": (pa.array([1_500_000_000, None], pa.duration("ns")), [1.5, None]),
    "time": (pa.array([3_723_000_000_001, None], pa.time64("ns")), ["01:02:03.000000001", None]),
    "date64": (pa.array([86_400_000, None], pa.date64()), [date(1970, 1, 2), None]),
    "seconds": (pa.array([1, None], pa.timestamp("s")), [datetime(1970, 1, 1, 0, 0, 1), None]),
    "nanoseconds": (pa.array([NS, None], pa.timestamp("ns")), [AT, None]),
    "zone": (pa.array([NS // 1000, None], pa.timestamp("us", "Asia/Tokyo")), [AT.replace(tzinfo=UTC), None]),
    "uuid": (pa.array([UUID.bytes, None], pa.uuid()), [str(UUID), None]),
    "json": (pa.ExtensionArray.from_storage(pa.json_(), pa.array(['{"a":1}', None])), ['{"a":1}', None]),
    "bool8": (pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1, 0, None], pa.int8())), [True, False, None]),
    "unsigned": (pa.array([2**64 - 1, None], pa.uint64()), [2**64 - 1, None]),
}


def in_list(column: pa.Array) -> pa.Array:
    """One list of all values, and a null."""
    return pa.ListArray.from_arrays(pa.array([0, len(column), len(column)]), column, mask=pa.array([False, True]))


def in_struct(column: pa.Array) -> pa.Array:
    return pa.StructArray.from_arrays([column], names=["inner"])


@pytest.mark.parametrize("name", ODD)
def test_types_at_any_depth(name):
    column, expected = ODD[name]
    expected = expected[: len(column)]
    nested = in_struct(in_list(in_struct(column)))
    for odd, wanted in ((column, expected), (nested, [{"inner": [{"inner": v} for v in expected]}, {"inner": None}])):
        kind = with_values(plain(odd.type))
        found = fitted(odd, kind)
        found.validate(full=True)
        assert found.type == kind
        assert found.to_pylist() == wanted
        assert fitted(odd.slice(1), kind).to_pylist() == wanted[1:]
        assert plain(kind) == with_values(kind) == kind
        assert fitted(odd.slice(0, 0), kind).type == kind


def odd_table() -> pa.Table:
    """Two rows of all types that Parquet can hold."""
    columns = {"uri": pa.array(["/a", "/b"])}
    for name in ODD.keys() - {"dictionary_of_views", "runs", "empty_struct"}:
        column = ODD[name][0][:2]
        columns |= {name: column, f"{name}_nested": in_struct(in_list(column))}
    return pa.table(columns)


def test_what_parquet_carries_is_listed(tmp_path):
    pq.write_table(odd_table(), tmp_path / "m.parquet")
    assert cli.main(["list", f"{tmp_path}/m.parquet", f"{tmp_path}/list"]) == 0
    (listed,) = objects(locate(f"{tmp_path}/list"))
    (direct,) = objects(locate(f"{tmp_path}/m.parquet"))
    assert direct.equals(listed)
    (file,) = (tmp_path / "list").glob("*.parquet")
    assert pd.read_parquet(file)["views"].tolist()[0] == "a"
    assert duckdb.sql(f"SELECT views_nested.inner FROM '{file}' ORDER BY uri").fetchall() == [(["a", None],), (None,)]
    assert not {"view", "dictionary", "large", "null", "extension", "ns"} & set(
        str(listed.drop_columns(["id"]).schema.types).replace("[", " ").replace("<", " ").split()
    )


def test_files_that_hold_other_types_go_together(tmp_path):
    kinds = {"a": pa.null(), "b": pa.int8(), "c": pa.float64(), "d": pa.null()}
    for name, kind in kinds.items():
        column = pa.array([None] if pa.types.is_null(kind) else [1], kind)
        (tmp_path / "m.parquet").mkdir(exist_ok=True)
        nested = pa.StructArray.from_arrays([column], names=["gps"])
        pq.write_table(
            pa.table({"uri": [f"/{name}"], "x": column, "meta": nested}), tmp_path / "m.parquet" / f"{name}.parquet"
        )
    table = pa.concat_tables(objects(locate(f"{tmp_path}/m.parquet")))
    assert table["x"].to_pylist() == [None, 1.0, 1.0, None]
    assert table["meta"].to_pylist() == [{"gps": x} for x in (None, 1.0, 1.0, None)]


def test_files_of_types_that_do_not_go_together(tmp_path):
    (tmp_path / "m.parquet").mkdir()
    for name, value in (("a", 1), ("b", "x")):
        pq.write_table(
            pa.table({"uri": ["/a"], "same": [1], "shelf": [value]}), tmp_path / "m.parquet" / f"{name}.parquet"
        )
    with pytest.raises(UsageError, match=r"column shelf of .*b\.parquet differs from .*a\.parquet: int64 and string"):
        check_input(locate(f"{tmp_path}/m.parquet"))


def test_a_value_that_does_not_fit(tmp_path):
    pq.write_table(pa.table({"uri": ["/a"], "at": pa.array([2**60], pa.timestamp("ms"))}), tmp_path / "m.parquet")
    with pytest.raises(UsageError, match=r"m\.parquet: column at has a value that is not timestamp\[us\]"):
        list(objects(locate(f"{tmp_path}/m.parquet")))


def write(folder, suffix: str, names: list[str]) -> str:
    """A manifest of one row with these columns."""
    file = folder / f"m{suffix}"
    if suffix == ".csv":
        quoted = ",".join('"' + name.replace('"', '""') + '"' for name in names)
        file.write_text(f"{quoted}\n{','.join('x' * len(names))}\n", newline="")
    elif suffix == ".jsonl":
        file.write_text("{" + ", ".join(f'{json.dumps(name)}: "x"' for name in names) + "}\n")
    else:
        pq.write_table(pa.table([["x"]] * len(names), names=names), file)
    return str(file)


OURS = [name for name in schema.LABELS.names if name not in schema.MANIFEST.names]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize(
    ("names", "message"),
    [
        *((["uri", name.title()], f"columns that the labels have too: {name.title()}; rename") for name in OURS),
        *((["uri", name], f"labels have too: {name}; rename") for name in ("Model", "MODEL", "Crops", "Cilf_File")),
        (["URI", "camera"], "no column `uri`, but 'URI': rename it to `uri`"),
        ([" uri", "camera"], "no column `uri`, but ' uri': rename it to `uri`"),
        (["uri", "URI"], "column `URI`, which readers confuse with the labels' `uri`"),
        *(
            (["uri", name], f"column `{name}`.*rename it to `{name.lower()}`")
            for name in ("ETag", "Bytes", "Modified", "ID")
        ),
        (["uri", "Camera", "camera"], "the columns `Camera` and `camera`, which readers take for the same column"),
        (["uri", "straße", "STRASSE", "Straße"], "the columns `straße` and `Straße`"),
        (["uri", ""], "a column without a name"),
        (["uri", " camera"], r"a column ' camera': a name may not begin or end with a blank"),
        (["uri", "camera\t"], r"a column 'camera\\t'"),
        (["uri", "a\0b"], r"a column 'a\\x00b'"),
        (["uri", "a\nb"], r"a column 'a\\nb'"),
        (["uri", "\ufeffa"], r"a column '\\ufeffa'"),
    ],
)
def test_names_that_are_refused(tmp_path, capsys, suffix, names, message):
    manifest = write(tmp_path, suffix, names)
    with pytest.raises(UsageError, match=message):
        check_input(locate(manifest))
    assert cli.main(["list", manifest, f"{tmp_path}/list"]) == cli.WRONG_USAGE
    assert not (tmp_path / "list").exists()
    assert "m." in capsys.readouterr().err


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_name_that_is_there_twice(tmp_path, suffix):
    for names in (["uri", "camera", "camera"], ["uri", "uri"]):
        with pytest.raises(UsageError, match=f"two columns `{names[-1]}`"):
            check_input(locate(write(tmp_path, suffix, names)))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"A": 1, "a": 2}, "the columns `A` and `a` in `meta`"),
        ({"x": [{"A": 1, "a": 2}]}, r"the columns `A` and `a` in `meta\.x\..*`"),
        ({"": 1}, "a column without a name in `meta`"),
        ({"x": {" y": 1}}, r"a column ' y' in `meta\.x`"),
    ],
)
def test_nested_names_that_are_refused(tmp_path, value, message):
    (tmp_path / "m.jsonl").write_text(json.dumps({"uri": "/a", "meta": value}))
    pq.write_table(pa.Table.from_pylist([{"uri": "/a", "meta": value}]), tmp_path / "m.parquet")
    for name in ("m.jsonl", "m.parquet"):
        with pytest.raises(UsageError, match=message):
            check_input(locate(f"{tmp_path}/{name}"))


def test_too_deep_for_parquet_readers(tmp_path):
    value: object = 1
    for _ in range(33):
        value = {"a": value}
    pq.write_table(pa.Table.from_pylist([{"uri": "/a", "meta": value}]), tmp_path / "m.parquet")
    with pytest.raises(UsageError, match="a column nested deeper than 30 levels: meta"):
        check_input(locate(f"{tmp_path}/m.parquet"))


def test_names_that_go_through(tmp_path):
    names = ["uri", "Focal Length (mm)", "straße", "strasse", "a.b", "größe", "index", "face", "__index_level_0__"]
    for suffix in (".csv", ".jsonl", ".parquet"):
        (table,) = objects(locate(write(tmp_path, suffix, names)))
        assert table.schema.names[5:] == names[1:]


def test_inputs_whose_names_differ_by_case(tmp_path, capsys):
    for name in ("Camera", "camera"):
        (tmp_path / f"{name}.csv").write_text(f"uri,{name}\n/{name},x\n")
    arguments = [f"{tmp_path}/Camera.csv", f"{tmp_path}/camera.csv", f"{tmp_path}/list"]
    assert cli.main(["list", *arguments]) == cli.WRONG_USAGE
    assert "the columns `Camera` and `camera`" in capsys.readouterr().err


def test_files_whose_columns_differ(tmp_path):
    for name, column in (("1", "Camera"), ("2", "camera")):
        (tmp_path / f"{name}.csv").write_text(f"uri,{column}\n/{name},x\n")
    with pytest.raises(UsageError, match=r"2\.csv and .*1\.csv differ: .* Camera, camera"):
        check_input(locate(f"{tmp_path}/*.csv"))
    (tmp_path / "2.csv").write_text("uri,Camera,lens\n/2,x,y\n")
    with pytest.raises(UsageError, match=r"differ: .* the columns lens"):
        check_input(locate(f"{tmp_path}/*.csv"))


def test_a_listing_of_another_version(tmp_path, monkeypatch):
    """Columns of a listing from another version have not been checked by this one."""
    (tmp_path / "m.csv").write_text("uri,camera\n/a,x\n")
    assert cli.main(["list", f"{tmp_path}/m.csv", f"{tmp_path}/list"]) == 0
    (file,) = (tmp_path / "list").glob("*.parquet")
    table = pq.read_table(file)
    pq.write_table(table.set_column(5, "at", pa.array([NS], pa.timestamp("ns"))), file)
    (found,) = objects(locate(f"{tmp_path}/list"))
    assert found["at"].to_pylist() == [AT]
    pq.write_table(table.rename_columns([*table.column_names[:5], "Model"]), file)
    with pytest.raises(UsageError, match="Model"):
        check_input(locate(f"{tmp_path}/list"))
