"""The second network: its view of a crop, and its output."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from cilf.age_space import AgeSpace
from cilf.card import Frame, Images
from cilf.models.second import SecondNetwork, arcface_borders

ARCFACE = np.array([[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]])


def distance(images, borders):
    """Mean squared distance between a crop's five points and ArcFace's for given borders, in sides of the frame."""
    left, right, top, bottom = borders
    width, height = images.size + left + right, images.size + top + bottom
    points = (np.array(images.frame.points) * images.size + [left, top]) / [width, height]
    return ((points - ARCFACE / 112) ** 2).mean()


@pytest.mark.parametrize(
    "images",
    [
        Images(size=128),
        Images(size=160, frame=Frame(eyes=((0.4, 0.4), (0.6, 0.4)), nose=(0.5, 0.5), mouth=((0.42, 0.6), (0.58, 0.6)))),
    ],
    ids=["our crops", "crops with wide margins"],
)
def test_the_frame_is_as_close_to_arcface_as_possible(images):
    left, right, top, bottom = arcface_borders(images)
    assert left + right == top + bottom
    best = distance(images, (left, right, top, bottom))
    for step in (-2, 2):
        assert best < distance(images, (left + step, right - step, top, bottom))
        assert best < distance(images, (left, right, top + step, bottom - step))
        assert best < distance(images, (left + step, right + step, top + step, bottom + step))


def test_it_sees_colours_in_the_frame_whatever_the_normalisation():
    seen = []

    def look(pixels_BCHW):
        seen.append(pixels_BCHW)
        return (torch.zeros(1, 1, 2, 2),)

    coarse = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    picture = F.interpolate(coarse, size=128, mode="bilinear")
    for mean, std in (((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)), ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))):
        network = SecondNetwork(Images(size=128, mean=mean, std=std), AgeSpace())
        network.sface.forward = look
        network.features((picture - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None])
    assert seen[0].shape == (1, 3, 112, 112)
    assert torch.allclose(seen[0], seen[1], atol=1e-3)
    # The middle of the eyes, at ArcFace's position.
    expected = 255 * picture[0, :, round(0.286 * 128), 64]
    assert torch.allclose(seen[0][0, :, 52, 56], expected, atol=12)
    # Above the crop there are only the colours of its edge.
    assert torch.allclose(seen[0][0, :, 3, 56], 255 * picture[0, :, 0, 64], atol=12)


@torch.inference_mode()
def test_it_returns_a_posterior_over_the_ages_of_the_model():
    torch.manual_seed(0)
    network = SecondNetwork(Images(size=64), AgeSpace(10, 60)).eval()
    posterior = network(torch.randn(3, 3, 64, 64))
    assert posterior.shape == (3, 51)
    assert posterior.dtype == torch.float32
    assert torch.allclose(posterior.sum(dim=1), torch.ones(3))


@torch.inference_mode()
def test_it_uses_the_face_and_not_the_body():
    network = SecondNetwork(Images(size=64), AgeSpace()).eval()
    both = torch.randn(2, 6, 64, 64)
    assert torch.equal(network(both), network(both[:, :3]))
