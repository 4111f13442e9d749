"""Local folders: links that are followed, cycles that are not, and folders that cannot be read."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from cilf import cli
from cilf.errors import StoreError, UsageError
from cilf.manifest import walking
from cilf.manifest.listing import check_input, objects
from cilf.storage import CHECKING, locate


def listed(folder: Path, *include: str) -> list[str]:
    tables = list(objects(locate(str(folder)), include))
    return [uri.removeprefix(f"{folder}/") for table in tables for uri in table["uri"].to_pylist()]


def make(folder: Path, files: str = "", **links: str | Path) -> Path:
    """A folder with files and links; `__` in a link's name is a slash."""
    for name in files.split():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    for name, target in links.items():
        place = folder / name.replace("__", "/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(target)
    return folder


def test_links_to_folders_are_followed(tmp_path):
    make(tmp_path, "other/o.jpg other/deep/d.jpg")
    photos = make(tmp_path / "in", "real/r.jpg photo.jpg/p", linked="../other", nowhere="gone", file="real/r.jpg")
    assert listed(photos) == ["file", "linked/deep/d.jpg", "linked/o.jpg", "nowhere", "photo.jpg/p", "real/r.jpg"]
    check_input(locate(str(make(tmp_path / "only", linked="../other")), CHECKING))
    assert listed(make(tmp_path / "alias", at="../other"), "at/deep/*") == ["at/deep/d.jpg"]
    (tmp_path / "to all").symlink_to(photos)
    assert listed(tmp_path / "to all") == listed(photos)


@pytest.mark.parametrize(
    ("links", "expected"),
    [
        ({"in__me": "."}, ["in/a"]),
        ({"in__up": ".."}, ["in/a", "in/up/x/1", "in/up/x/2"]),  # and not in/up/in
        ({"in__deep__up": "../.."}, ["in/a", "in/deep/up/x/1", "in/deep/up/x/2"]),
        ({"in__x": "../x", "x__in": "../in"}, ["in/a", "in/x/1", "in/x/2"]),
        ({"in__y": "../y", "y__x": "../x", "x__y": "../y"}, ["in/a", "in/y/x/1", "in/y/x/2"]),
        ({"in__p": "../x", "in__q": "../x"}, ["in/a", "in/p/1", "in/p/2"]),
        ({"in__p": "../x", "in__q": ".."}, ["in/a", "in/p/1", "in/p/2"]),
        ({"in__latest": "b", "in__b__link": "../../x"}, ["in/a", "in/b/link/1", "in/b/link/2"]),
        ({"in__one": "two", "in__two": "one"}, ["in/a", "in/one", "in/two"]),
    ],
)
@pytest.mark.parametrize("stop", [0, 1, 2])
def test_each_folder_counts_once(tmp_path, links, expected, stop):
    make(tmp_path, "in/a x/1 x/2", **links)
    tables = list(walking.walk(locate(f"{tmp_path}/in")))
    paths = [uri.removeprefix(f"{tmp_path}/") for table, _ in tables for uri in table["uri"].to_pylist()]
    assert sorted(paths) == expected
    # The same in two walks, the second of which resumes from the place that the first returned.
    stop = min(stop, len(paths) - 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(walking, "_TABLE_ROWS", stop + 1)
        place = json.loads(json.dumps(next(walking.walk(locate(f"{tmp_path}/in")))[1]))
    rest = [uri for table, _ in walking.walk(locate(f"{tmp_path}/in"), place) for uri in table["uri"].to_pylist()]
    assert [uri.removeprefix(f"{tmp_path}/") for uri in rest] == paths[stop + 1 :]


def test_globs_that_name_a_link(tmp_path):
    photos = make(tmp_path / "in", "2024/a.jpg 2025/b.jpg", latest="2025", one="../x", two="../x", me=".")
    make(tmp_path, "x/c.jpg", x__back="../in/2025")
    assert listed(photos, "latest/*") == ["latest/b.jpg"]
    assert listed(photos, "two/*") == ["two/back/b.jpg", "two/c.jpg"]
    assert listed(photos, "one/*", "two/*") == ["one/back/b.jpg", "one/c.jpg"]
    assert listed(photos, "me/*") == []
    assert listed(photos) == ["2024/a.jpg", "2025/b.jpg", "one/c.jpg"]


def test_globs_of_a_folder_that_is_not_there(tmp_path, capsys):
    make(tmp_path, "2024/a.jpg 2025/b.jpg")
    assert listed(tmp_path, "2026/*") == []
    assert "no object matches --include '2026/*'" in capsys.readouterr().err


def test_folders_that_link_to_each_other_are_walked_once(tmp_path):
    for number in range(12):
        others = {f"to{other}": f"../{other}" for other in range(12) if other != number}
        make(tmp_path / str(number), "photo.jpg", **others)
    assert len(listed(tmp_path / "0")) == 12
    assert len(listed(tmp_path)) == 12


def test_a_folder_that_is_mounted_below_itself(tmp_path):
    make(tmp_path, "in/a.jpg in/b/c.jpg in/self/.keep x/d.jpg", in__to="../x")
    look = f"from tests.manifest.test_walking_local import listed, Path; print(*listed(Path('{tmp_path}/in')))"
    mounted = f'mount --bind {tmp_path}/in {tmp_path}/in/self && exec {sys.executable} -c "{look}"'
    inside = ["unshare", "--mount", "sh", "-c"]
    if subprocess.run([*inside, f"mount --bind {tmp_path} {tmp_path}"], capture_output=True).returncode:
        pytest.skip("no mount namespaces here")
    done = subprocess.run([*inside, mounted], capture_output=True, text=True, cwd=Path(__file__).parents[2], check=True)
    assert done.stdout.split() == ["a.jpg", "b/c.jpg", "to/d.jpg"]


def test_what_is_no_file_is_no_object(tmp_path):
    make(tmp_path, "a.jpg", zero="/dev/zero")
    os.mkfifo(tmp_path / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as plug:
        plug.bind(str(tmp_path / "plug.jpg"))
        assert listed(tmp_path) == ["a.jpg"]


@pytest.fixture
def refused(monkeypatch, tmp_path):
    """Make folders called `lost+found` raise an error, as those of another user do."""
    truly, errors = os.scandir, {"lost+found": errno.EACCES}
    asked: list[str] = []

    def scandir(path):
        asked.append(str(path))
        number = errors.get(os.path.basename(path))  # noqa: PTH119
        if number:
            raise OSError(number, os.strerror(number), path)
        return truly(path)

    monkeypatch.setattr(os, "scandir", scandir)
    return errors, asked


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE])
def test_a_folder_that_cannot_be_read_costs_itself(tmp_path, refused, capsys, number):
    errors, _ = refused
    errors["lost+found"] = number
    make(tmp_path, "disk/a/1.jpg disk/lost+found/2.jpg disk/z/3.jpg disk/z/lost+found/4.jpg", disk__to="../lost+found")
    assert listed(tmp_path / "disk") == ["a/1.jpg", "to", "z/3.jpg"]
    said = capsys.readouterr().err.splitlines()
    assert said == [
        f"left out {tmp_path}/disk/{name}, which cannot be read: {os.strerror(number)}"
        for name in ("lost+found", "z/lost+found")
    ]
    assert cli.main(["list", f"{tmp_path}/disk", f"{tmp_path}/list"]) == 0
    assert f"{tmp_path}/disk/lost+found" in capsys.readouterr().err
    record = json.loads((tmp_path / "list" / "_manifest.json").read_text())
    assert record["left_out"] == said


def test_a_folder_that_is_not_wanted_is_not_looked_into(tmp_path, refused, capsys):
    _, asked = refused
    make(tmp_path, "a/1.jpg a/b/2.jpg lost+found/3.jpg ab/4.jpg")
    assert listed(tmp_path, "a/*") == ["a/1.jpg", "a/b/2.jpg"]
    assert listed(tmp_path, "a/{b,c}/*", "ab/4*") == ["a/b/2.jpg", "ab/4.jpg"]
    assert capsys.readouterr().err == ""
    assert f"{tmp_path}/lost+found" not in asked
    assert listed(tmp_path, "*.jpg") == ["a/1.jpg", "a/b/2.jpg", "ab/4.jpg"]
    assert "lost+found" in capsys.readouterr().err


def test_an_input_that_cannot_be_read_is_refused(tmp_path, refused):
    errors, _ = refused
    make(tmp_path, "lost+found/1.jpg")
    with pytest.raises(UsageError, match=r"cannot list INPUT: no permission for .*/lost\+found"):
        check_input(locate(f"{tmp_path}/lost+found", CHECKING))
    with pytest.raises(UsageError, match=r"there are no objects; left out .*/lost\+found, which cannot be read: Permi"):
        check_input(locate(str(tmp_path), CHECKING))
    errors[tmp_path.name] = errno.EIO
    with pytest.raises(StoreError, match="Input/output error"):
        listed(tmp_path)


def test_a_disk_that_goes_in_the_midst_is_not_taken_for_listed(tmp_path, refused, monkeypatch):
    errors, _ = refused
    make(tmp_path, "disk/a/1.jpg disk/b/2.jpg")
    monkeypatch.setattr(walking, "_TABLE_ROWS", 1)
    found = objects(locate(f"{tmp_path}/disk"))
    assert len(next(found)) == 1
    errors.update(b=errno.ESTALE, disk=errno.ESTALE)
    with pytest.raises(StoreError, match="Stale"):
        pa.concat_tables(found)


def test_the_output_is_no_object_however_it_is_reached(tmp_path):
    make(tmp_path, "data/a.jpg data/out/labels/l.parquet", photos__all="../data")
    found = pa.concat_tables(objects(locate(f"{tmp_path}/photos"), apart=locate(f"{tmp_path}/data/out")))
    assert found["uri"].to_pylist() == [f"{tmp_path}/photos/all/a.jpg"]
    assert cli.main(["list", f"{tmp_path}/photos", f"{tmp_path}/data/list"]) == 0
    assert cli.main(["list", f"{tmp_path}/photos", f"{tmp_path}/data/list"]) == 0
    assert json.loads((tmp_path / "data/list/_manifest.json").read_text())["objects"] == 2
