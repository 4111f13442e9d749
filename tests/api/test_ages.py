"""`cilf.ages`: the faces of one photograph, with the command's numbers."""

from __future__ import annotations

import io
import shutil
from dataclasses import asdict

import numpy as np
import pytest
from PIL import Image
from stages import staged

import cilf
from cilf.storage import model_folder as bundled


@pytest.mark.parametrize("faces", ["detect", "none", "auto"])
def test_numbers_are_those_of_the_stages_of_the_command(portraits, model_folder, faces):
    for file in portraits:
        (row,) = staged([str(file)], model_folder, faces)
        found = cilf.ages(file, model=model_folder, faces=faces)
        assert len(found) == len(row["faces"]) == row["face_count"]
        for face, expected in zip(found, row["faces"], strict=True):
            assert asdict(face) == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_the_bundled_model_is_the_default(portraits):
    (face,) = cilf.ages(portraits[0])
    assert face.age_low <= face.age <= face.age_high
    assert face.interval == (face.age_low, face.age_high)
    left, top, right, bottom = face.box
    assert 0 <= left < right
    assert 0 <= top < bottom


def test_every_kind_of_photograph_gives_the_same(portraits, model_folder):
    file = portraits[0]
    expected = cilf.ages(file, model=str(model_folder))
    image = Image.open(file)
    kinds = [str(file), file.read_bytes(), image, np.asarray(image.convert("RGB")), image.convert("RGBA")]
    assert [cilf.ages(kind, model=model_folder) for kind in kinds] == [expected] * len(kinds)


def test_objects_in_a_store_are_read(portraits, model_folder, bucket):
    url = bucket({"a b.webp": portraits[0].read_bytes()})
    assert cilf.ages(f"{url}/a b.webp", model=model_folder) == cilf.ages(portraits[0], model=model_folder)


def test_a_decoded_image_gives_what_its_png_file_gives(portraits, model_folder):
    image = Image.open(portraits[1]).convert("L")
    file = io.BytesIO()
    image.save(file, "PNG")
    expected = cilf.ages(file.getvalue(), model=model_folder)
    assert cilf.ages(image, model=model_folder) == cilf.ages(np.asarray(image), model=model_folder) == expected


def test_an_image_of_pillow_is_turned_upright(portraits, model_folder):
    file = io.BytesIO()
    turned = Image.open(portraits[0]).convert("RGB").rotate(90, expand=True)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(file, "PNG", exif=exif)
    assert cilf.ages(Image.open(file), model=model_folder) == cilf.ages(portraits[0], model=model_folder)


def test_a_photograph_without_a_face_gives_an_empty_list(files, model_folder):
    assert cilf.ages(files[2], model=model_folder) == []


def test_a_photograph_that_cannot_be_read_is_an_error_with_its_status(files, model_folder, photograph):
    for file, status in ((files[3], "unreadable"), (files[4], "missing")):
        with pytest.raises(cilf.PhotographError, match=file.name) as raised:
            cilf.ages(file, model=model_folder)
        assert raised.value.status == status
    with (
        Image.open(io.BytesIO(photograph(2, "PNG")[:-100])) as cut,
        pytest.raises(cilf.PhotographError, match="unreadable"),
    ):
        cilf.ages(cut, model=model_folder)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.zeros((4, 4, 3)), r"uint8 \[H, W, 3\] in RGB, not float64 \[4, 4, 3\]"),
        (np.zeros((3, 4, 4), np.uint8).repeat(2, axis=2), r"not uint8 \[3, 4, 8\]"),
        (np.zeros((0, 4, 3), np.uint8), r"not uint8 \[0, 4, 3\]"),
        (7, "not int"),
        ("ftp://host/photo.jpg", "known: a plain path"),
    ],
)
def test_other_things_are_refused_with_what_is_expected(model_folder, wrong, message):
    with pytest.raises(cilf.UsageError, match=message):
        cilf.ages(wrong, model=model_folder)


def test_a_wrong_way_to_find_faces_or_a_wrong_model_is_refused(portraits, model_folder, tmp_path):
    with pytest.raises(cilf.UsageError, match="'detct': expected one of 'detect', 'auto', 'none'"):
        cilf.ages(portraits[0], model=model_folder, faces="detct")
    with pytest.raises(cilf.UsageError, match="not a bundled model"):
        cilf.ages(portraits[0], model="nowhere")
    with pytest.raises(cilf.ModelFolderError, match="not a model folder"):
        cilf.ages(portraits[0], model=tmp_path)


def test_a_model_that_was_replaced_is_loaded_again(portraits, model_folder, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(bundled("cilf-ciae-mobile"), folder)
    before = cilf.ages(portraits[0], model=folder)
    for file in model_folder.iterdir():
        shutil.copy(file, folder)
    assert cilf.ages(portraits[0], model=folder) == cilf.ages(portraits[0], model=model_folder) != before
