"""Captions of faces for the text tower."""

import io

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from tiny_training import face

from cilf.card import Ages, Model, Prompts
from cilf.datasets.age_groups import AgeGroup
from cilf.training.captions import caption
from cilf.training.examine import examine
from cilf.training.recipe import Words


@pytest.mark.parametrize(
    ("known", "text"),
    [
        ((68, None, "woman", "Black"), "a photo of a 68 year old Black woman"),
        ((8, None, "man", None), "a photo of an 8 year old man"),
        ((11.5, None, None, None), "a photo of an 11.5 year old person"),
        ((1, None, None, "Indian"), "a photo of a 1 year old Indian person"),
        ((None, AgeGroup(20, 29), "man", "Indian"), "a photo of a 20 to 29 year old Indian man"),
        ((None, AgeGroup(80, 89), None, None), "a photo of an 80 to 89 year old person"),
        ((None, AgeGroup(3, 3), None, None), "a photo of a 3 year old person"),
        ((None, AgeGroup(70, None), None, None), "a photo of a person of 70 or more years"),
        ((None, AgeGroup(70, None), "man", "East Asian"), "a photo of an East Asian man of 70 or more years"),
        ((30, AgeGroup(70, None), None, None), "a photo of a 30 year old person"),
    ],
)
def test_a_caption_contains_all_labels(known, text):
    assert caption(*known) == text


def test_captions_use_the_words_of_their_source():
    table = pa.table(
        {
            "age": pa.array([68.0, None, 30.0, None]),
            "age_low": [None, 70, None, None],
            "age_high": pa.nulls(4),
            "gender": ["1", "0", "2", "1"],
            "race": ["Black", None, "Martian", "Black"],
            "image": [face(30, 0)] * 4,
        }
    )
    words = Words.model_validate({"gender": {0: "man", 1: "woman"}, "race": {"Black": "Black"}})
    assert examine(table, words=words)["caption"].to_pylist() == [
        "a photo of a 68 year old Black woman",
        "a photo of a man of 70 or more years",
        "a photo of a 30 year old person",
        None,
    ]
    prompts = Prompts(templates=("a {age} photo",))
    ranks = Model(ages=Ages(youngest=0, oldest=1, names=("soft", "hard")), prompts=prompts)
    assert examine(table, ranks, words=words)["caption"].null_count == 4


def test_without_a_box_the_face_is_detected_or_the_row_is_bad():
    buffer = io.BytesIO()
    Image.fromarray(np.full((200, 200, 3), 128, np.uint8)).save(buffer, "PNG")
    examined = examine(pa.table({"age": [30.0], "image": [buffer.getvalue()]}), find=True)
    assert examined["reason"].to_pylist() == ["no face is found"]
    assert examine(pa.table({"age": [30.0], "image": [buffer.getvalue()]}))["reason"].to_pylist() == [None]
