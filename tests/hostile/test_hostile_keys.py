"""Every key that a store or a file system allows leads to its own object, and to no other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from picture import encoded
from PIL import Image
from test_hostile_files import manifest

from cilf.card import Images
from cilf.labelling.fetch_stage import Sight, fetch_decode

SIZE = 16
SIGHT = Sight(Images(size=SIZE), faces="none", thumbnails=False, max_bytes=10**6, max_pixels=10**6)

NAMES = [
    *("plain.jpg", "a b.jpg", " a", "a ", "  ", "a\u00a0b", "no extension", "wrong.txt", "PHOTO.JPG", "a.jpg.png"),
    *("\u00e9.jpg", "e\u0301.jpg", "日本.jpg", "😀.jpg", "👨‍👩‍👧.jpg", "\u202eгpj.exe", "\ufeffa"),
    *("ｆｕｌｌ", "ß", "İ", "ﬁ", "\u2028", "\u0085", "\U0010fffd"),
    *("a%20b", "a%41", "aA", "a%2Fb", "%", "%%", "%zz", "100%", "a+b", "a#b", "#", "a?b", "?", "a?versionId=1"),
    *("a&b=c", "[a]", "a[0-9]", "{a}", "{a,b}", "*", "a*", "**", "!a", "~", "~a", "$HOME", "`a`", "a;b", "a|b"),
    *("a<b>", "a^b", "'a'", '"a"', "a'b\"c", "\\", "a\\b", "a\\nb", "..\\a", "...", "..a", "a..", ".a", "._a", "_a"),
    *("-a", "--help", "date=2024-01-01/a.jpg", "date=2024-01-01/b.jpg", "a=b", "=", "@", "a@b", "a:b", "C:a", "a,b"),
    *("a(b)", "NUL", "con", "a\nb", "a\n", "\n", "a\tb", "a\rb", "a\r\nb", "\x01", "a\x1bb", "a\x7fb"),
    *("x" * 250, "é" * 120, "/".join(["deep"] * 60), "a/.b/_c/d e/f"),
]
"""Names of local files, and keys."""

KEYS_ONLY = [
    *("a/", "a//b", "/a", "//", "a/b//", "a/./b", "./a", "a/../b", "../a", ".", "..", "http://x/y", "s3://bucket/a"),
    *("x" * 900, "é" * 450, "x/" * 400 + "x"),
]

UNKNOWN_TO_THE_SERVER = {"a\nb", "a\n", "\n", "a\r\nb"}
"""Keys that the S3 server of the tests cannot hold; tests/images/test_s3.py requests one of them."""


def image(number: int) -> bytes:
    """An image whose blue increases to the right, and whose red and green are unique to its number."""
    colours = np.empty((9, 9, 3), np.uint8)
    colours[:] = (number % 16 * 16, number // 16 * 16, 0)
    colours[..., 2] = 128 + 8 * np.arange(-4, 5)
    return encoded(Image.fromarray(colours), "PNG")


def check(uris: list[str]) -> None:
    table = fetch_decode(manifest(uris, [None] * len(uris)), SIGHT)
    assert table["uri"].to_pylist() == uris
    for number, row in enumerate(table.to_pylist()):
        assert (row["status"], row["reason"]) == ("ok", None), row["uri"]
        colour = np.frombuffer(row["crops"], np.uint8).reshape(-1, 3).mean(axis=0)
        assert colour.tolist() == [number % 16 * 16, number // 16 * 16, 128], row["uri"]


def test_there_are_enough():
    assert len({*NAMES, *KEYS_ONLY}) == len(NAMES) + len(KEYS_ONLY) > 110


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_local_names(tmp_path: Path, scheme: str):
    for number, name in enumerate(NAMES):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(image(number))
    check([f"{scheme}{tmp_path}/{name}" for name in NAMES])


def test_keys(bucket: Callable[[dict[str, bytes]], str]):
    keys = [key for key in (*NAMES, *KEYS_ONLY) if key not in UNKNOWN_TO_THE_SERVER]
    url = bucket({key: image(number) for number, key in enumerate(keys)})
    check([f"{url}/{key}" for key in keys])


def test_keys_next_to_others_are_missing(bucket: Callable[[dict[str, bytes]], str]):
    """A key that does not exist is not mistaken for a similar one."""
    keys = ["a", "b/", "c/d", "é", "f%20g", "h "]
    alike = ["a/", "b", "/a", "c//d", "c/./d", "c/x/../d", "e\u0301", "f g", "h", "A", "a?versionId=null", "a#"]
    url = bucket({key: image(0) for key in keys})
    table = fetch_decode(manifest([f"{url}/{key}" for key in alike], [None] * len(alike)), SIGHT)
    assert dict(zip(alike, table["status"].to_pylist(), strict=True)) == dict.fromkeys(alike, "missing")
