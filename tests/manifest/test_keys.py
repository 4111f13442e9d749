"""Globs, as people write them, and the message when nothing matches."""

import pyarrow as pa
import pytest

from cilf.manifest.keys import Include

KEYS = ["a.jpg", "b.JPG", "c.jpeg", "2024/d.jpg", "2024/05/e.png", "f{1}.jpg", "g{x,y}.jpg", "h[1].jpg", "i.j"]


def fitting(*globs: str, keys: list[str] = KEYS) -> list[str]:
    table = Include(globs).fitting(pa.table({"uri": [f"/in/{key}" for key in keys]}), len("/in/"))
    return [uri.removeprefix("/in/") for uri in table["uri"].to_pylist()]


@pytest.mark.parametrize(
    ("glob", "expected"),
    [
        ("*.{JPG,jpeg}", ["b.JPG", "c.jpeg"]),
        ("{a,c}.jp{g,eg}", ["a.jpg", "c.jpeg"]),
        ("{a,{b,c}}.*", ["a.jpg", "b.JPG", "c.jpeg"]),
        ("i{.j,}", ["i.j"]),
        ("f{1}.jpg", ["f{1}.jpg"]),
        ("g[{]x,y}.jpg", ["g{x,y}.jpg"]),
        ("{a", []),
        ("**/*.jpg", ["a.jpg", "2024/d.jpg", "f{1}.jpg", "g{x,y}.jpg", "h[1].jpg"]),
        ("2024/**/*.{jpg,png}", ["2024/d.jpg", "2024/05/e.png"]),
        ("*[[]1].jpg", ["h[1].jpg"]),
        ("[ab].*", ["a.jpg", "b.JPG"]),
    ],
)
def test_globs_mean_what_they_mean_in_a_shell(glob, expected):
    assert fitting(glob) == expected


def test_an_object_that_is_an_input_itself_is_known_by_its_name():
    table = pa.table({"uri": ["/in/a.jpg"]})
    assert len(Include(["*.jpg"]).fitting(table, len("/in/a.jpg/"))) == 1
    assert len(Include(["b.jpg"]).fitting(table, len("/in/a.jpg/"))) == 0


@pytest.mark.parametrize(
    ("globs", "folder", "expected"),
    [
        ([], "lost+found/", True),
        (["a/*"], "lost+found/", False),
        (["a/*"], "a/", True),
        (["a/*"], "ab/", False),
        (["a/b/c*"], "a/", True),
        (["a/b/c*"], "a/b/c/d/", True),
        (["a/b/c*"], "a/c/", False),
        (["*.jpg"], "lost+found/", True),
        (["{a,lost+found}/*"], "lost+found/", True),
        (["**/x"], "lost+found/", True),
        (["A/*"], "a/", True),
    ],
)
def test_folders_that_can_hold_nothing(globs, folder, expected):
    assert Include(globs).may_hold(folder) is expected


def test_what_is_said():
    def remark(*globs: str, keys: list[str] = KEYS) -> str | None:
        include = Include(globs)
        for key in keys:
            include.fitting(pa.table({"uri": [f"/in/{key}"]}), len("/in/"))
        return include.remark()

    assert remark() is None
    assert remark("*.jpg") is None
    assert remark("2025/*", keys=[]) == "no object matches --include '2025/*'"
    assert (
        remark("*.JPEG") == "none of 9 objects matches --include '*.JPEG': 1 would match in other case, such as c.jpeg"
    )
    said = "none of 9 objects matches --include '/in/*.jpg', which must match the whole key, such as a.jpg"
    assert remark("/in/*.jpg") == said
    assert remark("x", keys=["a"]).startswith("the only object does not match --include 'x'")
