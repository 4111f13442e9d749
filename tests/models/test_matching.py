"""The matching loss, from its equations."""

import multiprocessing

import torch
from torch.nn import functional as F

from cilf.ages import AgeSpace
from cilf.models.matching import matching_loss


def test_matching_loss_equals_its_equations_in_float64():
    torch.manual_seed(0)
    space, scale = AgeSpace(0, 9), torch.tensor(5.0)
    joint, text, ages = torch.randn(4, 6), torch.randn(10, 6), torch.tensor([2.0, 2.0, 5.0, 9.0])
    g, t, y = F.normalize(joint.double(), dim=1), F.normalize(text.double(), dim=1), ages.double()
    expected = 0.0
    logits = [[5.0 * (g[i] @ t[int(y[j])]).item() for j in range(4)] for i in range(4)]
    target = torch.tensor([[-abs((y[i] - y[j]).item()) / 2 for j in range(4)] for i in range(4)]).double().softmax(1)
    for matrix in (torch.tensor(logits).double(), torch.tensor(logits).double().T):
        expected -= 0.5 * (target * matrix.log_softmax(1)).sum(1).mean().item()
    label = (-((torch.arange(10.0).double() - y[:, None]) ** 2) / 8).softmax(1)
    expected -= (label * (5.0 * g @ t.T).log_softmax(1)).sum(1).mean().item()
    assert abs(matching_loss(joint, text, ages, scale, space).item() - expected) < 1e-5


def test_equal_ages_are_not_negatives():
    """Two people of one age may be equally near their common prompt at no cost to either."""
    space, scale = AgeSpace(0, 9), torch.tensor(20.0)
    text = torch.eye(10)
    same = torch.tensor([3.0, 3.0])
    joint = text[[3, 3]].clone().requires_grad_()
    matching_loss(joint, text, same, scale, space).backward()
    assert joint.grad is not None
    torch.testing.assert_close(joint.grad[0], joint.grad[1])


def test_matched_pairs_cost_less_than_mismatched():
    space, scale, text = AgeSpace(0, 9), torch.tensor(10.0), torch.eye(10)
    ages = torch.tensor([1.0, 8.0])
    matched = matching_loss(text[[1, 8]], text, ages, scale, space)
    crossed = matching_loss(text[[8, 1]], text, ages, scale, space)
    assert matched < crossed - 1


def _loss_of_rank(rank: int, address: str, results) -> None:
    torch.distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    try:
        space, scale = AgeSpace(0, 9), torch.tensor(5.0)
        joint, text, ages = _faces()
        own = joint[2 * rank : 2 * rank + 2].clone().requires_grad_()
        loss = matching_loss(own, text, ages[2 * rank : 2 * rank + 2], scale, space)
        loss.backward()
        results.put((rank, loss.item(), own.grad.numpy()))
    finally:
        torch.distributed.destroy_process_group()


def _faces():
    generator = torch.Generator().manual_seed(0)
    joint, text = torch.randn(4, 6, generator=generator), torch.randn(10, 6, generator=generator)
    return joint, text, torch.tensor([2.0, 4.0, 5.0, 9.0])


def test_other_ranks_faces_count_too(tmp_path):
    """Two ranks with half a batch each give together the loss and the gradients of one rank with all of it."""
    context = multiprocessing.get_context("spawn")
    results = context.SimpleQueue()
    address = f"file://{tmp_path}/meeting"
    ranks = [context.Process(target=_loss_of_rank, args=(rank, address, results)) for rank in range(2)]
    for process in ranks:
        process.start()
    found = sorted(results.get() for _ in ranks)
    for process in ranks:
        process.join()
    joint, text, ages = _faces()
    joint.requires_grad_()
    whole = matching_loss(joint, text, ages, torch.tensor(5.0), AgeSpace(0, 9))
    whole.backward()
    assert joint.grad is not None
    # Data-parallel training averages over ranks: losses and gradients of the halves are averaged too.
    assert abs((found[0][1] + found[1][1]) / 2 - whole.item()) < 1e-5
    halves = torch.cat([torch.from_numpy(gradient) for _, _, gradient in found]) / 2
    torch.testing.assert_close(halves, joint.grad, atol=1e-5, rtol=1e-4)
