"""The FourierFormer mixes globally, on any grid, and equals its equations."""

import cmath
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from cilf.card import Fourier
from cilf.models import dft
from cilf.models.fourier import FourierBlock, FourierPriorEmbedding, build_mixer

MIXERS = ["fpe", "amplitude_phase", "gfnet", "attention", "conv"]
GRIDS = [(7, 7), (14, 14), (13, 9), (1, 5), (16, 16), (1, 1), (1, 196)]


def cells_seen(mixer: nn.Module, channels: int = 3, side: int = 8) -> int:
    """Number of input cells that the value of one output cell depends on, from the Jacobian."""
    torch.manual_seed(0)
    u = torch.randn(1, channels, side, side, dtype=torch.float32, requires_grad=True)
    mixer(u)[0, 0, 3, 5].backward()
    assert u.grad is not None
    influence = u.grad[0].abs().sum(dim=0)
    return int((influence > 1e-5 * influence.max()).sum())


def test_fpe_reaches_every_cell():
    torch.manual_seed(1)
    assert cells_seen(FourierPriorEmbedding(3)) == 64


def test_linear_fpe_does_not_mix():
    """Without the non-linearity the spectrum's convolutions are a mask in space: a cell sees itself and its mirror,
    each smeared along its row by the half spectrum's zero-padded border columns, and no other row."""
    torch.manual_seed(1)
    assert cells_seen(FourierPriorEmbedding(3, activation=nn.Identity())) == 2 * 8


@pytest.mark.parametrize(("name", "expected"), [("attention", 64), ("amplitude_phase", 64)])
def test_other_global_mixers_reach_every_cell(name, expected):
    torch.manual_seed(1)
    assert cells_seen(build_mixer(name, 3, (8, 8))) == expected


def test_conv_stays_local():
    torch.manual_seed(1)
    assert cells_seen(build_mixer("conv", 3, (8, 8))) == 25  # two 3x3 convolutions


def test_gfnet_mixes_once_its_filter_has_changed():
    mixer = build_mixer("gfnet", 3, (8, 8))
    assert cells_seen(mixer) == 1
    nn.init.normal_(mixer.filter_real)
    assert cells_seen(mixer) == 64


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("name", MIXERS)
def test_block_runs_on_any_grid_with_finite_gradients(name, grid):
    torch.manual_seed(0)
    block = FourierBlock(8, Fourier(mixer=name, drop_path=0.0), grid=(7, 7))
    x = torch.randn(2, 8, *grid, requires_grad=True)
    out = block(x, torch.randn(2, 8))
    assert out.shape == x.shape
    out.square().sum().backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in block.parameters())


@pytest.mark.parametrize("name", MIXERS)
def test_bf16_autocast_is_finite_and_close(name):
    torch.manual_seed(0)
    block = FourierBlock(8, Fourier(mixer=name, drop_path=0.0), grid=(7, 7)).eval()
    x, message = torch.randn(2, 8, 7, 7), torch.randn(2, 8)
    exact = block(x, message)
    with torch.autocast("cpu", torch.bfloat16):
        out = block(x, message)
    assert torch.isfinite(out).all()
    assert (out.float() - exact).abs().max() < 0.05


def dft_reference(mixer: FourierPriorEmbedding, u: torch.Tensor) -> torch.Tensor:
    """FPE of one map [C, H, W], written out: DFT sums, convolutions on the half spectrum, inverse sums; float64."""
    channels, height, width = u.shape
    columns = width // 2 + 1

    def phase(sign, k, m, col, n):
        return cmath.exp(sign * 2j * math.pi * (k * m / height + col * n / width))

    real = torch.zeros(channels, height, columns, dtype=torch.float64)
    imag = torch.zeros_like(real)
    scale = 1 / math.sqrt(height * width)
    for c in range(channels):
        for k in range(height):
            for col in range(columns):
                total = sum(u[c, m, n].item() * phase(-1, k, m, col, n) for m in range(height) for n in range(width))
                real[c, k, col], imag[c, k, col] = total.real * scale, total.imag * scale

    def network(x, spatial, channel):
        def depthwise(x, conv):
            x = torch.cat([x[:, -1:], x, x[:, :1]], dim=1)  # rows of a spectrum are periodic
            return F.conv2d(x, conv.weight.double(), padding=(0, 1), groups=channels)

        def pointwise(x, conv):
            return torch.einsum("oi,ihw->ohw", conv.weight.double()[:, :, 0, 0], x)

        x = depthwise(F.leaky_relu(depthwise(x, spatial[0]), 0.1), spatial[2])
        return pointwise(F.leaky_relu(pointwise(x, channel[0]), 0.1), channel[2])

    real = network(real, mixer.spatial_real, mixer.channel_real)
    imag = network(imag, mixer.spatial_imag, mixer.channel_imag)

    out = torch.zeros(channels, height, width, dtype=torch.float64)
    for c in range(channels):
        for m in range(height):
            for n in range(width):
                total = 0.0
                for k in range(height):
                    for col in range(width):
                        # The missing half of a real map's spectrum is the conjugate of the other; on the columns
                        # that are their own mirror, the inverse of a real map takes the conjugate-even part.
                        own = col < columns
                        row, column = (k, col) if own else (-k % height, width - col)
                        value = complex(real[c, row, column].item(), imag[c, row, column].item() * (1 if own else -1))
                        if column == 0 or 2 * column == width:
                            other = -row % height
                            even = complex(real[c, other, column].item(), -imag[c, other, column].item())
                            value = (complex(real[c, row, column].item(), imag[c, row, column].item()) + even) / 2
                        total += (value * phase(1, k, m, col, n)).real
                out[c, m, n] = total * scale
    weight, bias = mixer.out.weight.double()[:, :, 0, 0], mixer.out.bias.double()
    return torch.einsum("oi,ihw->ohw", weight, out) + bias[:, None, None]


@pytest.mark.parametrize("longest", [dft.LONGEST, 0], ids=["by matrices", "by FFT"])
@pytest.mark.parametrize("grid", [(5, 5), (4, 6), (3, 4), (1, 5), (1, 3)])
def test_fpe_equals_a_written_out_float64_dft(grid, longest, monkeypatch):
    """The grid of 1 x 3 has too few cells for `out` to be merged into the spectrum's last matrices."""
    monkeypatch.setattr(dft, "LONGEST", longest)
    torch.manual_seed(0)
    mixer = FourierPriorEmbedding(2)
    u = torch.randn(2, *grid, dtype=torch.float64)
    with torch.no_grad():
        expected = dft_reference(mixer, u)
        found = mixer(u[None].float())[0].double()
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("grid", [*GRIDS, (2, 2), (9, 64), (dft.LONGEST, 6), (dft.LONGEST + 1, 3)])
def test_dft_is_that_of_torch_in_float64(grid):
    """Holds for any half spectrum, too, in which some imaginary parts must be ignored because the map is real."""
    torch.manual_seed(0)
    u = torch.randn(2, 3, *grid)
    expected = torch.fft.rfft2(u.double(), norm="ortho")
    wrapped = expected[:, :, [row % grid[0] for row in range(-2, grid[0] + 2)]]
    real, imag = dft.rfft2(u, margin=2)
    torch.testing.assert_close(torch.complex(real, imag), wrapped.to(torch.complex64), atol=3e-6, rtol=1e-5)
    real, imag = torch.randn(2, *expected.shape[1:]), torch.randn(2, *expected.shape[1:])
    expected = torch.fft.irfft2(torch.complex(real.double(), imag.double()), s=grid, norm="ortho")
    torch.testing.assert_close(dft.irfft2(real, imag, grid[1]), expected.float(), atol=3e-6, rtol=1e-5)


def test_attention_gets_the_fused_kernel():
    """With the other kernels disabled, a layout that this kernel does not take would raise an error."""
    u = torch.randn(2, 128, 7, 7)
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION), torch.no_grad():
        build_mixer("attention", 128, (7, 7))(u)


def test_film_shift_moves_every_cell_equally():
    """β on the constant frequency alone is a shift of the whole map."""
    torch.manual_seed(0)
    mixer = build_mixer("gfnet", 4, (6, 6))
    u, beta = torch.randn(1, 4, 6, 6), torch.randn(1, 4, 1, 1)
    plain = mixer(u, (torch.zeros_like(beta), torch.zeros_like(beta)))
    shifted = mixer(u, (torch.zeros_like(beta), beta))
    expected = F.conv2d(beta, mixer.out.weight)
    torch.testing.assert_close(shifted - plain, expected.expand_as(plain), atol=1e-5, rtol=1e-4)
