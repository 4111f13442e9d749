"""The columns of schema.MANIFEST, as other programs write them."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cilf import cli
from cilf.errors import UsageError
from cilf.manifest.listing import objects
from cilf.manifest.values import converted
from cilf.storage import locate

AT = datetime(2024, 5, 1, 10, 11, 12, 123456, UTC)
NS = 1_714_558_272_123_456_789


def times(values, kind=None) -> list[datetime | None]:
    return converted(pa.array(values, kind), "modified", "m.parquet", 0).to_pylist()


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (NS, pa.timestamp("ns")),
        (NS, pa.timestamp("ns", "Europe/Berlin")),
        (NS // 1000, pa.timestamp("us", "+02:00")),
        (NS, pa.int64()),
        (NS, pa.uint64()),
        (NS // 1000, pa.int64()),
        (1_714_558_272.123456, pa.float64()),
        (Decimal("1714558272.123456"), None),
        ("2024-05-01T12:11:12.123456789+02:00", None),
        ("2024-05-01 10:11:12.123456789", pa.string_view()),
        ("2024-05-01 10:11:12.1234567 UTC", pa.large_string()),
        ("2024-05-01 12:11:12.123456 +0200", None),
        (str(NS), None),
        ("1714558272.123456", None),
    ],
)
def test_more_than_microseconds(value, kind):
    assert times([value, None], kind) == [AT, None]


def test_other_times():
    day, second = datetime(2024, 5, 1, tzinfo=UTC), AT.replace(microsecond=0)
    assert times([date(2024, 5, 1)], pa.date32()) == times(["2024-05-01"]) == [day]
    assert times([second], pa.timestamp("s")) == times([NS // 10**9]) == times([str(NS // 10**9)]) == [second]
    assert times([NS // 10**6]) == [AT.replace(microsecond=123_000)]
    assert times([0, -1]) == [datetime(1970, 1, 1, tzinfo=UTC), datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)]
    nothing = ["", "NaT", "NA", "nan", "None", "<NA>", None]
    assert times(nothing) == [None] * len(nothing)
    assert times([float("nan")]) == times([None], pa.null()) == [None]


@pytest.mark.parametrize(
    ("name", "values", "kind", "message"),
    [
        (
            "modified",
            ["2024-05-01", "01.05.2024"],
            None,
            "row 8 is '01.05.2024', not a time such as 2024-05-01T10:11:12Z",
        ),
        ("modified", ["0000-00-00 00:00:00"], None, "row 7 is '0000"),
        ("modified", [20240501], None, "row 7 is '20240501', not a time"),
        ("modified", ["20240501"], None, "row 7 is '20240501', not a time"),
        ("modified", [20240501101112], None, "row 7 is '20240501101112', not a time"),
        ("modified", [None, 20240501101112, 19991231235959], None, "row 8 is '20240501101112', not a time"),
        ("modified", [202405011011, 0], None, "row 7 is '202405011011', not a time"),
        ("modified", [20240501101112.0, None], None, "row 7 is '20240501101112.0', not a time"),
        ("modified", [Decimal("20240501101112.00")], None, "row 7 is '20240501101112.00', not a time"),
        ("modified", ["", "20240501101112"], None, "row 8 is '20240501101112', not a time"),
        ("modified", ["202405011011"], None, "row 7 is '202405011011', not a time"),
        ("modified", [2**62], pa.timestamp("s"), r"row 7 is a timestamp\[s\] out of range"),
        ("modified", [float("inf")], None, "row 7 is 'inf'"),
        ("modified", ["9" * 30], None, "row 7 is '999"),
        ("modified", [True], None, "row 7 is 'True'"),
        ("modified", [[1]], None, "row 7 is"),
        ("bytes", ["5", "many"], None, "row 8 is 'many', not a whole number"),
        ("bytes", [5.5], None, "row 7 is '5.5'"),
        ("bytes", [2**64 - 1], pa.uint64(), "row 7 is '18446744073709551615'"),
        ("etag", [b"\xff"], None, "row 7 is .*, not text"),
        ("etag", [{"a": 1}], None, "row 7 is .*, not text"),
        ("uri", ["a", None], None, "row 8 has no uri"),
        ("uri", ["a", ""], None, "row 8 has no uri"),
    ],
)
def test_what_is_refused(name, values, kind, message):
    with pytest.raises(UsageError, match=rf"^m\.parquet: .*{message}"):
        converted(pa.array(values, kind), name, "m.parquet", 6)


def test_milliseconds_that_look_like_a_day_and_a_time():
    assert [found.year for found in times([199912312359, 199912316059])] == [1976, 1976]
    assert [found.year for found in times(["199912312359", "1714558272123"])] == [1976, 2024]


def test_other_sizes_and_etags():
    def size(values, kind=None):
        return converted(pa.array(values, kind), "bytes", "m", 0).to_pylist()

    assert (
        size([5.0, float("nan"), None]) == size(["5.0", "NaN", ""]) == size([Decimal(5), None, None]) == [5, None, None]
    )
    assert converted(pa.array([7, None]), "etag", "m", 0).to_pylist() == ["7", None]
    assert converted(pa.array([b'"x"'], pa.binary_view()), "etag", "m", 0).to_pylist() == ["x"]


def test_a_manifest_of_nanoseconds_is_listed(tmp_path):
    pq.write_table(pa.table({"uri": ["/a"], "modified": pa.array([NS], pa.timestamp("ns"))}), tmp_path / "m.parquet")
    assert cli.main(["list", f"{tmp_path}/m.parquet", f"{tmp_path}/list"]) == 0
    (table,) = objects(locate(f"{tmp_path}/list"))
    assert table["modified"].to_pylist() == [AT]


def test_a_wrong_value_is_wrong_usage_and_names_its_row(tmp_path, capsys):
    rows = "".join(f"/{number},2024-05-01\n" for number in range(60_000))
    (tmp_path / "m.csv").write_text(f"uri,modified\n{rows}/x,yesterday\n")
    assert cli.main(["list", f"{tmp_path}/m.csv", f"{tmp_path}/list"]) == cli.WRONG_USAGE
    assert "m.csv: `modified` of row 60001 is 'yesterday'" in capsys.readouterr().err
