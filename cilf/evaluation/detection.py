"""`cilf evaluate --faces`: recall and precision of face detection on photographs with known faces."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from rich.console import Console
from rich.table import Table
from scipy.optimize import linear_sum_assignment

from cilf.card import Images
from cilf.config import EvaluateOptions, LabelOptions
from cilf.datasets.photographs import KnownPhotograph, photographs
from cilf.errors import UsageError
from cilf.images.decode import DecodeError, read
from cilf.images.detector import overlaps
from cilf.images.faces import Faces, find
from cilf.own_files import check_results
from cilf.storage import CHECKING, check_output, locate, write_all

FILES = ("faces.json", "faces.png")
"""Files that a run writes."""

LEAST_SIDE = 40.0
"""Smallest side in pixels of a face that counts; smaller faces, known or found, are ignored."""

SAME_IOU = 0.3
"""Smallest IoU of a known and a found box of the same face; low, as some annotators start a box at the eyebrows and
others at the hairline."""

_SHEET_SIDE = 360
_CROPS = Images(size=32)  # the crops are not used


@dataclass(frozen=True)
class Tally:
    """Counts of the faces of at least LEAST_SIDE in one photograph."""

    name: str
    known: int
    found: int
    right: int
    """Found faces that are known faces."""
    by: str
    """What the data gives: `boxes`, or `number`, so that at most that many found faces can be right."""


def run(options: EvaluateOptions) -> int:
    """Print and write recall and precision, and draw the photographs with the boxes of found faces."""
    target = locate(options.output or "runs/evaluate/faces", CHECKING)
    check_output(target)
    check_results(target, FILES, "least_side", "photographs")
    tallies: list[Tally] = []
    cells: list[Image.Image] = []
    unreadable: list[dict[str, str]] = []
    for photograph in photographs(options.data):
        try:
            faces = find(photograph.data, _CROPS, LabelOptions.max_pixels)
        except DecodeError as error:
            unreadable.append({"name": photograph.name, "reason": str(error)})
            continue
        tallies.append(tally(photograph, faces))
        cells.append(_cell(photograph, faces, tallies[-1]))
    record = {
        "least_side": LEAST_SIDE,
        "same_iou": SAME_IOU,
        **sums(tallies),
        "photographs": [vars(t) for t in tallies],
        "unreadable": unreadable,
    }
    if not tallies:
        raise UsageError(f"{options.data}: no photograph can be read (the first: {unreadable[0]['reason']})")
    picture = io.BytesIO()
    _sheet(cells).save(picture, "PNG")
    write_all(target, dict(zip(FILES, (json.dumps(record, indent=2).encode(), picture.getvalue()), strict=True)))
    Console(highlight=False).print(_shown(record, tallies))
    for left_out in unreadable:
        print(f"{left_out['name']} was skipped: {left_out['reason']}")
    print(f"faces.json and faces.png are in {target.url}")
    return 0


def tally(photograph: KnownPhotograph, faces: Faces) -> Tally:
    """Compare the found faces of a photograph with the known ones."""
    if photograph.boxes_N4 is None:
        found = int((_sides(faces.boxes_N4) >= LEAST_SIDE).sum())
        # The known number is taken to count only faces of that size.
        return Tally(photograph.name, photograph.count, found, min(found, photograph.count), "number")
    iou_KF = overlaps(photograph.boxes_N4, faces.boxes_N4)
    rows, columns = linear_sum_assignment(-iou_KF)
    same = iou_KF[rows, columns] >= SAME_IOU
    rows, columns = rows[same], columns[same]
    counted_K = _sides(photograph.boxes_N4) >= LEAST_SIDE
    counted_F = _sides(faces.boxes_N4) >= LEAST_SIDE
    counted_F[columns] = counted_K[rows]
    return Tally(photograph.name, int(counted_K.sum()), int(counted_F.sum()), int(counted_K[rows].sum()), "boxes")


def sums(tallies: Sequence[Tally]) -> dict[str, Any]:
    """Recall and precision of photographs with boxes, of photographs with a number of faces, and of all."""
    out: dict[str, Any] = {}
    for by in ("boxes", "number", "all"):
        rows = [t for t in tallies if by in (t.by, "all")]
        known, found, right = (sum(getattr(t, name) for t in rows) for name in ("known", "found", "right"))
        out[by] = {
            "photographs": len(rows),
            "known": known,
            "found": found,
            "recall": right / known if known else None,
            "precision": right / found if found else None,
        }
    empty = [t for t in tallies if not t.known]
    out["without_faces"] = {"photographs": len(empty), "nothing_found": sum(not t.found for t in empty)}
    return out


def _sides(boxes_N4: np.ndarray) -> np.ndarray:
    return np.asarray((boxes_N4[:, 2:] - boxes_N4[:, :2]).mean(axis=1))


def _shown(record: dict[str, Any], tallies: Sequence[Tally]) -> Table:
    title = f"faces of at least {LEAST_SIDE:g} pixels"
    table = Table(box=None, header_style="bold", title=title, title_justify="left", title_style="bold")
    for number, heading in enumerate(("ground truth", "photographs", "known", "found", "recall", "precision")):
        table.add_column(heading, justify="right" if number else "left")
    for by, name in (("boxes", "boxes"), ("number", "number of faces"), ("all", "all")):
        row = record[by]
        shares = ["–" if row[share] is None else f"{row[share]:.1%}" for share in ("recall", "precision")]
        table.add_row(name, *(str(row[name]) for name in ("photographs", "known", "found")), *shares)
    empty = record["without_faces"]
    table.add_section()
    table.add_row(
        "without faces", str(empty["photographs"]), "0", "", "", f"{empty['nothing_found']} with nothing found"
    )
    for t in tallies:
        if (t.known, t.found) != (t.right, t.right):
            table.add_row(f"  {t.name}", "", str(t.known), str(t.found), "", f"by {t.by}")
    return table


def _cell(photograph: KnownPhotograph, faces: Faces, counted: Tally) -> Image.Image:
    """A photograph with known boxes in blue and found ones in orange."""
    image = Image.fromarray(read(photograph.data, _SHEET_SIDE, LabelOptions.max_pixels).upright)
    image.thumbnail((_SHEET_SIDE, _SHEET_SIDE))
    factor = image.width / faces.width
    draw = ImageDraw.Draw(image)
    for box in [] if photograph.boxes_N4 is None else photograph.boxes_N4:
        draw.rectangle([float(side * factor) for side in box], outline="#1a6fdf", width=2)
    for box in faces.boxes_N4:
        draw.rectangle([float(side * factor) for side in box], outline="#ff8c00", width=2)
    cell = Image.new("RGB", (_SHEET_SIDE, _SHEET_SIDE + 22), "white")
    cell.paste(image, (0, 0))
    text = f"{photograph.name.rpartition('/')[2][:36]}: {counted.found} of {counted.known}"
    ImageDraw.Draw(cell).text((2, _SHEET_SIDE + 4), text, fill="black")
    return cell


def _sheet(cells: Sequence[Image.Image], columns: int = 6) -> Image.Image:
    width, height = cells[0].size
    sheet = Image.new("RGB", (columns * width, -(-len(cells) // columns) * height), "white")
    for number, cell in enumerate(cells):
        sheet.paste(cell, (number % columns * width, number // columns * height))
    return sheet
