"""`cilf card`: card.md agrees with the model's model.json and with the results of `cilf evaluate`."""

import json
import re
import shutil

import pytest

from cilf.card import Card, Clip, Fourier, Model, Prompts, read_card
from cilf.cli import main
from cilf.datasets.faces import FaceSet
from cilf.estimator import Estimator
from cilf.evaluation.degradations import DEGRADATIONS
from cilf.evaluation.degraded import measure_degraded
from cilf.evaluation.job import evaluate_model
from cilf.evaluation.parts import measure_parts
from cilf.model_card.method import method, own_parts
from cilf.model_card.page import page
from cilf.models.settings import Dex
from cilf.provenance import fingerprint
from cilf.storage import bundled_models
from cilf.storage import model_folder as folder_of


def figure(value):
    return {"value": value, "low": value - 0.1, "high": value + 0.1}


DATA = {"path": "data/faces", "split": "val", "rows": 700, "sampled": 600, "evaluated": 700}
PARTS = {
    "model": "tiny",
    "data": DATA,
    "measure": "MAE, years",
    "whole": figure(4.2),
    "parts": [
        {"name": "fourierformer", "error": figure(4.9), "above_whole": figure(0.71)},
        {"name": "score map", "error": figure(4.1), "above_whole": figure(-0.13)},
    ],
    "correction": {"rows": 140, "share": 0.2, "before": figure(7.0), "after": figure(6.4), "gain": figure(0.6)},
}
LOST = {"name": "32 pixels", "kind": "detail", "rows": 0, "lost": 600}
DEGRADED = {
    "model": "tiny",
    "data": DATA,
    "measure": "MAE, years",
    "unit": "years",
    "degradations": [
        {
            **{"name": name, "kind": "detail", "rows": 600, "lost": 0, "width": figure(20.0)},
            **{"error": figure(4.2 + above), "above_clean": figure(above), "moved": figure(2 * above)},
            **{"covered": figure(0.9 - above / 10), "accepted": figure(0.5)},
        }
        for name, above in (("as it is", 0.0), ("noise σ 16", 1.3), ("blur σ 1", 0.2))
    ]
    + [LOST],
}


@pytest.fixture
def tiny(model_folder, tmp_path):
    return shutil.copytree(model_folder, tmp_path / "tiny")


def written(folder, name, record):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps(record))
    return str(folder)


def row(text, name):
    """The cells of a row of a Markdown table."""
    [line] = re.findall(rf"^\| {re.escape(name)} \|(.*)\|$", text, re.MULTILINE)
    return [cell.strip() for cell in line.split("|")]


@pytest.mark.parametrize("name", bundled_models())
def test_the_card_of_a_bundled_model_is_up_to_date(name):
    written = (folder_of(name) / "card.md").read_text(encoding="utf-8")
    assert written == page(read_card(folder_of(name))), f"write it again: cilf card {name}"


def test_results_on_the_card_do_not_change_the_fingerprint(tiny, reader, face_file, tmp_path, capsys):
    faces = face_file([*range(1, 81)] * 2, race=["left", "right"] * 80)
    evaluation = evaluate_model(reader, FaceSet(str(faces), "val"))
    evaluation.record["model"] = "tiny"
    written(tmp_path / "one", "evaluation.json", evaluation.record)
    written(tmp_path / "one", "degraded.json", DEGRADED)
    written(tmp_path / "two", "parts.json", PARTS)
    before = fingerprint(tiny, {})
    assert main(["card", str(tiny), str(tmp_path / "one"), str(tmp_path / "two")]) == 0
    assert "card.md with 3 results" in capsys.readouterr().out
    assert fingerprint(tiny, {}) == before
    figures = read_card(tiny).figures
    assert list(figures) == ["faces.parquet, split=val", "faces, split=val, degraded", "faces, split=val, parts"]
    assert figures["faces.parquet, split=val"]["mae"] == evaluation.figures["mae"]

    text = (tiny / "card.md").read_text(encoding="utf-8")
    assert row(text, "MAE, years")[:2] == ["2.00", "2.0"]
    assert row(text, "coverage of the 90 % interval")[0] == "100 %"
    assert "by race is 0.0 years of MAE" in text
    assert row(text, "noise σ 16") == ["600", "5.50", "2.60", "77 %", "50 %"]
    assert row(text, "32 pixels") == ["0", "–", "–", "–", "–"]
    assert row(text, "FourierFormer")[1] == "+0.71 [+0.61, +0.81]"
    assert row(text, "Pixel-text score map")[1] == "-0.13 [-0.23, -0.03]"
    assert row(text, "Contrastive image-text matching")[1] == ""
    assert "the worst degradation is “noise σ 16”: +1.3 (MAE, years), and 77 % of" in text
    assert "20 % of the faces are looked at again, which gains +0.60 [+0.50, +0.70]" in text

    assert main(["card", str(tiny)]) == 0  # the same again from model.json alone
    assert (tiny / "card.md").read_text(encoding="utf-8") == text


def test_results_of_every_kind_of_evaluation_fit_on_the_card(tiny, face_file, encoded, tmp_path):
    """The results are written by `cilf evaluate`, not made up for the test."""
    faces = FaceSet(str(face_file([*range(20, 30)], image=[encoded(age) for age in range(20, 30)])), "val")
    estimator, folder = Estimator(tiny), tmp_path / "results"
    evaluate_model(estimator, faces).write(folder)
    written(folder, "degraded.json", measure_degraded(estimator, faces))
    written(folder, "parts.json", measure_parts(estimator, faces))
    assert main(["card", str(tiny), str(folder)]) == 0
    text = (tiny / "card.md").read_text(encoding="utf-8")
    assert [len(row(text, known.name)) for known in DEGRADATIONS] == [5] * len(DEGRADATIONS)
    assert all(row(text, name)[1] for name in ("FourierFormer", "Pixel-text score map", "Context-aware prompting"))


def test_age_groups_have_accuracies(reader, face_file):
    faces = face_file([5.0] * 40, age=None, age_low=[0.0, 10.0] * 20, age_high=[9.0, 19.0] * 20)
    record = evaluate_model(reader, FaceSet(str(faces), "val")).record
    text = page(Card(name="tiny", summary="", licence="", model=Model(), figures={"groups": record["figures"]}))
    assert row(text, "40") == ["50.0 %", "100.0 %", "100 %"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("notes.txt", "mine", r"has none of evaluation\.json, degraded\.json, parts\.json"),
        ("parts.json", json.dumps({**PARTS, "model": "other"}), "belongs to the model other, not to tiny"),
        ("parts.json", "{", "is not JSON"),
        ("parts.json", "[]", "is not a result"),
    ],
)
def test_files_that_are_no_results_of_the_model_are_refused(tiny, tmp_path, capsys, name, content, said):
    before = (tiny / "model.json").read_bytes()
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / name).write_text(content)
    assert main(["card", str(tiny), str(tmp_path / "results")]) == 2
    assert re.search(said, capsys.readouterr().err)
    assert (tiny / "model.json").read_bytes() == before
    assert not (tiny / "card.md").exists()


def test_a_model_behind_a_url_is_refused(capsys):
    assert main(["card", "s3://bucket/model"]) == 2
    assert "s3://bucket/model is a URL" in capsys.readouterr().err


def card_of(training=None, **model):
    return Card(name="some", summary="", licence="", model=Model(**model), training=training or {})


def test_parts_that_are_not_in_use_are_named():
    text = method(card_of(fourier=Fourier(depth=0)))
    assert row(text, "FourierFormer")[0] == "not in use"
    assert row(text, "Context-aware prompting")[0] == "not in use"
    assert row(text, "Error-correcting inverse estimation")[0] == "not in use"
    assert row(method(card_of(fourier=Fourier(mixer="conv", depth=1))), "FourierFormer")[0].startswith("not in use: 1")
    assert "Nothing of it" in method(card_of(system=Dex()))


def test_the_card_states_the_position_of_the_fourierformer():
    tower = {"embed_dim": 32, "vision_cfg": {"timm_model_name": "mobilenetv1_100"}, "text_cfg": {}}
    recipe = {"image_init": {"faceres": "weights/faceres-deep.json"}, "second": {"sface": "weights/sface.onnx"}}
    card = card_of({"recipe": recipe}, clip=Clip(architecture=tower, stages=4), fourier=Fourier(depth=2))
    text = method(card)
    assert row(text, "CLIP's image tower")[0].startswith(
        "`mobilenetv1_100`, its first 4 stages, from `faceres`; CLIP's"
    )
    assert row(text, "FourierFormer")[0] == "2 blocks with the mixer `fpe`, in place of the tower's last stages"
    assert "behind the whole image tower" in method(card_of(clip=Clip(architecture=tower)))
    assert any("`sface`" in line for line in own_parts(card))


def test_the_card_says_why_nothing_is_corrected():
    correction = {"second_look": "off: there is no second network", "moving": "off: no gain could be shown"}
    card = card_of().model_copy(update={"correction": correction})
    told = row(method(card), "Error-correcting inverse estimation")[0]
    assert "Second look: off: there is no second network. Moving an estimate: off: no gain could be shown" in told


def test_the_card_lists_the_captions_of_the_text_tower():
    recipe = {"train_text": True, "data": {"path": "faces"}, "epochs": 1}
    captions = {"different": 1234, "examples": ["a photo of a 68 year old woman"]}

    def told(training, **model):
        return row(method(card_of(training, **model)), "CLIP's text tower")[0]

    assert "no other text" in told({"recipe": recipe})
    assert "1,234 different captions, such as “a photo of a 68 year old woman”" in told(
        {"recipe": recipe, "captions": captions}
    )
    frozen = told({"recipe": {**recipe, "train_text": False}}, clip=Clip(weights="openai"), prompts=Prompts(context=4))
    assert frozen.startswith("CLIP's weights, not trained here")
