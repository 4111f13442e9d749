"""The programs in examples/ run, or, where their library is not installed, compile."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from cilf.demo import photographs as demo

EXAMPLES = Path(__file__).parents[2] / "examples"
FACES = Path(demo.__file__).parent / "faces"


def example(name: str) -> dict[str, Any]:
    """The names that a program defines."""
    return runpy.run_path(str(EXAMPLES / name))


@pytest.fixture
def folder(tmp_path) -> Path:
    """Three portraits, and nothing else."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    for file in sorted(FACES.glob("*.webp"))[:3]:
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.py")), ids=lambda file: file.name)
def test_every_example_compiles(file):
    compile(file.read_text(encoding="utf-8"), str(file), "exec")


def test_the_dataloader_gives_the_age_of_every_portrait(folder):
    ages = dict(example("torch_dataloader.py")["labelled"](str(folder), batch_size=2))
    assert list(ages) == [file.name for file in sorted(folder.iterdir())]
    assert all(0 <= age <= 100 for age in ages.values())


def test_a_folder_is_labelled_and_read(ray_session, folder, tmp_path, capsys):
    example("label_a_folder.py")["main"](str(folder), str(tmp_path / "ages"))
    assert capsys.readouterr().out.startswith("labelled 3 objects in")


def test_the_pipeline_writes_the_accepted_faces(ray_session, folder, tmp_path):
    example("ray_pipeline.py")["main"](str(folder), str(tmp_path / "ages"))
    written = pq.read_table(tmp_path / "ages")
    assert 0 < len(written) <= 3
    assert set(written.column_names) == {"path", "age"}
