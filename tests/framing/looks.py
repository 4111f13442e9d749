"""What face detection finds, and what it costs, for other image sizes and other scores of candidates and of faces.

    python tests/framing/looks.py ../shared/data --output docs/results/looks.md

Crops of UTKFace's split=train, 36 to 500 pixels wide, none to four of them pasted into each picture without people, of
about 1 megapixel. None of these images are used in the reported results of detection.
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import cv2
import numpy as np
import pyarrow.dataset as pads
from cyclopts import App
from PIL import Image
from skimage import data

from cilf.card import Images
from cilf.images import faces

PICTURES = ("coffee", "chelsea", "rocket", "hubble_deep_field", "retina", "brick", "grass", "gravel", "text", "coins")
LONGER, SHORTER = 1200, 900
FACE = 0.62
"""Side of a face, relative to that of its crop."""

SIZES = {"under 24": (0, 24), "24-40": (24, 40), "over 40": (40, 1000)}

NOW = {name: getattr(faces, name) for name in ("_SHARE", "_CANDIDATE", "THRESHOLD")}
OTHERS = [
    *({"_SHARE": share} for share in (0.3, 0.4, 0.6, 0.8)),
    *({"_CANDIDATE": score} for score in (0.2, 0.5)),
    *({"THRESHOLD": score} for score in (0.5, 0.7, 0.9)),
]


def scenes(folder: Path, count: int, seed: int = 5) -> Iterator[tuple[bytes, list[tuple[int, int, int]]]]:
    """JPEG files, each with the left, top and side of every crop in it."""
    draw = np.random.default_rng(seed)
    rows = pads.dataset(folder / "utkface", format="parquet").to_table(filter=pads.field("split") == "train")
    crops = rows["image"].take(draw.permutation(len(rows))[: 4 * count]).to_pylist()
    for number in range(count):
        width, height = (LONGER, SHORTER) if number % 2 else (SHORTER, LONGER)
        picture = Image.fromarray(getattr(data, PICTURES[number % len(PICTURES)])()).convert("RGB")
        factor = max(width / picture.width, height / picture.height)
        picture = picture.resize((round(picture.width * factor), round(picture.height * factor)))
        scene = np.array(picture.crop((0, 0, width, height)))
        placed: list[tuple[int, int, int]] = []
        for _ in range(0 if number % 8 == 0 else draw.integers(1, 5)):
            side = int(np.exp(draw.uniform(np.log(36), np.log(500))))
            left, top = int(draw.integers(0, width - side)), int(draw.integers(0, height - side))
            if all(abs(left - x) > max(side, s) or abs(top - y) > max(side, s) for x, y, s in placed):
                _blend(scene[top : top + side, left : left + side], crops.pop())
                placed.append((left, top, side))
        file = io.BytesIO()
        Image.fromarray(scene).save(file, "JPEG", quality=90)
        yield file.getvalue(), placed


def _blend(place_SSC: np.ndarray, crop: bytes) -> None:
    """Paste a crop, with its edge of 8 % faded."""
    side = len(place_SSC)
    with Image.open(io.BytesIO(crop)) as image:
        face = np.array(image.convert("RGB").resize((side, side), Image.Resampling.LANCZOS))
    ramp_S = np.minimum(np.arange(side), np.arange(side)[::-1]) / (0.08 * side)
    share_SS1 = np.minimum.outer(ramp_S, ramp_S).clip(0, 1)[..., None]
    place_SSC[:] = (share_SS1 * face + (1 - share_SS1) * place_SSC).astype(np.uint8)


def main(folder: Path, *, output: Path, count: int = 160, size: int = 144) -> int:
    """Measure and write the table."""
    cv2.setNumThreads(1)
    made = list(scenes(folder, count))
    sides = [FACE * side for _, placed in made for _, _, side in placed]
    totals = {name: sum(low <= side < high for side in sides) for name, (low, high) in SIZES.items()}
    heads = [f"{name} pixels (of {total})" for name, total in totals.items()]
    lines = [
        "# Looking for faces",
        "",
        "    python tests/framing/looks.py ../shared/data --output docs/results/looks.md",
    ]
    lines += ["", f"Faces found in {count} pictures of 1 megapixel, by the face's side; boxes without a face"]
    lines += ["(elsewhere); CPU time. The first row has the settings in use."]
    lines += [
        "",
        f"| share of the longer side, scores of candidate and face | {' | '.join(heads)} | elsewhere | ms a picture |",
    ]
    lines += ["| --- |" + " ---: |" * 5]
    faces.find(made[0][0], Images(size=size), 10**8)  # loads the detector
    for constants in ({**NOW, **other} for other in ({}, *OTHERS)):
        found, elsewhere = dict.fromkeys(SIZES, 0), 0
        with patch.multiple(faces, **constants):
            began = time.process_time()
            seen = [faces.find(file, Images(size=size), 10**8).boxes_N4 for file, _ in made]
            each = 1000 * (time.process_time() - began) / count
        for (_, placed), boxes_N4 in zip(made, seen, strict=True):
            middles_N2 = (boxes_N4[:, :2] + boxes_N4[:, 2:]) / 2
            held_NM = np.zeros((len(middles_N2), len(placed)), bool)
            for column, (left, top, side) in enumerate(placed):
                held_NM[:, column] = (np.abs(middles_N2 - (left + side / 2, top + side / 2)) < side / 2).all(axis=1)
            elsewhere += int((~held_NM.any(axis=1)).sum())
            for (_, _, side), hit in zip(placed, held_NM.any(axis=0), strict=True):
                found[next(k for k, (low, high) in SIZES.items() if low <= FACE * side < high)] += int(hit)
        cells = [f"{found[k] / max(1, totals[k]):.0%}" for k in SIZES]
        lines.append(f"| {', '.join(map(str, constants.values()))} | {' | '.join(cells)} | {elsewhere} | {each:.0f} |")
        print(lines[-1], flush=True)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    app = App(result_action="return_value")
    app.default(main)
    sys.exit(app())
