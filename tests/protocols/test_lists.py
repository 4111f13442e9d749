"""Published lists in all their layouts, and the corrections made to them."""

from __future__ import annotations

import numpy as np
import pytest
from made_tables import made, morph

from cilf.errors import UsageError
from cilf.protocols.folds import subjects_of
from cilf.protocols.known import make_split
from cilf.protocols.leakage import leakage
from cilf.protocols.lists import Lists

TABLE = morph(40)
NAMES = TABLE["path"].to_pylist()


@pytest.fixture
def lists(tmp_path):
    """Writes lists by file name, and reads them."""

    def make(**files: str) -> Lists:
        for name, text in files.items():
            (tmp_path / name.replace("__", ".")).write_text(text)
        return Lists(tmp_path)

    return make


def _spaced(names, header="race gender age filename database"):
    return "\n".join([header, *(f"0 1 39 {name} morph" for name in names)])


def test_sides_of_folds(lists):
    found = lists(
        Setting_1_fold0_train__txt=_spaced(NAMES[:8]),
        Setting_1_fold0_test__txt=_spaced(NAMES[8:12]),
        Setting_1_fold1_train__txt=_spaced(NAMES[20:28]),
        Setting_1_fold1_test__txt=_spaced([*NAMES[28:30], NAMES[20], "999999_0M20.JPG"]),
    )
    split = make_split("morph2-i", TABLE, 0, found)
    first, second = split.folds
    assert (first.train.tolist(), first.test.tolist()) == (list(range(8)), list(range(8, 12)))
    assert (second.train.tolist(), second.test.tolist()) == (list(range(21, 28)), [20, 28, 29])
    assert split.notes == [
        "1 of 23 listed images are not in the table",
        "1 images of fold-1 are listed on two sides, and are used only for testing",
    ]


def test_three_sets(lists):
    parts = {f"Setting_2_fold{n}__txt": _spaced(NAMES[n * 10 : n * 10 + 10]) for n in range(3)}
    folds = make_split("morph2-ii", TABLE, 0, lists(**parts)).folds
    assert [(len(fold.train), len(fold.test)) for fold in folds] == [(10, 20)] * 3
    assert folds[1].train.tolist() == list(range(10, 20))


@pytest.mark.parametrize("layout", ["tab", "files"])
def test_five_folds_of_all(lists, layout):
    if layout == "tab":
        lines = [f"{name}\t{row % 5}\t36\tmorph" for row, name in enumerate(NAMES)]
        found = lists(Setting_3__txt="\n".join(["filename\tfold\tage\tdatabase", *lines]))
    else:
        texts = {n: "\n".join(f"../../image/{name.lower()} 36" for name in NAMES[n::5]) for n in range(5)}
        found = lists(**{f"morph_C_0{n}__txt": text for n, text in texts.items()})
    folds = make_split("morph2-iii", TABLE, 0, found).folds
    assert [fold.test.tolist() for fold in folds] == [list(range(n, 40, 5)) for n in range(5)]
    assert all(len(fold.train) == 32 for fold in folds)


def test_people_in_two_folds_go_to_the_fold_with_most_of_their_photographs(lists):
    # Each subject has four photographs; one of the second subject's is in another fold.
    fold = [0, 0, 0, 0, 0, 1, 1, 1, *(row // 8 % 5 for row in range(8, 40))]
    lines = [f"morph,{name},{number},25" for name, number in zip(NAMES, fold, strict=True)]
    split = make_split("morph2-iv", TABLE, 0, lists(Setting_4__csv="\n".join(["database,filename,fold,age", *lines])))
    subjects_N = subjects_of(TABLE)
    assert all(leakage(one, subjects_N).shared == 0 for one in split.folds)
    assert np.array_equal(np.sort(np.concatenate([one.test for one in split.folds])), np.arange(40))
    assert [row for row in split.folds[1].test.tolist() if row < 8] == [4, 5, 6, 7]
    assert "1 people into two folds or more: 1 photographs were moved" in split.notes[0]


def test_coral_lists_of_utkface(lists):
    table = made("utkface", 6, age=[30.0] * 6, path=[f"part/{n}_0_0_2017.jpg.chip.jpg" for n in range(6)])
    train = ",filename,age,database\n" + "".join(f"{n},{n}_0_0_2017.jpg.chip.jpg,30,utk\n" for n in range(4))
    test = ",filename,age,database\n" + "".join(f"{n},{n}_0_0_2017.jpg.chip.jpg,30,utk\n" for n in (4, 5))
    (fold,) = make_split("utkface-21-60", table, 0, lists(UTK_train_coral__csv=train, UTK_test_coral__csv=test)).folds
    assert (fold.train.tolist(), fold.test.tolist()) == ([0, 1, 2, 3], [4, 5])


def test_lists_that_do_not_fit(lists, tmp_path):
    with pytest.raises(UsageError, match="holds no lists"):
        Lists(tmp_path)
    sets = lists(a_fold0__txt=_spaced(NAMES[:4]), a_fold1__txt=_spaced(NAMES[4:8]))
    with pytest.raises(UsageError, match="no list whose name says train and test for fold 0"):
        make_split("morph2-i", TABLE, 0, sets)
    with pytest.raises(UsageError, match="does not use lists"):
        make_split("random-80-20", TABLE, 0, sets)
    sides = lists(b_fold0_train__txt=_spaced(NAMES[:4]))
    with pytest.raises(UsageError, match="has no numbered sets"):
        make_split("morph2-iii", TABLE, 0, sides)
    with pytest.raises(UsageError, match="names no images"):
        lists(c__txt="no image here")
