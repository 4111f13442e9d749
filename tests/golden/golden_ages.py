"""The bundled models' ages of fixed images, as pinned in ages.json.

python tests/golden/golden_ages.py

pins them again: after a change of the model, or after a change of decoding or of finding faces that has raised
DECODE_VERSION or FACES_VERSION. It refuses to pin changed numbers if none of these has changed.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from skimage import data

from cilf.demo import photographs
from cilf.estimator import Estimator
from cilf.images.decode import DECODE_VERSION
from cilf.images.faces import FACES_VERSION, find
from cilf.provenance import fingerprint
from cilf.storage import bundled_models, model_folder

HERE = Path(__file__).parent
FILE = HERE / "ages.json"
TOLERANCE = 0.05
"""Tolerance in years. Other processors round differently, by less than a hundredth of this."""

Pinned = dict[str, Any]


def measured(model: str) -> Pinned:
    """A bundled model's estimates for every image: age and both ends of its interval, years, of each face."""
    folder = model_folder(model)
    estimator = Estimator(folder, device="cpu", threads=1)
    ages = {}
    for name, encoded in images():
        estimates = estimator(find(encoded, estimator.images, 10**8).crops_NHWC)
        rows = zip(estimates.age, estimates.age_low, estimates.age_high, strict=True)
        ages[name] = [[round(float(value), 3) for value in row] for row in rows]
    return {"fingerprint": print_of(folder), "ages": ages}


def print_of(folder: Path) -> str:
    """Fingerprint that changes with the weights, their card, and the versions of decoding and of finding faces."""
    return fingerprint(folder, {"decode": DECODE_VERSION, "detection": FACES_VERSION})


@lru_cache
def images() -> tuple[tuple[str, bytes], ...]:
    """The demo's people, and one portrait in several formats. Lossy formats are stored files, as encoders change."""
    return tuple(_images())


def _images() -> Iterator[tuple[str, bytes]]:
    people = Path(photographs.__file__).parent / "faces"
    for file in (*sorted(people.glob("*.webp")), *sorted(HERE.glob("portrait.*"))):
        yield file.name, file.read_bytes()
    portrait = io.BytesIO()
    Image.fromarray(data.astronaut()).save(portrait, "PNG")
    yield "portrait.png", portrait.getvalue()


def moved(pinned: Pinned, now: Pinned) -> list[str]:
    """Names of the images whose numbers differ by more than TOLERANCE, or whose number of faces differs."""
    names = sorted(pinned["ages"].keys() | now["ages"].keys())
    return [name for name in names if _differ(pinned["ages"].get(name), now["ages"].get(name))]


def _differ(before: list[list[float]] | None, after: list[list[float]] | None) -> bool:
    if before is None or after is None or len(before) != len(after):
        return True
    return bool((np.abs(np.subtract(before, after)) > TOLERANCE).any())


def main() -> int:
    pinned = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    now = {model: measured(model) for model in bundled_models()}
    for model, numbers in now.items():
        before = pinned.get(model, {"fingerprint": None})
        if before["fingerprint"] == numbers["fingerprint"] and (names := moved(before, numbers)):
            print(
                f"{model}: the numbers of {', '.join(names)} have changed, but the weights, DECODE_VERSION and "
                "FACES_VERSION have not: labels would mix both. Raise the version of what changed, then pin again.",
                file=sys.stderr,
            )
            return 1
    FILE.write_text(json.dumps(now, indent=1) + "\n", encoding="utf-8")
    print(f"pinned {', '.join(now)} in {FILE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
