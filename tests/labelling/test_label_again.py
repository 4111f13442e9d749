"""Repeated `cilf label`: objects that are new, have changed, were unavailable or are relabelled; and another model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
from label_runs import fill, records

from cilf import cli
from cilf.labelling import job, passes
from cilf.storage import locate

Label = Callable[..., pa.Table]


def test_again_labels_only_what_is_new_or_changed(label: Label, photograph, tmp_path, capsys):
    photos, out = fill(tmp_path / "photos", {f"{n}.jpg": photograph(n) for n in range(4)}), tmp_path / "out"
    first = label(photos, out)
    files = {file: file.stat().st_mtime_ns for file in out.glob("labels/*/*")}
    capsys.readouterr()
    assert label(photos, out).equals(first)
    assert {file: file.stat().st_mtime_ns for file in out.glob("labels/*/*")} == files
    assert "nothing new" in capsys.readouterr().out

    (photos / "new.jpg").write_bytes(photograph(9))
    (photos / "0.jpg").write_bytes(photograph(10))
    third = label(photos, out)
    run = max(third["run"].to_pylist())
    assert [row["uri"].rpartition("/")[2] for row in third.to_pylist() if row["run"] == run] == ["0.jpg", "new.jpg"]
    assert len(third) == 6
    assert len(set(third["id"].to_pylist())) == 6


def test_what_was_unavailable_is_tried_again_and_stays_one_row(label: Label, tmp_path):
    manifest = tmp_path / "list.csv"
    manifest.write_text("uri\n/proc/self/mem\n/gone\n")
    first = label(manifest, tmp_path / "out")
    assert first["status"].to_pylist() == ["missing", "unavailable"]
    second = label(manifest, tmp_path / "out")
    assert second["id"].to_pylist() == first["id"].to_pylist()
    assert [a == b for a, b in zip(first["run"].to_pylist(), second["run"].to_pylist(), strict=True)] == [True, False]


def test_what_changes_between_listing_and_labelling(label: Label, photograph, bucket, tmp_path, monkeypatch):
    url = bucket({"a.jpg": photograph(1), "b.jpg": photograph(2)})
    truly = job.write_manifest

    def then_overwritten(tables, folder):
        ids = truly(tables, folder)
        place = locate(f"{url}/a.jpg")
        place.fs.pipe_file(place.path, photograph(3))
        return ids

    with monkeypatch.context() as patch:
        patch.setattr(job, "write_manifest", then_overwritten)
        first, other = label(url, tmp_path / "out").to_pylist()
    assert (first["status"], first["reason"]) == ("unavailable", "it changed after it was listed: list it again")
    # The row of a deleted version is replaced by that of the existing version.
    again = label(url, tmp_path / "out").to_pylist()
    assert [row["status"] for row in again] == ["ok", "ok"]
    assert again[0]["id"] != first["id"]
    assert again[1] == other
    # A manifest that still names a deleted version costs one request each time, and has one row.
    (tmp_path / "stale.csv").write_text(f"uri,etag\n{url}/a.jpg,{first['etag']}\n")
    for _ in range(2):
        rows = label(tmp_path / "stale.csv", tmp_path / "out").to_pylist()
        assert sorted(row["status"] for row in rows) == ["ok", "ok", "unavailable"]


def test_relabel_replaces_rows(label: Label, photograph, tmp_path):
    photos, out = fill(tmp_path / "photos", {f"{n}.jpg": photograph(n) for n in range(4)}), tmp_path / "out"
    first = label(photos, out)
    second = label(photos, out, "--relabel", "--include", "[01].jpg")
    assert second["id"].to_pylist() == first["id"].to_pylist()
    assert second["faces"].to_pylist() == first["faces"].to_pylist()
    changed = [a != b for a, b in zip(first["run"].to_pylist(), second["run"].to_pylist(), strict=True)]
    assert changed == [True, True, False, False]


def test_relabel_replaces_what_was_unavailable_and_what_was_not(label: Label, photograph, tmp_path):
    photos = fill(tmp_path / "photos", {f"{n}.jpg": photograph(n) for n in range(12)})
    manifest, out = tmp_path / "list.csv", tmp_path / "out"
    failing = [f"/proc/self/{'./' * n}mem" for n in range(12)]
    manifest.write_text("\n".join(["uri", *(str(file) for file in sorted(photos.iterdir())), *failing]))
    first = label(manifest, out)
    assert sorted(set(first["status"].to_pylist())) == ["ok", "unavailable"]
    second = label(manifest, out, "--relabel")
    assert second["id"].to_pylist() == first["id"].to_pylist()
    assert not set(second["run"].to_pylist()) & set(first["run"].to_pylist())


def test_counts_that_are_lost_after_their_rows_are_written(label: Label, photograph, tmp_path, monkeypatch):
    def lossy(committed, progress):
        count(committed, progress)
        progress.counts["ok"] -= 2

    count = passes.count
    monkeypatch.setattr(passes, "count", lossy)
    photos = fill(tmp_path / "photos", {f"{n}.jpg": photograph(n) for n in range(5)} | {"broken.jpg": b""})
    label(photos, tmp_path / "out")
    (record,) = (json.loads(file.read_text()) for file in (tmp_path / "out" / "runs").iterdir())
    assert record["counts"] == {"ok": 5, "unreadable": 1}


def test_who_has_lost_the_lease_removes_no_rows(label: Label, rows, photograph, tmp_path, monkeypatch, model_folder):
    photos, out = fill(tmp_path / "photos", {f"{n}.jpg": photograph(n) for n in range(3)}), tmp_path / "out"
    first = label(photos, out)

    def taken_over(tables, folder):
        (lease,) = (out / "leases").iterdir()
        lease.write_text('{"run": "other"}')
        return write_manifest(tables, folder)

    write_manifest = job.write_manifest
    monkeypatch.setattr(job, "write_manifest", taken_over)
    command = ["label", str(photos), str(out), "--model", str(model_folder), "--faces", "none", "--relabel"]
    assert cli.main(command) == 1
    assert rows(out).equals(first)


def test_readers_change_models_once_an_upgrade_is_whole(label: Label, photograph, tmp_path, capsys):
    photos, out = fill(tmp_path / "photos", {f"{n}.jpg": photograph(n) for n in range(4)}), tmp_path / "out"

    def named() -> str:
        return json_of(out)["model"]

    (first,) = set(label(photos, out, "--limit", "3")["model"].to_pylist())
    label(photos, out)
    assert named() == first
    trials = [("--limit", "2"), ("--include", "0.jpg"), ("--include", "1.jpg")]
    for trial in trials:
        models = set(label(photos, out, "--precision", "bfloat16", *trial)["model"].to_pylist())
        assert named() == first
    assert "has no rows for 2 of its photographs" in capsys.readouterr().err
    (photos / "3.jpg").unlink()
    label(photos, out, "--precision", "bfloat16")
    assert {named()} == models - {first}
    assert "is now the current one" in capsys.readouterr().err
    (record,) = (json.loads(file.read_text()) for file in (out / "runs").glob(f"{json_of(out)['run']}.json"))
    assert (record["model"], record["model_name"]) == (named(), json_of(out)["name"])


def json_of(out: Path) -> dict[str, str]:
    return json.loads((out / "current.json").read_text())


def test_what_is_labelled_without_thumbnails_is_said(label: Label, photograph, tmp_path, capsys):
    photos, out = fill(tmp_path / "photos", {f"{n}.jpg": photograph(n) for n in range(3)}), tmp_path / "out"
    label(photos, out)
    capsys.readouterr()
    label(photos, out, "--thumbnails")
    said = capsys.readouterr()
    assert "3 objects labelled earlier without --thumbnails will have none: add --relabel to make them" in said.err
    assert "nothing new to label" in said.out
    assert len(records(out)[1]["warnings"]) == 1
    table = label(photos, out, "--thumbnails", "--relabel")
    assert [len(files) for files in table["thumbnails"].to_pylist()] == [1, 1, 1]
    assert "without --thumbnails" not in capsys.readouterr().err


def test_higher_bounds_label_again_what_was_too_large(label: Label, photograph, tmp_path, capsys):
    files = {"small.png": photograph(1, "PNG"), "wide.png": photograph(2, "PNG", width=400, height=300)}
    photos, out = fill(tmp_path / "photos", files), tmp_path / "out"
    most = len(files["small.png"])
    for bounds in (("--max-pixels", "5000"), ("--max-pixels", "5000"), ("--max-pixels", "4000")):
        assert label(photos, out, *bounds)["status"].to_pylist() == ["ok", "too_large"]
    assert [record["objects"] for record in records(out)] == [2, 0, 0]
    assert label(photos, out, "--max-bytes", str(most))["status"].to_pylist() == ["ok", "too_large"]
    assert label(photos, out)["status"].to_pylist() == ["ok", "ok"]
    # Runs within one second have no order.
    assert sorted(record["objects"] for record in records(out)) == [0, 0, 1, 1, 2]
