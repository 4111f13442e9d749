"""Finds the faces in a photograph's bytes and cuts them out in the frame that the model was trained on."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from cilf.card import Frame, Images
from cilf.images.blank import is_blank
from cilf.images.body import cut_body, with_body
from cilf.images.crop import Square, cut
from cilf.images.decode import Source, decode, read
from cilf.images.detector import Detections, agreed, detect, distinct, joined, overlaps
from cilf.images.jpeg import read_header
from cilf.images.squeeze import average

FACES_VERSION = 4
"""Bump this when the same input bytes give other faces or crops; part of the fingerprint of every label."""

MOST_FACES = 100
"""Maximum number of faces per photograph that get an age: the biggest ones. Further faces are only counted."""

LEAST_SIDE = 24.0
"""Smallest face whose age can be estimated: mean of its box's width and height, pixels of the photograph."""

# Chosen on faces of UTKFace's split=train pasted into pictures without people: see tests/framing/looks.py.
_LOOK = (448, 1536)
"""Smallest and largest longer side, pixels, of the image that is searched for faces. Between these limits it is _SHARE
of the photograph's longer side."""

_SHARE = 0.5
"""At this share, faces of 40 pixels are 20 pixels high, and the detector finds nearly all of them."""

_KNOWN, _GLANCE = 450, 320
"""Side of the largest faces that the detector can find, and longer side of the image in which larger faces are searched
for, both in pixels."""

_CANDIDATE = 0.3
"""Minimum score of a candidate, which the detector then checks a second time."""

_WINDOW, _AROUND = 96, 1.78
"""Side of the window of the second check, pixels, and its ratio to the candidate's side: faces are 54 pixels high
there, where the detector is most reliable. A dog may pass as a face at 200 pixels but does not at 54."""

_LARGEST_WINDOW = 288
"""Largest side of the window in which `known` looks for the tilt of a face, pixels. Landmarks turn by four fifths of a
face's tilt at 160 pixels, and by one fifth at 54."""

THRESHOLD = 0.8
"""Minimum score of the second check for a face."""

_SURE, _SURE_THRESHOLD = 0.89, 0.4
"""Minimum score of a candidate for which a lower mean score of the second check, of the window and of its mirror image,
is enough. The small window alone loses faces that are dark, in profile or covered in part: of 87 such faces of
FairFace's split=train these two find 52. They pass none of 64 candidates in pictures without people, of which the
surest, a dog, has 0.881."""

_NEAR = 0.9
"""Share of the wanted pixels along a side above which decoding again at a finer scale is not worth it."""

_SMALL = 1_500_000
"""Images of up to this many pixels are decoded at full scale from the start: their faces usually need it."""

_MEANT = 0.1
"""Minimum IoU at which a known box refers to a detected face; boxes that include all of the hair have 0.25."""

_EVERY_PIXEL = 10**6

_FRAMED = 0.25
"""Tolerance, as a share of its sides, within which an image counts as a crop of its face."""


class BoxError(ValueError):
    """A box is not valid, or lies outside the image."""


class NoFaceError(ValueError):
    """No face was found in a photograph."""


@dataclass(frozen=True)
class Faces:
    """The faces found in a photograph, and their crops."""

    width: int
    """Width of the upright original, pixels."""
    height: int
    found: int
    """Number of faces of at least LEAST_SIDE, including those beyond MOST_FACES."""
    smaller: int
    """Number of faces below LEAST_SIDE."""
    boxes_N4: np.ndarray
    """float32: left, top, right, bottom in the upright original, pixels, biggest first."""
    scores_N: np.ndarray
    """float32, 0..1: confidence of the detection."""
    squares: list[Square]
    """The parts of the upright original that the crops show."""
    crops_NHWC: np.ndarray
    """uint8 [N, S, S, C], RGB."""
    blank: bool = False
    """Whether the image was expected to be a single face but shows nothing at all."""

    @property
    def middle(self) -> int:
        """Index of the face nearest to the centre of the photograph.

        Raises:
            NoFaceError: there is no face.
        """
        if not len(self.boxes_N4):
            raise NoFaceError("no face is found")
        middles_N2 = (self.boxes_N4[:, :2] + self.boxes_N4[:, 2:]) / 2
        return int(np.hypot(*(middles_N2 - [self.width / 2, self.height / 2]).T).argmin())


def find(data: Source, images: Images, max_pixels: int) -> Faces:
    """Find and cut out the faces of a photograph.

    The detector searches a small version of the image and then checks each candidate by itself. The crops are cut out
    of a version that is large enough for each face to keep its resolution.

    Args:
        data: the photograph.
        images: the model's input format.
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
    if not len(sure):
        sure = confirmed(image, look_turned(image, width, height), image.shape[1] / width)
    large = sure.at(_wanted(sure, width, height))
    chosen = large.at(np.argsort(-large.sides_N, kind="stable")[:MOST_FACES])
    pairs = zip(chosen.boxes_N4, chosen.points_N52, strict=True)
    squares = [square(box, points, images.frame) for box, points in pairs]
    if squares:
        # The smallest face decides the scale; a face below `size` pixels cannot have more than the original's pixels.
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
    """The model's input for one face, uint8 [S, S, C]."""
    crop = cut(image_HWC, face, images.size)
    return with_body(crop, cut_body(image_HWC, face, images.size)) if images.body else crop


def _scale(longer: int) -> float:
    """The scale at which an image with this longer side is searched for faces."""
    return min(1.0, max(_LOOK[0], min(_LOOK[1], _SHARE * longer)) / longer)


def _least(data: Source) -> int:
    """Number of pixels the shorter side needs so that most images are decoded only once."""
    header = None if isinstance(data, np.ndarray) else read_header(data)
    if header is None:
        return _LOOK[0]
    longer, shorter = max(header.width, header.height), min(header.width, header.height)
    return shorter if longer * shorter <= _SMALL else math.ceil(_NEAR * _scale(longer) * shorter)


def whole(data: Source, images: Images, max_pixels: int) -> Faces:
    """Takes a whole image as a crop of a face already. If the model uses the body, the body counts as hidden.

    Raises:
        DecodeError: not an image, a damaged one, or one with too many pixels.
    """
    image = decode(data, images.size, max_pixels)
    box_14 = np.array([[0, 0, image.width, image.height]], np.float32)
    crop = with_body(image.crop, None) if images.body else image.crop
    return Faces(image.width, image.height, 1, 0, box_14, np.ones(1, np.float32), [], crop[None])


def whole_unless_blank(data: Source, images: Images, max_pixels: int) -> Faces:
    """Like `whole`, but an image of a single colour or of noise has no face.

    Raises:
        DecodeError: not an image, a damaged one, or one with too many pixels.
    """
    faces = whole(data, images, max_pixels)
    if not is_blank(faces.crops_NHWC[0, ..., :3]):
        return faces
    none = np.empty((0, 4), np.float32)
    return Faces(faces.width, faces.height, 0, 0, none, none[:, 0], [], faces.crops_NHWC[:0], blank=True)


def whole_or_found(data: Source, images: Images, max_pixels: int) -> Faces:
    """The whole image if it shows one face framed like a crop; otherwise the faces that `find` finds.

    Raises:
        DecodeError: not an image, a damaged one, or one with too many pixels.
    """
    faces = find(data, images, max_pixels)
    if faces.found == 1 and _fills(faces, faces.squares[0]):
        return whole(data, images, max_pixels)
    return faces


def known(data: bytes, box_4: np.ndarray, images: Images, max_pixels: int) -> np.ndarray:
    """The crop of the face that a box refers to, uint8 [S, S, C], cut out as `find` does.

    Data sets draw their boxes in many ways, so the box only selects a face: the detected face that overlaps it most. If
    no face is detected there, the crop is framed around the box itself.

    Args:
        data: the file's bytes.
        box_4: left, top, right, bottom in the upright photograph, pixels.
        images, max_pixels: as in `find`.

    Raises:
        DecodeError: not an image, a damaged one, or one with too many pixels.
        BoxError: the box is not four finite numbers, has no size, or lies outside the image.
    """
    box_4 = np.asarray(box_4, np.float32)
    side = float((box_4[2:] - box_4[:2]).mean())
    if not np.isfinite(box_4).all():
        raise BoxError("its box is not four numbers: left, top, right, bottom")
    if not (box_4[2:] > box_4[:2]).all():
        raise BoxError(f"its box has no size: {_text(box_4)}")
    header = read_header(data)
    # A face may have half the side of its box, and must keep its resolution.
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
    """The crop of the face nearest the centre of a photograph, uint8 [S, S, C], among those that `find` finds.

    Args:
        data, images, max_pixels: as in `find`.

    Raises:
        DecodeError: not an image, a damaged one, or one with too many pixels.
        NoFaceError: there is no face.
    """
    faces = find(data, images, max_pixels)
    return faces.crops_NHWC[faces.middle]


def _meant(image_HWC: np.ndarray, box_4: np.ndarray, scale: float, frame: Frame) -> Square | None:
    """The crop's part of the photograph for the face that a box refers to; None if no face is detected there."""
    # As `find` sees it: how far landmarks follow a face's tilt depends on its size.
    side, longer = _AROUND * (box_4[2:] - box_4[:2]).mean(), max(image_HWC.shape[:2]) / scale
    pixels = int(np.clip(side * _scale(round(longer)), _WINDOW, _LARGEST_WINDOW))
    seen = _around(image_HWC, box_4, scale, _CANDIDATE, pixels=pixels)
    overlap_N = overlaps(box_4[None], seen.boxes_N4)[0]
    if overlap_N.max(initial=0.0) < _MEANT:
        return None
    one = agreed(seen, seen.boxes_N4[overlap_N.argmax()])
    roll = float(one.rolls_N[0])
    again = agreed(_around(image_HWC, one.boxes_N4[0], scale, _CANDIDATE, roll), one.boxes_N4[0])
    one = again if len(again) else one
    return square(one.boxes_N4[0], one.points_N52[0], frame)


def _text(box_4: np.ndarray) -> str:
    return ", ".join(f"{side:g}" for side in box_4)


def _fills(image: Faces, one: Square) -> bool:
    limits = ((image.width, one.x), (image.height, one.y))
    return all(abs(one.side / length - 1) < _FRAMED and abs(at / length - 0.5) < _FRAMED / 2 for length, at in limits)


def look(image_HWC: np.ndarray, width: int, height: int, scale: float) -> Detections:
    """Candidate faces in a photograph of width x height pixels, searched at `scale`; coordinates are the photograph's.

    `image_HWC` is the photograph at that scale or larger.
    """
    small = _at(image_HWC, round(width * scale), round(height * scale))
    sizes = [small]
    longer = max(small.shape[:2])
    if longer > _KNOWN:
        sizes.append(_at(small, *(round(side * _GLANCE / longer) for side in small.shape[1::-1])))
    seen = [detect(each, _CANDIDATE).scaled(width / each.shape[1], height / each.shape[0]) for each in sizes]
    return _steadied(joined(*seen))


def _steadied(seen: Detections) -> Detections:
    """One detection for each face, with the mean position of the cells that agree on it."""
    best = distinct(seen)
    return joined(best.at(np.zeros(0, int)), *(agreed(seen, box_4) for box_4 in best.boxes_N4))


def look_turned(image_HWC: np.ndarray, width: int, height: int) -> Detections:
    """Candidate faces in a photograph of width x height pixels that is stored sideways or upside down; coordinates are
    those of the photograph as it is stored."""
    longer = max(width, height)
    small = _at(image_HWC, *(round(side * min(1.0, _GLANCE / longer)) for side in (width, height)))
    corners = ((width, 0), (width, height), (0, height))
    seen = []
    for quarters, corner in enumerate(corners, start=1):
        turned = np.ascontiguousarray(np.rot90(small, quarters))
        found = _steadied(detect(turned, _CANDIDATE)).scaled(width / small.shape[1], height / small.shape[0])
        seen.append(found.turned(quarters * math.pi / 2).moved(*corner))
    return distinct(joined(*seen))


def confirmed(image_HWC: np.ndarray, candidates: Detections, scale: float) -> Detections:
    """The candidates that a second check confirms as faces, with the boxes of that check.

    Args:
        image_HWC: the photograph at `scale`.
        candidates: candidate faces, in coordinates of the photograph.
    """
    rows = zip(candidates.boxes_N4, candidates.scores_N, candidates.rolls_N, strict=True)
    faces = [_checked(image_HWC, box_4, score, roll, scale) for box_4, score, roll in rows]
    return distinct(joined(candidates.at(np.zeros(0, int)), *faces))


def _checked(image_HWC: np.ndarray, box_4: np.ndarray, score: float, roll: float, scale: float) -> Detections:
    """A candidate of the given score and rotation after the second check, as one detection; empty if it is no face."""
    face = agreed(_around(image_HWC, box_4, scale, THRESHOLD, roll), box_4)
    if len(face) or score < _SURE:
        return face
    views = [_around(image_HWC, box_4, scale, _CANDIDATE, roll, mirrored) for mirrored in (False, True)]
    mean = np.mean([agreed(view, box_4).scores_N.max(initial=0.0) for view in views])
    return agreed(joined(*views), box_4) if mean >= _SURE_THRESHOLD else face


def _around(
    image_HWC: np.ndarray,
    box_4: np.ndarray,
    scale: float,
    threshold: float,
    roll: float = 0.0,
    mirrored: bool = False,
    pixels: int = _WINDOW,
) -> Detections:
    """The detections in a window around a box of the photograph, by default that of the second check.

    Args:
        image_HWC: the photograph at `scale`.
        box_4: the box, in coordinates of the photograph.
        threshold: minimum score.
        roll: clockwise rotation of the window, radians.
        mirrored: whether to look at the window's mirror image.
        pixels: side of the window as the detector sees it.
    """
    (x, y), side = (box_4[:2] + box_4[2:]) / 2, float(_AROUND * (box_4[2:] - box_4[:2]).mean())
    window = cut(image_HWC, Square(float(x), float(y), side, roll).scaled(scale), pixels)
    seen = detect(np.ascontiguousarray(window[:, ::-1]) if mirrored else window, threshold)
    seen = seen.mirrored(pixels) if mirrored else seen
    return seen.scaled(side / pixels, side / pixels).moved(-side / 2, -side / 2).turned(roll).moved(x, y)


def _at(image_HWC: np.ndarray, width: int, height: int) -> np.ndarray:
    return average(image_HWC, max(1, min(image_HWC.shape[0], height)), max(1, min(image_HWC.shape[1], width)))


def _wanted(seen: Detections, width: int, height: int) -> np.ndarray:
    """bool [N]: whether each face is large enough and has its centre inside the photograph."""
    middles_N2 = (seen.boxes_N4[:, :2] + seen.boxes_N4[:, 2:]) / 2
    inside = ((middles_N2 >= 0) & (middles_N2 < [width, height])).all(axis=1)
    return inside & (seen.sides_N >= LEAST_SIDE)


def square(box_4: np.ndarray, points_52: np.ndarray, frame: Frame) -> Square:
    """The part of a photograph that a crop of one face shows, rotated like the face.

    Centre and rotation are those of the similarity transform that maps the frame's points closest to the face's
    landmarks. The side is the geometric mean of the sizes given by the landmarks and by the box, whose errors are
    nearly independent.
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
