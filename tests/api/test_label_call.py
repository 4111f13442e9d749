"""`cilf.label`: the command, called from Python."""

from __future__ import annotations

import pytest

import cilf


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_pixls": 3}, r"max_pixls.*Did you mean --max-pixels\?"),
        ({"limit": 0}, "Must be >= 1"),
        ({"faces": "all"}, "faces"),
        ({"price": 1.0}, "needs --dry-run"),
    ],
)
def test_wrong_options_are_refused_before_anything_starts(options, message, model_folder, photograph, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes(photograph())
    with pytest.raises(cilf.UsageError, match=message):
        cilf.label(tmp_path / "in", tmp_path / "out", model=model_folder, **options)
    assert not (tmp_path / "out").exists()
    assert capsys.readouterr().out == ""


def test_a_missing_input_or_model_is_an_error(tmp_path, model_folder):
    with pytest.raises(cilf.UsageError, match="nowhere"):
        cilf.label(tmp_path / "nowhere", tmp_path / "out", model=model_folder)
    with pytest.raises(cilf.ModelFolderError, match="not a model folder"):
        cilf.label(tmp_path, tmp_path / "out", model=tmp_path)


def test_it_labels_as_the_command_does_and_tells_what_it_did(
    ray_session, label_truly, model_folder, photograph, tmp_path, rows, capsys
):
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.jpg").write_bytes(photograph(number))
    (folder / "words.txt").write_text("no image")
    expected = label_truly(folder, tmp_path / "command")
    capsys.readouterr()
    done = cilf.label(folder, tmp_path / "call", model=model_folder, faces="none")
    assert (dict(done.counts), done.objects, done.bytes > 0) == ({"ok": 3, "unreadable": 1}, 4, True)
    assert done.text.startswith("labelled 4 objects in")
    assert str(done) == done.text
    assert capsys.readouterr().out == ""
    assert (tmp_path / "call" / "runs" / f"{done.run}.json").is_file()
    assert done.labels == str(tmp_path / "call" / "labels" / f"model={done.model}")
    columns = ["uri", "status", "reason", "faces", "model"]
    assert rows(tmp_path / "call").select(columns).to_pylist() == expected.select(columns).to_pylist()
    assert cilf.read(tmp_path / "call").num_rows == 4
    again = cilf.label(folder, tmp_path / "call", model=model_folder, faces="none", include="*.jpg")
    assert (again.objects, dict(again.counts)) == (0, {})


def test_a_dry_run_returns_its_forecast_and_writes_nothing(ray_session, model_folder, photograph, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes(photograph())
    tried = cilf.label(tmp_path / "in", tmp_path / "out", model=model_folder, faces="none", dry_run=True)
    assert dict(tried.counts) == {"ok": 1}
    assert tried.text.startswith("dry run: 1 of 1 object labelled, nothing written")
    assert not (tmp_path / "out").exists()
