"""Ranks as folders: their order, files that belong to no rank, and the printed lines for a recipe."""

from __future__ import annotations

import pyarrow.parquet as pq
import pytest
import yaml

from cilf import cli
from cilf.card import Ages
from cilf.datasets.ranks import natural
from cilf.datasets.ranks import read as read_ranks
from cilf.errors import UsageError


def ranked(labelled):
    return {row["path"]: row["age"] for row in labelled.table.to_pylist()}


def test_folders_are_ranks_in_natural_order(lay_out, read, problems):
    folder = lay_out("9/b.jpg", "10/a.png", "10/deeper/c.JPG", "1/x.jpg", "loose.jpg", ".hidden/y.jpg", "1/.z.jpg")
    (folder / "11").mkdir()
    (folder / "12").mkdir()
    (folder / "12" / "empty.jpg").touch()
    (folder / "9" / "notes.txt").write_text("no image")
    labelled = read("ranks", folder)
    assert labelled.ranks == ("1", "9", "10")
    assert ranked(labelled) == {"1/x.jpg": 0, "9/b.jpg": 1, "10/a.png": 2, "10/deeper/c.JPG": 2}
    assert problems(labelled) == {
        ("loose.jpg", "NAME"),
        (".hidden/y.jpg", "NAME"),
        ("11", "NO_IMAGE"),
        ("12", "NO_IMAGE"),
        ("12/empty.jpg", "UNREADABLE"),
    }


@pytest.mark.parametrize(
    "names",
    [
        ("1930s", "1940s", "1950s"),
        ("9", "10", "11"),
        ("-2", "-1", "0", "1"),
        ("0.25", "0.5", "2"),
        ("level 2", "level 10"),
        ("Bad", "good", "Great"),
        ("01", "1", "1a"),
    ],
)
def test_numbers_inside_names_count_by_their_value(names):
    backwards = names[::-1]
    assert tuple(sorted(backwards, key=natural)) == names


def test_one_rank_or_too_many_are_refused(lay_out):
    with pytest.raises(UsageError, match=r"is not a folder of ranks: .* at least two ranks; found 2 images"):
        read_ranks(lay_out("good/a.jpg", "b.jpg"))
    with pytest.raises(UsageError, match="has 131 ranks: expected at most 126"):
        read_ranks(lay_out(*(f"{number}/a.jpg" for number in range(130))))


def test_a_recipe_accepts_the_printed_ages(lay_out, tmp_path, capsys):
    folder = lay_out("1960s/a.jpg", "1960s/b.jpg", "1930s/a.jpg", "not: yet/a.jpg", "5/a.jpg")
    assert cli.main(["data", "check", "ranks", str(folder), "--output", f"{tmp_path}/t.parquet"]) == 0
    said = capsys.readouterr().out
    assert "ranks: 5 rows, subjects unknown, 4 ranks" in said
    assert ["2", "1960s", "2"] in [line.split()[:3] for line in said.splitlines()]
    told = yaml.safe_load(said[said.index("ages: {") : said.index("}") + 1])
    ages = Ages.model_validate(told["ages"])
    assert ages == Ages(youngest=0, oldest=3, names=("5", "1930s", "1960s", "not: yet"))
    assert pq.read_table(tmp_path / "t.parquet")["age"].to_pylist() == [1, 2, 2, 0, 3]
