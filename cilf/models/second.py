"""A second opinion on a face: SFace, frozen, with an age head of its own.

What two networks say errs apart where they have learned apart: this one has learned whom faces belong to, not how old
they are, and none of its weights is the first network's. It costs more than the first network, so it is asked only of
faces whose first estimate is judged bad.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cilf.age_space import AgeSpace
from cilf.card import Images
from cilf.models.sface import FEATURES, SIDE, SFace

_POINTS = ((38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041))
"""Eyes, nose and corners of the mouth in the ArcFace frame of 112 pixels (Deng et al. 2019, arXiv 1801.07698), in the
order of Frame.points."""
_HIDDEN = 256
_DROPOUT = 0.5


class SecondNetwork(nn.Module):
    """Crops as the first network sees them -> an age posterior.

    SFace sees them in the ArcFace frame, with the colours of their edges beyond these.

    Args:
        images: how the first network sees crops.
        ages: the classes of the posterior.
    """

    def __init__(self, images: Images, ages: AgeSpace) -> None:
        super().__init__()
        self.ages = ages
        self.borders = arcface_borders(images)
        self.register_buffer("mean", 255 * torch.tensor(images.mean)[:, None, None], persistent=False)
        self.register_buffer("std", 255 * torch.tensor(images.std)[:, None, None], persistent=False)
        self.mean: Tensor
        self.std: Tensor
        self.sface = SFace()
        self.head = age_head(FEATURES, len(ages))

    def forward(self, pixels_BCHW: Tensor) -> Tensor:
        """Normalised pixels, float [B, C, S, S] -> posterior, float32 [B, K].

        The mirror image is not looked at: it costs as much again, and the mean of both erred by as much as one
        (4.63 years on 600 held-out training faces).
        """
        return self.head(self.features(pixels_BCHW)).float().softmax(dim=1)

    @torch.no_grad()
    def features(self, pixels_BCHW: Tensor) -> Tensor:
        """What the head is given: normalised pixels, float [B, C, S, S] -> [B, FEATURES]."""
        face_BCHW = pixels_BCHW[:, :3]  # what follows is the body's, where the first network sees one
        framed = F.pad(face_BCHW * self.std + self.mean, self.borders, mode="replicate")
        framed = F.interpolate(framed, size=SIDE, mode="bilinear", antialias=True, align_corners=False)
        return torch.cat([level.mean(dim=(2, 3)) for level in self.sface(framed)], dim=1)


def age_head(features: int, classes: int) -> nn.Sequential:
    """Features of a frozen network -> logits of an age posterior."""
    return nn.Sequential(nn.Linear(features, _HIDDEN), nn.GELU(), nn.Dropout(_DROPOUT), nn.Linear(_HIDDEN, classes))


def arcface_borders(images: Images) -> tuple[int, int, int, int]:
    """How many pixels the ArcFace frame has on the left, right, upper and lower side of a crop beyond it; less than 0
    where it has fewer than the crop.

    The frame is placed so that the five points of both lie on each other as well as they can: least squares over moving
    and scaling.
    """
    theirs, ours = torch.tensor(_POINTS) / SIDE, torch.tensor(images.frame.points)
    spread, middle = theirs - theirs.mean(dim=0), ours.mean(dim=0)
    scale = (spread * (ours - middle)).sum() / spread.square().sum()
    left, top = ((middle - scale * theirs.mean(dim=0)) * images.size).round().int().tolist()
    side = round(float(scale) * images.size)
    return -left, left + side - images.size, -top, top + side - images.size
