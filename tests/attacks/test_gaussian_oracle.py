"""Closed forms end to end through plan and attack: what the score must reach on known laws."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from oracles import class_mean, ols_leverage
from seepage.attacks import LiRA, LiRAOfflineTwoSided, PerSample, Pooled, reference_rows
from seepage.metrics import clopper_pearson, operating_points
from seepage.plan import half_split, subsets


def rates(scores, member, fpr):
    """Per-sample TPR at the FPR realised by each sample's own threshold, over targets."""
    samples = member.shape[1]
    tpr = np.empty(samples)
    for i in range(samples):
        out = np.sort(scores[~member[:, i], i])
        k = int(np.ceil(len(out) * (1 - fpr)))
        tpr[i] = (scores[member[:, i], i] > out[k - 1]).mean()
    return tpr


def test_ordinary_least_squares_leverage_law():
    """TPR_i = 2Φ(Φ⁻¹((1 + FPR)/2)/(1 − h_i)) − 1 for every sample, by LiRA on the residuals."""
    rng = np.random.default_rng(0)
    samples, models, fpr = 12, 12_000, 0.1
    design = rng.normal(size=(samples, 2))
    design[0] *= 4
    member = half_split(samples, models=models, seed=0).member
    fleet = ols_leverage(rng, member, design, fpr)
    # Members have the *smaller* residual: both laws are centred, so LiRA must use the variances.
    target, references = fleet.signal[:4000], fleet.signal[4000:]
    score = np.stack(
        [LiRA(variance=PerSample()).score(x, references, member[4000:]) for x in target[:40]]
    )
    law = [references[:, i] for i in range(samples)]
    for i in range(samples):
        inside, outside = law[i][member[4000:, i]], law[i][~member[4000:, i]]
        want = norm.logpdf(target[:40, i], inside.mean(), inside.std()) - norm.logpdf(
            target[:40, i], outside.mean(), outside.std()
        )
        np.testing.assert_allclose(score[:, i], want, rtol=1e-9)
    drop_free = LiRA(variance=PerSample()).leave_one_out(fleet.signal[:2000], member[:2000])
    got = rates(drop_free, member[:2000], fpr)
    low, high = clopper_pearson(np.round(got * 1000), 1000, level=0.999)
    # The threshold is estimated too, from 1000 draws: its own binomial error, carried to the TPR.
    slack = 3 * np.sqrt(fpr * (1 - fpr) / 1000) * fleet.tpr / fpr
    assert ((low - slack < fleet.tpr) & (fleet.tpr < high + slack)).all()
    assert np.corrcoef(got, fleet.tpr)[0, 1] > 0.95


@pytest.mark.parametrize(("shots", "want"), [(16, 0.695), (64, 0.350), (256, 0.202)])
def test_class_mean_law(shots, want):
    """TPR = Φ(Φ⁻¹(FPR) + |⟨x, x − m⟩| / (√S‖x‖s)), and its −½ slope in S."""
    rng = np.random.default_rng(shots)
    direction = rng.normal(size=(120, 8))
    x = direction / np.linalg.norm(direction, axis=1, keepdims=True)
    # ⟨x, x − m⟩/(√16 ‖x‖ s) = Φ⁻¹(.695) + Φ⁻¹(.9): the table's own setting.
    spread = 1 / (4 * (norm.ppf(0.695) + norm.ppf(0.9)))
    fleet = class_mean(rng, 800, x, np.zeros(8), shots, spread, 0.1)
    assert fleet.tpr == pytest.approx(np.full(120, want), abs=2e-3)
    score = LiRA(variance=Pooled()).leave_one_out(fleet.signal, fleet.member)
    got = rates(score, fleet.member, 0.1)
    assert got.mean() == pytest.approx(want, abs=0.025)


def test_gaussian_shift_through_leave_one_out():
    """With known equal variances LiRA is the optimal test: AUC → Φ(μ/√2)."""
    member = half_split(4000, models=64, seed=0).member
    rng = np.random.default_rng(1)
    phi = rng.normal(size=4000) * 5 + rng.normal(size=member.shape) + 1.0 * member
    auc = operating_points(LiRA(variance=Pooled()).leave_one_out(phi, member), member).auc.mean()
    # The centres are means of 31 and 32 references, which costs a little.
    assert norm.cdf(1 / np.sqrt(2)) - 0.012 < auc < norm.cdf(1 / np.sqrt(2)) + 0.003


@pytest.mark.parametrize("parts", [3, 4])
def test_the_laws_hold_for_tuples(parts):
    """What a sample's own run learns does not depend on how many runs share the pool."""
    member = subsets(4000, models=parts * 24, parts=parts, seed=0).member
    rng = np.random.default_rng(1)
    phi = rng.normal(size=4000) * 5 + rng.normal(size=member.shape) + 1.0 * member
    auc = operating_points(LiRA(variance=Pooled()).leave_one_out(phi, member), member).auc.mean()
    # The IN centre is the mean of 23 references, the OUT centre of parts − 1 times as many.
    assert norm.cdf(1 / np.sqrt(2)) - 0.012 < auc < norm.cdf(1 / np.sqrt(2)) + 0.003
    shots, want = 64, 0.350
    direction = rng.normal(size=(120, 8))
    x = direction / np.linalg.norm(direction, axis=1, keepdims=True)
    spread = 1 / (4 * (norm.ppf(0.695) + norm.ppf(0.9)))
    fleet = class_mean(rng, 400 * parts, x, np.zeros(8), shots, spread, 0.1, parts)
    assert (fleet.member.mean(axis=0) == 1 / parts).all()
    score = LiRA(variance=Pooled()).leave_one_out(fleet.signal, fleet.member)
    assert rates(score, fleet.member, 0.1).mean() == pytest.approx(want, abs=0.025)


def test_score_is_the_gaussian_log_ratio():
    rng = np.random.default_rng(2)
    member = half_split(5, models=10, seed=0).member
    phi = rng.normal(3, 2, size=member.shape)
    got = LiRA(variance=PerSample()).leave_one_out(phi, member)
    two = LiRAOfflineTwoSided(variance=PerSample()).leave_one_out(phi, member)
    use = reference_rows(member)
    for r in range(10):
        for i in range(5):
            inside = phi[use[r] & member[:, i], i]
            outside = phi[use[r] & ~member[:, i], i]
            log_out = norm.logpdf(phi[r, i], outside.mean(), outside.std())
            log_in = norm.logpdf(phi[r, i], inside.mean(), inside.std())
            assert got[r, i] == pytest.approx(log_in - log_out, rel=1e-9)
            assert two[r, i] == pytest.approx(-log_out, rel=1e-9)
