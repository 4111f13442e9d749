"""The matching loss, compared with its equations."""

import multiprocessing
import warnings
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import torch
from torch.nn import functional as F

from cilf.models.matching import matching_loss

ONE_KIND = torch.zeros(4, dtype=torch.int64)


def test_matching_loss_equals_its_equations_in_float64():
    torch.manual_seed(0)
    joint, text, ages = torch.randn(4, 6), torch.randn(4, 6), torch.tensor([2.0, 2.0, 5.0, 9.0])
    kinds = torch.tensor([0, 0, 0, 1])
    g, t, y = F.normalize(joint.double(), dim=1), F.normalize(text.double(), dim=1), ages.double()
    logits = torch.tensor([[5.0 * (g[i] @ t[j]).item() for j in range(4)] for i in range(4)]).double()
    target = torch.zeros(4, 4).double()
    for i in range(4):
        for j in range(4):
            if kinds[i] == kinds[j]:
                target[i, j] = (-(y[i] - y[j]).abs() / 2).exp()
    target /= target.sum(1, keepdim=True)
    expected = sum(-0.5 * (target * matrix.log_softmax(1)).sum(1).mean().item() for matrix in (logits, logits.T))
    assert abs(matching_loss(joint, text, ages, kinds, torch.tensor(5.0)).item() - expected) < 1e-5


def test_equal_captions_are_not_negatives():
    """Two people with the same caption may be equally near to it at no cost."""
    text = torch.eye(10)[[3, 3]]
    joint = text.clone().requires_grad_()
    matching_loss(joint, text, torch.tensor([3.0, 3.0]), ONE_KIND[:2], torch.tensor(20.0)).backward()
    assert joint.grad is not None
    torch.testing.assert_close(joint.grad[0], joint.grad[1])


def test_captions_of_another_kind_are_negatives_at_any_age():
    text, ages, scale = torch.eye(10)[[3, 4]], torch.tensor([3.0, 3.0]), torch.tensor(20.0)
    same = matching_loss(text, text, ages, torch.tensor([0, 0]), scale)
    other = matching_loss(text, text, ages, torch.tensor([0, 1]), scale)
    assert other < 0.01 < 1 < same


def test_matched_pairs_cost_less_than_mismatched():
    scale, text = torch.tensor(10.0), torch.eye(10)[[1, 8]]
    ages = torch.tensor([1.0, 8.0])
    matched = matching_loss(text, text, ages, ONE_KIND[:2], scale)
    crossed = matching_loss(text.flip(0), text, ages, ONE_KIND[:2], scale)
    assert matched < crossed - 1


def _faces():
    """Images before their shared projection, the projection, prompts, 1 / τ and ages."""
    torch.manual_seed(0)
    projection, text = torch.randn(6, 6), torch.randn(4, 6)
    shared = (projection.requires_grad_(), text.requires_grad_(), torch.tensor(5.0, requires_grad=True))
    return torch.randn(4, 6), shared, torch.tensor([2.0, 4.0, 5.0, 9.0])


def _loss_and_gradients(rows: slice):
    images, (projection, text, scale), ages = _faces()
    loss = matching_loss(images[rows] @ projection, text[rows], ages[rows], ONE_KIND[rows], scale)
    return loss.item(), [g.numpy() for g in torch.autograd.grad(loss, (projection, text, scale))]


def _rank(rank: int, address: str):
    warnings.simplefilter("error")
    torch.distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    try:
        return _loss_and_gradients(slice(2 * rank, 2 * rank + 2))
    finally:
        torch.distributed.destroy_process_group()


def test_two_ranks_with_half_the_faces_each_equal_one_with_all(tmp_path):
    """Averaged over ranks, as in data-parallel training, loss and gradients are those of the whole batch; half a
    batch in a single process gives different ones."""
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        found = list(pool.map(_rank, range(2), 2 * [f"file://{tmp_path}/meeting"]))
    loss, gradients = _loss_and_gradients(slice(4))
    assert abs(sum(loss for loss, _ in found) / 2 - loss) < 1e-5
    alone = [_loss_and_gradients(slice(2 * half, 2 * half + 2))[1] for half in range(2)]
    for of_parameter, expected, *apart in zip(zip(*(g for _, g in found), strict=True), gradients, *alone, strict=True):
        np.testing.assert_allclose(sum(of_parameter) / 2, expected, atol=1e-5, rtol=1e-4)
        assert np.abs(sum(apart) / 2 - expected).max() > 1e-3
