"""How the framing of faces changes the error of their ages: margin and alignment, in pasted and in real photographs.

    python tests/framing/compare.py ../shared/data --output docs/results/framing.md

Pasted: crops of UTKFace's split=val in photographs without people, 48 to 400 pixels wide, at random places, turned as
EXIF says. Real: FG-NET, the face that has landmarks there. Every framing is cut from the same detections.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow.dataset as pads
from cyclopts import App
from PIL import Image

from cilf.card import Frame
from cilf.config import DEFAULT_MODEL
from cilf.datasets.photographs import photographs
from cilf.estimator import Estimator
from cilf.images.crop import Square, cut
from cilf.images.decode import decode, read
from cilf.images.detector import overlaps
from cilf.images.faces import Faces, find
from cilf.storage import model_folder

FRAME, MAX_PIXELS = Frame(), 10**8
TURNS = {
    1: None,
    3: Image.Transpose.ROTATE_180,
    6: Image.Transpose.ROTATE_90,
    8: Image.Transpose.ROTATE_270,
}
MEASURED = 1 / 0.95
"""Side of UTKFace's own crops, relative to the frame that labelling uses."""

MARGINS = (0.8, 0.9, 0.95, 1.0, 1.05, 1.1, 1.25)


@dataclass(frozen=True)
class Case:
    """A photograph with one face to measure."""

    data: bytes
    box_4: np.ndarray
    """left, top, right, bottom in the upright photograph, of the pasted crop or around the landmarks."""
    age: float
    crop: bytes | None
    """The crop that was pasted."""


def pasted(folder: Path, count: int, seed: int = 0) -> Iterator[Case]:
    """Crops of UTKFace in photographs without people."""
    draw = np.random.default_rng(seed)
    empty = [read(p.data, 10**6, MAX_PIXELS).upright for p in photographs(str(folder / "photos")) if not p.count]
    grounds = [Image.fromarray(image) for image in empty if min(image.shape[:2]) >= 300]
    rows = pads.dataset(folder / "utkface", format="parquet").to_table(filter=pads.field("split") == "val")
    for row in rows.take(draw.permutation(len(rows))[:count]).to_pylist():
        ground = grounds[draw.integers(len(grounds))]
        factor = draw.uniform(1, 2)
        ground = ground.resize((int(ground.width * factor), int(ground.height * factor)))
        side = min(int(np.exp(draw.uniform(np.log(48), np.log(400)))), min(ground.size) - 2)
        with Image.open(io.BytesIO(row["image"])) as face:
            face = face.convert("RGB").resize((side, side), Image.Resampling.LANCZOS)
        left, top = int(draw.integers(0, ground.width - side)), int(draw.integers(0, ground.height - side))
        ground.paste(face, (left, top))
        orientation = int(draw.choice(list(TURNS)))
        turn = TURNS[orientation]
        exif = Image.Exif()
        exif[0x0112] = orientation
        file = io.BytesIO()
        (ground if turn is None else ground.transpose(turn)).save(file, "JPEG", quality=92, exif=exif)
        box = np.array([left, top, left + side, top + side], np.float32)
        yield Case(file.getvalue(), box, row["age"], row["image"])


def real(folder: Path) -> Iterator[Case]:
    """Photographs of FG-NET."""
    for row in pads.dataset(folder / "fgnet", format="parquet").to_table().to_pylist():
        points = np.array(row["points"], np.float32).reshape(-1, 2)
        yield Case(row["image"], np.concatenate([points.min(axis=0), points.max(axis=0)]), row["age"], None)


def framings(one: Square, box_4: np.ndarray) -> dict[str, Square]:
    """The part of the photograph that each framing shows."""
    left, top, right, bottom = map(float, box_4)
    side = (right - left + bottom - top) / 2 / FRAME.box * MEASURED
    # From the middle of the box, UTKFace's crops reach 0.033 of their side further down than up.
    by_box = Square((left + right) / 2, (top + bottom) / 2 + 0.033 * side, side)
    margins = {f"landmarks, margin x {m:g}": replace(one, side=one.side * MEASURED * m) for m in MARGINS}
    return {"box": by_box, "landmarks, not turned": replace(one, side=one.side * MEASURED, radians=0.0), **margins}


def measured(cases: Iterator[Case], estimator: Estimator) -> tuple[list[tuple[str, float, float]], str]:
    """(framing, MAE, bias) in years for the faces that were found, and a line that says how many were."""
    crops: dict[str, list[np.ndarray]] = {}
    ages, ious, missed, others = [], [], 0, 0
    for case in cases:
        faces: Faces = find(case.data, estimator.images, MAX_PIXELS)
        iou = overlaps(case.box_4[None], faces.boxes_N4)[0]
        if not len(iou) or iou.max() < 0.3:
            missed += 1
            continue
        best = int(iou.argmax())
        ages.append(case.age)
        ious.append(iou[best])
        others += len(iou) - 1
        upright = read(case.data, 10**6, MAX_PIXELS).upright
        if case.crop:
            crops.setdefault("the crop itself", []).append(decode(case.crop, estimator.images.size, MAX_PIXELS).crop)
        crops.setdefault("as labelled", []).append(faces.crops_NHWC[best])
        for name, square in framings(faces.squares[best], faces.boxes_N4[best]).items():
            crops.setdefault(name, []).append(cut(upright, square, estimator.images.size))
    rows = []
    for name, seen in crops.items():
        batches = [np.stack(seen[start : start + 64]) for start in range(0, len(seen), 64)]
        error_N = np.concatenate([estimator(batch).age for batch in batches]) - np.array(ages)
        rows.append((name, float(np.abs(error_N).mean()), float(error_N.mean())))
    total = len(ages) + missed
    found = f"{len(ages):,} of {total:,} faces found, {others} boxes elsewhere, mean IoU {np.mean(ious):.2f}"
    return rows, found


def main(folder: Path, *, output: Path, count: int = 600, model: str = DEFAULT_MODEL) -> int:
    """Measure and write the table."""
    estimator = Estimator(model_folder(model))
    lines = ["# Framing", "", "    python tests/framing/compare.py ../shared/data --output docs/results/framing.md", ""]
    lines += [
        "Margin x 1 is that of UTKFace's own crops. Labelling uses x 0.95, with position and angle from landmarks, and",
        "a side that is the mean of those from landmarks and box. Differences of 0.1 years may be due to chance.",
        "",
    ]
    sets = (("UTKFace crops pasted into photographs", pasted(folder, count)), ("FG-NET", real(folder)))
    for title, cases in sets:
        rows, found = measured(cases, estimator)
        lines += [f"## {title}", "", found, "", "| framing | MAE, years | bias, years |", "| --- | ---: | ---: |"]
        lines += [f"| {name} | {mae:.2f} | {bias:+.2f} |" for name, mae, bias in rows]
        lines.append("")
        print("\n".join(lines[-len(rows) - 6 :]), flush=True)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text("\n".join(lines), encoding="utf-8")
    return 0


if __name__ == "__main__":
    app = App(result_action="return_value")
    app.default(main)
    sys.exit(app())
