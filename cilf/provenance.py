"""The origin of results: run ids, the fingerprint of a model, the versions in use."""

from __future__ import annotations

import hashlib
import json
import platform
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import cilf
from cilf.card import WEIGHTS_FILE, read_card


def stamp() -> str:
    """The current time as at the start of run ids: UTC to the second. It sorts before the ids of runs that start now or
    later."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"


def new_run_id() -> str:
    """An id for this run that sorts by time: its stamp, followed by random digits."""
    return f"{stamp()}-{secrets.token_hex(3)}"


def fingerprint(folder: Path, numbers: Mapping[str, object]) -> str:
    """12 hex digits of a hash over the weights and everything else that changes a number.

    Only the parts of the card that build and correct the model count, so that a better summary does not make a new
    model. `numbers` are the settings outside the model folder that change a result: precision, face mode,
    version of the decoder.

    Raises:
        ModelFolderError: `folder` is not a model folder.
    """
    card = read_card(folder)
    with (folder / WEIGHTS_FILE).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    parts = {
        "model": card.model.model_dump(mode="json"),
        "correction": card.correction,
        "numbers": dict(numbers),
    }
    digest.update(json.dumps(parts, sort_keys=True).encode())
    return _never_a_number(digest.hexdigest())


def _never_a_number(digits: str) -> str:
    """The first 12 hex digits in a row that no reader takes for a number.

    Labels are in folders named `model=<fingerprint>`, and readers infer the types of such values: pyarrow and DuckDB
    take 720036901458 for an integer, Spark 72003690145e, 72003690145d and 72003690145f for a double.
    """
    rows = (digits[start : start + 12] for start in range(len(digits) - 11))
    return next((row for row in rows if set(row) & set("abc")), digits[:12])


def versions() -> dict[str, str]:
    """Versions of CILF, Python and the libraries that a result may depend on."""
    libraries = ("ray", "torch", "pyarrow", "pillow", "simplejpeg", "opencv-python-headless", "onnxruntime", "numpy")
    return {
        "cilf": cilf.__version__,
        "python": platform.python_version(),
        **{n: version(n) for n in libraries},
    }
