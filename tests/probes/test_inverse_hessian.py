"""The inverse-Hessian score: leave-one-out by training again, and nothing where nothing was learnt."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from seepage.errors import InputError
from seepage.metrics import operating_points
from seepage.probes import Asked
from seepage.probes.gradients import sample_losses
from seepage.probes.inverse_hessian import InverseHessian, hessian, moved
from seepage.probes.one_pass import measure

RIDGE = 0.05


def test_for_ridge_regression_it_is_what_training_without_the_sample_changes() -> None:
    """n‖θ* − θ*₍₋ᵢ₎‖² for members, and minus n‖θ*₍₊ᵢ₎ − θ*‖² for others, each trained anew."""
    rng = np.random.default_rng(0)
    x, n = rng.normal(size=(600, 3)), 300
    y = x @ np.array([1.0, -1.0, 0.5]) + rng.normal(size=600)
    member = np.arange(600) < n

    def trained(inside: np.ndarray) -> np.ndarray:
        return np.linalg.solve(x[inside].T @ x[inside], x[inside].T @ y[inside])

    theta = trained(member)
    g = (x @ theta - y)[:, None] * x
    score = moved(g, x.T @ x / 600, member, floor=1e-6)
    for i in (3, 50, 299, 300, 420, 599):
        other = member.copy()
        other[i] = not other[i]
        far = n * ((theta - trained(other)) ** 2).sum()
        assert score[i] == pytest.approx(far if member[i] else -far, rel=0.35)
    assert (score[member] > 0).all()
    assert (score[~member] < 0).all()


def test_the_hessian_of_softmax_regression_is_known(monkeypatch) -> None:
    """(1/N) Σ (diag p − ppᵀ) ⊗ (x, 1)(x, 1)ᵀ; above 3,000 parameters it is refused."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net, x = nn.Linear(2, 3).eval(), torch.randn(20, 2)
        wide = nn.Linear(1000, 3).eval()
    y = torch.arange(20) % 3
    monkeypatch.setattr("seepage.probes.inverse_hessian._BATCH", 7)
    got = hessian(Asked(net, x, y))
    p = torch.softmax(net(x).double(), 1).detach()
    w = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    z = x.double()
    weights = torch.einsum("nkl,nd,ne->kdle", w, z, z).reshape(6, 6) / 20
    np.testing.assert_allclose(got[:6, :6], weights.numpy(), atol=1e-7)
    np.testing.assert_allclose(got[6:, 6:], w.mean(0).numpy(), atol=1e-7)
    assert sample_losses(net(x), y).mean().item() > 0
    with pytest.raises(InputError, match=r"at most 3,000 parameters.*got 3,003; choose"):
        measure(
            [InverseHessian()], Asked(wide, torch.zeros(4, 1000), y[:4], member=np.ones(4, bool))
        )
    with pytest.raises(InputError, match="knows all members but the one in question"):
        measure([InverseHessian()], Asked(net, x, y))


def test_on_a_network_that_learnt_nothing_it_reads_half() -> None:
    """Members drawn after the gradients: what the attacker knows of the others tells nothing."""
    rng = np.random.default_rng(1)
    g = rng.normal(size=(60, 4)) + np.array([2.0, 0.0, 0.0, 0.0])
    member = np.stack([rng.permutation(60) < 30 for _ in range(2000)])
    scores = np.stack([moved(g, np.eye(4), m, floor=1e-3) for m in member])
    assert abs(operating_points(scores, member, ()).auc.mean() - 0.5) < 0.008
    # Sample by sample too, as references would compare them.
    apart = [scores[member[:, i], i].mean() - scores[~member[:, i], i].mean() for i in range(60)]
    assert abs(np.mean(apart) / scores.std(axis=0).mean()) < 0.03


def test_in_one_direction_it_reads_more_than_half() -> None:
    """What its card says: an error of who knows all others, that no permuted membership shows."""
    rng = np.random.default_rng(0)
    found, permuted = [], []
    for _ in range(400):
        g, member = rng.normal(size=(60, 1)), rng.permutation(60) < 30
        score = moved(g, np.eye(1), member, floor=1e-3)[None]
        for told, truth in ((found, member), (permuted, rng.permutation(member))):
            told.append(operating_points(score, truth[None], ()).auc[0])
    assert np.mean(found) > 0.53
    assert abs(np.mean(permuted) - 0.5) < 0.02
