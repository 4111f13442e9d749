"""The benchmarks measure what they claim, at sizes small enough for a test."""

import csv
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from tiny_training import RECIPE, labelled

from cilf.bench import correction, gpu, label, mixers, model, objects, pipeline, processes, stages, train
from cilf.bench.machine import Machine
from cilf.bench.pipeline import Run
from cilf.bench.plain_loop import plain_loop
from cilf.bench.processes import ALL, DRIVER, MODEL, RAY, Usage
from cilf.bench.result import Objects, Result
from cilf.bench.timing import slope
from cilf.config import BenchOptions
from cilf.errors import JobError
from cilf.training.examine import examine
from cilf.training.recipe import Recipe


def rows(**milliseconds: list[float]) -> list[dict]:
    """The result of a run with mixers that take these times for 10, 100 and 1,000 tokens."""
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
    # 32 x 32 cells of 512 channels, times 8, are 17 MB. Attention holds q, k, v and the mixture of its input and
    # returns another; a peak of a tenth or of ten times that would be wrong.
    (attention,) = (row for row in found if row["mixer"] == "attention" and row["tokens"] == "1024")
    assert 4 * 17 < float(attention["peak_mb"]) < 8 * 17
    with Image.open(tmp_path / "mixers.png") as picture:
        assert picture.width > 1000
    assert "fpe beats attention" in capsys.readouterr().out


def test_usual_rows_are_looked_at_twice_as_often_as_in_calibration():
    looks = np.random.default_rng(0).choice([0, 1], size=8 * correction.BATCH, p=[0.7, 0.3])
    chosen = correction.usual_rows(looks, 0.2)
    assert len(chosen) == len(set(chosen)) == 4 * correction.BATCH
    assert 0.19 < looks[chosen].mean() <= 0.2
    assert (looks[correction.usual_rows(looks, 0.0)] == 0).all()
    few = correction.usual_rows(np.zeros(3 * correction.BATCH, int), 0.2)
    assert len(few) == correction.BATCH, "no row is looked at twice, yet there are batches to measure"


def test_slope_parts_fixed_from_marginal_cost():
    cost = slope(500, 4000, [15.0, 14.0, 99.0], [29.0, 28.0, 30.0])
    assert cost.images_per_s == pytest.approx(250)
    assert cost.fixed_seconds == pytest.approx(13)
    assert cost.spread == pytest.approx(2 / 29)
    with pytest.raises(JobError, match="raise --images"):
        slope(25, 200, [20.0], [19.5])


def test_few_are_the_first_of_many(tmp_path):
    with objects.corpus("crops", tmp_path, 3, 20, 0) as made:
        assert [uri.rpartition("/")[2] for uri in made.uris("few")] == ["000000.jpg", "000001.jpg", "000002.jpg"]
        contents = [(tmp_path / "many" / f"{number:06d}.jpg").read_bytes() for number in range(20)]
        assert len(set(contents)) == 20
        assert [path.read_bytes() for path in sorted((tmp_path / "few").iterdir())] == contents[:3]


def test_photographs_are_many_names_of_a_handful(tmp_path, monkeypatch):
    monkeypatch.setitem(objects._SIZES, "photographs", (400, 304))
    with objects.corpus("photographs", tmp_path, 10, 20, 0) as made:
        files = [path.stat() for path in (tmp_path / "many").iterdir()]
        assert len(files) == 20
        assert len({file.st_ino for file in files}) == 8
        with Image.open(made.sample()[7]) as photograph:
            assert photograph.size == (400, 304)
            amplitudes = np.abs(np.fft.rfft2(np.asarray(photograph.convert("L"), float)))[0]
        assert 3 < amplitudes[2:10].mean() / amplitudes[20:40].mean() < 30, "coarse detail is stronger than fine"


def test_store_lists_and_serves_after_its_latency(tmp_path):
    import s3fs

    with objects.corpus("s3", tmp_path, 5, 1200, 20) as made:
        keys = {"key": made.environment["AWS_ACCESS_KEY_ID"], "secret": made.environment["AWS_SECRET_ACCESS_KEY"]}
        endpoint = made.environment["AWS_ENDPOINT_URL"]
        store = s3fs.S3FileSystem(endpoint_url=endpoint, skip_instance_cache=True, use_listings_cache=False, **keys)
        assert sorted(store.ls("bench")) == ["bench/few", "bench/many"]
        assert len(store.find("bench/many")) == 1200, "more than a page"
        first = (tmp_path / "many" / "000000.jpg").read_bytes()
        start = time.perf_counter()
        assert store.cat_file("bench/many/000000.jpg", start=2, end=10) == first[2:10]
        assert time.perf_counter() - start > 0.02
        assert store.cat_file("bench/many/000000.jpg") == first
        with pytest.raises(FileNotFoundError):
            store.cat_file("bench/many/none.jpg")
        assert made.uris("few")[0] == "s3://bench/few/000000.jpg"
        assert stages.fetch_alone(made) > 0


def test_stages_are_measured_alone(tmp_path, model_folder):
    with objects.corpus("crops", tmp_path, 25, 200, 0) as made:
        assert stages.fetch_alone(made) > stages.decode_alone(made, 32) > 10
        alone = model.ModelAlone(made, str(model_folder))
    measured = alone.measure()
    assert measured.images_per_s > 1
    assert 0 <= measured.asked <= 1
    assert alone.correction(repeats=1).cost < 1


def test_sampler_sees_what_a_child_takes():
    child = "import time; held = bytearray(200_000_000); end = time.time() + 1.5\nwhile time.time() < end: pass"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    with subprocess.Popen([sys.executable, "-c", parent]) as process, processes.sampled(process.pid) as sampler:
        process.wait()
    usage = sampler.usage()
    assert set(usage) == {DRIVER, RAY, ALL}
    assert usage[DRIVER].peak_mb < 100
    assert 200 < usage[RAY].peak_mb < 300
    assert usage[ALL].peak_mb >= usage[RAY].peak_mb
    assert usage[ALL].processes == 2
    assert usage[RAY].cpu_seconds > 0.2


def test_gpu_is_sampled_where_its_tool_is(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with gpu.busy() as shares:
        pass
    assert shares == []
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 0\necho 50\necho '[N/A]'\nread wait\n")
    tool.chmod(0o755)
    with gpu.busy() as shares:
        time.sleep(0.5)
    assert shares == [0.0, 0.5]


USAGE = {MODEL: Usage(1, 900.0, 20.0), ALL: Usage(12, 2500.0, 30.0)}
RUN = Run(30.0, 12.0, {"fetch": 2.0, "decode": 4.0, "model": 14.0}, USAGE, gpu_busy=None)
MACHINE = Machine(2, "a processor", [], 16.0, "Linux", load=0.1, versions={})
RESULT = Result(
    MACHINE,
    Objects("crops", 500, 4000, None),
    "model",
    price=3.6,
    decode=[1000.0, 100.0, 1100.0],
    model=[model.Model(rate, 0.1) for rate in (250.0, 240.0, 260.0)],
    few=[replace(RUN, seconds=seconds) for seconds in (12.0, 13.0, 13.5)],
    many=[replace(RUN, seconds=seconds) for seconds in (50.0, 30.5, 29.0)],
)


def test_limit_is_the_work_of_both_stages():
    assert RESULT.limit_images_per_s == pytest.approx(200)
    assert RESULT.share_of_limit == pytest.approx(1)
    assert RESULT.cost_per_million == pytest.approx(5)
    assert RESULT.middle.seconds == 30.5
    assert replace(RESULT, machine=replace(MACHINE, gpus=["a GPU"])).limit_images_per_s == 250
    assert replace(RESULT, model=[]).share_of_limit is None


def test_label_is_run_and_watched(tmp_path, model_folder):
    with objects.corpus("crops", tmp_path, 20, 100, 0) as made:
        run = pipeline.label(made.many, 100, str(model_folder), "none", made.environment)
        assert run.seconds > run.seconds_to_first_row > 0
        assert set(run.stage_seconds) == {"fetch", "decode", "model"}
        assert {DRIVER, MODEL, RAY, ALL} <= set(run.usage)
        assert run.usage[MODEL].peak_mb > 100, "it holds torch"
        with pytest.raises(JobError, match="no-such-model"):
            pipeline.label(made.many, 100, "no-such-model", "none", made.environment)


def test_an_interrupt_ends_what_is_run(interruptible, tmp_path, monkeypatch):
    command = tmp_path / "command"
    command.write_text(f"#!/bin/sh\ntrap 'kill $!; touch {tmp_path / 'ended'}; exit' TERM\nsleep 60 & wait\n")
    command.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(command))
    interrupt = threading.Timer(1, os.kill, (os.getpid(), signal.SIGINT))
    interrupt.start()
    with pytest.raises(KeyboardInterrupt):
        pipeline.label("objects", 1, "model", "none", {})
    assert (tmp_path / "ended").exists()


def test_bench_label_writes_and_shows(tmp_path, monkeypatch, capsys, model_folder):
    monkeypatch.setattr(pipeline, "label", lambda _, count, *__: replace(RUN, seconds=13 + count / 200))
    options = BenchOptions(output=str(tmp_path), model=str(model_folder), images=200, repeats=1, price=3.6)
    assert label.run(options) == 0
    written = json.loads((tmp_path / "label.json").read_text())
    assert written["objects"]["many"] == 200
    assert written["many"][0]["usage"][MODEL]["peak_mb"] == 900
    assert written["share_of_limit"] == pytest.approx(200 / written["limit_images_per_s"])
    assert written["cost_per_million"] == pytest.approx(5)
    assert written["machine"]["versions"]["torch"]
    shown = capsys.readouterr().out
    for words in ("fetching alone", "share of the limit", "process s", "model actor", "Cost of correction", "5.00"):
        assert words in shown
        assert words in (tmp_path / "label.md").read_text()


def test_one_stage_alone_is_measured_alone(tmp_path, capsys, model_folder):
    options = BenchOptions(output=str(tmp_path), model=str(model_folder), images=200, repeats=1, stage_only="decode")
    assert label.run(options) == 0
    written = json.loads((tmp_path / "label-decode.json").read_text())
    assert written["decode"][0] > 0
    assert [name for name in ("fetch", "model", "many", "correction") if written[name]] == []
    assert "fetching" not in capsys.readouterr().out


def test_finding_faces_is_a_stage_of_photographs(tmp_path, capsys, model_folder):
    options = BenchOptions(
        output=str(tmp_path),
        model=str(model_folder),
        objects="snapshots",
        images=200,
        repeats=1,
        stage_only="faces",
    )
    assert label.run(options) == 0
    assert json.loads((tmp_path / "label-snapshots-faces.json").read_text())["faces"][0] > 0
    assert "decoding and finding faces alone" in capsys.readouterr().out


def test_cost_of_faces_is_what_they_add_to_a_crop():
    found = replace(RESULT, decode=[1000.0], faces=[200.0], model=[model.Model(250.0, 0.0)])
    assert found.cost_of_faces == pytest.approx((1 / 200 - 1 / 1000) / (1 / 1000 + 1 / 250))
    assert found.limit_images_per_s == pytest.approx(1 / (1 / 200 + 1 / 250))
    assert RESULT.cost_of_faces is None


def test_bench_train_takes_turns_and_tells_the_share(tmp_path, monkeypatch, capsys, model_folder):
    said = iter([(10.0, 9.0), (5.0, 4.0), (20.0, 19.0)])
    rates: list[float] = []

    def plain(recipe, rows):
        assert (len(rows), recipe.epochs, recipe.start) == (136, 1, str(model_folder))
        rates.extend(next(said))
        return rates.pop(0)

    def trained(recipe, output):
        return {"images_per_s": rates.pop(0), "waiting_for_data": 0.02}

    monkeypatch.setattr(train, "plain_loop", plain)
    monkeypatch.setattr(train, "trained", trained)
    options = BenchOptions("train", output=str(tmp_path), model=str(model_folder), images=200)
    assert train.run(options) == 0
    written = json.loads((tmp_path / "train.json").read_text())
    assert (written["plain"], written["train"]) == ([10, 5, 20], [9, 4, 19])
    assert written["share"] == pytest.approx(0.9)
    assert "| share of the plain loop | 0.90 | 0.80 to 0.95 |" in (tmp_path / "train.md").read_text()
    assert "0.80 to 0.95" in capsys.readouterr().out


def test_a_plain_loop_learns_in_two_processes():
    recipe = Recipe.model_validate({**RECIPE, "data": {"path": "p"}, "workers": 2, "views": 2})
    rows = examine(pa.Table.from_pylist(labelled(200))).drop_columns(["reason"])
    assert plain_loop(recipe, rows) > 1
