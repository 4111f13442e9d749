"""The YuNet face detector: finds the faces in an image, with five landmarks each.

Each cell of three grids, of 8, 16 and 32 pixels, predicts how likely a face is centred there, how large it is and where
its eyes, nose and corners of the mouth are (Wu, Peng and Yu, Machine Intelligence Research 2023). ONNX Runtime runs the
network, so the tasks that fetch and decode can find faces without importing torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from onnxruntime import InferenceSession, SessionOptions

_WEIGHTS = Path(__file__).parent / "weights" / "yunet.onnx"

_CELLS = (8, 16, 32)  # side of a cell of each grid, pixels of the image
_OUTPUTS = [f"{name}_{cell}" for cell in _CELLS for name in ("score", "box", "points")]
_OVERLAP = 0.3  # IoU above which two boxes count as the same face
_AGREEING = 0.5  # IoU above which a weaker box contributes to the position of that face
_MIRRORED = [1, 0, 2, 4, 3]  # landmarks in the order of their mirror images


@dataclass(frozen=True)
class Detections:
    """The detections in one image; float32, coordinates in pixels of that image."""

    boxes_N4: np.ndarray
    """left, top, right, bottom; may reach beyond the image."""
    scores_N: np.ndarray
    """Confidence, 0..1."""
    points_N52: np.ndarray
    """x, y of the eyes, the nose and the corners of the mouth; of each pair the one on the image's left comes first."""

    def __len__(self) -> int:
        return len(self.scores_N)

    def at(self, rows: np.ndarray) -> Detections:
        """The detections of some rows, a bool mask or int indices [n]."""
        return Detections(self.boxes_N4[rows], self.scores_N[rows], self.points_N52[rows])

    def scaled(self, across: float, down: float) -> Detections:
        """The detections in coordinates of the image scaled by these factors."""
        factors = np.array([across, down], np.float32)
        return Detections(self.boxes_N4 * np.tile(factors, 2), self.scores_N, self.points_N52 * factors)

    def moved(self, right: float, down: float) -> Detections:
        """The detections in coordinates of the image extended by this many pixels to the left and above."""
        by = np.array([right, down], np.float32)
        return Detections(self.boxes_N4 + np.tile(by, 2), self.scores_N, self.points_N52 + by)

    def turned(self, radians: float) -> Detections:
        """The detections after a clockwise rotation about the origin. Each box keeps its size, to the nearest quarter
        turn: it is that of an upright face."""
        cos, sin = math.cos(radians), math.sin(radians)
        turn_22 = np.array([[cos, sin], [-sin, cos]], np.float32)
        middles_N2 = (self.boxes_N4[:, :2] + self.boxes_N4[:, 2:]) / 2 @ turn_22
        halves_N2 = (self.boxes_N4[:, 2:] - self.boxes_N4[:, :2]) / 2
        if abs(sin) > abs(cos):
            halves_N2 = halves_N2[:, ::-1]
        boxes_N4 = np.concatenate([middles_N2 - halves_N2, middles_N2 + halves_N2], axis=1)
        return Detections(boxes_N4, self.scores_N, self.points_N52 @ turn_22)

    def mirrored(self, width: float) -> Detections:
        """The detections in the mirror image of an image of this width."""
        flipped, by = np.array([-1, 1], np.float32), np.array([width, 0], np.float32)
        boxes_N4 = self.boxes_N4[:, [2, 1, 0, 3]] * np.tile(flipped, 2) + np.tile(by, 2)
        return Detections(boxes_N4, self.scores_N, self.points_N52[:, _MIRRORED] * flipped + by)

    @property
    def rolls_N(self) -> np.ndarray:
        """Clockwise rotation of each face by its landmarks, radians: the mean of the direction across, from its left to
        its right side, and of that down, from its eyes to its mouth."""
        left_eye, right_eye, _, left_mouth, right_mouth = self.points_N52.transpose(1, 0, 2)
        across_N2 = right_eye - left_eye + right_mouth - left_mouth
        down_N2 = left_mouth + right_mouth - left_eye - right_eye
        return np.arctan2(across_N2[:, 1] - down_N2[:, 0], across_N2[:, 0] + down_N2[:, 1])

    @property
    def sides_N(self) -> np.ndarray:
        """Mean of each box's width and height, pixels."""
        return ((self.boxes_N4[:, 2:] - self.boxes_N4[:, :2]).mean(axis=1)).astype(np.float32)


def detect(image_HWC: np.ndarray, threshold: float) -> Detections:
    """All cells' detections in an image, uint8 [H, W, 3], RGB, with a score of at least `threshold`.

    Several cells detect the same face: see `distinct` and `agreed`. Faces of about 15 to 450 pixels are detected. The
    running time grows with H · W.
    """
    below, right = (-side % _CELLS[-1] for side in image_HWC.shape[:2])
    padded = cv2.copyMakeBorder(image_HWC, 0, below, 0, right, cv2.BORDER_CONSTANT)
    maps = iter(_network().run(_OUTPUTS, {"image": padded[None]}))
    return joined(*(_faces(cell, threshold, *grid) for cell, *grid in zip(_CELLS, maps, maps, maps, strict=True)))


def _faces(
    cell: int, threshold: float, score_HW: np.ndarray, box_4HW: np.ndarray, points_THW: np.ndarray
) -> Detections:
    """Decodes the detections of one grid. The network gives logarithms of sizes; its unit is the cell."""
    rows, columns = np.nonzero(score_HW >= threshold)
    corner_N2 = np.stack([columns, rows], axis=1).astype(np.float32)
    box_N4 = box_4HW[:, rows, columns].T
    middle_N2, half_N2 = corner_N2 + box_N4[:, :2], np.exp(box_N4[:, 2:]) / 2
    points_N52 = corner_N2[:, None] + points_THW[:, rows, columns].T.reshape(-1, 5, 2)
    boxes_N4 = np.concatenate([middle_N2 - half_N2, middle_N2 + half_N2], axis=1)
    return Detections(cell * boxes_N4, score_HW[rows, columns], cell * points_N52)


@lru_cache(maxsize=1)
def _network() -> InferenceSession:
    options = SessionOptions()
    # Tasks run in parallel; threads inside them would only compete with each other.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return InferenceSession(str(_WEIGHTS), options, providers=["CPUExecutionProvider"])


def joined(*seen: Detections) -> Detections:
    """Concatenates detections of one image."""
    return Detections(*(np.concatenate([getattr(part, f.name) for part in seen]) for f in fields(Detections)))


def distinct(seen: Detections) -> Detections:
    """Keeps the detection with the highest score for each face, and sorts by score, highest first."""
    corners_N2 = seen.boxes_N4[:, :2]
    boxes_N4 = np.concatenate([corners_N2, seen.boxes_N4[:, 2:] - corners_N2], axis=1)
    rows = cv2.dnn.NMSBoxes(boxes_N4.tolist(), seen.scores_N.tolist(), 0.0, _OVERLAP)
    return seen.at(np.asarray(rows, np.int64).reshape(-1))


def agreed(seen: Detections, box_4: np.ndarray) -> Detections:
    """The face that overlaps a box, as one detection; empty if there is none.

    The score is that of the highest-scoring cell. The position is the mean over the cells that agree, weighted by
    score, which is steadier than any single cell (weighted boxes fusion, Solovyev et al., arXiv 1910.13302).
    """
    near = seen.at(overlaps(box_4[None], seen.boxes_N4)[0] > _OVERLAP)
    if not len(near):
        return near
    surest = int(near.scores_N.argmax())
    weights_N = near.scores_N * (overlaps(near.boxes_N4[[surest]], near.boxes_N4)[0] > _AGREEING)
    weights_N /= weights_N.sum()
    points_152 = np.tensordot(weights_N, near.points_N52, 1)[None]
    return Detections((weights_N @ near.boxes_N4)[None], near.scores_N[[surest]], points_152)


def overlaps(a_N4: np.ndarray, b_M4: np.ndarray) -> np.ndarray:
    """Intersection over union of each pair of boxes, [N, M]."""
    low_NM2 = np.maximum(a_N4[:, None, :2], b_M4[None, :, :2])
    high_NM2 = np.minimum(a_N4[:, None, 2:], b_M4[None, :, 2:])
    both_NM = (high_NM2 - low_NM2).clip(min=0).prod(axis=2)
    area_N, area_M = ((boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (a_N4, b_M4))
    return both_NM / (area_N[:, None] + area_M[None] - both_NM).clip(min=1e-9)
