"""The second network's head learns from exact ages and from groups."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from cilf.age_space import AgeSpace
from cilf.card import Images
from cilf.models.second import SecondNetwork
from cilf.models.sface import FEATURES
from cilf.training.age_head import head_loss
from cilf.training.second import fit_second

IMAGES = Images(size=32)


def plain(ages_N, generator):
    """Squares that turn from blue to red with age."""
    red = 255 * ages_N / 100
    colour = torch.stack([red, torch.full_like(red, 60), 255 - red], dim=1)
    noise = 6 * torch.randn(len(ages_N), 32, 32, 3, generator=generator)
    return (colour[:, None, None] + noise).clamp(0, 255).to(torch.uint8)


def batches(count, *, grouped, views=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        ages = torch.randint(0, 100, (32,), generator=generator).float()
        shown = [plain(ages, generator) for _ in range(views)]
        low = (ages / 10).floor() * 10 if grouped else ages
        high = low + 9 if grouped else ages
        yield {"image": torch.stack(shown, dim=1) if views > 1 else shown[0], "low": low, "high": high}


class Colours(nn.Module):
    """Fixed mixtures of SFace's input, in the shapes of its maps: features that cost nothing."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(FEATURES, 3, 1, 1) / 128, requires_grad=False)

    def forward(self, pixels_BCHW):
        return F.conv2d(F.adaptive_avg_pool2d(pixels_BCHW, 2) - 127.5, self.weight).relu().split([512, 1024], dim=1)


def network():
    torch.manual_seed(0)
    made = SecondNetwork(IMAGES, AgeSpace())
    made.sface = Colours()
    return made


@torch.no_grad()
def error(fitted):
    [batch] = batches(1, grouped=False, seed=9)
    pixels = batch["image"].permute(0, 3, 1, 2) / 255
    normalised = (pixels - torch.tensor(IMAGES.mean)[:, None, None]) / torch.tensor(IMAGES.std)[:, None, None]
    return (AgeSpace().median(fitted(normalised)) - batch["low"]).abs().mean().item()


@pytest.mark.parametrize(("grouped", "views", "at_most"), [(False, 1, 6), (True, 1, 9), (False, 2, 6)])
def test_it_learns_ages_and_groups(grouped, views, at_most):
    fitted = fit_second(network(), IMAGES, batches(12, grouped=grouped, views=views))
    assert not fitted.training
    assert error(fitted) < at_most


def test_sface_stays_and_a_seed_gives_the_same_head():
    first, second = network(), network()
    before = {name: value.clone() for name, value in first.sface.state_dict().items()}
    torch.manual_seed(1)
    fit_second(first, IMAGES, batches(2, grouped=False), seed=3)
    torch.manual_seed(2)
    fit_second(second, IMAGES, batches(2, grouped=False), seed=3)
    assert all(torch.equal(value, before[name]) for name, value in first.sface.state_dict().items())
    assert all(torch.equal(a, b) for a, b in zip(first.head.parameters(), second.head.parameters(), strict=True))


def test_a_group_is_learned_by_the_mass_inside_it():
    logits = torch.tensor([[0.0, 1.0, 2.0, 3.0]])
    inside = torch.tensor([[0.0, 1.0, 1.0, 0.0]])
    p = logits.softmax(dim=1)
    found = head_loss(logits, inside, torch.tensor([False]))
    assert torch.isclose(found, -torch.log(p[0, 1] + p[0, 2]))
    exact = head_loss(logits, torch.tensor([[0.0, 0.25, 0.75, 0.0]]), torch.tensor([True]))
    assert torch.isclose(exact, -(0.25 * p[0, 1].log() + 0.75 * p[0, 2].log()))


def test_no_rows_are_refused():
    with pytest.raises(ValueError, match="there are none"):
        fit_second(network(), IMAGES, [])
