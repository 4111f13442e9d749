"""From a photograph's bytes to its faces, cut out as the model was trained to see them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from cilf.card import Frame, Images
from cilf.images.blank import is_blank
from cilf.images.body import cut_body, with_body
from cilf.images.crop import Square, cut
from cilf.images.decode import decode, read
from cilf.images.detector import Detections, agreed, detect, distinct, joined, overlaps
from cilf.images.jpeg import read_header
from cilf.images.squeeze import average

FACES_VERSION = 3
"""Raised whenever the same bytes may give other faces; part of the fingerprint of every label."""

MOST_FACES = 100
"""Of one photograph that are aged, the biggest ones; more are only counted."""

LEAST_SIDE = 24.0
"""Pixels of the photograph: mean of a box's width and height from which a face tells enough of an age."""

# Chosen on faces of UTKFace's split=train pasted into pictures without people: see tests/framing/looks.py.
_LOOK = (448, 1536)
"""Longer side at which faces are looked for, pixels, within which _SHARE of the photograph's own is taken."""

_SHARE = 0.5
"""Faces of 40 pixels are then 20 pixels high, which the detector finds nearly all of."""

_KNOWN, _GLANCE = 450, 320
"""Side of the largest faces that the detector knows, pixels; and longer side at which larger ones are looked for."""

_CANDIDATE = 0.3
"""Score from which something is worth a second look."""

_WINDOW = (96, 1.78)
"""Side of what a second look sees, pixels, and how many times the candidate's side it is: faces are 54 pixels high
there, as the detector knows them best. A dog may have a face at 200 pixels and has none at 54."""

THRESHOLD = 0.8
"""Score of the second look from which something is a face."""

_NEAR = 0.9
"""Share of the pixels along a side that one wants at which decoding again at a finer scale is not worth it."""

_SMALL = 1_500_000
"""Pixels of an image that is decoded at its full scale from the start: its faces will hardly do with less."""

_MEANT = 0.1
"""IoU from which a known box means a face that is found; boxes with all of the hair have 0.25."""

_EVERY_PIXEL = 10**6

_FRAMED = 0.25
"""How far, as shares of its sides, an image may differ from a crop of its face and still count as one."""


class BoxError(ValueError):
    """A box that tells of no face."""


class NoFaceError(ValueError):
    """A photograph in which no face is found."""


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
    """uint8 [N, S, S, C], RGB."""
    blank: bool = False
    """Whether it was to be one face and shows nothing at all."""

    @property
    def middle(self) -> int:
        """Which face is nearest to the middle.

        Raises:
            NoFaceError: there is none.
        """
        if not len(self.boxes_N4):
            raise NoFaceError("no face is found")
        middles_N2 = (self.boxes_N4[:, :2] + self.boxes_N4[:, 2:]) / 2
        return int(np.hypot(*(middles_N2 - [self.width / 2, self.height / 2]).T).argmin())


def find(data: bytes, images: Images, max_pixels: int) -> Faces:
    """Find and cut out the faces of an encoded image.

    They are looked for in a small version of it, looked at once more one by one, and cut out of a version that is large
    enough for each to keep its pixels.

    Args:
        data: the file's bytes.
        images: what the model sees.
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
    sure = confirmed(image, look(image, width, height, scale), image.shape[1] / width)
    large = sure.at(_wanted(sure, width, height))
    chosen = large.at(np.argsort(-large.sides_N, kind="stable")[:MOST_FACES])
    pairs = zip(chosen.boxes_N4, chosen.points_N52, strict=True)
    squares = [square(box, points, images.frame) for box, points in pairs]
    if squares:
        # The smallest face decides; below `size` pixels it has no more than the original gives it.
        image = at_least(min(1.0, images.size / min(square.side for square in squares)))
    crops = [_crop(image, square.scaled(image.shape[1] / width), images) for square in squares]
    return Faces(
        width,
        height,
        found=len(large),
        smaller=len(sure) - len(large),
        boxes_N4=np.clip(chosen.boxes_N4, 0, np.array([width, height, width, height], np.float32)),
        scores_N=chosen.scores_N,
        squares=squares,
        crops_NHWC=np.stack(crops) if crops else np.empty((0, *images.shape), np.uint8),
    )


def _crop(image_HWC: np.ndarray, face: Square, images: Images) -> np.ndarray:
    """uint8 [S, S, C]."""
    crop = cut(image_HWC, face, images.size)
    return with_body(crop, cut_body(image_HWC, face, images.size)) if images.body else crop


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


def whole(data: bytes, images: Images, max_pixels: int) -> Faces:
    """An encoded image that is a crop of a face already. A body, where the model looks for one, is hidden.

    Raises:
        DecodeError: not an image, a damaged one, or one with too many pixels.
    """
    image = decode(data, images.size, max_pixels)
    box_14 = np.array([[0, 0, image.width, image.height]], np.float32)
    crop = with_body(image.crop, None) if images.body else image.crop
    return Faces(image.width, image.height, 1, 0, box_14, np.ones(1, np.float32), [], crop[None])


def whole_unless_blank(data: bytes, images: Images, max_pixels: int) -> Faces:
    """As `whole`, but an image of one colour or of noise has no face.

    Raises:
        DecodeError: not an image, a damaged one, or one with too many pixels.
    """
    faces = whole(data, images, max_pixels)
    if not is_blank(faces.crops_NHWC[0, ..., :3]):
        return faces
    none = np.empty((0, 4), np.float32)
    return Faces(faces.width, faces.height, 0, 0, none, none[:, 0], [], faces.crops_NHWC[:0], blank=True)


def whole_or_found(data: bytes, images: Images, max_pixels: int) -> Faces:
    """The whole of an image that shows one face, framed as a crop is, and the faces of any other.

    Raises:
        DecodeError: not an image, a damaged one, or one with too many pixels.
    """
    faces = find(data, images, max_pixels)
    if faces.found == 1 and _fills(faces, faces.squares[0]):
        return whole(data, images, max_pixels)
    return faces


def known(data: bytes, box_4: np.ndarray, images: Images, max_pixels: int) -> np.ndarray:
    """The crop of one face of a photograph, uint8 [S, S, C], that a box tells of; as `find` cuts it out.

    Data sets draw their boxes in many ways, so that a box says only which face is meant: the one that is found there
    and overlaps it most. Where none is found, the box itself is framed.

    Args:
        data: the file's bytes.
        box_4: left, top, right, bottom in the upright photograph, pixels.
        images, max_pixels: as in `find`.

    Raises:
        DecodeError: not an image, a damaged one, or one with too many pixels.
        BoxError: not four numbers, a box of no size, or one outside of the image.
    """
    box_4 = np.asarray(box_4, np.float32)
    side = float((box_4[2:] - box_4[:2]).mean())
    if not np.isfinite(box_4).all():
        raise BoxError("its box is not four numbers: left, top, right, bottom")
    if not (box_4[2:] > box_4[:2]).all():
        raise BoxError(f"its box has no size: {_text(box_4)}")
    header = read_header(data)
    # A face may have half the side of its box, and is to keep its pixels.
    least = _EVERY_PIXEL if header is None else math.ceil(2 * images.size / side * min(header.width, header.height))
    photograph = read(data, least, max_pixels)
    width, height, image = photograph.width, photograph.height, photograph.upright
    x, y = map(float, (box_4[:2] + box_4[2:]) / 2)
    if not (0 <= x < width and 0 <= y < height):
        raise BoxError(f"its box {_text(box_4)} lies outside of the image's {width} x {height} pixels")
    scale = image.shape[1] / width
    face = _meant(image, box_4, scale, images.frame) or Square(x, y, side / images.frame.box)
    return _crop(image, face.scaled(scale), images)


def nearest_the_middle(data: bytes, images: Images, max_pixels: int) -> np.ndarray:
    """The crop of one face of a photograph, uint8 [S, S, C]: of those that `find` finds, the one nearest the middle.

    Args:
        data, images, max_pixels: as in `find`.

    Raises:
        DecodeError: not an image, a damaged one, or one with too many pixels.
        NoFaceError: there is none.
    """
    faces = find(data, images, max_pixels)
    return faces.crops_NHWC[faces.middle]


def _meant(image_HWC: np.ndarray, box_4: np.ndarray, scale: float, frame: Frame) -> Square | None:
    """What a crop shows of the face that a box of the photograph means, where one is found."""
    seen = _around(image_HWC, box_4, scale, _CANDIDATE)
    overlap_N = overlaps(box_4[None], seen.boxes_N4)[0]
    if overlap_N.max(initial=0.0) < _MEANT:
        return None
    one = seen.at(overlap_N.argmax()[None])
    again = agreed(_around(image_HWC, one.boxes_N4[0], scale, _CANDIDATE), one.boxes_N4[0])
    one = again if len(again) else one
    return square(one.boxes_N4[0], one.points_N52[0], frame)


def _text(box_4: np.ndarray) -> str:
    return ", ".join(f"{side:g}" for side in box_4)


def _fills(image: Faces, one: Square) -> bool:
    limits = ((image.width, one.x), (image.height, one.y))
    return all(abs(one.side / length - 1) < _FRAMED and abs(at / length - 0.5) < _FRAMED / 2 for length, at in limits)


def look(image_HWC: np.ndarray, width: int, height: int, scale: float) -> Detections:
    """What may be faces in a photograph of width x height pixels, looked for at a scale of it; coordinates are its own.

    `image_HWC` shows the photograph at that scale or larger.
    """
    small = _at(image_HWC, round(width * scale), round(height * scale))
    sizes = [small]
    longer = max(small.shape[:2])
    if longer > _KNOWN:
        sizes.append(_at(small, *(round(side * _GLANCE / longer) for side in small.shape[1::-1])))
    seen = [detect(each, _CANDIDATE).scaled(width / each.shape[1], height / each.shape[0]) for each in sizes]
    return distinct(joined(*seen))


def confirmed(image_HWC: np.ndarray, candidates: Detections, scale: float) -> Detections:
    """The faces among candidates, where a second look sees them.

    Args:
        image_HWC: the photograph at `scale`.
        candidates: in coordinates of the photograph.
    """
    faces = [agreed(_around(image_HWC, box_4, scale, THRESHOLD), box_4) for box_4 in candidates.boxes_N4]
    return distinct(joined(candidates.at(np.zeros(0, int)), *faces))


def _around(image_HWC: np.ndarray, box_4: np.ndarray, scale: float, threshold: float) -> Detections:
    """What a second look sees around a box of the photograph, which `image_HWC` shows at `scale`."""
    pixels, around = _WINDOW
    (x, y), side = (box_4[:2] + box_4[2:]) / 2, around * (box_4[2:] - box_4[:2]).mean()
    window = cut(image_HWC, Square(float(x), float(y), float(side)).scaled(scale), pixels)
    return detect(window, threshold).scaled(side / pixels, side / pixels).moved(x - side / 2, y - side / 2)


def _at(image_HWC: np.ndarray, width: int, height: int) -> np.ndarray:
    return average(image_HWC, max(1, min(image_HWC.shape[0], height)), max(1, min(image_HWC.shape[1], width)))


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
