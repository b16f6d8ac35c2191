"""Leverage: the hat matrix, and the law of residuals of members and others."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from oracles import ols_leverage
from seepage.errors import InputError
from seepage.metrics import operating_points
from seepage.plan import half_split
from seepage.probes import Asked
from seepage.probes.leverage import Leverage, leverages, residual_log_ratio
from seepage.probes.one_pass import measure


def test_of_two_classes_it_is_the_hat_matrix_of_logistic_regression() -> None:
    rng = np.random.default_rng(0)
    x, z = rng.normal(size=(60, 4)), rng.normal(size=(60, 2))
    h, _ = leverages(x, z, rng.integers(0, 2, 60), share=1.0, ridge=1e-11)
    p = 1 / (1 + np.exp(z[:, 0] - z[:, 1]))
    rooted = np.sqrt(p * (1 - p))[:, None] * x
    hat = rooted @ np.linalg.solve(rooted.T @ rooted, rooted.T)
    np.testing.assert_allclose(h, np.diag(hat), rtol=1e-6)
    assert h.sum() == pytest.approx(4)


def test_of_several_classes_its_sum_is_the_number_of_free_weights() -> None:
    rng = np.random.default_rng(1)
    h, _ = leverages(
        rng.normal(size=(80, 3)), rng.normal(size=(80, 4)), np.zeros(80, int), share=1.0, ridge=1e-11
    )  # fmt: skip
    # One vector added to the weights of every class changes nothing.
    assert h.sum() == pytest.approx(3 * (4 - 1), rel=1e-6)


def test_residuals_of_least_squares_follow_the_two_laws() -> None:
    """E[e^score | OUT] = 1 = E[e^−score | IN], and each sample's AUC is that of the oracle."""
    rng = np.random.default_rng(2)
    design = rng.normal(size=(40, 6)) * np.exp(0.4 * rng.normal(size=(40, 1)))
    member = half_split(40, models=600, seed=0).member
    fleet = ols_leverage(rng, member, design, 0.1)
    spread = np.empty(member.shape)
    for r, inside in enumerate(member):
        gram = np.linalg.inv(design[inside].T @ design[inside])
        g = np.einsum("ij,jk,ik->i", design, gram, design)
        spread[r] = np.where(inside, g / np.maximum(1 - g, 1e-12), g)
    score = residual_log_ratio(fleet.signal, spread)
    usual = spread < 1  # heavy tails beyond: the mean has no use there
    outside = np.exp(score[~member & usual])
    inside = np.exp(-score[member & usual])
    assert outside.mean() == pytest.approx(1, abs=4 * outside.std() / len(outside) ** 0.5)
    assert inside.mean() == pytest.approx(1, abs=4 * inside.std() / len(inside) ** 0.5)
    # At a tenth of the others, sample by sample, members are found as often as the oracle says.
    found = []
    for i in range(40):
        size = np.abs(fleet.signal[:, i])
        least = np.quantile(size[~member[:, i]], 0.1)
        found.append((size[member[:, i]] <= least).mean())
    assert np.corrcoef(found, fleet.tpr)[0, 1] > 0.8
    plain = operating_points(-np.abs(fleet.signal), member, ()).auc.mean()
    given = operating_points(score, member, ()).auc.mean()
    assert given > plain + 0.02


def test_what_has_no_last_linear_layer_is_refused() -> None:
    x, y = torch.randn(8, 3), torch.arange(8) % 2
    net = nn.Sequential(nn.Linear(3, 2), nn.Tanh()).eval()
    with pytest.raises(InputError, match="something changes after it"):
        measure([Leverage()], Asked(net, x, y))
    with pytest.raises(InputError, match="at most 6,000 weights, got 6,003"):
        leverages(np.zeros((2, 2001)), np.zeros((2, 3)), np.array([0, 1]), share=0.5, ridge=1e-3)
    with torch.random.fork_rng(devices=[]):
        found = measure([Leverage()], Asked(nn.Linear(3, 2).eval(), x, y))
    assert np.isfinite(found["leverage_ratio"]).all()
    assert ((found["leverage"] > 0) & (found["leverage"] < 1)).all()
