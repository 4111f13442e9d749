import json
import shutil
from pathlib import Path

import pytest

from cilf.card import CARD_FILE, WEIGHTS_FILE, ModelFolderError
from cilf.provenance import fingerprint, new_run_id

NUMBERS = {"faces": "none", "precision": "float32"}


@pytest.fixture
def copy(model_folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(model_folder, tmp_path / "copy")


def edit(folder: Path, **changes: object) -> None:
    card = json.loads((folder / CARD_FILE).read_text())
    (folder / CARD_FILE).write_text(json.dumps(card | changes))


def test_words_do_not_change_it(model_folder, copy):
    edit(copy, summary="a better one", figures={"mae": 1}, name="other")
    assert fingerprint(copy, NUMBERS) == fingerprint(model_folder, NUMBERS)


def test_the_correction_changes_it(model_folder, copy):
    edit(copy, correction={"epsilon": 4})
    assert fingerprint(copy, NUMBERS) != fingerprint(model_folder, NUMBERS)


def test_the_weights_change_it(model_folder, copy):
    data = bytearray((copy / WEIGHTS_FILE).read_bytes())
    data[-1] ^= 1
    (copy / WEIGHTS_FILE).write_bytes(data)
    assert fingerprint(copy, NUMBERS) != fingerprint(model_folder, NUMBERS)


def test_settings_that_change_numbers_change_it(model_folder):
    assert fingerprint(model_folder, NUMBERS) != fingerprint(model_folder, NUMBERS | {"precision": "bfloat16"})


def test_it_is_twelve_hex_digits(model_folder):
    assert len(fingerprint(model_folder, NUMBERS)) == 12
    int(fingerprint(model_folder, NUMBERS), 16)


def test_no_reader_takes_it_for_a_number(model_folder):
    found = {fingerprint(model_folder, NUMBERS | {"decode": number}) for number in range(300)}
    assert len(found) == 300
    assert all(len(each) == 12 and set(each) & set("abc") for each in found)


def test_no_model_there(tmp_path):
    with pytest.raises(ModelFolderError, match=WEIGHTS_FILE):
        fingerprint(tmp_path, NUMBERS)


def test_run_ids_differ():
    assert new_run_id() != new_run_id()
