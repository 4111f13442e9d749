"""Boxes in the column `box`, in `left, top, right, bottom`, or in both."""

import io
import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from cilf.card import Images
from cilf.datasets.faces import FaceSet
from cilf.datasets.known_boxes import SIDES, box_of, given_boxes
from cilf.storage import locate
from cilf.training.raw import raw_table
from cilf.training.sources import open_source


@pytest.mark.parametrize(
    ("box", "sides", "wanted"),
    [
        (None, (1, 2, 3, 4), (1, 2, 3, 4)),
        ([5, 6, 7, 8], (None,) * 4, (5, 6, 7, 8)),
        ([5, 6, 7, 8], (1, 2, 3, 4), (5, 6, 7, 8)),
        (None, (None,) * 4, None),
    ],
)
def test_the_sides_are_used_if_the_box_is_null(box, sides, wanted):
    row = {"box": box, **dict(zip(SIDES, sides, strict=True))}
    assert box_of(row) == wanted
    table = pa.table({"box": pa.array([box], pa.list_(pa.float32())), **{side: [row[side]] for side in SIDES}})
    assert given_boxes(table) == [wanted]


def test_an_incomplete_box_in_the_sides_is_not_a_whole_image():
    assert any(map(math.isnan, box_of({"box": None, "left": 1, "top": 2, "right": 3, "bottom": None})))


def test_a_set_with_boxes_joined_to_a_set_with_sides_keeps_both(tmp_path):
    pixels = np.full((80, 100, 3), 255, np.uint8)
    pixels[20:52, 10:42], pixels[20:52, 60:92] = 30, 70
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    one = {"image": [buffer.getvalue()], "split": ["val"], "age": [30]}
    boxed = pa.table({"id": ["box"], **one, "box": pa.array([[10, 20, 42, 52]], pa.list_(pa.float32()))})
    sided = pa.table({"id": ["sides"], **one, "left": [60], "top": [20], "right": [92], "bottom": [52]})
    file = tmp_path / "faces.parquet"
    pq.write_table(pa.concat_tables([boxed, sided], promote_options="default"), file)
    [faces] = FaceSet(str(file), "val").batches(Images(size=16))
    assert faces.images_NHWC[:, 2:-2, 2:-2].mean(axis=(1, 2, 3)).round().tolist() == [30, 70]
    learned = raw_table(open_source(str(file), "val").labels(), locate(str(file)))
    assert learned["box"].to_pylist() == [[10, 20, 42, 52], [60, 20, 92, 52]]
