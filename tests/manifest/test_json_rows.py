"""JSON lines: values that are kept exactly, and faults that are refused by line and key before anything is done."""

from __future__ import annotations

import gzip
import json

import pyarrow as pa
import pytest

from cilf import cli
from cilf.errors import UsageError
from cilf.manifest import json_rows
from cilf.manifest.listing import check_input, objects
from cilf.storage import locate

URI = '{"uri": "/a", '


def deep(levels: int) -> str:
    return URI + '"x": ' + "[" * levels + "]" * levels + "}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (URI + '"n": 1}\n\n' + URI + '"n": "x"}\n', "line 3 has text under 'n', x, but line 1 has a number"),
        (URI + '"n": {"m": [1]}}\n' + URI + '"n": {"m": [true]}}\n', r"line 2 has true or false under 'n\.m\[\]'"),
        (URI + '"n": "x"}\n' + URI + '"n": NaN}\n', "line 2 has a number under 'n', NaN, .* write null"),
        (
            URI + '"n": 9223372036854775808}\n',
            "line 1 has the number 9223372036854775808, .* 64 bits: write it as text",
        ),
        (URI + '"n": -9223372036854775809}\n', "line 1 has the number -9223372036854775809"),
        (URI + '"n": [1, 12345678901234567, 1.5]}\n', r"line 1 has 12345678901234567 under 'n\[\]', .* lose digits"),
        (
            URI + '"n": 12345678901234567}\n' + URI + '"n": 0.5}\n',
            "line 1 has 12345678901234567 .* line 2 has .*fraction",
        ),
        (URI + '"n": 1e400}\n', "line 1 has the number 1e400, which is too large"),
        (URI + '"n": ' + "9" * 5000 + "}\n", "line 1 has the number 9999"),
        (URI + '"n": 1, "n": 2}\n', "line 1 has the key 'n' twice"),
        (URI + '"n": {"m": 1, "m": 2}}\n', "line 1 has the key 'm' twice"),
        (URI + '"n": "\\ud800"}\n', "line 1 has half of a surrogate pair under 'n'"),
        (URI + '"n": 1}\n5\n', "line 2 is not an object: 5"),
        (URI + '"n": 1}\n[1]\n', r"line 2 is not an object: \[1\]"),
        ("null\n" + URI + '"n": 1}\n', "line 1 is not an object: null"),
        (URI + '"n": 1},\n' + URI + '"n": 1}\n', "line 1 is not JSON: Extra data at character 22: ,"),
        (URI + '"n": 1}\n{"uri": "/b", "n"', "line 2 is not JSON"),
        (URI + "\"n\": 'x'}\n", "line 1 is not JSON: Expecting value"),
        ("\n[\n" + URI + '"n": 1}\n]\n', "line 1 begins a JSON array: expected one object per photograph"),
        ((URI + '"n": 1}\n\n' + URI + '"n": "é"}\n').encode("latin-1"), "line 3 is not UTF-8"),
        ((URI + '"n": 1}\n').encode("utf-16"), "line 1 is not UTF-8 .* save the file as UTF-8"),
        (deep(31), "line 1 is nested deeper than 30 levels"),
        (URI + '"n": 1}\n' + deep(100_000), "line 2 is nested deeper than 30 levels"),
        ("", r"no column `uri` \(its columns: none\)"),
    ],
)
@pytest.mark.parametrize("block", [1 << 24, 64])
def test_what_is_refused(tmp_path, capsys, monkeypatch, text, message, block):
    monkeypatch.setattr(json_rows, "_BLOCK", block)
    manifest = tmp_path / "m.jsonl"
    manifest.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UsageError, match=message):
        check_input(locate(str(manifest)))
    assert cli.main(["list", str(manifest), f"{tmp_path}/list"]) == cli.WRONG_USAGE
    assert not (tmp_path / "list").exists()
    said = capsys.readouterr().err
    assert "Arrow" not in said
    assert f"{manifest}" in said


@pytest.mark.parametrize("block", [1 << 24, 1 << 20])
def test_what_is_read(tmp_path, monkeypatch, block):
    monkeypatch.setattr(json_rows, "_BLOCK", block)
    rows = [
        {"uri": "/1", "n": 1, "big": 2**63 - 1, "empty": {}, "deep": {"x": {}, "y": [None]}, "at": "2024-05-01"},
        {"uri": "/2", "n": 2.5, "pairs": [[n, n + 1] for n in range(60)], "at": "2024-05-01T10:11:12Z"},
        {"uri": "/3", "n": float("nan"), "deep": None, "long": "é" * 3_000_000},
        {"uri": "/4", "empty": {}, "deep": {"x": {}, "y": []}, "null": None},
    ]
    text = "\ufeff" + "\n\n".join(json.dumps(row) for row in rows)
    (tmp_path / "m.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    table = pa.concat_tables(objects(locate(f"{tmp_path}/m.jsonl.gz")))
    assert {name: str(table.schema.field(name).type) for name in table.schema.names[5:]} == {
        "n": "double", "big": "int64", "empty": "string", "deep": "struct<x: string, y: list<item: string>>",
        "at": "string", "pairs": "list<item: list<item: int64>>", "long": "string", "null": "string",
    }  # fmt: skip
    first, second, third, fourth = table.to_pylist()
    assert (first["big"], first["empty"], first["deep"]) == (2**63 - 1, "{}", {"x": "{}", "y": [None]})
    assert (first["at"], second["at"]) == ("2024-05-01", "2024-05-01T10:11:12Z")
    assert (first["n"], second["n"]) == (1.0, 2.5)
    assert second["pairs"] == rows[1]["pairs"]
    assert third["n"] != third["n"]
    assert third["long"] == rows[2]["long"]
    assert (third["deep"], second["empty"], fourth["null"]) == (None, None, None)


def test_other_ends_of_lines(tmp_path):
    for number, end in enumerate(("\r\n", "\r")):
        (tmp_path / f"{number}.jsonl").write_bytes(f'{{"uri": "/a"}}{end}{{"uri": "/b"}}{end}'.encode())
        (table,) = objects(locate(f"{tmp_path}/{number}.jsonl"))
        assert table["uri"].to_pylist() == ["/a", "/b"]


def test_an_array_by_another_name(tmp_path):
    (tmp_path / "m.json").write_text('[{"uri": "/a"}]')
    with pytest.raises(UsageError, match=r"m\.json would be read as one photograph: .*JSON lines"):
        check_input(locate(f"{tmp_path}/m.json"))
