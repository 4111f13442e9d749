import pytest
import timm
import torch
from timm.layers import Conv2dSame
from torch import nn
from torch.testing import assert_close

from cilf.models.same_padding import fix_same_padding


def dynamic(network: nn.Module) -> int:
    return sum(isinstance(module, Conv2dSame) for module in network.modules())


@pytest.mark.parametrize("size", [9, 16, 17, 31])
@pytest.mark.parametrize(("kernel", "stride"), [(2, 1), (3, 2), (5, 2), (4, 3), (1, 2), ((3, 5), (2, 4))])
@pytest.mark.parametrize(("groups", "bias"), [(1, True), (6, False)])
def test_a_convolution_stays_the_same(size, kernel, stride, groups, bias):
    torch.manual_seed(0)
    network = nn.Sequential(Conv2dSame(6, 6, kernel, stride, groups=groups, bias=bias)).eval()
    images = torch.randn(2, 6, size, size + 3)
    with torch.inference_mode():
        before = network(images)
    fix_same_padding(network, images[:1])
    assert dynamic(network) == 0
    with torch.inference_mode():
        assert_close(network(images), before, rtol=1e-5, atol=1e-5)


def test_convolutions_that_rows_of_zeros_cannot_fix_are_left_alone():
    network = nn.Sequential(Conv2dSame(3, 3, 2, dilation=3)).eval()
    images = torch.randn(1, 3, 8, 8)
    before = network(images)
    fix_same_padding(network, images)
    assert dynamic(network) == 1
    assert_close(network(images), before)


@pytest.mark.parametrize("size", [64, 144])
def test_a_network_stays_the_same(size):
    torch.manual_seed(0)
    network = timm.create_model("tf_efficientnet_lite0", num_classes=5).eval()
    images = torch.randn(3, 3, size, size)
    with torch.inference_mode():
        before = network(images)
    assert dynamic(network) == 5
    fix_same_padding(network, images[:1])
    assert dynamic(network) == 0
    with torch.inference_mode():
        assert_close(network(images), before, rtol=1e-4, atol=1e-5 * before.abs().max().item())
