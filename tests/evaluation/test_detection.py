import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from skimage import data

from cilf import cli
from cilf.datasets.photographs import KnownPhotograph
from cilf.evaluation.detection import Tally, sums, tally
from cilf.images.detector import overlaps
from cilf.images.faces import Faces


def faces(*boxes: tuple[float, ...]) -> Faces:
    count = len(boxes)
    boxes_N4 = np.array(boxes, np.float32).reshape(-1, 4)
    return Faces(500, 500, count, 0, boxes_N4, np.ones(count, np.float32), [], np.empty((count, 8, 8, 3), np.uint8))


def known(count: int, *boxes: tuple[float, ...], by_number: bool = False) -> KnownPhotograph:
    return KnownPhotograph("a.jpg", b"", count, None if by_number else np.array(boxes, np.float32).reshape(-1, 4))


def test_overlaps_are_intersection_over_union():
    a = np.array([[0, 0, 10, 10], [20, 20, 30, 30]], np.float32)
    b = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [40, 40, 41, 41]], np.float32)
    np.testing.assert_allclose(overlaps(a, b), [[1, 1 / 3, 0], [0, 0, 0]])


def test_boxes_are_matched_one_to_one():
    one = tally(known(1, (100, 100, 160, 160)), faces((102, 98, 158, 170), (105, 105, 165, 165)))
    assert (one.known, one.found, one.right) == (1, 2, 1), "a second box on the same face is wrong"
    other = tally(known(1, (100, 100, 160, 160)), faces((300, 300, 360, 360)))
    assert (other.known, other.found, other.right) == (1, 1, 0)


def test_small_faces_are_ignored():
    small, large = (100.0, 100.0, 136.0, 136.0), (200.0, 200.0, 260.0, 260.0)
    missed = tally(known(2, small, large), faces(large))
    assert (missed.known, missed.found, missed.right) == (1, 1, 1)
    found = tally(known(2, small, large), faces(large, (97, 95, 139, 145)))
    assert (found.known, found.found, found.right) == (1, 1, 1), "drawn larger than it is known"


def test_photographs_with_only_a_number_of_faces():
    more = tally(known(1, by_number=True), faces((0, 0, 60, 60), (100, 0, 160, 60), (0, 100, 20, 120)))
    assert (more.known, more.found, more.right) == (1, 2, 1)


def test_sums():
    tallies = [Tally("a", 4, 3, 3, "boxes"), Tally("b", 6, 7, 6, "number"), Tally("c", 0, 0, 0, "number")]
    record = sums(tallies)
    assert (record["boxes"]["recall"], record["boxes"]["precision"]) == (0.75, 1)
    assert (record["all"]["recall"], record["all"]["precision"]) == (pytest.approx(0.9), pytest.approx(0.9))
    assert record["without_faces"] == {"photographs": 1, "nothing_found": 1}
    assert sums([])["all"]["recall"] is None


def test_photographs_are_read_searched_and_drawn(tmp_path, capsys):
    def encoded(pixels: np.ndarray) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        return buffer.getvalue()

    rows = {
        "name": ["people/astronaut.png", "coffee.png", "torn.png"],
        "other_faces": [7, 0, 2],
        "image": [encoded(data.astronaut()), encoded(data.coffee()), encoded(data.coffee())[:2000]],
    }
    pq.write_table(pa.table(rows), tmp_path / "photographs.parquet")
    box = "<box top='70' left='172' width='100' height='110'/>"
    (tmp_path / "boxes.xml").write_text(
        f"<dataset><images><image file='astronaut.png'>{box}</image></images></dataset>"
    )
    assert cli.main(["evaluate", "unused", str(tmp_path), "--faces", "--output", str(tmp_path / "out")]) == 0
    record = json.loads((tmp_path / "out" / "faces.json").read_text())
    assert record["boxes"] == {"photographs": 1, "known": 1, "found": 1, "recall": 1.0, "precision": 1.0}
    assert record["without_faces"] == {"photographs": 1, "nothing_found": 1}
    with Image.open(tmp_path / "out" / "faces.png") as sheet:
        assert sheet.width > 1000
    out = capsys.readouterr().out
    assert "recall" in out
    assert "torn.png was skipped" in out
    assert [row["name"] for row in record["unreadable"]] == ["torn.png"]


@pytest.mark.parametrize("name", ["faces.json", "faces.png"])
def test_only_an_earlier_search_is_overwritten(tmp_path, capsys, name):
    image = io.BytesIO()
    Image.fromarray(data.coffee()).save(image, "PNG")
    pq.write_table(pa.table({"name": ["a"], "faces": [0], "image": [image.getvalue()]}), tmp_path / "p.parquet")
    output = tmp_path / "mine"
    command = ["evaluate", "unused", str(tmp_path / "p.parquet"), "--faces", "--output", str(output)]
    output.mkdir()
    (output / name).write_text('{"Anna": 3}')
    assert cli.main(command) == cli.WRONG_USAGE
    assert f"{name} from something else" in capsys.readouterr().err
    assert {file.name: file.read_text() for file in output.iterdir()} == {name: '{"Anna": 3}'}
    (output / name).unlink()
    assert [cli.main(command), cli.main(command)] == [0, 0]


def test_data_without_photographs_is_refused(tmp_path, capsys):
    assert cli.main(["evaluate", "unused", str(tmp_path), "--faces", "--output", str(tmp_path / "out")]) == 2
    pq.write_table(pa.table({"name": ["a"], "image": [b""]}), tmp_path / "a.parquet")
    assert cli.main(["evaluate", "unused", str(tmp_path), "--faces", "--output", str(tmp_path / "out")]) == 2
    assert "no column faces" in capsys.readouterr().err
