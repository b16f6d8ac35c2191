"""The inverse-Hessian score: leave-one-out by training again, and nothing where nothing was learnt."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from seepage.errors import InputError
from seepage.metrics import operating_points
from seepage.probes import Asked
from seepage.probes.gradients import sample_losses
from seepage.probes.inverse_hessian import InverseHessian, hessian, likelier, moved
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


def test_it_is_the_place_among_those_who_may_be_missing(monkeypatch) -> None:
    """Candidate by candidate, each scored by what is known without the sample; copies are one value."""
    rng = np.random.default_rng(2)
    g = rng.normal(size=(40, 3)) + np.array([1.0, 0.0, 0.0])
    g[[30, 31, 33]] = g[[2, 3, 32]]
    member, h = np.arange(40) < 24, np.diag([2.0, 1.0, 0.5])
    monkeypatch.setattr("seepage.probes.inverse_hessian._BLOCK", 7)
    got = likelier(g, h, member, floor=1e-3, rng=rng)
    step = g / np.diag(h)
    for i in range(40):
        known = step[member & (np.arange(40) != i)]
        among = np.append(np.flatnonzero(~member & (np.arange(40) != i)), i)
        n = len(known) + 1
        q = [-(step[c] @ step[c] / n + 2 * known.mean(axis=0) @ step[c]) for c in among]
        below, same = sum(v < q[-1] - 1e-9 for v in q), sum(abs(v - q[-1]) <= 1e-9 for v in q)
        if member[i]:
            assert got[i] == pytest.approx((below + (same - 1) / 2) / 16, abs=1e-12), i
        else:
            assert below / 16 < got[i] < (below + same) / 16, i
    np.testing.assert_allclose(np.sort(likelier(g[:30], h, member[:30], floor=1e-3, rng=rng)[24:]),
                               (np.arange(6) + 0.5) / 6)  # fmt: skip
    with pytest.raises(InputError, match="not trained on, with which a member is compared"):
        likelier(g, h, np.ones(40, bool), floor=1e-3, rng=rng)
    with pytest.raises(InputError, match="at least 2 members, got 1"):
        likelier(g, h, np.arange(40) < 1, floor=1e-3, rng=rng)


def test_samples_that_a_network_cannot_tell_apart_read_half() -> None:
    """Many that pass no unit have one gradient: a tie is a tie, member or not."""
    rng = np.random.default_rng(3)
    g = np.repeat([[0.2, 0.0], [0.5, -0.3], [0.0, 0.0], [-1.0, 0.4]], [30, 6, 3, 1], axis=0)
    member = np.stack([rng.permutation(40) < 20 for _ in range(2000)])
    scores = np.stack([likelier(g, np.eye(2), m, floor=1e-3, rng=rng) for m in member])
    assert abs(operating_points(scores, member, ()).auc.mean() - 0.5) < 0.004
    assert (np.sort(scores[~member].reshape(2000, 20)) == (np.arange(20) + 0.5) / 20).all()


@pytest.mark.parametrize("directions", [1, 4])
def test_on_a_network_that_learnt_nothing_it_reads_half(directions) -> None:
    """Members drawn after the gradients: what the attacker knows of the others tells nothing.

    The longer sum that a member's score lacks itself reads more than half in one direction.
    """
    rng = np.random.default_rng(1)
    placed, alone = partial(likelier, floor=1e-3, rng=rng), partial(moved, floor=1e-3)
    found: dict[str, list[float]] = {"place": [], "alone": []}
    scores, members = [], []
    g = rng.normal(size=(60, directions)) + (np.arange(directions) == 1) * 2.0
    for _ in range(1500):
        member = rng.permutation(60) < 30
        members.append(member)
        scores.append(likelier(g, np.eye(directions), member, floor=1e-3, rng=rng))
        # Drawn anew for what reads a bias: so many gradients are one draw of it.
        other = rng.normal(size=(60, directions))
        for name, rule in (("place", placed), ("alone", alone)):
            value = rule(other, np.eye(directions), member)[None]
            found[name].append(operating_points(value, member[None], ()).auc[0])
    held, drawn = np.stack(scores), np.stack(members)
    assert abs(operating_points(held, drawn, ()).auc.mean() - 0.5) < 0.01
    assert abs(np.mean(found["place"]) - 0.5) < 0.01
    assert (np.mean(found["alone"]) > 0.53) == (directions == 1)
    # Sample by sample too, as references would compare them.
    apart = [held[drawn[:, i], i].mean() - held[~drawn[:, i], i].mean() for i in range(60)]
    assert abs(np.mean(apart) / held.std(axis=0).mean()) < 0.03
