from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from cilf import demo
from cilf.config import DemoOptions
from cilf.errors import UsageError

PEOPLES = ("photographs/holiday.jpg", "output/review.csv", "contact-sheet.png", "notes.txt")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Stand in for what draws the photographs and labels them."""
    made = []

    def draw(folder: Path) -> None:
        Image.new("RGB", (30, 20), "red").save(folder / "portrait.jpg")

    def label(options) -> int:
        made.append(options)
        rows = [
            {"uri": str(file), "run": str(len(made)), "status": "no_face", "reason": "", "width": 30, "height": 20}
            for file in sorted(Path(options.input).iterdir())
        ]
        labels = Path(options.output) / "labels" / "model=0"
        labels.mkdir(parents=True, exist_ok=True)
        faces = pa.array([[]] * len(rows), pa.list_(pa.float32()))
        pq.write_table(pa.Table.from_pylist(rows).append_column("faces", faces), labels / f"{len(made)}.parquet")
        return 0

    monkeypatch.setattr(demo, "_draw", draw)
    monkeypatch.setattr(demo, "label", label)
    return made


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("name", PEOPLES)
def test_a_folder_with_anything_in_it_is_refused_and_left_alone(tmp_path, quick, name):
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"mine")
    with pytest.raises(UsageError, match=r"is not empty .* --folder"):
        demo.demo(DemoOptions(folder=str(tmp_path)))
    assert contents(tmp_path) == {name: b"mine"}
    assert not quick


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir()], ids=["new", "empty"])
def test_what_people_put_into_the_demos_folder_stays(tmp_path, quick, make):
    folder = tmp_path / "demo"
    make(folder)
    assert demo.demo(DemoOptions(folder=str(folder))) == 0
    (folder / "output/review.csv").write_bytes(b"mine")
    (folder / "notes.txt").write_bytes(b"mine")
    for name in ("holiday.jpg", "portrait.jpg"):  # one more, and one instead of the demo's own
        Image.new("RGB", (40, 20), "blue").save(folder / "photographs" / name)
    before = {name: data for name, data in contents(folder).items() if name != "contact-sheet.png"}
    assert demo.demo(DemoOptions(folder=str(folder))) == 0
    after = contents(folder)
    assert {name: after.get(name) for name in before} == before
    assert [options.relabel for options in quick] == [True, True]


def test_only_the_newest_run_is_shown(tmp_path):
    for _ in range(2):
        demo.demo(DemoOptions(folder=str(tmp_path)))
    assert [row["run"] for row in demo.newest(tmp_path / "output")] == ["2"]


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(UsageError, match="cannot use"):
        demo.demo(DemoOptions(folder=str(tmp_path / "file")))
    assert contents(tmp_path) == {"file": b"mine"}
