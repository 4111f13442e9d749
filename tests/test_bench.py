"""The benches measure what they say, on sizes small enough for a test."""

import csv

import numpy as np
import pytest
from PIL import Image

from cilf.bench import label, mixers
from cilf.config import BenchOptions


def rows(**milliseconds: list[float]) -> list[dict]:
    """What a run would have written of mixers with these times at 10, 100 and 1,000 tokens."""
    sizes = (10, 100, 1000)
    return [
        {"mixer": mixer, "tokens": tokens, "milliseconds": taken}
        for mixer, times in milliseconds.items()
        for tokens, taken in zip(sizes, times, strict=True)
    ]


def test_growth_is_the_exponent():
    assert mixers.growth(rows(fpe=[5.0, 50.0, 500.0]), "fpe") == pytest.approx(1)
    assert mixers.growth(rows(fpe=[3.0, 300.0, 30000.0]), "fpe") == pytest.approx(2)


@pytest.mark.parametrize(
    ("attention", "first"),
    [([2.0, 5.0, 9.0], 10), ([1.0, 5.0, 9.0], 100), ([2.0, 1.0, 9.0], 1000), ([9.0, 9.0, 3.0], None)],
)
def test_faster_from_is_where_it_stays_faster(attention, first):
    assert mixers.faster_from(rows(fpe=[1.0, 2.0, 3.0], attention=attention), "fpe", "attention") == first


def test_mixers_are_measured_and_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(mixers, "SIDES", (3, 32))
    assert mixers.run(BenchOptions(what="mixers", output=str(tmp_path), repeats=1)) == 0
    with (tmp_path / "mixers.csv").open() as file:
        found = list(csv.DictReader(file))
    assert list(found[0]) == ["mixer", "device", "tokens", "milliseconds", "peak_mb"]
    assert [(row["mixer"], row["tokens"]) for row in found] == [(m, t) for m in mixers.MIXERS for t in ("9", "1024")]
    assert all(float(row["milliseconds"]) > 0 for row in found)
    # 32 x 32 cells of 512 channels, times 8, are 17 MB. Attention holds its input's q, k, v and mixture and returns
    # another; a peak of a tenth or ten times of that would be no measurement.
    (attention,) = (row for row in found if row["mixer"] == "attention" and row["tokens"] == "1024")
    assert 4 * 17 < float(attention["peak_mb"]) < 8 * 17
    with Image.open(tmp_path / "mixers.png") as picture:
        assert picture.width > 1000
    assert "fpe beats attention" in capsys.readouterr().out


def test_usual_rows_ask_for_as_many_views_as_calibration():
    draw = np.random.default_rng(0)
    corrections = draw.choice([0, 1, 2], size=8 * label._BATCH, p=[0.8, 0.15, 0.05])
    chosen = label.usual_rows(corrections, 1.08)
    assert len(chosen) == len(set(chosen)) == 4 * label._BATCH
    assert 1.07 < label._views_per_row(corrections[chosen]) <= 1.08
    assert (corrections[label.usual_rows(corrections, 1.0)] == 0).all()
    few = label.usual_rows(np.zeros(3 * label._BATCH, int), 1.08)
    assert len(few) == label._BATCH, "no row asks for views, yet there are batches to measure"
