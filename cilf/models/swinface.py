"""SwinFace's age branch (Qin et al., arXiv 2308.11509): levels of a backbone, weighted by channel attention.

Each of four levels passes through its own convolution; a channel gate (CBAM, arXiv 1807.06521) on all of them together
selects the channels of each level that the task needs. During training the loss changes from squared error to the form
of the ε-error. Ours: any backbone with levels works (published: Swin-T at 112 pixels, first trained for recognition,
which is likely most of its strength); channels are allotted to the levels by their share; the output starts at the
median age.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cilf.age_space import AgeSpace
from cilf.errors import UsageError
from cilf.models.settings import SwinFace
from cilf.models.system import Channels, Decoded, Features, Step, System, summed

SIGMA = 3.0  # width of the ε-error's Gaussian, years
_REDUCTION = 16


class SwinFaceHead(System[Tensor]):
    """SwinFace's head; `out` is years, [B], not clamped to the range.

    Raises:
        UsageError: the backbone returns fewer than two levels, or more than there are channels to allot.
    """

    rests = True  # the layers after the backbone's last level get no gradient

    def __init__(self, channels: Channels, ages: AgeSpace, settings: SwinFace) -> None:
        super().__init__(ages)
        if len(channels.levels) < 2 or len(channels.levels) > settings.width:
            raise UsageError(
                f"swinface weights the levels of a backbone, but this one returns {len(channels.levels)}; take one "
                "that returns its stages' maps"
            )
        width = settings.width
        self.levels = nn.ModuleList(
            nn.Conv2d(entering, leaving, 3, padding=1, bias=False)
            for entering, leaving in zip(channels.levels, allot(width, channels.levels), strict=True)
        )
        squeezed = max(1, width // _REDUCTION)
        self.gate = nn.Sequential(nn.Linear(width, squeezed), nn.ReLU(), nn.Linear(squeezed, width))
        self.norm = nn.BatchNorm1d(width)
        self.hidden = nn.Sequential(
            *(nn.Linear(width, width), nn.ReLU(), nn.Dropout(settings.dropout)),
            *(nn.Linear(width, width), nn.ReLU(), nn.Dropout(settings.dropout)),
        )
        self.out = nn.Linear(width, 1)
        self.start_from(torch.tensor([(ages.youngest + ages.oldest) / 2]))

    @torch.no_grad()
    def start_from(self, ages_N: Tensor) -> None:
        """Set the initial output to the median of the training ages."""
        nn.init.constant_(self.out.bias, self.ages.clamp(ages_N.float()).median().item())

    def forward(self, features: Features) -> Tensor:
        """Pool all levels to the grid of the coarsest one, gate their channels, and regress the age."""
        grid = (features.levels[-1].shape[2], features.levels[-1].shape[3])
        pooled = [F.adaptive_avg_pool2d(level, grid) for level in features.levels]
        x_BWHW = torch.cat([conv(level) for conv, level in zip(self.levels, pooled, strict=True)], dim=1)
        gate_BW = (self.gate(x_BWHW.mean(dim=(2, 3))) + self.gate(x_BWHW.amax(dim=(2, 3)))).sigmoid()
        peak_BW = (gate_BW[:, :, None, None] * x_BWHW).relu().amax(dim=(2, 3))
        return self.out(self.hidden(self.norm(peak_BW))).squeeze(1).float()

    def loss(self, out: Tensor, ages_B: Tensor, step: Step) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean of (1 - τ) · ½ d² + τ · (1 - exp(-d² / (2 · 3²))), d in years and τ the share of training done."""
        square_B = (out - self.ages.clamp(ages_B)).square()
        epsilon_B = 1 - (-square_B / (2 * SIGMA**2)).exp()
        late = step.progress
        return summed({"square": (1 - late) * 0.5 * square_B.mean(), "epsilon": late * epsilon_B.mean()})

    def decode(self, out: Tensor) -> Decoded:
        return Decoded(self.ages.clamp(out), None)


def allot(width: int, channels: tuple[int, ...]) -> list[int]:
    """`width` split in proportion to `channels`, each at least 1: 512 among 192, 384, 768, 768 is 47, 93, 186, 186."""
    exact = [width * share / sum(channels) for share in channels]
    parts = [max(1, int(part)) for part in exact]
    while sum(parts) < width:
        parts[max(range(len(parts)), key=lambda i: exact[i] - parts[i])] += 1
    while sum(parts) > width:
        parts[max(range(len(parts)), key=lambda i: parts[i])] -= 1
    return parts
