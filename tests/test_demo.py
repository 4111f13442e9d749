import csv
import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageColor
from rich.console import Console

from cilf.config import DemoOptions
from cilf.demo import demo, job, photographs
from cilf.demo.sheet import DOUBTED, contact_sheet
from cilf.errors import UsageError

PEOPLES = ("photographs/holiday.jpg", "output/review.csv", "contact-sheet.png", "notes.txt")


@pytest.fixture
def quick(monkeypatch):
    """Replace the drawing and the labelling of the photographs."""
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

    monkeypatch.setattr(photographs, "draw", draw)
    monkeypatch.setattr(job, "label", label)
    return made


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("name", PEOPLES)
def test_a_folder_with_anything_in_it_is_refused_and_left_alone(tmp_path, quick, name):
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"mine")
    with pytest.raises(UsageError, match=r"is not empty .* --folder"):
        demo(DemoOptions(folder=str(tmp_path)))
    assert contents(tmp_path) == {name: b"mine"}
    assert not quick


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir()], ids=["new", "empty"])
def test_what_people_put_into_the_demos_folder_stays(tmp_path, quick, make):
    folder = tmp_path / "demo"
    make(folder)
    assert demo(DemoOptions(folder=str(folder))) == 0
    (folder / "output/review.csv").write_bytes(b"mine")
    (folder / "notes.txt").write_bytes(b"mine")
    for name in ("holiday.jpg", "portrait.jpg"):  # an additional one, and one in the place of the demo's own
        Image.new("RGB", (40, 20), "blue").save(folder / "photographs" / name)
    before = {name: data for name, data in contents(folder).items() if name != "contact-sheet.png"}
    assert demo(DemoOptions(folder=str(folder))) == 0
    after = contents(folder)
    assert {name: after.get(name) for name in before} == before
    assert [options.relabel for options in quick] == [True, True]


def test_only_the_newest_run_is_shown(tmp_path, quick):
    for _ in range(2):
        demo(DemoOptions(folder=str(tmp_path)))
    assert [row["run"] for row in job.newest(tmp_path / "output")] == ["2"]


def test_a_file_in_place_of_the_folder_is_refused(tmp_path, quick):
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(UsageError, match="cannot use"):
        demo(DemoOptions(folder=str(tmp_path / "file")))
    assert contents(tmp_path) == {"file": b"mine"}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "photographs"
    photographs.make(folder)
    return folder


def labelled(file: Path, *ages: float, accepted: bool = True) -> dict:
    """A row as labelling writes it."""
    with Image.open(file) as image:
        width, height = image.size
    face = {"left": 0.0, "top": 0.0, "right": width / 2, "bottom": height / 2, "accepted": accepted}
    faces = [{**face, "age": age, "age_low": age - 8, "age_high": age + 8} for age in ages]
    status = "ok" if faces else "no_face"
    return {"uri": str(file), "status": status, "reason": None, "width": width, "height": height, "faces": faces}


def shown(rows: list[dict]) -> list[str]:
    console = Console(width=100, file=io.StringIO(), highlight=False)
    console.print(job.table(rows))
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_each_age_group_of_fairface_is_shown_once(drawn):
    with (Path(photographs.__file__).parent / "faces" / "faces.csv").open() as file:
        listed = {row["file"] for row in csv.DictReader(file)}
    people = sorted((drawn / "people").iterdir())
    assert {file.name for file in people} == listed
    groups = [photographs.known(file) for file in people]
    assert [group.low for group in groups] == [0, 3, 10, 20, 30, 40, 50, 60, 70]
    assert [group.high for group in groups] == [2, 9, 19, 29, 39, 49, 59, 69, None]
    for file in people:
        with Image.open(file) as image:
            assert image.size == (224, 224)


def test_the_portrait_is_the_same_in_every_format(drawn):
    pixels = [np.asarray(Image.open(drawn / "portrait" / name).convert("RGB"), float) for name in photographs.FORMATS]
    assert len(pixels) >= 3
    for other in pixels[1:]:
        assert other.shape == pixels[0].shape
        assert np.abs(other - pixels[0]).mean() < 4


def test_only_the_demos_own_photographs_have_known_ages(drawn, tmp_path):
    assert str(photographs.known(drawn / "people" / "70-older-woman.webp")) == "70 or more"
    assert str(photographs.known(drawn / "portrait" / "grey.jpg")) == "34 to 49"
    assert photographs.known(drawn / "others" / "cat.jpg") is None
    assert photographs.known(tmp_path / "20-29-man.webp") is None


def test_what_is_known_stands_beside_the_estimate(drawn):
    man, cat = drawn / "people" / "20-29-man.webp", drawn / "others" / "cat.jpg"
    lines = shown([labelled(man, 24.4, accepted=False), labelled(cat)])
    assert [line.split() for line in lines[1:]] == [
        ["people"],
        ["20-29-man.webp", "20", "to", "29", "24.4", "16", "to", "32", "not", "accepted"],
        ["others"],
        ["cat.jpg", "no_face"],
    ]


def test_the_summary_says_how_far_the_portrait_moves(drawn):
    files = [drawn / "portrait" / name for name in photographs.FORMATS]
    rows = [labelled(file, age) for file, age in zip(files, (40.0, 41.5, 38.0, 39.0), strict=True)]
    rows.append(labelled(drawn / "portrait" / "out-of-focus.jpg", 3.0, accepted=False))
    told = " ".join(job.summary(rows))
    assert "4 of 5 estimates are accepted" in told
    assert "40.0 (png), 41.5 (jpg), 38.0 (webp), 39.0 (avif). The largest difference is 3.5 years." in told


def count(sheet: Image.Image, colour: str) -> int:
    return int((np.asarray(sheet) == ImageColor.getrgb(colour)).all(axis=2).sum())


def test_the_contact_sheet_grows_by_its_photographs(drawn):
    rows = [
        labelled(drawn / "people" / "20-29-man.webp", 24.0),
        labelled(drawn / "portrait" / "portrait.png", 41.0),
        labelled(drawn / "others" / "album.jpg", 30.0, 50.0),
        labelled(drawn / "others" / "cat.jpg"),
        {"uri": str(drawn / "others" / "broken.jpg"), "status": "unreadable", "width": None, "faces": []},
    ]
    one, two, all_of_them = (contact_sheet(rows[:count]) for count in (1, 2, 5))
    assert one.width == two.width == all_of_them.width
    section = two.height - one.height
    assert section > 232
    assert all_of_them.height == one.height + 2 * section


def test_the_contact_sheet_marks_what_is_not_accepted(drawn):
    sheets = {
        accepted: contact_sheet([labelled(drawn / "portrait" / "grey.jpg", 70.0, accepted=accepted)])
        for accepted in (True, False)
    }
    assert count(sheets[True], DOUBTED) == 0
    assert count(sheets[False], DOUBTED) > 300  # a mark on the photograph, its interval and its estimate
