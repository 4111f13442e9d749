import pytest
import timm
import torch
from torch import Tensor, nn

from cilf.models.folding import fold_batch_norms
from cilf.models.fused_relu import fuse_relus
from cilf.models.same_padding import fix_same_padding

RELUS = (nn.ReLU, nn.ReLU6)


def relus(network: nn.Module) -> int:
    return sum(isinstance(module, RELUS) for module in network.modules())


def fused(network: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """The network's outputs before and after fusing."""
    with torch.inference_mode():
        before = network(images)
    fuse_relus(network, images[:1])
    with torch.inference_mode():
        return before, network(images)


class Shared(nn.Module):
    """One ReLU after two convolutions, one convolution before two ReLUs, a ReLU after a sum, and one that is not in
    place, whose input is used again."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third, self.fourth = (nn.Conv2d(3, 3, 3, padding=1) for _ in range(4))
        self.both, self.one, self.other = nn.ReLU(inplace=True), nn.ReLU(inplace=True), nn.ReLU(inplace=True)
        self.summed, self.kept = nn.ReLU6(inplace=True), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.both(self.second(self.both(self.first(x))))
        x = self.one(self.third(x)) + self.other(self.third(-x))
        x = self.summed(self.fourth(x) + x)
        seen = self.first(x)
        return seen + self.kept(seen)


@pytest.mark.parametrize("relu", RELUS)
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation"), [(1, 1, 0, 1), (3, 2, 1, 1), ((3, 5), (2, 1), (2, 0), 2)]
)
@pytest.mark.parametrize(("groups", "bias"), [(1, True), (6, False)])
def test_a_convolution_stays_the_same(relu, kernel, stride, padding, dilation, groups, bias):
    torch.manual_seed(0)
    conv = nn.Conv2d(6, 12, kernel, stride, padding, dilation, groups, bias)
    network = nn.Sequential(conv, relu(inplace=True)).eval().to(memory_format=torch.channels_last)
    before, after = fused(network, (8 * torch.randn(2, 6, 21, 18)).contiguous(memory_format=torch.channels_last))
    assert relus(network) == 0
    torch.testing.assert_close(after, before, rtol=1e-5, atol=1e-5)
    assert after.stride() == before.stride()


@pytest.mark.parametrize(("name", "left"), [("tf_efficientnet_lite0", 0), ("mobilenetv2_100", 0), ("resnet18", 8)])
def test_a_network_stays_the_same_for_images_of_any_size(name, left):
    torch.manual_seed(0)
    network = timm.create_model(name, num_classes=5).eval()
    image = torch.zeros(1, 3, 64, 64)
    fold_batch_norms(network, image)
    fix_same_padding(network, image)
    images = torch.randn(5, 3, 64, 64)
    with torch.inference_mode():
        larger = network(torch.cat([images, images], dim=3))
    before, after = fused(network, images)
    assert relus(network) == left  # of a ResNet's block, the one after the sum
    close = {"rtol": 1e-4, "atol": 1e-5 * before.abs().max().item()}
    torch.testing.assert_close(after, before, **close)
    with torch.inference_mode():
        torch.testing.assert_close(network(torch.cat([images, images], dim=3)), larger, **close)


def test_shared_convolutions_and_maps_are_left_alone():
    torch.manual_seed(0)
    network = Shared().eval()
    before, after = fused(network, torch.randn(2, 3, 8, 8))
    assert relus(network) == 5
    torch.testing.assert_close(after, before, rtol=0, atol=0)


@pytest.mark.parametrize("padding", [{"padding": "same"}, {"padding": 1, "padding_mode": "reflect"}])
def test_other_paddings_are_left_alone(padding):
    network = nn.Sequential(nn.Conv2d(3, 3, 3, **padding), nn.ReLU(inplace=True)).eval()
    before, after = fused(network, torch.randn(1, 3, 8, 8))
    assert relus(network) == 1
    torch.testing.assert_close(after, before, rtol=0, atol=0)
