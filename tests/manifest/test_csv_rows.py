"""CSV: each byte of each field is kept, wherever blocks end, and what is not CSV is refused by line."""

from __future__ import annotations

import csv
import gzip
import io

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cilf import cli
from cilf.errors import UsageError
from cilf.manifest import csv_rows
from cilf.manifest.listing import check_input, objects
from cilf.storage import locate

ENDS = ("\n", "\r\n", "\r")


def rows(text: bytes, block: int = 1 << 20) -> list[list[str | None]]:
    """The fields of all rows after the first."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_rows, "_BLOCK", block)
        _, batches = csv_rows.read(io.BytesIO(text), "m.csv")
        return [list(row.values()) for batch in batches for row in batch.to_pylist()]


def written(table: list[list[str]], end: str) -> str:
    """CSV as Python writes it, with a row of names; only with CRLF line ends does it quote all that needs quotes."""
    text = io.StringIO(newline="")
    quoting = csv.QUOTE_MINIMAL if end == "\r\n" else csv.QUOTE_ALL
    csv.writer(text, lineterminator=end, quoting=quoting).writerows([["uri", "note"], *table])
    return text.getvalue()


fields = st.text(st.sampled_from('a,"\r\n é\0'), max_size=12)


@given(st.lists(st.tuples(fields, fields), max_size=6), st.sampled_from(ENDS), st.integers(1, 40))
@example([("a", "x" * 30 + "\r\n" + "y" * 30)], "\r\n", 36)
@settings(max_examples=400, deadline=None)
def test_what_was_written_is_read(table, end, block):
    found = rows(written([list(row) for row in table], end).encode(), block)
    assert [[field or "" for field in row] for row in found] == [list(row) for row in table]


@given(st.text(st.sampled_from('a,"\r\n'), max_size=30), st.integers(1, 12))
@settings(max_examples=600, deadline=None)
def test_any_text_is_read_as_python_reads_it_or_refused(text, block):
    text = f"uri,note\n{text}"
    try:
        expected = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row][1:]
    except csv.Error:
        expected = None
    if expected is None or any(len(row) != 2 for row in expected):
        with pytest.raises(UsageError, match=r"^m\.csv: .*line \d+"):
            rows(text.encode(), block)
    else:
        assert [[field or "" for field in row] for row in rows(text.encode(), block)] == expected


def test_line_breaks_in_notes_around_a_mebibyte(tmp_path):
    """pyarrow loses the second byte of a line break that spans two of its blocks."""
    start = b"uri,note\n"
    for number, before in enumerate(range((1 << 20) - 3, (1 << 20) + 1)):
        note = b"x" * (before - len(start) - len(b'a,"')) + b"\r\nend"
        (tmp_path / f"{number}.csv").write_bytes(start + b'a,"' + note + b'"\r\n')
        (table,) = objects(locate(f"{tmp_path}/{number}.csv"))
        assert table["note"].to_pylist() == [note.decode()]


LONE = 'uri,note\na.jpg,"oops\nb.jpg,x\nc.jpg,"y\nd.jpg,z\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LONE, 'the quote in line 2 that begins the field "oops is closed in line 4, with text after it'),
        ('uri,note\na,b\nc,"d\ne,f\n', 'the quote in line 3 that begins the field "d is not closed'),
        ('uri,note\na,"x" \n', "closed in line 2, with text after it"),
        ('uri,note\n"a,x\n', "the quote in line 2 that begins the field .a,x is not closed"),
        (
            'uri,note\r\n\r\n"a\r\n",x\r\nb\r\n',
            "line 5 has 1 field, but the line with the column names has 2 fields: 'b'",
        ),
        ('uri,note\ra,x\rb,"c\rd",e\r', "line 3 has 3 fields"),
        ("uri,note\na,b,c\n", "line 2 has 3 fields"),
        ("uri\na,b\n", "line 2 has 2 fields, but the line with the column names has 1 field:"),
        ("uri,note\na,b\n".encode("utf-16"), "line 1 is not UTF-8 .* save the file as UTF-8"),
        ("uri,note\na,b\nc,é\n".encode("latin-1"), r"line 3 is not UTF-8 \(byte 0xe9\)"),
        ("uri;note\na;b\n", r"no column `uri` \(its columns: uri;note\); separate fields by commas"),
        ("uri\tnote\na\tb\n", "separate fields by commas"),
        ("", "is empty"),
        ("\ufeff\r\n\n", "is empty"),
    ],
)
@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
def test_what_is_no_csv(tmp_path, capsys, text, message, suffix):
    data = text if isinstance(text, bytes) else text.encode()
    manifest = tmp_path / f"m{suffix}"
    manifest.write_bytes(gzip.compress(data) if suffix == ".csv.gz" else data)
    with pytest.raises(UsageError, match=message):
        check_input(locate(str(manifest)))
    assert cli.main(["list", str(manifest), f"{tmp_path}/list"]) == cli.WRONG_USAGE
    assert not (tmp_path / "list").exists()
    assert f"m{suffix}" in capsys.readouterr().err


def test_lines_are_counted_from_the_first_on(monkeypatch):
    monkeypatch.setattr(csv_rows, "_BLOCK", 64)
    good = "".join(f'{number},"two\nlines"\n' for number in range(500))
    for bad, line in (('x,"y"z\n', 1002), ("x,y,z\n", 1002), ("\n\nx,y,z\n", 1004)):
        with pytest.raises(UsageError, match=rf"line {line}\b"):
            rows(f"uri,note\n{good}{bad}{good}".encode(), 64)


def test_a_quote_that_takes_a_whole_file_is_not_kept(monkeypatch):
    monkeypatch.setattr(csv_rows, "_LONGEST", 1000)
    endless = io.BytesIO(b'uri,note\na,"b\n' + b"c,d\n" * 100_000)
    with pytest.raises(UsageError, match=r"the quote in line 2 .* is not closed"):
        list(csv_rows._blocks(endless, "m.csv"))
    assert endless.tell() < 3 << 20


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('uri,note\na"b,c"\n', [['a"b', 'c"']]),
        ('uri,note\na,""\nb,\n', [["a", ""], ["b", None]]),
        ("\ufeffuri,note\na,b", [["a", "b"]]),
        ('\ufeff"uri","no,te"\r\na,b\r\n', [["a", "b"]]),
        ("uri,note\ra,b\r", [["a", "b"]]),
        ("uri\n\n \nb\n", [[" "], ["b"]]),
        ("uri,note", []),
        ('uri,note\na,"x""y\r\n\r"\n', [["a", 'x"y\r\n\r']]),
    ],
)
def test_what_is_csv(text, expected):
    for block in (1 << 20, 1, 7):
        assert rows(text.encode(), block) == expected


def test_all_is_text():
    columns, batches = csv_rows.read(io.BytesIO(b"uri,a,b\n1,2024-05-01,true\n"), "m.csv")
    assert set(columns.types) == {pa.string()}
    assert next(batches).to_pylist() == [{"uri": "1", "a": "2024-05-01", "b": "true"}]
