"""Complete runs of `cilf train`: on one worker, on two, to S3, and with worker and driver killed."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from tiny_training import RECIPE, face, labelled, metrics

from cilf.card import read_card
from cilf.cli import main
from cilf.cluster import Cluster
from cilf.errors import UsageError
from cilf.model_card.page import page
from cilf.models.cilf import CILF
from cilf.training.recipe import Recipe
from cilf.training.start import mix
from cilf.training.trainer import worker_resources

pytestmark = pytest.mark.usefixtures("ray_session")

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def trained(ray_session, faces, tmp_path_factory):
    """The run folder of a recipe, on one worker."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "recipe.yaml").write_text(yaml.safe_dump({**RECIPE, "data": {"path": str(faces)}}))
    assert main(["train", str(folder / "recipe.yaml"), str(folder / "run")]) == 0
    return folder / "run"


def test_a_run_learns_and_its_folder_tells_all(trained):
    steps, epochs = metrics((trained / "metrics.jsonl").read_text())
    # 448 good rows of the fit split, 60 % of them not held out: 269 rows, 8 steps of 32.
    assert [line["step"] for line in steps] == list(range(1, 33))
    assert [line["epoch"] for line in epochs] == [1, 2, 3, 4]
    assert epochs[-1]["rows"] == 50
    ages = [row["age"] for row in labelled(500) if row["split"] == "val"]
    guess = sum(abs(age - sorted(ages)[25]) for age in ages) / len(ages)
    assert epochs[-1]["mae"] < 0.6 * guess
    assert 0 < epochs[-1]["waiting_for_data"] < 1
    assert (trained / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert list((trained / "tensorboard").glob("events.out.tfevents.*"))
    assert json.loads((trained / "environment.json").read_text())["torch"]
    with (trained / "bad_rows.csv").open() as file:
        bad = {row["id"]: row["reason"] for row in csv.DictReader(file)}
    assert set(bad) == {"face-3", "face-5"}
    assert bad["face-5"] == "an age of 250 years"
    assert len(list((trained / "checkpoints").glob("checkpoint_*/state.pt"))) == 2


def test_the_card_holds_what_evaluation_measures(trained, faces, tmp_path):
    card = json.loads((trained / "model.json").read_text())
    assert card["correction"]["band_quantiles"]
    assert card["training"]["held_out_faces"] == 179
    assert card["training"]["rows_left_out"] == 2
    [figures] = card["figures"].values()
    assert figures["rows"] == 50
    assert (trained / "card.md").read_text(encoding="utf-8") == page(read_card(trained))
    assert (trained / "evaluation.png").read_bytes().startswith(b"\x89PNG")
    assert main(["evaluate", str(trained), str(faces), "--output", str(tmp_path)]) == 0
    assert json.loads((tmp_path / "evaluation.json").read_text())["figures"]["mae"] == pytest.approx(
        figures["mae"], abs=1e-3
    )


def test_two_workers_onto_s3_learn_as_one_does(trained, faces, recipe_file, bucket, tmp_path):
    import s3fs

    output = f"{bucket({})}/runs/two"
    recipe = recipe_file({"path": str(faces)}, workers=2, epochs=1)
    assert main(["train", str(recipe), output]) == 0
    fs = s3fs.S3FileSystem(use_listings_cache=False, skip_instance_cache=True)
    ours, [epoch] = metrics(fs.cat_file(f"{output}/metrics.jsonl").decode())
    alone, _ = metrics((trained / "metrics.jsonl").read_text())
    assert [line["loss"] for line in ours[:5]] == pytest.approx([line["loss"] for line in alone[:5]], abs=1e-4)
    assert epoch["rows"] == 50
    assert epoch["scaling_efficiency"] > 0
    assert [path for path in fs.find(f"{output}/checkpoints") if path.endswith("state.pt")]
    assert {"model.safetensors", "model.json", "curves.png"} <= {path.rpartition("/")[2] for path in fs.find(output)}


def test_age_groups_are_learned_and_measured(ray_session, recipe_file, tmp_path):
    rows = []
    for number, row in enumerate(labelled(500)):
        (tmp_path / f"{number}.png").write_bytes(row.pop("image"))
        low = 20 * (row.pop("age") // 20)
        # Every tenth row is of split=val; of the first 25 of these, the next row shows the same person.
        person = f"both {number // 10}" if number < 250 and number % 10 < 2 else f"one {number}"
        last = None if low == 80 else low + 19
        rows.append({**row, "uri": f"{tmp_path}/{number}.png", "subject": person, "age_low": low, "age_high": last})
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "faces.parquet")
    recipe = recipe_file({"path": str(tmp_path / "faces.parquet")}, epochs=2)
    assert main(["train", str(recipe), str(tmp_path / "run")]) == 0
    record = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert [group["name"] for group in record["age_groups"]] == ["0-19", "20-39", "40-59", "60-79", "80+"]
    told = "Leakage: 25 of 50 tested rows (50.0%) show a person who is also in the training data, 25 of 50 people."
    assert record["leakage"]["told"].startswith(told)
    estimates = pq.read_table(tmp_path / "run" / "estimates.parquet")
    ages, names = estimates["estimate"].to_numpy(), estimates["age_group"].to_pylist()
    right = [
        name == ["0-19", "20-39", "40-59", "60-79", "80+"][min(4, int((a + 0.5) // 20))]
        for a, name in zip(ages, names, strict=True)
    ]
    assert record["figures"]["accuracy"] == pytest.approx(100 * sum(right) / 50)
    [figures] = json.loads((tmp_path / "run" / "model.json").read_text())["figures"].values()
    assert figures == record["figures"]
    assert figures["accuracy"] > 30  # chance: 20


def test_a_run_goes_on_from_a_model(trained, faces, tmp_path, capsys):
    from safetensors.numpy import load_file

    more = [{"age": 30, "image": face(30, 1000 + number)} for number in range(10)]
    pq.write_table(pa.Table.from_pylist(more), tmp_path / "more.parquet")
    data = [{"path": str(faces)}, {"path": str(tmp_path / "more.parquet"), "fit": None, "choose": None, "repeat": 2}]
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({"start": str(trained), "data": data, "epochs": 1, "workers": 2}))
    assert main(["train", str(recipe), str(tmp_path / "run")]) == 0
    said = capsys.readouterr().out
    assert "epoch 1 of 1: loss" in said
    assert "faces/s" in said
    before, after = (json.loads((folder / "model.json").read_text()) for folder in (trained, tmp_path / "run"))
    assert after["model"] == before["model"]
    assert after["training"]["fitted_faces"] == before["training"]["fitted_faces"] + 10
    assert after["training"]["held_out_faces"] == before["training"]["held_out_faces"]
    assert set(before["training"]["learned_from"]) < set(after["training"]["learned_from"])
    fresh, _ = metrics((trained / "metrics.jsonl").read_text())
    steps, [epoch] = metrics((tmp_path / "run" / "metrics.jsonl").read_text())
    assert steps[0]["age"] < 0.9 * fresh[0]["age"]
    _, before = metrics((trained / "metrics.jsonl").read_text())
    assert epoch["mae"] < before[0]["mae"]
    earlier, later = (load_file(folder / "model.safetensors") for folder in (trained, tmp_path / "run"))
    assert (earlier["text_KC"] == later["text_KC"]).all()
    assert (earlier["joint.weight"] != later["joint.weight"]).any()


def test_weights_are_mixed_with_the_start():
    spec = Recipe.model_validate({**RECIPE, "data": {"path": "p"}}).model
    start, model = (CILF(spec, deployed=True) for _ in range(2))
    learned = {name: value.clone() for name, value in model.state_dict().items()}
    mix(model, start.state_dict(), 0.25)
    for name, value in model.state_dict().items():
        expected = (
            0.75 * learned[name] + 0.25 * start.state_dict()[name] if value.is_floating_point() else learned[name]
        )
        assert torch.allclose(value, expected, atol=1e-6), name


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"seed": 1}, "seed is 0"),
        ({"held_out": 0.2}, "held_out is 0.4"),
        ({"model": {**RECIPE["model"], "fourier": {"depth": 2}}}, "does not fit this recipe's"),
        ({"model": {**RECIPE["model"], "ages": {"youngest": 0, "oldest": 90}}}, "does not fit this recipe's"),
        ({"start": "nowhere"}, "no model nowhere"),
    ],
)
def test_a_start_that_does_not_fit_is_refused(change, complaint, trained, faces, recipe_file, tmp_path, capsys):
    changes = {"start": str(trained), "train_text": False, **change}
    assert main(["train", str(recipe_file({"path": str(faces)}, **changes)), str(tmp_path / "run")]) == 2
    assert complaint in capsys.readouterr().err


def test_training_faces_are_recognised_under_another_name(trained, faces, recipe_file, tmp_path, capsys):
    (tmp_path / "link.parquet").symlink_to(faces)
    pq.write_table(pq.read_table(faces).slice(1), tmp_path / "copy.parquet")
    for name, complaint in (
        ("link.parquet", "its seed is 0"),
        ("copy.parquet", "that this run would calibrate on (at"),
    ):
        recipe = recipe_file({"path": str(tmp_path / name)}, start=str(trained), train_text=False, seed=1)
        assert main(["train", str(recipe), str(tmp_path / name.partition(".")[0])]) == 2
        assert complaint in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_a_run_soon_and_says_so(number, faces, recipe_file, tmp_path):
    recipe = recipe_file({"path": str(faces)}, epochs=1000)
    driver = subprocess.Popen(
        [sys.executable, str(ROOT / "jobs" / "train.py"), str(recipe), str(tmp_path / "run")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert any("starting 1 workers" in line for line in driver.stdout)
    time.sleep(2)
    sent = time.monotonic()
    driver.send_signal(number)
    _, error = driver.communicate(timeout=60)
    assert time.monotonic() - sent < 15
    assert driver.returncode == 130
    assert "interrupted; run the same command again to resume" in error


def _descendants(name: str) -> list[int]:
    """Descendants of this process whose title contains `name`."""
    parents, found = {}, []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            parents[int(folder.name)] = int(fields[1])
            if name in (folder / "cmdline").read_text():
                found.append(int(folder.name))
        except OSError:
            continue

    def ours(pid: int) -> bool:
        while pid not in (0, 1, os.getpid()):
            pid = parents.get(pid, 0)
        return pid == os.getpid()

    return [pid for pid in found if ours(pid)]


def _wait(condition, seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.2)


def test_neither_a_killed_driver_nor_a_killed_worker_loses_or_repeats_a_step(faces, recipe_file, tmp_path):
    output = tmp_path / "run"
    recipe = recipe_file({"path": str(faces)}, epochs=5, checkpoint_steps=3)
    log = (tmp_path / "log").open("w")
    driver = subprocess.Popen(
        [sys.executable, str(ROOT / "jobs" / "train.py"), str(recipe), str(output)], stdout=log, stderr=log
    )
    try:
        _wait(lambda: list(output.glob("checkpoints/checkpoint_*/state.pt")) or driver.poll() is not None)
        assert driver.poll() is None, (tmp_path / "log").read_text()
    finally:
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    killed = []

    def kill_a_worker() -> None:
        _wait(lambda: _descendants("RayTrainWorker"))
        before = set(output.glob("checkpoints/checkpoint_*"))
        _wait(lambda: set(output.glob("checkpoints/checkpoint_*")) - before)
        killed.extend(_descendants("RayTrainWorker")[:1])
        os.kill(killed[0], signal.SIGKILL)

    killer = threading.Thread(target=kill_a_worker)
    killer.start()
    assert main(["train", str(recipe), str(output)]) == 0
    killer.join()
    assert killed
    steps, epochs = metrics((output / "metrics.jsonl").read_text())
    assert [line["step"] for line in steps] == list(range(1, 41))
    assert [line["epoch"] for line in epochs] == list(range(1, 6))
    assert json.loads((output / "model.json").read_text())["figures"]


def test_too_many_bad_rows_stop_the_run_before_it_starts(recipe_file, tmp_path, capsys):
    rows = labelled(40)
    for row in rows[11:15]:
        row["age"] = None
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "faces.parquet")
    assert main(["train", str(recipe_file({"path": str(tmp_path / "faces.parquet")})), str(tmp_path / "run")]) == 1
    error = capsys.readouterr().err
    assert "4 of 36 rows" in error
    assert len(error.splitlines()) == 1
    assert len((tmp_path / "run" / "bad_rows.csv").read_text().splitlines()) == 5


def test_too_few_people_to_calibrate_on_stop_the_run_before_it_starts(recipe_file, tmp_path, capsys):
    pq.write_table(pa.Table.from_pylist(labelled(100)), tmp_path / "faces.parquet")
    assert main(["train", str(recipe_file({"path": str(tmp_path / "faces.parquet")})), str(tmp_path / "run")]) == 2
    assert "36 of 90 subjects are held out, but calibration needs at least 60" in capsys.readouterr().err
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_missing_data_is_one_line_and_exit_2(recipe_file, tmp_path, capsys):
    assert main(["train", str(recipe_file({"path": str(tmp_path / "nowhere")})), str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert "nowhere" in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize(
    ("workers", "cluster", "claimed"),
    [
        (1, Cluster(cpus=2, gpus=0, nodes=1), (1.0, 0.0)),
        (2, Cluster(cpus=2, gpus=0, nodes=1), (0.5, 0.0)),
        ([1, 4], Cluster(cpus=16, gpus=0, nodes=1), (2.0, 0.0)),
        (2, Cluster(cpus=4, gpus=0, nodes=2), (0.5, 0.0)),
        (4, Cluster(cpus=16, gpus=4, nodes=1), (1.0, 1.0)),
    ],
)
def test_workers_leave_room_for_the_tasks_that_feed_them(workers, cluster, claimed):
    recipe = Recipe.model_validate({**RECIPE, "data": {"path": "p"}, "workers": workers})
    assert worker_resources(recipe, cluster) == claimed


@pytest.mark.parametrize("cluster", [Cluster(cpus=2, gpus=0, nodes=1), Cluster(cpus=16, gpus=2, nodes=1)])
def test_more_workers_than_there_is_room_for_are_refused(cluster):
    recipe = Recipe.model_validate({**RECIPE, "data": {"path": "p"}, "workers": 4})
    with pytest.raises(UsageError, match="workers: 4, but there are 2"):
        worker_resources(recipe, cluster)
