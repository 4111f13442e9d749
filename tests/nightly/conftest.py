"""A corpus of faces whose brightness is their age, a CONFIG for it, and nights at any time."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from cilf import cli

Config = Callable[..., Path]
Night = Callable[..., int]


def _picture(age: float, number: int = 0) -> bytes:
    """A face of this age for the stand-in. It is brighter to the right, because a single grey counts as a blank image.

    The number makes its file differ from others.
    """
    width, height = 8 + number % 7, 8 + number // 7 % 7
    shades = np.linspace(-6, 6, width)
    buffer = io.BytesIO()
    Image.fromarray(np.tile(round(age) + np.round(shades), (height, 1)).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def photos(tmp_path: Path) -> Callable[..., Path]:
    """Write faces of the given ages into the corpus, named by a word and their number; return its folder."""

    def add(name: str, ages: Iterable[float]) -> Path:
        folder = tmp_path / "photos"
        folder.mkdir(exist_ok=True)
        for number, age in enumerate(ages):
            (folder / f"{name}-{number:05d}.png").write_bytes(_picture(age, number))
        return folder

    return add


@pytest.fixture
def config(tmp_path: Path, model_folder: Path) -> Config:
    """Write a CONFIG over the corpus and return its path."""

    def write(**settings: Any) -> Path:
        label = {"model": str(model_folder), "faces": "none", **settings.pop("label", {})}
        places = {"inputs": [str(tmp_path / "photos")], "output": str(tmp_path / "out")}
        path = tmp_path / "nightly.yaml"
        path.write_text(yaml.safe_dump({**places, "label": label, **settings}))
        return path

    return write


@pytest.fixture
def night(monkeypatch: pytest.MonkeyPatch) -> Night:
    """Run `cilf nightly` at a time, such as 20261101T011500Z, and return its exit code."""

    def run(config: Path, moment: str | None = None, *options: str) -> int:
        with monkeypatch.context() as patch:
            if moment is not None:
                patch.setattr("cilf.provenance.stamp", lambda: moment)
            return cli.main(["nightly", str(config), *options])

    return run


@pytest.fixture
def record(tmp_path: Path) -> Callable[[str], dict[str, Any]]:
    """The record of a night by its date."""

    def read(name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((tmp_path / "out" / "nights" / f"{name}.json").read_text())
        return found

    return read


@pytest.fixture
def everything(tmp_path: Path) -> Callable[[], dict[Path, int]]:
    """Every file below OUTPUT, including hidden ones, and the time it was written."""

    def look() -> dict[Path, int]:
        return {file: file.stat().st_mtime_ns for file in (tmp_path / "out").rglob("*")}

    return look
