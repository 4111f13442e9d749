import pytest
import timm
import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn

from cilf.models.folding import fold_batch_norms


class Unordered(nn.Module):
    """Lists its modules in another order than it uses them; one normalisation follows no convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.BatchNorm2d(4)
        self.entry = nn.BatchNorm2d(3)
        self.norm = BatchNormAct2d(4)
        self.second = nn.Conv2d(4, 4, 3)
        self.first = nn.Conv2d(3, 4, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.second(self.norm(self.first(self.entry(x)))))


class Residual(nn.Module):
    """Adds its input to a convolution's map in place, before it is normalised."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv(x)
        out += x
        return self.norm(out)


NETWORKS = {
    "unordered": Unordered,
    "residual": Residual,
    "efficientnet": lambda: timm.create_model("efficientnet_lite0", num_classes=5),
    "resnet": lambda: timm.create_model("resnet18", num_classes=5),
    "without": lambda: timm.create_model("vit_tiny_patch16_224", img_size=64, num_classes=5),
}
LEFT = {"unordered": 1, "residual": 1, "efficientnet": 0, "resnet": 0, "without": 0}


@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_stay_the_same(name):
    torch.manual_seed(0)
    network = NETWORKS[name]().eval()
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        nn.init.uniform_(norm.running_mean, -1, 1)
        nn.init.uniform_(norm.running_var, 0.5, 2)
        nn.init.uniform_(norm.weight, 0.5, 2)
        nn.init.uniform_(norm.bias, -1, 1)
    images = torch.randn(3, 3, 64, 64)
    with torch.inference_mode():
        before = network(images)
    fold_batch_norms(network, torch.zeros(1, 3, 64, 64))
    with torch.inference_mode():
        torch.testing.assert_close(network(images), before, rtol=1e-4, atol=1e-4 * before.abs().max().item())
    assert sum(isinstance(module, nn.BatchNorm2d) for module in network.modules()) == LEFT[name]
