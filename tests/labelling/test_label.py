"""`cilf label` end to end: folders, S3, manifests, good and bad files, and repeated commands."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from label_runs import fill, records
from PIL import Image
from skimage import data

from cilf import cli, schema
from cilf.config import LabelOptions
from cilf.estimator import Estimator
from cilf.images.decode import decode
from cilf.labelling import job
from cilf.labelling.lease import Lease

Label = Callable[..., pa.Table]


@pytest.fixture(scope="module")
def corpus(photograph) -> dict[str, bytes]:
    """Objects by key, of all kinds that a bucket may hold."""
    return {
        "plain.jpg": photograph(1),
        "sideways.jpg": photograph(2, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"),
        "date=2024-01-01/no extension": photograph(3, "PNG"),
        ".hidden/_a b+c%20#[1]'\".webp": photograph(4, "WEBP"),
        "grüße/日本.gif": photograph(5, "GIF"),
        "broken.jpg": photograph(6)[:300],
        "empty.jpg": b"",
        "words.txt": b"no image",
        "wide.png": photograph(7, "PNG", width=400, height=300),
        "long.bmp": b"x" * 60_000,
    }


EXPECTED = {
    "broken.jpg": "unreadable",
    "empty.jpg": "unreadable",
    "words.txt": "unreadable",
    "wide.png": "too_large",
    "long.bmp": "too_large",
}
BOUNDS = ("--max-pixels", "100000", "--max-bytes", "50000")


def ages(table: pa.Table, root: str) -> dict[str, float]:
    return {
        row["uri"].removeprefix(f"{root}/"): row["faces"][0]["age"]
        for row in table.to_pylist()
        if row["status"] == "ok"
    }


def cpu_workers() -> list[int]:
    """The Ray workers below this process that run tasks, without those of model replicas."""
    parents: dict[int, int] = {}
    names: dict[int, str] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                names[int(folder.name)] = (folder / "cmdline").read_text()
            except OSError:
                continue  # it has ended

    def below(pid: int) -> bool:
        while pid in parents and pid != os.getpid():
            pid = parents[pid]
        return pid == os.getpid()

    tasks = [pid for pid, name in names.items() if name.startswith("ray::") and "MapWorker" not in name]
    return [pid for pid in tasks if below(pid)]


def test_a_folder_of_everything(label_truly: Label, corpus, tmp_path, model_folder):
    photos = fill(tmp_path / "photos", corpus)
    table = label_truly(photos, tmp_path / "out", *BOUNDS)
    found = {row["uri"].removeprefix(f"{photos}/"): row for row in table.to_pylist()}
    assert {key: row["status"] for key, row in found.items()} == {key: EXPECTED.get(key, "ok") for key in corpus}
    for key, row in found.items():
        assert row["bytes"] == len(corpus[key])
        assert (row["reason"] is None) == (row["status"] == "ok")
        assert len(row["faces"]) == (1 if row["status"] == "ok" else 0)
    assert (found["sideways.jpg"]["width"], found["sideways.jpg"]["height"]) == (40, 60)
    assert found["empty.jpg"]["reason"] == "empty file"
    # Every number is the estimator's own for that image.
    estimator = Estimator(model_folder)
    for key, row in found.items():
        if row["status"] == "ok":
            expected = estimator(decode(corpus[key], estimator.images.size, 10**6).crop[None])
            (face,) = row["faces"]
            for name in ("age", "age_low", "age_high", "first_age", "expected_error"):
                assert face[name] == pytest.approx(getattr(expected, name)[0], abs=1e-3)
            assert face["corrections"] == expected.corrections[0]
            assert face["accepted"] == expected.accepted[0]
            box = [face[side] for side in ("left", "top", "right", "bottom", "detection")]
            assert box == [0, 0, row["width"], row["height"], 1]
    # A CPU task that loads torch would cost every run seconds and a gigabyte.
    maps = [file.read_text() for pid in cpu_workers() if (file := Path(f"/proc/{pid}/maps")).exists()]
    decoders = [text for text in maps if "PIL/_imaging" in text]
    assert decoders, "no worker has decoded anything: these are the wrong processes"
    assert not [text for text in decoders if "libtorch" in text]


def test_tars_and_parquet_files_of_images(label: Label, bucket, corpus, tmp_path, capsys):
    """The same photographs get the same results as single files and packed in archives."""
    packed, bounds = io.BytesIO(), (*BOUNDS, "--batch-size", "4")
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for key, content in {**corpus, "a.json": b"{}"}.items():
            member = tarfile.TarInfo(key)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    url = bucket({"0.tar": packed.getvalue(), "1.tar": packed.getvalue()[:700]})
    pq.write_table(pa.table({"image": list(corpus.values()), "age": range(len(corpus))}), tmp_path / "x.parquet")

    expected = {key: EXPECTED.get(key, "ok") for key in corpus if key != "words.txt"}
    table = label(f"{url}/*.tar", tmp_path / "tars", *bounds).to_pylist()
    found = {row["uri"].rpartition("#")[2].partition("/")[2]: row for row in table if "/0.tar#" in row["uri"]}
    assert {key.replace("%23", "#").replace("%25", "%"): row["status"] for key, row in found.items()} == expected
    cut, itself = (row for row in table if "/0.tar#" not in row["uri"])
    assert {cut["status"], itself["status"]} == {"unreadable"}
    assert f"tar+{url}/1.tar" in (cut["uri"], itself["uri"])
    rows = label(tmp_path / "x.parquet", tmp_path / "parquet", *bounds).to_pylist()
    assert [
        row["status"] for row in sorted(rows, key=lambda row: int(row["uri"].rpartition("#")[2].partition("/")[0]))
    ] == [EXPECTED.get(key, "ok") for key in corpus]
    for again in (f"{url}/*.tar", tmp_path / "x.parquet"):
        capsys.readouterr()
        label(again, tmp_path / ("tars" if str(again).endswith("tar") else "parquet"), *bounds)
        assert "nothing new" in capsys.readouterr().out


def test_files_have_the_promised_schema_and_runs_their_record(label: Label, photograph, tmp_path):
    photos = fill(tmp_path / "photos", {"a.jpg": photograph(1), "b.jpg": b"broken"})
    label(photos, tmp_path / "out", "--batch-size", "7")
    (file,) = (tmp_path / "out").glob("labels/model=*/*.parquet")
    assert pq.ParquetFile(file).schema_arrow.equals(schema.LABELS)
    columns = "uri, status, round(faces[1].age), model, run"
    found = duckdb.sql(f"select {columns} from '{tmp_path}/out/labels/*/*.parquet' order by uri").fetchall()
    assert [row[1] for row in found] == ["ok", "unreadable"]
    assert found[0][2] > 0

    (written,) = (tmp_path / "out" / "runs").iterdir()
    record = json.loads(written.read_text())
    assert {row[3] for row in found} == {record["model"]} == {file.parent.name.removeprefix("model=")}
    assert {row[4] for row in found} == {record["run"]} == {written.stem}
    assert record["counts"] == {"ok": 1, "unreadable": 1}
    assert record["objects"] == 2
    assert record["error"] is None
    assert record["options"]["batch_size"] == 7
    assert record["images_per_second"] > 0
    assert {"cilf", "ray", "torch", "pyarrow", "python"} <= record["versions"].keys()


def test_failures_alone_at_an_odd_place(label: Label, tmp_path):
    """A block without a face has the same schema, and no character in OUTPUT's path has a special meaning."""
    odd = tmp_path / "date=2024" / "50% of #1 [b] + é"
    table = label(fill(tmp_path / "photos", {f"{number}": b"" for number in range(3)}), odd)
    assert table["status"].to_pylist() == ["unreadable"] * 3
    (file,) = odd.glob("labels/model=*/*.parquet")
    assert pq.ParquetFile(file).schema_arrow.equals(schema.LABELS)


def test_folder_prefix_and_manifest_give_the_same_ages(label: Label, corpus, bucket, tmp_path):
    photos = fill(tmp_path / "photos", corpus)
    url = bucket({**corpus, "folder/": b""})
    uris = [
        *(f"photos/{key}" for key in list(corpus)[:5]),
        *(f"{url}/{key}" for key in list(corpus)[5:]),
        f"{url}/gone",
    ]
    manifest = pa.table({"uri": uris, "number": pa.array(range(len(uris)), pa.int16())})
    pq.write_table(manifest, tmp_path / "list.parquet")

    local = label(photos, tmp_path / "local", *BOUNDS)
    remote = label(url, tmp_path / "remote", *BOUNDS)
    listed = label(tmp_path / "list.parquet", tmp_path / "listed", *BOUNDS)

    expected = ages(local, str(photos))
    assert len(expected) == 5
    assert ages(remote, url) == pytest.approx(expected, abs=1e-3)
    assert ages(listed, str(photos)) == pytest.approx(expected, abs=1e-3)
    by_uri = {row["uri"]: row["status"] for row in remote.to_pylist()}
    assert by_uri[f"{url}/folder/"] == "unreadable"
    assert by_uri[f"{url}/empty.jpg"] == "unreadable"
    statuses = {row["uri"]: row["status"] for row in listed.to_pylist()}
    assert statuses[f"{url}/gone"] == "missing"
    assert listed.schema.field("number").type == pa.int16()
    assert sorted(listed["number"].to_pylist()) == list(range(len(uris)))


def test_labels_on_s3(label: Label, rows, bucket, photograph):
    url, output = bucket({"a b#%20.jpg": photograph(1), "bad": b""}), bucket({})
    table = label(url, f"{output}/deep/er")
    assert table["status"].to_pylist() == ["ok", "unreadable"]
    assert rows(f"{output}/deep/er").equals(label(url, f"{output}/deep/er"))


def test_a_run_that_is_refused_leaves_no_record(photograph, tmp_path, model_folder, capsys):
    photos = fill(tmp_path / "photos", {"a.jpg": photograph(1)})
    out, command = tmp_path / "out", ["--model", str(model_folder), "--faces", "none"]
    lease = job._checked(LabelOptions(str(photos), str(out), model=str(model_folder), faces="none"))[0].lease
    with Lease(lease, "other", print):
        assert cli.main(["label", str(photos), str(out), *command]) == cli.BUSY
    assert "run other" in capsys.readouterr().err
    assert not (out / "runs").exists()


def test_a_run_that_was_interrupted_says_so(photograph, tmp_path, model_folder, monkeypatch, capsys):
    def interrupt(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)

    monkeypatch.setattr(job, "_execute", interrupt)
    photos, out = fill(tmp_path / "photos", {"a.jpg": photograph(1)}), tmp_path / "out"
    command = ["label", str(photos), str(out), "--model", str(model_folder), "--faces", "none"]
    assert cli.main(command) == cli.INTERRUPTED
    assert "the same command again to resume" in capsys.readouterr().err
    (record,) = (json.loads(file.read_text()) for file in (out / "runs").iterdir())
    assert record["error"] == "interrupted"


def test_limit_and_include(label: Label, rows, photograph, tmp_path):
    photos = fill(tmp_path / "photos", {f"{n}.{kind}": photograph(n) for n in range(3) for kind in ("jpg", "JPG")})
    out = tmp_path / "out"
    assert len(label(photos, out, "--limit", "2", "--include", "*.jpg")) == 2
    assert len(label(photos, out, "--limit", "2", "--include", "*.jpg")) == 3
    assert all(uri.endswith(".jpg") for uri in rows(out)["uri"].to_pylist())


@pytest.mark.parametrize("mode", [[], ["--dry-run"]])
def test_globs_that_fit_nothing_are_said(photograph, tmp_path, model_folder, capsys, mode):
    photos = fill(tmp_path / "photos", {"a.jpg": photograph(1), "b.png": photograph(2)})
    command = ["label", str(photos), str(tmp_path / "out"), "--model", str(model_folder), "--include", "*.JPG", *mode]
    assert cli.main(command) == 0
    said = capsys.readouterr()
    assert "none of 2 objects matches --include '*.JPG': 1 would match in other case, such as a.jpg" in said.out
    assert "none of 2 objects matches" in said.err
    assert "nothing new" not in said.out


def test_an_output_inside_the_input_by_whatever_way(photograph, tmp_path, model_folder, capsys):
    photos = fill(tmp_path / "photos", {"a.jpg": photograph(1), "deep/b.jpg": photograph(2)})
    (tmp_path / "link").symlink_to(photos / "deep")
    (tmp_path / "same").symlink_to(photos)
    (tmp_path / "out" / "labels").mkdir(parents=True)
    fill(tmp_path / "out" / "labels", {"l.jpg": photograph(3)})
    before = sorted(map(str, tmp_path.rglob("*")))
    for source, output in [
        ("photos", "link"),
        ("photos", "link/out"),
        ("same", "photos/out"),
        ("photos", "same"),
        ("link", "photos/deep/out"),
        ("out/labels", "out"),
    ]:
        command = ["label", f"{tmp_path}/{source}", f"file://{tmp_path}/{output}", "--model", str(model_folder)]
        assert cli.main(command) == cli.WRONG_USAGE, (source, output)
        assert re.search("lies inside (INPUT|labels of OUTPUT)", capsys.readouterr().err)
    assert sorted(map(str, tmp_path.rglob("*"))) == before


def test_a_model_that_fails_fails_the_job(
    ray_session, stand_in, monkeypatch, photograph, model_folder, tmp_path, capsys
):
    def fail(self, table: pa.Table) -> pa.ListArray:
        raise RuntimeError("out of\nmemory")

    monkeypatch.setattr("cilf.labelling.pipeline.AgeActor._faces", fail)
    photos = fill(tmp_path / "photos", {"a.jpg": photograph(1)})
    command = ["label", str(photos), str(tmp_path / "out"), "--model", str(model_folder), "--faces", "none"]
    code = cli.main(command)
    message = capsys.readouterr().err
    assert code == 1
    assert "labelling stopped after 0 objects: RuntimeError: out of memory" in message
    assert "Traceback" not in message
    assert "ERROR" not in message
    (record,) = (json.loads(file.read_text()) for file in (tmp_path / "out" / "runs").iterdir())
    assert "out of memory" in record["error"]
    assert "in fail" in record["traceback"]
    assert not list((tmp_path / "out").glob("labels/*/*"))


def test_numbers_of_many_blocks_stay_with_their_rows(label: Label, tmp_path):
    """Each row keeps its own crop across blocks, batches and failures."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(150):
        if number % 7 == 3:
            (photos / f"{number:03d}.png").write_bytes(b"broken")
        else:
            # Of a brightness of its own; half of it is darker, as an image of a single grey shows nothing.
            shades = np.full((50, 20 + number), 100 + number, np.uint8) + np.repeat([[-5], [5]], 25, axis=0)
            Image.fromarray(shades.astype(np.uint8)).save(photos / f"{number:03d}.png")
    table = label(photos, tmp_path / "out", "--batch-size", "16").to_pylist()
    assert len(table) == 150
    for number, row in enumerate(table):
        if number % 7 == 3:
            assert (row["status"], row["width"], row["faces"]) == ("unreadable", None, [])
        else:
            assert (row["status"], row["width"], row["height"]) == ("ok", 20 + number, 50)
            (face,) = row["faces"]
            assert face["age"] == 100 + number
            assert face["first_age"] == 101 + number
            assert face["corrections"] == 2
            assert face["accepted"] is False
            assert face["right"] == 20 + number


def test_photographs_taken_for_faces_are_warned_of(label: Label, tmp_path, capsys):
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    for picture in (data.astronaut, data.rocket, data.coffee):
        Image.fromarray(picture()).save(photos / f"{picture.__name__}.jpg")
    Image.new("RGB", (90, 60)).save(photos / "black.jpg")
    rows = {Path(row["uri"]).stem: row for row in label(photos, out, "--faces", "none").to_pylist()}
    assert {name: row["status"] for name, row in rows.items()} == {
        **dict.fromkeys(("astronaut", "rocket", "coffee"), "ok"),
        "black": "no_face",
    }
    assert (rows["black"]["reason"], rows["black"]["faces"]) == ("nothing but one colour, or noise", [])
    assert (rows["black"]["width"], rows["black"]["height"]) == (90, 60)
    (record,) = records(out)
    (warning,) = record["warnings"]
    assert "4 of 4 images checked show no face" in warning
    assert f"warning: {warning}" in capsys.readouterr().err


def test_crops_are_not_warned_of(label: Label, tmp_path):
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    Image.fromarray(data.astronaut()).crop((150, 50, 300, 200)).save(photos / "crop.png")
    assert label(photos, out, "--faces", "none")["status"].to_pylist() == ["ok"]
    assert records(out)[0]["warnings"] == []


def test_every_face_of_a_photograph_is_a_row_entry(label: Label, photograph, tmp_path):
    def encoded(image: Image.Image) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=95)
        return buffer.getvalue()

    portrait = Image.fromarray(data.astronaut())
    two = Image.new("RGB", (900, 560), "grey")
    two.paste(portrait.resize((300, 300)), (560, 100))
    two.paste(portrait, (20, 20))
    corpus = {
        "one.jpg": encoded(portrait),
        "two.jpg": encoded(two),
        "cup.jpg": encoded(Image.fromarray(data.coffee())),
        "words.txt": b"no image",
    }
    photos = fill(tmp_path / "photos", corpus)
    options = ("--faces", "detect", "--thumbnails")
    found = {Path(row["uri"]).name: row for row in label(photos, tmp_path / "out", *options).to_pylist()}
    statuses = {name: (row["status"], row["face_count"], row["reason"]) for name, row in found.items()}
    assert statuses["one.jpg"] == ("ok", 1, None)
    assert statuses["two.jpg"] == ("ok", 2, None)
    assert statuses["cup.jpg"] == ("no_face", 0, "no face found")
    assert statuses["words.txt"][:2] == ("unreadable", None)
    assert (found["cup.jpg"]["width"], found["cup.jpg"]["faces"], found["cup.jpg"]["thumbnails"]) == (600, [], [])
    large, small = found["two.jpg"]["faces"]
    assert large["right"] < 560 < small["left"]
    for row in found.values():
        assert len(row["thumbnails"]) == len(row["faces"])
    # The stand-in for the model returns brightness as age, so a thumbnail's brightness is its age.
    for thumbnail, face in zip(found["two.jpg"]["thumbnails"], found["two.jpg"]["faces"], strict=True):
        with Image.open(io.BytesIO(thumbnail)) as crop:
            assert crop.size == (32, 32)
            assert np.asarray(crop).mean() == pytest.approx(face["age"], abs=3)
    assert label(photos, tmp_path / "out", *options).num_rows == 4, "the same command again"


@pytest.mark.parametrize("mode", [[], ["--dry-run"]])
def test_a_store_that_fails_in_the_midst_fails_the_job(photograph, tmp_path, model_folder, monkeypatch, capsys, mode):
    def fail(*_):
        raise OSError("503 Slow Down")
        yield

    photos = fill(tmp_path / "photos", {"a.jpg": photograph(1)})
    command = [str(tmp_path / "out"), "--model", str(model_folder), "--faces", "none", *mode]
    monkeypatch.setattr("cilf.manifest.walking.walk", fail)
    assert cli.main(["label", str(photos), *command]) == cli.FAILED
    said = capsys.readouterr().err
    assert "listing failed: cannot list INPUT" in said
    assert "503 Slow Down" in said
    # What a manifest says is its author's, wherever it stands.
    (tmp_path / "list.csv").write_text("uri,x\n,1\n")
    assert cli.main(["label", str(tmp_path / "list.csv"), *command]) == cli.WRONG_USAGE
