"""The forest's routing, losses and leaves, compared with their equations one row and one leaf at a time."""

import math
import multiprocessing
import warnings
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cilf.age_space import AgeSpace
from cilf.models.regression_forest import RegressionForestHead, em_step
from cilf.models.settings import RegressionForest
from cilf.models.system import Channels, Features, Step

AGES = AgeSpace(10, 60)
FLOOR = 1 / 50**2


def features(rows: int, seed: int = 0) -> Features:
    pooled = torch.randn(rows, 6, generator=torch.Generator().manual_seed(seed))
    return Features(pooled, pooled[:, :, None, None])


def forest(depth: int = 4, **changes) -> RegressionForestHead:
    torch.manual_seed(3)
    head = RegressionForestHead(Channels(6, 6), AGES, RegressionForest(trees=3, depth=depth, units=20, **changes))
    torch.nn.init.normal_(head.linear.weight)
    return head


def path_probabilities(head: RegressionForestHead, pooled: torch.Tensor) -> np.ndarray:
    """[B, T, L], walking down each path; node n's children are 2n + 1 and 2n + 2."""
    units = (pooled.double() @ head.linear.weight.double().T + head.linear.bias.double()).detach().numpy()
    leaves, depth = head.settings.leaves, head.settings.depth
    found = np.ones((len(pooled), head.settings.trees, leaves))
    for b in range(len(pooled)):
        for t in range(head.settings.trees):
            for leaf in range(leaves):
                node = 0
                for level in range(depth - 1):
                    right = leaf >> (depth - 2 - level) & 1
                    left_share = 1 / (1 + math.exp(-units[b, int(head.unit_TS[t, node])]))
                    found[b, t, leaf] *= 1 - left_share if right else left_share
                    node = 2 * node + 1 + right
    return found


def normal(y: float, mean: float, variance: float) -> float:
    return math.exp(-((y - mean) ** 2) / (2 * variance)) / math.sqrt(2 * math.pi * variance)


def leaf_update(routing, y, mean, variance):
    """One EM step in plain loops."""
    rows, trees, leaves = routing.shape
    new_mean, new_variance = mean.copy(), variance.copy()
    for t in range(trees):
        zeta = np.zeros((rows, leaves))
        for i in range(rows):
            for leaf in range(leaves):
                zeta[i, leaf] = routing[i, t, leaf] * normal(y[i], mean[t, leaf], variance[t, leaf])
            zeta[i] /= zeta[i].sum()
        for leaf in range(leaves):
            total = sum(zeta[i, leaf] for i in range(rows))
            if total <= 1e-3 * rows / leaves:
                continue
            centre = sum(zeta[i, leaf] * y[i] for i in range(rows)) / total
            spread = sum(zeta[i, leaf] * (y[i] - centre) ** 2 for i in range(rows)) / total
            new_mean[t, leaf], new_variance[t, leaf] = centre, max(FLOOR, spread)
    return new_mean, new_variance


@pytest.mark.parametrize("depth", [2, 4])
def test_routing_multiplies_along_each_path(depth):
    head, seen = forest(depth), features(5)
    routing = head(seen).exp()
    torch.testing.assert_close(routing.sum(dim=2), torch.ones(5, 3))
    np.testing.assert_allclose(routing.detach(), path_probabilities(head, seen.pooled_BC), atol=1e-6)
    for units in head.unit_TS:
        assert len(units.unique()) == len(units)


@pytest.mark.parametrize("loss", ["l2", "likelihood"])
def test_losses_and_decodes_equal_their_equations(loss):
    head, seen, ages = forest(loss=loss), features(5), torch.tensor([10.0, 23, 37.5, 58, 60])
    head.start_from(torch.tensor([12.0, 20, 33, 50, 59]))
    routing, y = path_probabilities(head, seen.pooled_BC), (ages.numpy() - 10) / 50
    mean, variance = head.mean_TL.numpy(), head.variance_TL.numpy()
    expected, estimates = 0.0, np.zeros(5)
    posterior = np.zeros((5, len(AGES)))
    for b in range(5):
        for t in range(3):
            guess = sum(routing[b, t, leaf] * mean[t, leaf] for leaf in range(8))
            density = sum(routing[b, t, leaf] * normal(y[b], mean[t, leaf], variance[t, leaf]) for leaf in range(8))
            expected += (0.5 * (y[b] - guess) ** 2 if loss == "l2" else -math.log(density)) / 15
            estimates[b] += (10 + 50 * guess) / 3
            for k in range(len(AGES)):
                at = k / 50
                posterior[b, k] += sum(
                    routing[b, t, leaf] * normal(at, mean[t, leaf], variance[t, leaf]) for leaf in range(8)
                )
    out = head(seen)
    assert head.loss(out, ages, Step(0, 1))[0].item() == pytest.approx(expected, rel=1e-4)
    decoded = head.decode(out)
    np.testing.assert_allclose(decoded.age_B.detach(), estimates, rtol=1e-5)
    np.testing.assert_allclose(decoded.posterior_BK.detach(), posterior / posterior.sum(1, keepdims=True), atol=1e-6)


def test_leaf_update_equals_its_equations():
    random = np.random.default_rng(0)
    routing = random.dirichlet(np.full(4, 0.3), size=(30, 2))
    routing[:, 0] = np.column_stack([routing[:, 0, :3] / routing[:, 0, :3].sum(1, keepdims=True), np.full(30, 1e-9)])
    y = random.uniform(0, 1, 30)
    mean, variance = random.uniform(0, 1, (2, 4)), random.uniform(FLOOR, 0.05, (2, 4))
    variance[1, 0], mean[1, 0], y[:3], routing[:3, 1] = FLOOR, 0.5, 0.5, (0.97, 0.01, 0.01, 0.01)
    expected_mean, expected_variance = leaf_update(routing, y, mean, variance)
    assert (expected_mean[0, 3], expected_variance[0, 3]) == (mean[0, 3], variance[0, 3]), "no row reaches this leaf"
    found = em_step(*(torch.from_numpy(x) for x in (np.log(routing), y, mean, variance)), FLOOR)
    np.testing.assert_allclose(found[0], expected_mean, atol=1e-12)
    np.testing.assert_allclose(found[1], expected_variance, atol=1e-12)


@given(st.integers(0, 2**31), st.floats(0.05, 3), st.integers(2, 40))
@settings(deadline=None, max_examples=40)
def test_likelihood_never_falls(seed, evenness, rows):
    random = np.random.default_rng(seed)
    log_routing = torch.from_numpy(np.log(random.dirichlet(np.full(4, evenness), size=(rows, 2)) + 1e-12))
    y = torch.from_numpy(random.choice(random.uniform(0, 1, 5), rows))  # repeated ages reach the minimum variance
    mean, variance = torch.from_numpy(random.uniform(0, 1, (2, 4))), torch.full((2, 4), 0.02, dtype=torch.float64)

    def likelihood():
        density = torch.distributions.Normal(mean, variance.sqrt()).log_prob(y[:, None, None])
        return (log_routing + density).logsumexp(dim=2).sum().item()

    reached = [likelihood()]
    for _ in range(12):
        mean, variance = em_step(log_routing, y, mean, variance, FLOOR)
        reached.append(likelihood())
    assert all(later >= earlier - 1e-9 * max(1, abs(earlier)) for earlier, later in pairwise(reached))


def test_leaves_start_at_quantiles_and_follow_the_rows():
    head, seen = forest(), features(64)
    ages = torch.linspace(12, 58, 64)
    head.start_from(ages)
    quantiles = np.quantile((ages.numpy() - 10) / 50, (np.arange(8) + 0.5) / 8)
    for of_tree in head.mean_TL:
        np.testing.assert_allclose(of_tree.sort().values, quantiles, atol=1e-6)
    assert not torch.equal(head.mean_TL[0], head.mean_TL[1])
    head.train()
    whole = forest()
    whole.start_from(ages)
    head.after_epoch([(features(64), ages)])
    assert head.training
    halves = [Features(seen.pooled_BC[i], seen.map_BCHW[i]) for i in (slice(0, 20), slice(20, 64))]
    whole.after_epoch(zip(halves, (ages[:20], ages[20:]), strict=True))
    torch.testing.assert_close(whole.mean_TL, head.mean_TL)
    torch.testing.assert_close(whole.variance_TL, head.variance_TL)
    assert (head.variance_TL >= FLOOR * 0.999).all()


def _leaves_of(rows: slice) -> np.ndarray:
    head, seen, ages = forest(), features(64), torch.linspace(12, 58, 64)
    head.after_epoch([(Features(seen.pooled_BC[rows], seen.map_BCHW[rows]), ages[rows])])
    return np.stack([head.mean_TL.numpy(), head.variance_TL.numpy()])


def _rank(rank: int, address: str) -> np.ndarray:
    warnings.simplefilter("error")
    torch.distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    try:
        return _leaves_of(slice(40) if rank == 0 else slice(40, 64))
    finally:
        torch.distributed.destroy_process_group()


def test_two_workers_find_the_leaves_of_one_with_all_rows(tmp_path):
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        first, second = pool.map(_rank, range(2), 2 * [f"file://{tmp_path}/meeting"])
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first, _leaves_of(slice(64)), atol=1e-5)
    assert np.abs(first - _leaves_of(slice(40))).max() > 1e-3
