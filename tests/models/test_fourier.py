"""The FourierFormer mixes globally, on any grid, and is what its equations say."""

import cmath
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from cilf.card import Fourier
from cilf.models.fourier import FourierBlock, FourierPriorEmbedding, build_mixer

MIXERS = ["fpe", "amplitude_phase", "gfnet", "attention", "conv"]
GRIDS = [(7, 7), (14, 14), (13, 9), (1, 5), (16, 16), (1, 1), (1, 196)]


def cells_seen(mixer: nn.Module, channels: int = 3, side: int = 8) -> int:
    """How many input cells the value of one output cell depends on, from the Jacobian."""
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


def test_gfnet_mixes_once_its_filter_has_left_its_start():
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
            return F.conv2d(x, conv.weight.double(), conv.bias.double(), padding=(0, 1), groups=channels)

        def pointwise(x, conv):
            return torch.einsum("oi,ihw->ohw", conv.weight.double()[:, :, 0, 0], x) + conv.bias.double()[:, None, None]

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


@pytest.mark.parametrize("grid", [(5, 5), (4, 6), (3, 4), (1, 5)])
def test_fpe_equals_a_written_out_float64_dft(grid):
    torch.manual_seed(0)
    mixer = FourierPriorEmbedding(2)
    u = torch.randn(2, *grid, dtype=torch.float64)
    with torch.no_grad():
        expected = dft_reference(mixer, u)
        found = mixer(u[None].float())[0].double()
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-4)


def test_film_shift_moves_every_cell_alike():
    """β on the constant frequency alone is a shift of the whole map."""
    torch.manual_seed(0)
    mixer = build_mixer("gfnet", 4, (6, 6))
    u, beta = torch.randn(1, 4, 6, 6), torch.randn(1, 4, 1, 1)
    plain = mixer(u, (torch.zeros_like(beta), torch.zeros_like(beta)))
    shifted = mixer(u, (torch.zeros_like(beta), beta))
    expected = F.conv2d(beta, mixer.out.weight)
    torch.testing.assert_close(shifted - plain, expected.expand_as(plain), atol=1e-5, rtol=1e-4)
