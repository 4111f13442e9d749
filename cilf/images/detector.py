"""CenterFace: where faces are in an image, with five landmarks of each.

A face is a peak of a heat map at a quarter of the image's resolution; at the peak, the network says where exactly its
middle is, how large it is and where eyes, nose and corners of the mouth are (arXiv 1911.03599). ONNX Runtime computes
it, in two thirds of the time that OpenCV takes, so the tasks that fetch and decode find faces and still need no torch.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from onnxruntime import InferenceSession, SessionOptions

_WEIGHTS = Path(__file__).parent / "weights" / "centerface.onnx"

_STRIDE = 4  # pixels of the image per cell of the maps
_MULTIPLE = 32  # of which the network wants the sides of its input to be
_OUTPUTS = ("heat", "size", "offset", "landmarks")
_OVERLAP = 0.3  # IoU from which of two boxes the weaker one is the same face


@dataclass(frozen=True)
class Detections:
    """Faces of one image, surest first; float32, pixels of that image."""

    boxes_N4: np.ndarray
    """left, top, right, bottom; may reach beyond the image."""
    scores_N: np.ndarray
    """0..1."""
    points_N52: np.ndarray
    """x, y of the eyes, the nose and the corners of the mouth, those on the left in the image first."""

    def __len__(self) -> int:
        return len(self.scores_N)

    def at(self, rows: np.ndarray) -> Detections:
        """Some of them, bool or int [n]."""
        return Detections(self.boxes_N4[rows], self.scores_N[rows], self.points_N52[rows])

    def scaled(self, across: float, down: float) -> Detections:
        """The same in an image that is that many times as wide and as high."""
        factors = np.array([across, down], np.float32)
        return Detections(self.boxes_N4 * np.tile(factors, 2), self.scores_N, self.points_N52 * factors)

    def moved(self, right: float, down: float) -> Detections:
        """The same in an image that has so many more pixels to the left and above."""
        by = np.array([right, down], np.float32)
        return Detections(self.boxes_N4 + np.tile(by, 2), self.scores_N, self.points_N52 + by)

    @property
    def sides_N(self) -> np.ndarray:
        """Mean of width and height, pixels."""
        return ((self.boxes_N4[:, 2:] - self.boxes_N4[:, :2]).mean(axis=1)).astype(np.float32)


def detect(image_HWC: np.ndarray, threshold: float) -> Detections:
    """All faces in an image, uint8 [H, W, 3], RGB, whose score is at least `threshold`.

    Found are faces from about 10 pixels on. The time it takes grows with H · W; 640 x 480 is a good size.
    """
    height, width = image_HWC.shape[:2]
    full = (-(-width // _MULTIPLE) * _MULTIPLE, -(-height // _MULTIPLE) * _MULTIPLE)
    padded = cv2.copyMakeBorder(image_HWC, 0, full[1] - height, 0, full[0] - width, cv2.BORDER_CONSTANT)
    image_1CHW = padded.transpose(2, 0, 1)[None].astype(np.float32)  # its own scale: 0..255
    heat_HW, size_2HW, offset_2HW, points_THW = (out[0] for out in _network().run(_OUTPUTS, {"image": image_1CHW}))
    heat_HW = heat_HW[0]
    rows, columns = np.nonzero(heat_HW >= threshold)
    cells = (rows, columns)
    sizes_N2 = np.exp(size_2HW[:, *cells].T[:, ::-1]) * _STRIDE
    middles_N2 = (np.stack([columns, rows], axis=1) + offset_2HW[:, *cells].T[:, ::-1] + 0.5) * _STRIDE
    corners_N2 = middles_N2 - sizes_N2 / 2
    points_N52 = points_THW[:, *cells].T.reshape(-1, 5, 2)[..., ::-1] * sizes_N2[:, None] + corners_N2[:, None]
    found = Detections(
        np.concatenate([corners_N2, corners_N2 + sizes_N2], axis=1).astype(np.float32),
        heat_HW[cells].astype(np.float32),
        points_N52.astype(np.float32),
    )
    return distinct(found)


@lru_cache(maxsize=1)
def _network() -> InferenceSession:
    options = SessionOptions()
    # Tasks run side by side; threads inside of them would only get in each other's way.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return InferenceSession(str(_WEIGHTS), options, providers=["CPUExecutionProvider"])


def distinct(*seen: Detections) -> Detections:
    """Detections of one image together, surest first; of two that are the same face, the surer one."""
    found = Detections(*(np.concatenate([getattr(part, f.name) for part in seen]) for f in fields(Detections)))
    corners_N2 = found.boxes_N4[:, :2]
    boxes_N4 = np.concatenate([corners_N2, found.boxes_N4[:, 2:] - corners_N2], axis=1)
    rows = cv2.dnn.NMSBoxes(boxes_N4.tolist(), found.scores_N.tolist(), 0.0, _OVERLAP)
    return found.at(np.asarray(rows, np.int64).reshape(-1))
