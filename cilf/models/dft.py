"""The DFT of real maps and its inverse, with real and imaginary parts as separate tensors.

On the CPU a short transform is fastest as a product with the DFT matrix, along one axis and then along the other: at
the 7 to 64 cells per side of CLIP's maps an FFT saves no time. The products also take channels-last maps without the
copy that an FFT needs. Longer sides, and other devices, use the FFT.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

LONGEST = 64
"""The longest side, in cells, that is transformed by matrices; at this length the FFT was equally fast."""


def rfft2(u_BCHW: Tensor, margin: int = 0) -> tuple[Tensor, Tensor]:
    """Half spectrum of real maps, in the "ortho" norm: its variance equals that of the maps for every grid.

    Args:
        u_BCHW: float32.
        margin: extra rows of frequencies at either end, which convolutions then consume; taken from the other end, as
            a spectrum is periodic.

    Returns:
        Real and imaginary part, float32 [B, C, H + 2 margin, W // 2 + 1] each.
    """
    batch, _, height, width = u_BCHW.shape
    rows = torch.arange(-margin, height + margin, device=u_BCHW.device) % height
    if not _by_matrices(u_BCHW.device, height, width):
        spectrum = torch.fft.rfft2(u_BCHW, norm="ortho")[:, :, rows]
        return spectrum.real, spectrum.imag
    columns = width // 2 + 1
    cos, sin = _waves(width, u_BCHW)
    x_BHXC = torch.cat([cos[:columns], -sin[:columns]]) @ u_BCHW.permute(0, 2, 3, 1)
    # Along H each row's real part a is followed by its imaginary part b: (a + ib) (cos - i sin).
    x_BYM = x_BHXC.reshape(batch, 2 * height, -1)
    cos, sin = (wave[rows] for wave in _waves(height, u_BCHW))
    real = torch.stack([cos, sin], dim=2).flatten(1) @ x_BYM
    imag = torch.stack([-sin, cos], dim=2).flatten(1) @ x_BYM
    return real.unflatten(2, (columns, -1)).permute(0, 3, 1, 2), imag.unflatten(2, (columns, -1)).permute(0, 3, 1, 2)


def irfft2(real: Tensor, imag: Tensor, width: int) -> Tensor:
    """Real maps of a given width from their half spectrum, [B, C, H, W // 2 + 1] each -> [B, C, H, W].

    The width must be given because maps of 6 and of 7 columns have half spectra of the same size.
    """
    batch, _, height, columns = real.shape
    if not _by_matrices(real.device, height, width):
        return torch.fft.irfft2(torch.complex(real, imag), s=(height, width), norm="ortho")
    # (a + ib) (cos + i sin), again with real and imaginary parts alternating.
    cos, sin = _waves(height, real)
    of_real, of_imag = (torch.stack(pair, dim=1).flatten(0, 1) for pair in ((cos, sin), (-sin, cos)))
    x_BYM = of_real @ real.permute(0, 2, 3, 1).flatten(2)
    x_BYM = x_BYM.baddbmm_(of_imag.expand(batch, -1, -1), imag.permute(0, 2, 3, 1).flatten(2))
    # A column also represents its conjugate, unless it is its own: the first column, and the last one of an even width.
    own = 2 * torch.arange(columns, device=real.device) % width == 0
    cos, sin = (torch.where(own, wave[:, :columns], 2 * wave[:, :columns]) for wave in _waves(width, real))
    back = torch.cat([cos, -sin], dim=1)
    return (back @ x_BYM.reshape(batch, height, 2 * columns, -1)).permute(0, 3, 1, 2)


def _by_matrices(device: torch.device, height: int, width: int) -> bool:
    return device.type == "cpu" and max(height, width) <= LONGEST


def _waves(size: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """cos and sin of 2π k n / size, over √size: the DFT's matrix, on the device and in the dtype of `like`."""
    k = torch.arange(size, device=like.device, dtype=torch.float64)
    angle = 2 * math.pi / size * (k[:, None] * k % size)
    cos, sin = ((wave / math.sqrt(size)).to(like.dtype) for wave in (angle.cos(), angle.sin()))
    return cos, sin
