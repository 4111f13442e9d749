from pathlib import Path

import pytest
import yaml
from tiny_training import RECIPE

from cilf.card import read_card
from cilf.cli import main
from cilf.errors import UsageError
from cilf.storage import model_folder
from cilf.training.recipe import Recipe, read_recipe

CONFIGS = Path(__file__).parents[2] / "configs" / "train"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_every_shipped_recipe_loads(path):
    assert read_recipe(path).name


@pytest.mark.parametrize("path", sorted((CONFIGS.parent / "models").glob("*.yaml")), ids=lambda path: path.name)
def test_every_shipped_system_fits_a_recipe(path):
    recipe = read_recipe(CONFIGS / "lite0-short.yaml", path)
    assert (recipe.model.system is None) == (path.stem == "cilf-ciae")
    if recipe.model.system is not None:
        assert recipe.model.system.system == path.stem.removesuffix("-body").replace("-", "_")
    assert recipe.model.images.body == path.stem.endswith("-body")
    assert recipe.model.clip.architecture["embed_dim"] == 256


def test_a_system_that_does_not_fit_is_refused_and_its_file_named(recipe_file, tmp_path, capsys):
    (tmp_path / "wrong.yaml").write_text("model: {system: {system: cnn}}")
    options = ["--system", str(tmp_path / "wrong.yaml")]
    assert main(["train", str(recipe_file({"path": "nowhere"})), str(tmp_path / "out"), *options]) == 2
    error = capsys.readouterr().err
    assert "wrong.yaml: model.system" in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"epochs": 0}, "epochs"),
        ({"epoch": 4}, "epoch"),
        ({"model": {"images": {"size": "large"}}}, r"model\.images\.size"),
        ({"train_text": None}, "train_text"),
        ({"data": {"path": "p", "fit": "val"}}, "fit takes the rows to choose by"),
        ({"data": {"path": "p", "fit": None}}, "fit takes the rows to choose by"),
        ({"data": {"path": "p", "choose": None}}, "no source has rows to choose by"),
        ({"data": {"path": "p", "words": {"sex": {0: "man"}}}}, r"data\.0\.words\.sex"),
        ({"views": 0}, "views"),
        ({"workers": 3}, "batch_size 32 does not divide into 3 workers"),
        ({"workers": [2, 1]}, r"\[least, most\]"),
        ({"start_size": 64}, "start_size 64 is above"),
        ({"start_share": 0.5}, "there is no start"),
        ({"start": "a-model"}, "goes on from a model has no train_text"),
    ],
)
def test_a_wrong_recipe_is_refused_and_the_field_named(change, complaint, recipe_file):
    changes = {"data": {"path": "nowhere"}, **change}
    with pytest.raises(UsageError, match=complaint):
        read_recipe(recipe_file(**changes))


@pytest.mark.parametrize(
    "data",
    [
        b"name: [tiny",
        "summary: Gesichter für alle".encode("latin-1"),
        "name: tiny".encode("utf-16"),
        b"name: 2026-13-45",
        b"[" * 100_000,
    ],
    ids=["cut", "latin-1", "utf-16", "date", "deep"],
)
def test_what_is_not_yaml_is_refused(data, tmp_path):
    path = tmp_path / "wrong.yaml"
    path.write_bytes(data)
    with pytest.raises(UsageError, match="is not YAML"):
        read_recipe(path)


def data_of(given):
    return Recipe.model_validate({**RECIPE, "data": given}).data


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ("a", [{"path": "a"}]),
        ({"path": "a"}, [{"path": "a"}]),
        (["a", "b"], [{"path": "a"}, {"path": "b"}]),
        ([{"path": "a", "choose": "test"}, "b"], [{"path": "a", "choose": "test"}, {"path": "b"}]),
    ],
)
def test_a_path_by_itself_is_a_source_and_a_source_is_a_list(short, long):
    assert data_of(short) == data_of(long)


def test_values_of_columns_are_compared_as_text():
    words = {"gender": {0: "man"}, "race": {"Latino_Hispanic": "Latino"}}
    assert data_of({"path": "a", "words": words})[0].words.gender == {"0": "man"}


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        ([], "data: "),
        (None, r"data\.0: "),
        ([["a"]], r"data\.0: "),
        (["a", 7], r"data\.1: "),
        ([{"path": "a"}, {"fit": "b"}], r"data\.1\.path: "),
        ([{"path": "a", "repeat": 0}], r"data\.0\.repeat: "),
    ],
)
def test_data_that_is_none_gives_one_complaint(data, complaint, recipe_file):
    with pytest.raises(UsageError, match=complaint) as refused:
        read_recipe(recipe_file(data))
    assert "; " not in str(refused.value)


def test_missing_recipe_is_one_line_and_exit_2(tmp_path, capsys):
    assert main(["train", str(tmp_path / "none.yaml"), str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert "none.yaml" in error
    assert len(error.splitlines()) == 1


def test_images_grow_from_the_first_epoch_to_the_last():
    model = {**RECIPE["model"], "images": {"size": 160}}
    growing = Recipe.model_validate({**RECIPE, "model": model, "data": {"path": "p"}, "epochs": 5, "start_size": 96})
    assert [growing.images(epoch).size for epoch in range(5)] == [96, 112, 128, 144, 160]
    still = growing.model_copy(update={"start_size": None})
    assert {still.images(epoch).size for epoch in range(5)} == {160}


def test_a_folder_with_another_recipe_is_refused(recipe_file, tmp_path):
    from cilf.storage import locate
    from cilf.training.run_folder import prepare

    recipe = Recipe.model_validate({**RECIPE, "data": {"path": "p"}})
    output = locate(str(tmp_path / "run"))
    prepare(recipe, output)
    prepare(recipe.model_copy(update={"workers": 2}), output)
    with pytest.raises(UsageError, match=r"another recipe \(different: learning_rate\)"):
        prepare(recipe.model_copy(update={"learning_rate": 1.0}), output)
    assert yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())["workers"] == 2


def test_a_recipe_that_goes_on_from_a_model_takes_from_it_what_it_leaves_out(tmp_path):
    path = tmp_path / "corrections.yaml"
    path.write_text(
        "start: cilf-ciae-mobile\ndata:\n  - {path: base}\n  - {path: corrected.parquet, repeat: 3, choose: null}\n"
    )
    recipe, card = read_recipe(path), read_card(model_folder("cilf-ciae-mobile"))
    assert recipe.model == card.model
    before = card.training["recipe"]
    assert (recipe.seed, recipe.held_out) == (before["seed"], before["held_out"])
    assert recipe.learning_rate == pytest.approx(before["learning_rate"] / 5)
    assert not recipe.train_text
    assert recipe.licence == card.licence
    sources = [(source.path, source.fit, source.choose, source.repeat) for source in recipe.data]
    assert sources == [("base", "train", "val", 1), ("corrected.parquet", "train", None, 3)]
    path.write_text("start: cilf-ciae-mobile\ndata: {path: base}\nepochs: 9\nmodel: {mirrored: false}\n")
    assert read_recipe(path).epochs == 9
    assert read_recipe(path).model == card.model.model_copy(update={"mirrored": False})


def test_a_recipe_is_read_back_as_it_was_written_down(tmp_path):
    for data in ({"path": "p"}, [{"path": "p", "choose": "test"}, {"path": "q", "fit": "train"}]):
        recipe = Recipe.model_validate({**RECIPE, "data": data})
        assert Recipe.model_validate(recipe.model_dump(mode="json")) == recipe
