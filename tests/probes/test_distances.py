"""Distances to the decision boundary against those that are known."""

from __future__ import annotations

import itertools
import sys

import numpy as np
import pytest
import torch
from torch import nn

from seepage.errors import InputError
from seepage.probes import Asked
from seepage.probes.boundary import BoundaryDistance, boundary_distance
from seepage.probes.distance import AdversarialDistance, adversarial_distance


@pytest.fixture(autouse=True)
def _own_stream():
    with torch.random.fork_rng(devices=[]):
        yield


def linear(classes: int, seed: int = 0) -> tuple[nn.Module, torch.Tensor, torch.Tensor, np.ndarray]:
    """A linear network, samples, labels of which some are wrong, and the true distances."""
    torch.manual_seed(seed)
    net = nn.Linear(5, classes).requires_grad_(False).eval()
    x = torch.randn(40, 5)
    z = net(x)
    y = z.argmax(dim=1)
    y[:4] = (y[:4] + 1) % classes
    w, z = net.weight.double(), z.double()
    far = (w[y][:, None] - w[None]).norm(dim=2)
    gap = (z.gather(1, y[:, None]) - z) / far.clamp_min(1e-12)
    gap[torch.arange(40), y] = torch.inf
    return net, x, y, gap.min(dim=1).values.clamp_min(0).numpy()


def bent(seed: int = 3) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """A network of two inputs whose boundary has corners."""
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3))
    for p in net.parameters():
        p.data.mul_(2)
    x = 2 * torch.randn(40, 2)
    return net.eval(), x, net(x).argmax(dim=1)


def by_brute_force(net: nn.Module, x: torch.Tensor, y: torch.Tensor, out_to: float) -> np.ndarray:
    """The nearest other answer on 180 rays in steps of a 150th."""
    angle = torch.linspace(0, 2 * torch.pi, 181)[:-1]
    u = torch.stack([angle.cos(), angle.sin()], dim=1)
    radius = torch.linspace(0, out_to, 151)[1:]
    with torch.no_grad():
        grid = net((x[:, None, None] + radius[:, None, None] * u).reshape(-1, 2)).argmax(dim=1)
    other = (grid.reshape(len(x), 150, 180) != y[:, None, None]).any(dim=2)
    first = other.float().argmax(dim=1)
    return np.where(other.any(dim=1), radius[first], np.inf)


@pytest.mark.parametrize("classes", [2, 4])
def test_a_linear_network_s_distance_is_exact(classes):
    net, x, y, truth = linear(classes)
    found = adversarial_distance(net, x, y)
    assert (found[:4] == 0).all()
    np.testing.assert_allclose(found, truth, rtol=1e-4, atol=1e-6)


def test_the_search_comes_near_the_minimum_of_a_bent_boundary():
    net, x, y = bent()
    truth = by_brute_force(net, x, y, 1.5)
    near = np.isfinite(truth)
    assert near.sum() > 20
    found = adversarial_distance(net, x, y, steps=20)[near]
    ratio = found / truth[near]
    assert (ratio > 0.99 - 0.01 / truth[near]).all()  # nothing nearer than there is
    assert np.median(ratio) < 1.02
    assert np.mean(ratio < 1.05) > 0.7  # the others end at another bend


def test_more_steps_and_rays_never_give_more():
    net, x, y = bent(5)
    found = [adversarial_distance(net, x, y, steps=k, rays=1) for k in (0, 1, 3, 10)]
    found.append(adversarial_distance(net, x, y, steps=0, rays=2))
    for a, b in itertools.pairwise(found[:4]):
        assert (b <= a).all()
    assert (found[3] < found[0]).any()
    assert (found[4] <= found[0]).all()


def test_no_distance_is_larger_than_to_an_input_of_another_answer():
    """Rays that miss a boundary lead nowhere; the way to another sample always does."""
    net, x, y = bent(7)
    found = adversarial_distance(net, x, y, steps=0, rays=1)
    away = torch.cdist(x, x).masked_fill(y[:, None] == y, torch.inf).min(dim=1).values
    assert (found <= away.double().numpy() * (1 + 1e-4)).all()


def test_what_is_never_answered_otherwise_is_as_far_as_the_farthest_input():
    net = nn.Linear(3, 2).requires_grad_(False).eval()
    net.weight[:] = net.weight[:1]
    net.bias.copy_(torch.tensor([1.0, 0.0]))
    x = torch.randn(5, 3)
    found = adversarial_distance(net, x, torch.zeros(5, dtype=torch.long))
    np.testing.assert_allclose(found, torch.cdist(x, x).max(dim=1).values.numpy(), rtol=1e-5)


def test_the_probe_has_the_search_s_options():
    net, x, y = bent()
    probe = AdversarialDistance(steps=2, rays=1)
    found = probe.measure(Asked(net, x, y))["adversarial_distance"]
    np.testing.assert_array_equal(found, adversarial_distance(net, x, y, steps=2, rays=1))
    with pytest.raises(InputError, match="expected steps of at least 0"):
        adversarial_distance(net, x, y, steps=-1)


def test_the_attacks_say_the_probes_queries():
    from seepage.attacks import ATTACKS
    from seepage.probes.registry import probes_of

    for name in ("merlin", "label-augment", "adversarial-distance", "boundary"):
        (probe,) = probes_of(ATTACKS[name].requires)
        assert (ATTACKS[name].queries, ATTACKS[name].access) == (probe.queries, probe.access)


def test_labels_alone_need_the_toolbox(monkeypatch):
    monkeypatch.setitem(sys.modules, "art.attacks.evasion", None)
    net, x, y, _ = linear(2)
    with pytest.raises(InputError, match=r"found none; pip install 'seepage\[boundary\]'"):
        BoundaryDistance().measure(Asked(net, x, y))
    with pytest.raises(InputError, match="most_queries: expected at least 50, got 10"):
        boundary_distance(net, x, y, 10, generator=np.random.default_rng(0))
