"""The evidence for LiRA's default variance: heteroscedastic Gaussians, TPR at 0.1 % FPR."""

from __future__ import annotations

import numpy as np
import pytest

from oracles import heteroscedastic
from seepage.attacks import Global, LiRA, PerSample, Pooled, StudentT
from seepage.metrics import operating_points
from seepage.plan import half_split

RULES = {"own": PerSample(), "pooled": Pooled(), "global": Global(), "student": StudentT()}


def ladder(models: int) -> dict[str, float]:
    member = half_split(4000, models=models, seed=models).member
    phi = heteroscedastic(np.random.default_rng(models), member)
    return {
        name: float(
            operating_points(
                LiRA(variance=rule).leave_one_out(phi, member), member, [0.001]
            ).tpr.mean()
        )
        for name, rule in RULES.items()
    }


@pytest.mark.parametrize("models", [6, 10, 18])
def test_with_few_references_the_student_wins(models):
    tpr = ladder(models)
    assert tpr["student"] > 1.5 * max(tpr["pooled"], tpr["global"])
    assert tpr["student"] > 1.2 * tpr["own"]


def test_with_many_references_ones_own_spread_catches_up():
    tpr = ladder(66)
    assert tpr["own"] > 2 * tpr["pooled"]
    # The default is within a tenth of the best everywhere: the safe choice.
    assert tpr["student"] > 0.9 * tpr["own"]


def test_student_tends_to_the_normal_rules():
    """A firm prior on the spread and none on the centre is Pooled; weak priors fade with R."""
    member = half_split(3000, models=12, seed=0).member
    phi = np.random.default_rng(0).normal(size=member.shape) + member
    firm = LiRA(variance=StudentT(alpha=1e9)).leave_one_out(phi, member)
    pooled = LiRA(variance=Pooled()).leave_one_out(phi, member)
    # The predictive spread has the factor 1 + 1/n, n = 5 on both sides; the levels are fits.
    np.testing.assert_allclose(firm, pooled / (1 + 1 / 5), rtol=0.08, atol=0.08)


def test_default_is_the_safe_one():
    assert LiRA().variance == StudentT()
