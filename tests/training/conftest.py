"""Faces that a tiny model learns in seconds, as files, and recipes for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from tiny_training import RECIPE, labelled


@pytest.fixture(scope="session")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """500 labelled faces, two of them bad, as Parquet."""
    rows = labelled(500)
    rows[3]["image"] = b"not an image"
    rows[5]["age"] = 250
    path = tmp_path_factory.mktemp("faces") / "faces.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


@pytest.fixture
def recipe_file(tmp_path: Path) -> Callable[..., Path]:
    """Write RECIPE with changes as a YAML file."""

    def write(data: object, **changes: Any) -> Path:
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump({**RECIPE, "data": data, **changes}))
        return path

    return write


@pytest.fixture
def suite(tmp_path: Path) -> Callable[..., Path]:
    """Write a suite next to its recipe, with changes; return its path for the command line."""

    def write(**changes: Any) -> Path:
        (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({**RECIPE, "epochs": 1}))
        (tmp_path / "dex.yaml").write_text("model: {system: {system: dex}}")
        said = {
            "recipe": "recipe.yaml",
            "systems": {"dex": "dex.yaml", "regression": {"model": {"system": {"system": "regression"}}}},
            "data": {"faces": {"path": str(tmp_path / "faces.parquet")}},
            **changes,
        }
        (tmp_path / "suite.yaml").write_text(yaml.safe_dump(said))
        return tmp_path / "suite.yaml"

    return write
