"""From a photograph's bytes to its faces, cut out as the model was trained to see them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from cilf.card import Frame
from cilf.images.crop import Square, cut
from cilf.images.decode import decode, read
from cilf.images.detector import Detections, detect, distinct
from cilf.images.jpeg import read_header
from cilf.images.squeeze import average

FACES_VERSION = 2
"""Raised whenever the same bytes may give other faces; part of the fingerprint of every label."""

MOST_FACES = 100
"""Of one photograph that are aged, the biggest ones; more are only counted."""

LEAST_SIDE = 24.0
"""Pixels of the photograph: mean of a box's width and height from which a face tells enough of an age."""

THRESHOLD = 0.4
"""Score from which something is a face."""

# Chosen on faces of UTKFace's split=train pasted into pictures without people: see tests/framing/looks.py.
_DOUBTFUL, _SURE = 0.05, 0.5
"""Scores between which something is worth a closer look, which then decides."""

_LOOK = (352, 1024)
"""Longer side at which faces are looked for, pixels, within which _SHARE of the photograph's own is taken."""

_SHARE = 0.3
"""Faces of 40 pixels are then 12 pixels high, of which the detector finds most; smaller ones raise doubts."""

_CLOSER = 2.7
"""How much larger a closer look shows what is doubtful."""

_WINDOW = (96, 2.0)
"""A closer look's side: so many pixels, or so many times the face's side, whichever is more."""

_CELL = 32
"""Sides of windows are multiples of this: the detector wants them so."""

_NEAR = 0.9
"""Share of the pixels along a side that one wants at which decoding again at a finer scale is not worth it."""

_SMALL = 1_500_000
"""Pixels of an image that is decoded at its full scale from the start: its faces or doubts will hardly do with less."""

_FRAMED = 0.25
"""How far, as shares of its sides, an image may differ from a crop of its face and still count as one."""


@dataclass(frozen=True)
class Faces:
    """What a photograph shows."""

    width: int
    """Of the upright original, pixels."""
    height: int
    found: int
    """Faces of LEAST_SIDE, counting those beyond MOST_FACES."""
    smaller: int
    """Faces below LEAST_SIDE."""
    boxes_N4: np.ndarray
    """float32: left, top, right, bottom in the upright original, pixels, biggest first."""
    scores_N: np.ndarray
    """float32, 0..1: how sure the detection is."""
    squares: list[Square]
    """What the crops show of the upright original."""
    crops_NHWC: np.ndarray
    """uint8 [N, S, S, 3], RGB."""


def find(data: bytes, size: int, frame: Frame, max_pixels: int) -> Faces:
    """Find and cut out the faces of an encoded image.

    They are looked for in a small version of it, then, where that leaves doubts, in parts of a larger one; and cut out
    of one that is large enough for each to keep its pixels.

    Args:
        data: the file's bytes.
        size: S, side of the crops, pixels.
        frame: what of a face's surroundings a crop shows.
        max_pixels: as in cilf.images.decode.read.

    Raises:
        DecodeError: not an image, a damaged one, or one with too many pixels.
    """
    photograph = read(data, _least(data), max_pixels)
    width, height = photograph.width, photograph.height
    longer, shorter = max(width, height), min(width, height)
    image = photograph.upright

    def at_least(scale: float) -> np.ndarray:
        if image.shape[1] >= _NEAR * scale * width:
            return image
        return read(data, math.ceil(scale * shorter), max_pixels).upright

    scale = _scale(longer)
    image = at_least(scale)
    seen = look(image, width, height, scale, _DOUBTFUL)
    sure, doubtful = _judged(seen, _SURE if scale < 1 else THRESHOLD)
    if len(doubtful) and scale < 1:
        scale = min(1.0, _CLOSER * scale)
        image = at_least(scale)
        sure = distinct(sure, look_closer(image, width, height, scale, doubtful))
    large = sure.at(_wanted(sure, width, height))
    chosen = large.at(np.argsort(-large.sides_N, kind="stable")[:MOST_FACES])
    squares = [square(box, points, frame) for box, points in zip(chosen.boxes_N4, chosen.points_N52, strict=True)]
    if squares:
        # The smallest face decides; below `size` pixels it has no more than the original gives it.
        image = at_least(min(1.0, size / min(square.side for square in squares)))
    crops = [cut(image, square.scaled(image.shape[1] / width), size) for square in squares]
    return Faces(
        width,
        height,
        found=len(large),
        smaller=len(sure) - len(large),
        boxes_N4=np.clip(chosen.boxes_N4, 0, np.array([width, height, width, height], np.float32)),
        scores_N=chosen.scores_N,
        squares=squares,
        crops_NHWC=np.stack(crops) if crops else np.empty((0, size, size, 3), np.uint8),
    )


def _scale(longer: int) -> float:
    """Of an image with such a longer side, at which faces are looked for."""
    return min(1.0, max(_LOOK[0], min(_LOOK[1], _SHARE * longer)) / longer)


def _least(data: bytes) -> int:
    """How many pixels the shorter side needs, so that most images are decoded only once."""
    header = read_header(data)
    if header is None:
        return _LOOK[0]
    longer, shorter = max(header.width, header.height), min(header.width, header.height)
    return shorter if longer * shorter <= _SMALL else math.ceil(_NEAR * _scale(longer) * shorter)


def whole(data: bytes, size: int, max_pixels: int) -> Faces:
    """An encoded image that is a crop of a face already.

    Raises:
        DecodeError: not an image, a damaged one, or one with too many pixels.
    """
    image = decode(data, size, max_pixels)
    box_14 = np.array([[0, 0, image.width, image.height]], np.float32)
    return Faces(image.width, image.height, 1, 0, box_14, np.ones(1, np.float32), [], image.crop[None])


def whole_or_found(data: bytes, size: int, frame: Frame, max_pixels: int) -> Faces:
    """The whole of an image that shows one face, framed as a crop is, and the faces of any other.

    Raises:
        DecodeError: not an image, a damaged one, or one with too many pixels.
    """
    faces = find(data, size, frame, max_pixels)
    if faces.found == 1 and _fills(faces, faces.squares[0]):
        return whole(data, size, max_pixels)
    return faces


def _fills(image: Faces, one: Square) -> bool:
    limits = ((image.width, one.x), (image.height, one.y))
    return all(abs(one.side / length - 1) < _FRAMED and abs(at / length - 0.5) < _FRAMED / 2 for length, at in limits)


def _judged(seen: Detections, threshold: float) -> tuple[Detections, Detections]:
    """What is a face, and what might be one; an eye or an ear of a face that is sure might not."""
    sure, rest = seen.at(seen.scores_N >= threshold), seen.at(seen.scores_N < threshold)
    middles_N12 = (rest.boxes_N4[:, None, :2] + rest.boxes_N4[:, None, 2:]) / 2
    within_NM = ((middles_N12 >= sure.boxes_N4[:, :2]) & (middles_N12 < sure.boxes_N4[:, 2:])).all(axis=2)
    return sure, rest.at(~within_NM.any(axis=1))


def look(image_HWC: np.ndarray, width: int, height: int, scale: float, threshold: float) -> Detections:
    """All detections in a photograph of width x height pixels, looked for at a scale of it; coordinates are its own.

    `image_HWC` shows the photograph at that scale or larger.
    """
    small = _at(image_HWC, width, height, scale)
    return detect(small, threshold).scaled(width / small.shape[1], height / small.shape[0])


def look_closer(image_HWC: np.ndarray, width: int, height: int, scale: float, doubtful: Detections) -> Detections:
    """As `look`, but only in windows around what is doubtful: all of the photograph would cost several times more."""
    large = _at(image_HWC, width, height, scale)
    across, down = large.shape[1] / width, large.shape[0] / height
    cells = [window * _CELL for window in _windows(doubtful.scaled(across, down), large.shape[1], large.shape[0])]
    if sum(int(w * h) for _, _, w, h in cells) >= large.shape[0] * large.shape[1]:
        cells = [np.array([0, 0, large.shape[1], large.shape[0]])]
    found = [detect(large[y : y + h, x : x + w], THRESHOLD).moved(x, y) for x, y, w, h in cells]
    return distinct(*found).scaled(1 / across, 1 / down)


def _at(image_HWC: np.ndarray, width: int, height: int, scale: float) -> np.ndarray:
    across, down = min(image_HWC.shape[1], round(width * scale)), min(image_HWC.shape[0], round(height * scale))
    return average(image_HWC, max(1, down), max(1, across))


def _windows(doubtful: Detections, width: int, height: int) -> np.ndarray:
    """left, top, width, height in cells, int [n, 4]: of windows around detections, those that touch as one."""
    middles_N2 = (doubtful.boxes_N4[:, :2] + doubtful.boxes_N4[:, 2:]) / 2
    half_N1 = np.maximum(_WINDOW[0], _WINDOW[1] * doubtful.sides_N)[:, None] / 2
    wanted_HW = np.zeros((-(-height // _CELL), -(-width // _CELL)), np.uint8)
    # A peak in the margin that fills up the detector's input lies outside of the photograph.
    firsts_N2 = np.floor((middles_N2 - half_N1) / _CELL).astype(int).clip(0, np.subtract(wanted_HW.shape[::-1], 1))
    lasts_N2 = np.ceil((middles_N2 + half_N1) / _CELL).astype(int).clip(1)
    for (left, top), (right, bottom) in zip(firsts_N2, lasts_N2, strict=True):
        wanted_HW[top:bottom, left:right] = 1
    _, _, windows_n5, _ = cv2.connectedComponentsWithStats(wanted_HW, connectivity=8)
    return windows_n5[1:, :4]


def _wanted(seen: Detections, width: int, height: int) -> np.ndarray:
    """bool [N]: large enough, and with its middle inside of the photograph."""
    middles_N2 = (seen.boxes_N4[:, :2] + seen.boxes_N4[:, 2:]) / 2
    inside = ((middles_N2 >= 0) & (middles_N2 < [width, height])).all(axis=1)
    return inside & (seen.sides_N >= LEAST_SIDE)


def square(box_4: np.ndarray, points_52: np.ndarray, frame: Frame) -> Square:
    """The part of a photograph that a crop of one face shows, turned as the face is.

    Its middle and its turn are those of the similarity that brings the frame's points nearest to the face's. Its side
    is the mean of what the points and what the box say, as their mistakes have little to do with each other.
    """
    x_5, y_5 = points_52.T.astype(float)
    u_5, v_5 = np.array(frame.points).T
    x, y, u, v = x_5.mean(), y_5.mean(), u_5.mean(), v_5.mean()
    x_5, y_5, u_5, v_5 = x_5 - x, y_5 - y, u_5 - u, v_5 - v
    spread = (u_5**2 + v_5**2).sum()
    across, down = (u_5 * x_5 + v_5 * y_5).sum() / spread, (u_5 * y_5 - v_5 * x_5).sum() / spread
    radians = math.atan2(down, across)
    left, top, right, bottom = map(float, box_4)
    side = math.sqrt(math.hypot(across, down) * (right - left + bottom - top) / 2 / frame.box)
    cos, sin = side * math.cos(radians), side * math.sin(radians)
    return Square(x + (0.5 - u) * cos - (0.5 - v) * sin, y + (0.5 - u) * sin + (0.5 - v) * cos, side, radians)
