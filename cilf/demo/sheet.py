"""The contact sheet: every photograph, with a scale below that shows known age, interval and estimate."""

from __future__ import annotations

from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont, ImageOps

from cilf.demo.photographs import Known, known

_DRAWN = 2
"""The sheet is drawn this many times as large and then reduced, for smooth edges."""
_SIDE, _GAP, _MARGIN, _COLUMNS = 232, 28, 44, 5
_LEGEND, _HEADING, _CELL = 116, 64, _SIDE + 104
_WIDTH = 2 * _MARGIN + _COLUMNS * (_SIDE + _GAP) - _GAP
_OLDEST = 100
"""Right end of the scale, years."""

_PAPER, _INK, _GREY, _LINE, _KNOWN = "#fbfaf7", "#22252b", "#7c8087", "#d9d8d2", "#cfe0f2"
ACCEPTED, DOUBTED, FAILED = "#1b7f5c", "#c2571a", "#b3261e"
"""Colours of accepted estimates, of estimates that are not accepted, and of files without an image."""

_TITLES = {
    "people": "People of all ages",
    "portrait": "One portrait in several formats and edits",
    "others": "Other files",
}
_MEANING = "Dot: estimate.  Line: 90 % interval.  Band: known age.  Green: accepted.  Orange and hollow: not accepted."
_SOURCES = (
    "People: FairFace, Karkkainen and Joo 2021, CC BY 4.0 (github.com/joojs/fairface).  Portrait: NASA, public domain."
)

Row = dict[str, Any]


def contact_sheet(labels: list[Row]) -> Image.Image:
    """Draw all photographs, with a section for each folder.

    Args:
        labels: rows as labelling writes them, grouped by folder.
    """
    by_folder = groupby(labels, key=lambda row: Path(row["uri"]).parent.name)
    sections = [(name, list(rows)) for name, rows in by_folder]
    heights = [_HEADING + -(-len(rows) // _COLUMNS) * _CELL for _, rows in sections]
    page = _Page(_WIDTH, _LEGEND + sum(heights) + _MARGIN // 2)
    _legend(page, _MARGIN)
    top = _LEGEND
    for (name, rows), height in zip(sections, heights, strict=True):
        page.text(_MARGIN, top + 20, _TITLES.get(name, name), 24)
        for index, row in enumerate(rows):
            down, across = divmod(index, _COLUMNS)
            _cell(page, _MARGIN + across * (_SIDE + _GAP), top + _HEADING + down * _CELL, row)
        top += height
    return page.finished()


def _cell(page: _Page, left: float, top: float, row: Row) -> None:
    file, faces = Path(row["uri"]), row["faces"]
    if row["width"]:
        page.paste(_picture(row), left, top)
    else:
        page.box((left, top, left + _SIDE, top + _SIDE), fill="#efeeea")
        page.text(left + _SIDE / 2, top + _SIDE / 2 - 10, row["status"], 18, FAILED, "ma")
    page.text(left, top + _SIDE + 8, file.name, 15)
    if faces:
        result, colour = _verdict(faces)
        page.text(left + _SIDE, top + _SIDE + 8, result, 15, colour, "ra")
        _scale(page, left, top + _SIDE + 46, faces, known(file))
        if len(faces) == 1 and not faces[0]["accepted"]:
            page.label(left + 10, top + 10, "not accepted", colour)
    elif row["width"]:
        page.text(left + _SIDE, top + _SIDE + 8, row["status"], 15, _GREY, "ra")


def _verdict(faces: list[Row]) -> tuple[str, str]:
    """Text above the scale, and its colour."""
    accepted = sum(face["accepted"] for face in faces)
    colour = ACCEPTED if accepted == len(faces) else DOUBTED
    if len(faces) > 1:
        return f"{accepted} of {len(faces)} accepted", colour
    return f"{faces[0]['age']:.0f} years", colour


def _scale(page: _Page, left: float, top: float, faces: list[Row], fact: Known | None) -> None:
    """Draw ages from left to right: the known age as a band, intervals as lines, estimates as dots."""

    def at(age: float) -> float:
        return left + _SIDE * min(max(age, 0), _OLDEST) / _OLDEST

    if fact is not None:
        page.box((at(fact.low), top - 9, at(_OLDEST if fact.high is None else fact.high + 1), top + 9), fill=_KNOWN)
    page.box((left, top - 0.5, left + _SIDE, top + 0.5), fill=_LINE)
    for age in range(0, _OLDEST + 1, 20):
        page.box((at(age) - 0.5, top - 3, at(age) + 0.5, top + 3), fill=_LINE)
        page.text(at(age), top + 13, str(age), 11, _GREY, "ma")
    for face in faces:
        colour = ACCEPTED if face["accepted"] else DOUBTED
        page.box((at(face["age_low"]), top - 1.5, at(face["age_high"]), top + 1.5), fill=colour)
        page.dot(at(face["age"]), top, colour, hollow=not face["accepted"])


def _legend(page: _Page, top: float) -> None:
    example: Row = {"age": 58.0, "age_low": 30.0, "age_high": 78.0, "accepted": True}
    _scale(page, _MARGIN, top + 16, [example], Known(40, 49))
    for line, (words, colour) in enumerate(((_MEANING, _INK), (_SOURCES, _GREY))):
        page.text(_MARGIN + _SIDE + _GAP, top + 4 + 26 * line, words, 15, colour)


def _picture(row: Row) -> Image.Image:
    """A photograph, fitted into a square, with boxes around its faces and, if there are several, their ages."""
    side = _SIDE * _DRAWN
    with Image.open(row["uri"]) as image:
        picture = ImageOps.pad(ImageOps.exif_transpose(image).convert("RGB"), (side, side), color=_PAPER)
    factor = side / max(row["width"], row["height"])
    across, down = ((side - row[length] * factor) / 2 for length in ("width", "height"))
    draw = ImageDraw.Draw(picture)
    for face in row["faces"]:
        left, right = (face[name] * factor + across for name in ("left", "right"))
        top, bottom = (face[name] * factor + down for name in ("top", "bottom"))
        colour = ACCEPTED if face["accepted"] else DOUBTED
        draw.rounded_rectangle((left, top, right, bottom), 8, outline="white", width=3)
        if len(row["faces"]) > 1:
            _label(draw, ((left + right) / 2, bottom + 14), f"{face['age']:.0f}", colour, "mm")
    return picture


def _label(draw: ImageDraw.ImageDraw, at: tuple[float, float], words: str, colour: str, anchor: str) -> None:
    """Draw white text on a coloured background; `at` is in pixels of the image that is drawn on."""
    font = _font(15 * _DRAWN)
    x1, y1, x2, y2 = draw.textbbox(at, words, font=font, anchor=anchor)
    draw.rounded_rectangle((x1 - 8, y1 - 6, x2 + 8, y2 + 6), 8, fill=colour)
    draw.text(at, words, fill="white", font=font, anchor=anchor)


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


class _Page:
    """Canvas whose coordinates are pixels of the finished sheet."""

    def __init__(self, width: int, height: int) -> None:
        self.image = Image.new("RGB", (width * _DRAWN, height * _DRAWN), _PAPER)
        self.draw = ImageDraw.Draw(self.image)

    def paste(self, picture: Image.Image, left: float, top: float) -> None:
        """Paste a picture that is already _DRAWN times as large."""
        self.image.paste(picture, (round(left * _DRAWN), round(top * _DRAWN)))

    def box(self, corners: tuple[float, float, float, float], fill: str) -> None:
        x1, y1, x2, y2 = (place * _DRAWN for place in corners)
        self.draw.rectangle((x1, y1, max(x1, x2 - 1), max(y1, y2 - 1)), fill=fill)

    def dot(self, x: float, y: float, colour: str, hollow: bool) -> None:
        self.draw.circle((x * _DRAWN, y * _DRAWN), 6.5 * _DRAWN, colour)
        if hollow:
            self.draw.circle((x * _DRAWN, y * _DRAWN), 4 * _DRAWN, _PAPER)

    def text(self, x: float, y: float, words: str, size: int, colour: str = _INK, anchor: str = "la") -> None:
        self.draw.text((x * _DRAWN, y * _DRAWN), words, fill=colour, font=_font(size * _DRAWN), anchor=anchor)

    def label(self, x: float, y: float, words: str, colour: str) -> None:
        _label(self.draw, (x * _DRAWN, y * _DRAWN), words, colour, "la")

    def finished(self) -> Image.Image:
        return self.image.reduce(_DRAWN)
