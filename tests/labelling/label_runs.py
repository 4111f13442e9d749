"""Helpers for tests of whole label runs: folders of photographs, and the records that runs leave."""

from __future__ import annotations

import json
from pathlib import Path


def fill(folder: Path, corpus: dict[str, bytes]) -> Path:
    for key, content in corpus.items():
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        (folder / key).write_bytes(content)
    return folder


def records(out: Path) -> list[dict]:
    return [json.loads(file.read_text()) for file in sorted((out / "runs").iterdir())]
